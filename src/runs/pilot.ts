// A scan's pilot: contrast and noise by timestep, measured on a few images before the run begins. The manifest keeps it, so that
// every process takes the same timesteps and the same weights, and the report shows it.
import type { z } from 'zod';
import type { TIMESTEPS } from '../options/scoring.js';
import { list, members, number, whole, type Shape } from './json-shape.js';

export interface Pilot {
  /** images measured */
  images: number;
  /** UNet calls it took */
  unetCalls: number;
  /** side of the patches that contrast and noise are of, in pixels */
  patch: number;
  /** centers of the bins of equal width that the timesteps were divided into */
  timesteps: number[];
  /** of each bin: root mean square of a patch's expected loss difference */
  contrast: number[];
  /** of each bin: standard deviation of a patch's loss difference in one sample */
  noise: number[];
}

/** How samples are weighted by their timestep: not at all, by 1 / sqrt(noise), or by 1 / noise. */
export type TimestepWeights = z.output<typeof TIMESTEPS.tWeights>;

export const PILOT_SHAPE: Shape = members({
  images: whole(1),
  unetCalls: whole(1),
  patch: whole(1),
  timesteps: list(number),
  contrast: list(number),
  noise: list(number),
});

/** Part of the largest ratio of contrast to noise that a bin of the range must reach. */
const FRACTION = 0.5;

/** The bins [first, last] around the largest ratio of contrast to noise whose ratio is at least half of it. */
export function bestBins({ contrast, noise }: Pick<Pilot, 'contrast' | 'noise'>): [first: number, last: number] {
  const sd = smoothed(noise);
  const ratios = smoothed(contrast).map((value, i) => (value === 0 ? 0 : value / (sd[i] as number)));
  const most = Math.max(...ratios);
  let first = ratios.indexOf(most);
  let last = first;
  while (first > 0 && (ratios[first - 1] as number) >= FRACTION * most) first -= 1;
  while (last < ratios.length - 1 && (ratios[last + 1] as number) >= FRACTION * most) last += 1;
  return [first, last];
}

/** Weights of samples at these timesteps, with mean 1; undefined where all are equal. */
export function sampleWeights(
  pilot: Pilot | undefined,
  weights: TimestepWeights,
  timesteps: readonly number[],
): number[] | undefined {
  if (weights === 'none' || !pilot) return undefined;
  const noise = smoothed(pilot.noise);
  const floor = 1e-3 * Math.max(...noise);
  const all = timesteps.map((t) => {
    const sd = Math.max(floor, interpolated(pilot.timesteps, noise, t));
    return 1 / (weights === 'sqrt' ? Math.sqrt(sd) : sd);
  });
  const mean = all.reduce((sum, weight) => sum + weight, 0) / all.length;
  return all.map((weight) => weight / mean);
}

/** Means with weights 1, 2, 1 over neighbors. */
function smoothed(values: readonly number[]): number[] {
  const at = (i: number): number => values[Math.min(values.length - 1, Math.max(0, i))] as number;
  return values.map((value, i) => (at(i - 1) + 2 * value + at(i + 1)) / 4);
}

/** Linear between the points, constant beyond them. */
function interpolated(xs: readonly number[], ys: readonly number[], x: number): number {
  const next = xs.findIndex((at) => at >= x);
  if (next === 0) return ys[0] as number;
  if (next < 0) return ys[ys.length - 1] as number;
  const [a, b] = [xs[next - 1] as number, xs[next] as number];
  const [from, to] = [ys[next - 1] as number, ys[next] as number];
  return from + ((to - from) * (x - a)) / (b - a);
}
