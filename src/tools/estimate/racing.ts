// What a race is expected to cost.
import type { RaceOptions } from '../../runs/manifest.js';

/**
 * Fraction of the UNet calls by K / images, of `--race` with its default risk: docs/results/estimator.md, measured on the demo's dataset only. A larger
 * risk saves more.
 */
const MEASURED: Record<16 | 32 | 100, readonly (readonly [fraction: number, unetCalls: number])[]> = {
  16: [
    [1 / 24, 0.64],
    [1 / 10, 0.68],
    [1 / 5, 0.73],
  ],
  32: [
    [1 / 24, 0.5],
    [1 / 10, 0.56],
    [1 / 5, 0.63],
  ],
  100: [
    [1 / 24, 0.33],
    [1 / 10, 0.41],
    [1 / 5, 0.49],
  ],
};

/** Fraction of a label's UNet calls that a race is expected to make. `images`: of the label. */
export function expectedFraction({ top, rule, ends, controls }: RaceOptions, images: number): number {
  if (rule === 'risk') return interpolated(measuredFor(ends.at(-1) ?? 1), Math.min(1, top / images));
  const raced = halves(ends);
  return Math.min(1, raced + controls * (1 - raced));
}

const measuredFor = (samples: number): keyof typeof MEASURED => (samples >= 64 ? 100 : samples >= 32 ? 32 : 16);

/** The better half of the images in each round. */
function halves(ends: readonly number[]): number {
  const [first = 1] = ends;
  const all = ends.at(-1) ?? first;
  let [samples, left] = [first, 0.5];
  for (let round = 1; round < ends.length; round += 1, left /= 2)
    samples += left * ((ends[round] as number) - (ends[round - 1] as number));
  return samples / all;
}

/** Between the measured points by the logarithm of K / images; up to 1 where all images win, down to the first round's cost. */
function interpolated(samples: keyof typeof MEASURED, fraction: number): number {
  const points = [...MEASURED[samples], [1, 1] as const];
  const after = points.findIndex(([x]) => x >= fraction);
  const [x1, y1] = points[after] as readonly [number, number];
  if (after === 0) return y1; // fewer winners than measured save no less
  const [x0, y0] = points[after - 1] as readonly [number, number];
  return y0 + ((y1 - y0) * Math.log(fraction / x0)) / Math.log(x1 / x0);
}
