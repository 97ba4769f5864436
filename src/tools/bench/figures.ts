// What benchmarks share: inputs, rounds, and medians of times.
import { elements, fromFloat32 } from '../../engine/tensor.js';
import type { Tensor, UNetForwardInput } from '../../engine/types.js';

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

/** A forward pass: label and null of batch / 2 inputs [C, h, w]. */
export function onePass({
  input: [channels, height, width],
  batch,
}: {
  input: readonly [number, number, number];
  batch: number;
}): UNetForwardInput {
  return {
    x: noise([batch / 2, channels, height, width]),
    timesteps: Array<number>(batch / 2).fill(300),
    conditionIndex: Array.from({ length: batch }, (_, i) => i % 2),
    fanOut: 2,
  };
}

/** Rounds before the clock: a GPU's graphs are recorded and its clocks rise in the first ones. */
export const warmUpRounds = (device: string): number => (device.startsWith('cuda') ? 3 : 1);
export interface Spread {
  median: number;
  min: number;
  max: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const at = (i: number): number => sorted[i] ?? NaN;
  return {
    median: Number.isInteger(middle) ? (at(middle - 1) + at(middle)) / 2 : at(Math.floor(middle)),
    min: at(0),
    max: at(sorted.length - 1),
  };
}

/** Seconds that `work` takes. */
export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}
