// What benchmarks share: inputs, and medians of times.
import { elements, fromFloat32 } from '../native/tensor';
import type { Tensor } from '../native/types';

/** About standard normal numbers, reproducible: never time zeros. */
export function noise(shape: readonly number[]): Tensor {
  const values = new Float32Array(elements(shape));
  let state = 1;
  for (let i = 0; i < values.length; i++) {
    let sum = -6; // the sum of twelve uniform numbers is near enough to a normal one
    for (let k = 0; k < 12; k++) sum += (state = (state * 16807) % 2147483647) / 2147483647;
    values[i] = sum;
  }
  return fromFloat32(shape, values);
}

export interface Spread {
  median: number;
  min: number;
  max: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const at = (i: number): number => sorted[i] ?? NaN;
  return { median: Number.isInteger(middle) ? (at(middle - 1) + at(middle)) / 2 : at(Math.floor(middle)), min: at(0), max: at(sorted.length - 1) };
}

/** Seconds that `work` takes. */
export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}
