// What a pilot decides: the range of timesteps with the most contrast for its noise, and the weights of samples.
import { bestBins, sampleWeights, type Pilot } from '../../src/runs/pilot.js';

const pilot = (contrast: number[], noise: number[]): Pilot => ({
  images: 1,
  unetCalls: 1,
  patch: 8,
  timesteps: contrast.map((_, i) => 25 + 50 * i),
  contrast,
  noise,
});

test('the range is where the ratio of contrast to noise is at least half its maximum', () => {
  const ones = (length: number): number[] => Array<number>(length).fill(1);
  // smoothed over neighbors, the steps become slopes of 1/4 and 3/4
  expect(bestBins(pilot([0, 0, 0, 1, 1, 1, 1, 0, 0, 0], ones(10)))).toEqual([3, 6]);
  expect(bestBins(pilot(ones(10), ones(10)))).toEqual([0, 9]);
  // the noisy end is left out, although its contrast is as large
  expect(bestBins(pilot(ones(10), [9, 9, 9, 1, 1, 1, 1, 1, 1, 1]))).toEqual([4, 9]);
  // a second peak apart from the first is not part of it
  expect(bestBins(pilot([0, 4, 4, 4, 0, 0, 0, 3, 3, 0], ones(10)))).toEqual([1, 3]);
  expect(bestBins(pilot([0, 0, 0, 0], ones(4)))).toEqual([0, 3]);
});

test('weights are the inverse of the noise or its root, with mean 1', () => {
  const measured = pilot([1, 1, 1, 1, 1, 1], [4, 4, 4, 1, 1, 1]);
  const inverse = sampleWeights(measured, 'inverse', [0, 25, 275, 500]) as number[];
  expect(inverse.reduce((a, b) => a + b)).toBeCloseTo(4, 12);
  expect(inverse[3]! / inverse[0]!).toBeCloseTo(4, 12);
  expect(inverse[1]).toBe(inverse[0]);
  const root = sampleWeights(measured, 'sqrt', [25, 275]) as number[];
  expect(root[1]! / root[0]!).toBeCloseTo(2, 12);
  // between the bins' centers the noise is linear
  const between = sampleWeights(pilot([1, 1, 1, 1], [1, 1, 3, 3]), 'inverse', [75, 100, 125]) as number[];
  expect(between[0]! / between[1]!).toBeCloseTo((1.5 + 2.5) / 2 / 1.5, 12);
  expect(sampleWeights(measured, 'none', [1])).toBeUndefined();
  expect(sampleWeights(undefined, 'inverse', [1])).toBeUndefined();
  // no noise at all weighs as much as any: nothing is divided by 0
  expect(sampleWeights(pilot([1, 1, 1], [0, 0, 1]), 'inverse', [25, 125])?.every(Number.isFinite)).toBe(true);
});
