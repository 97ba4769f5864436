// The benchmark of training: what it counts, what it says of a model that does not fit, and steps of tiny models.
import { unetOf } from '../../src/models/denoiser.js';
import path from 'node:path';

import { benchText } from '../../src/cli/bench-text.js';
import { spread } from '../../src/tools/bench/figures.js';
import { parameterCount } from '../../src/models/parameters.js';
import type { BenchReport } from '../../src/tools/bench/report.js';
import { syntheticModel } from '../../src/tools/bench/synthetic.js';
import { timeTraining } from '../../src/tools/bench/training.js';
import { openModel } from '../../src/models/index.js';
import { GOLDEN } from '../helpers/folders.js';

test('spread: the median of even and odd counts', () => {
  expect(spread([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
  expect(spread([4, 1, 2, 3])).toEqual({ median: 2.5, min: 1, max: 4 });
});

test('parameters are counted from the config as the files have them', async () => {
  expect(parameterCount(unetOf(syntheticModel('synthetic:sd15')).config)).toBe(859_520_964);
  for (const name of ['tiny-sd15', 'tiny-fold']) {
    const model = await openModel(path.join(GOLDEN, name));
    expect(parameterCount(unetOf(model.source).config)).toBe(model.summary().parts.unet?.parameters);
  }
});

test('a training that does not fit is skipped with a word, before anything is allocated', async () => {
  const result = await timeTraining({ what: 'synthetic:sd15', device: 'cpu', dtype: 'fp32', repeats: 1 }, 12e9);
  expect(result).toEqual({
    what: 'synthetic:sd15',
    dtype: 'fp32',
    batch: 1,
    input: [4, 32, 32],
    checkpointing: false,
    parameters: 859_520_964,
    stateBytes: 16 * 859_520_964,
    skipped: 'weights, gradients and moments need 13.8 GB in fp32, without activations, and 12.0 GB are free',
  });
  const gpu = await timeTraining({ what: 'synthetic:sd15', device: 'cuda', dtype: 'bf16', repeats: 1 }, 12e9);
  expect([gpu.batch, gpu.input]).toEqual([8, [4, 64, 64]]);
});

test.each([
  ['tiny', 'fp32', 2, false, [12, 16, 16]],
  ['tiny', 'bf16', 3, true, [12, 16, 16]],
  [path.join(GOLDEN, 'tiny-sd15'), 'fp32', undefined, true, [4, 32, 32]],
  [path.join(GOLDEN, 'tiny-fold'), 'fp32', undefined, false, [12, 32, 32]],
] as const)('steps of %s in %s', async (what, dtype, batch, checkpointing, input) => {
  const { measured, ...facts } = await timeTraining({
    what,
    device: 'cpu',
    dtype,
    checkpointing,
    repeats: 2,
    threads: 1,
    ...(batch && { batch }),
  });
  expect(facts).toMatchObject({ what, dtype, batch: batch ?? 1, input, checkpointing });
  const { seconds, steps, stepsPerSecond, imagesPerSecond, peakMemory } = measured ?? fail();
  expect(steps).toBeGreaterThanOrEqual(2);
  expect(0 < seconds.min && seconds.min <= seconds.median && seconds.median <= seconds.max).toBe(true);
  expect(imagesPerSecond / stepsPerSecond).toBeCloseTo(batch ?? 1, 9);
  expect(peakMemory).toBeGreaterThan(facts.stateBytes);
});

test('what cannot be trained is refused', async () => {
  const task = { device: 'cpu', dtype: 'fp32', repeats: 1 } as const;
  await expect(timeTraining({ ...task, what: 'synthetic:none' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(timeTraining({ ...task, what: path.join(GOLDEN, 'mini-dataset') })).rejects.toMatchObject({
    code: 'MODEL_INVALID',
  });
});

test('the table has a line for each, and the reason where one was skipped', () => {
  const facts = {
    dtype: 'fp32',
    batch: 16,
    input: [12, 32, 32],
    checkpointing: false,
    parameters: 1e6,
    stateBytes: 2e7,
  } as const;
  const report: BenchReport = {
    format: 'diffmine-bench-5',
    version: '0.1.0',
    created: '2026-01-02T03:04:05.678Z',
    model: 'synthetic:sd15',
    parameters: 859_520_964,
    device: 'cpu',
    machine: { processor: 'Some CPU', threads: 2, cpuCapability: 'AVX2', computeCapability: '', libtorch: '2.13.0' },
    settings: { repeats: 5, disabled: [] },
    starts: [],
    cells: [],
    training: [
      {
        ...facts,
        input: [...facts.input],
        what: 'small',
        measured: {
          seconds: { median: 0.25, min: 0.2, max: 0.3 },
          steps: 10,
          stepsPerSecond: 4,
          imagesPerSecond: 64,
          peakMemory: 3e8,
        },
      },
      { ...facts, input: [...facts.input], what: 'large', skipped: 'too large' },
    ],
  };
  const text = benchText(report);
  expect(text).toMatch(/^small +fp32 +16 x 12 x 32 x 32 +0\.250 \(0\.200 \.\.\. 0\.300\) +4\.00 +64\.0 +300 MB$/m);
  expect(text).toMatch(/^Skipped: training of large in fp32, too large\.$/m);
  expect(text).not.toContain('UNet calls/s');
});

function fail(): never {
  throw new Error('it was not measured');
}
