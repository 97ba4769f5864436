// What an evaluation costs in operations, against counts made by hand and against the shapes the models really have.
import { unetOf } from '../../src/models/denoiser.js';
import { operationCounts, operations, patchCount } from '../../src/models/operations.js';
import { syntheticModel } from '../../src/tools/bench/synthetic.js';
import { unetOfSize } from '../../src/stages/train/sizes.js';

const source = syntheticModel('synthetic:sd15');
const sd15 = unetOf(source).config;
const giga = (count: number): number => Math.round(count / 1e8) / 10;

test("Stable Diffusion 1.5's UNet at 64 x 64", () => {
  const counts = operationCounts(sd15, 64, 64);
  expect(giga(operations(source, 64, 64))).toBe(803.3);
  expect(Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, giga(count)]))).toEqual({
    convolutions: 400.3,
    feedForward: 153.5,
    selfAttention: 122.5,
    selfProjections: 51.2,
    transformerProjections: 25.6,
    crossProjections: 25.6,
    textProjections: 3,
    crossAttention: 3.6,
    shortcuts: 18,
    embeddings: 0.1,
  });
  expect(counts.textProjections / 1e9).toBeCloseTo(2.95, 2);
});

test('and at 32 x 32', () => {
  const counts = operationCounts(sd15, 32, 32);
  expect(giga(operations(source, 32, 32))).toBe(180.1);
  expect(
    [
      counts.convolutions,
      counts.feedForward,
      counts.selfAttention,
      counts.selfProjections,
      counts.transformerProjections,
      counts.crossProjections,
      counts.shortcuts,
    ].map(giga),
  ).toEqual([100.1, 38.4, 7.7, 12.8, 6.4, 6.4, 4.5]);
});

test('a class model attends to the image alone, by hand', () => {
  // one level of attention, 8 x 6 cells: convolution in, two ResNets down, one middle, three up, convolution out
  const config = {
    ...unetOfSize('tiny', { classes: 3 }),
    blockOutChannels: [8],
    downBlockTypes: ['AttnDownBlock2D'],
    upBlockTypes: ['AttnUpBlock2D'],
    attentionHeadDim: [8],
    transformerLayers: [1],
  };
  const rows = 48;
  const c = 8;
  const counts = operationCounts(config, 8, 6);
  // down: one layer c -> c; middle: one; up: two layers of 2 c -> c
  expect(counts.convolutions).toBe(2 * 9 * rows * (12 * c + 2 * c * c + 2 * c * c + 2 * (2 * c * c + c * c) + c * 12));
  expect(counts.shortcuts).toBe(2 * rows * 2 * (2 * c * c));
  expect(counts.selfProjections).toBe(3 * 4 * 2 * rows * c * c);
  expect(counts.selfAttention).toBe(3 * 4 * rows * rows * c);
  expect(counts.embeddings).toBe(2 * (c * 32 + 32 * 32) + 4 * 2 * 32 * 2 * c);
  expect([
    counts.feedForward,
    counts.textProjections,
    counts.crossAttention,
    counts.crossProjections,
    counts.transformerProjections,
  ]).toEqual([0, 0, 0, 0, 0]);
});

test('odd sizes are rounded up on the way down', () => {
  const even = operationCounts(sd15, 8, 12);
  const odd = operationCounts(sd15, 8, 11);
  expect(odd.selfAttention).toBeLessThan(even.selfAttention);
  expect(operations(source, 7, 11)).toBeGreaterThan(operations(source, 6, 10));
});

test('patches of an image', () => {
  expect(patchCount(512, 512, 64)).toBe(201_601);
  expect(patchCount(32, 64, 64)).toBe(0);
});
