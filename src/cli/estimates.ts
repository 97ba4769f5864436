// Lines that the estimates of a scan and of a training share.
import type { Dtype } from '../engine/types.js';
import type { Time } from '../tools/estimate/time.js';
import { byteSize } from '../util/bytes.js';
import { significant } from '../web/html.js';
import { duration } from './output.js';

/** 803291234304 -> '803 GFLOP' */
export function operationCount(operations: number): string {
  const [size, unit] = operations >= 1e12 ? [operations / 1e12, 'TFLOP'] : [operations / 1e9, 'GFLOP'];
  return `${Number(size.toPrecision(3))} ${unit}`;
}

export const line = (name: string, text: string): string => `${`${name}:`.padEnd(12)} ${text}`;

export const leastMemoryLine = ({ fp32, half }: { fp32: number; half: number }): string =>
  line(
    'GPU memory',
    `at least ${byteSize(fp32)} in fp32, ${byteSize(half)} in fp16 or bf16 (computed, with 1 GB for CUDA)`,
  );

/** 'about 5 s' */
export const about = (seconds: number): string => (seconds < 1 ? 'under a second' : `about ${duration(seconds)}`);

/** @param unit of the rate: UNet calls, steps */
export function timeText(
  { hours, hoursAtMost, rate, rateFrom, computedFrom, device, dtype }: Time & { device: string | null; dtype: Dtype },
  unit: string,
  hint: string,
): string {
  if (hours === undefined || rate === undefined) return `unknown without a rate: ${hint}`;
  const perSecond = `${significant(rate, 3)} ${unit} per second`;
  const where = device === null ? '' : ` on ${device} in ${dtype}`;
  return hoursAtMost === undefined
    ? `${about(3600 * hours)}${where} at ${perSecond} (${rateFrom === 'earlier' ? 'the last rate measured here' : rateFrom})`
    : `${3600 * hoursAtMost < 1 ? about(0) : `about ${duration(3600 * hours)} to ${duration(3600 * hoursAtMost)}`}${where} at up to ${perSecond} (computed from ${computedFrom})`;
}

/** No line without a price. */
export function priceLine({ price, priceAtMost }: Time): string[] {
  if (price === undefined) return [];
  return [
    line(
      'price',
      priceAtMost === undefined ? price.toFixed(2) : `${price.toFixed(2)} to ${priceAtMost.toFixed(2)} (computed)`,
    ),
  ];
}
