// An estimate counts what the scan then does.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '../../src/cli/commands/run.js';
import { operations } from '../../src/models/operations.js';
import { architecture } from '../../src/tools/estimate/architectures.js';
import { ESTIMATE } from '../../src/tools/estimate/options.js';
import { expectedFraction } from '../../src/tools/estimate/racing.js';
import { estimate } from '../../src/tools/estimate/estimate.js';
import { estimateTraining } from '../../src/tools/estimate/train.js';
import { Run } from '../../src/runs/run.js';
import { scan } from '../../src/stages/scan/scan.js';

const GOLDEN = join(__dirname, '..', 'data', 'golden');
const options = {
  dataset: join(GOLDEN, 'mini-dataset'),
  model: join(GOLDEN, 'tiny-sd15'),
  size: 'source',
  patch: 16,
  samples: 3,
  device: 'cpu',
  dtype: 'fp32',
  threads: 1,
} as const;

test('UNet calls are those of the scan, disk is of its order; nothing is loaded or written', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'diffmine-estimate-'));
  try {
    for (const more of [{}, { allLabels: true }, { against: 'others' }, { against: '1950' }]) {
      const out = join(folder, JSON.stringify(more).replace(/\W/g, '-'));
      const estimated = await estimate({ ...options, ...more, calibrate: false });
      const summary = await scan({ ...options, ...more, out });
      expect(estimated).toMatchObject({
        unetCalls: summary.unetCalls,
        batch: summary.batch,
        device: 'cpu',
        dtype: 'fp32',
        height: 64,
        width: 80,
        labels: 3,
      });
      expect(estimated.rateFrom).toMatch(/^(computed|earlier)$/);
      const run = await Run.open(out);
      const size = (name: 'maps.safetensors' | 'patches.parquet' | 'images.parquet'): number =>
        statSync(run.shardFile(0, name)).size;
      // small files are mostly headers, so that only the maps can be compared closely
      expect(size('maps.safetensors')).toBeGreaterThan(estimated.disk.maps / 2);
      expect(estimated.disk.tables).toBeLessThan(size('patches.parquet') + size('images.parquet') + 5000);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('hours follow from a rate, given or measured', async () => {
  const given = await estimate({ ...options, rate: 2 });
  expect(given).toMatchObject({ rate: 2, unetCalls: 72, unetCallsPerImage: 6 });
  expect(given.hours).toBeCloseTo(72 / 2 / 3600, 12);
  const measured = await estimate({ ...options, calibrate: true });
  expect(measured.rate).toBeGreaterThan(0);
  expect(measured.hours).toBeCloseTo(72 / (measured.rate ?? NaN) / 3600, 12);
});

test('memory grows with batch and model, and says when it does not fit', async () => {
  const [small, large, huge] = [
    await estimate({ ...options, batch: 2, calibrate: false }),
    await estimate({ ...options, batch: 64, calibrate: false }),
    await estimate({ ...options, batch: 65_536, workers: 256, calibrate: false }),
  ];
  expect(large.memory.weights).toBe(small.memory.weights);
  expect(large.memory.activations).toBeGreaterThan(10 * small.memory.activations);
  expect(small.memory.fits).toBe(true);
  expect(huge.memory.fits).toBe(false);
});

test('what a scan would refuse is refused', async () => {
  await expect(estimate({ ...options, samples: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(estimate({ ...options, rate: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(estimate({ ...options, model: '/nowhere' })).rejects.toMatchObject({ code: 'MODEL_INVALID' });
});

describe('without weights or a GPU', () => {
  test("Stable Diffusion's operations, calls, memory and hours on a card follow from its layers", async () => {
    const found = await estimate({ like: 'sd15', images: 5000, size: 512, device: 'h100', dtype: 'fp16', perHour: 2 });
    expect(found).toMatchObject({
      images: 5000,
      labels: 10,
      unetCalls: 1_000_000,
      rateFrom: 'computed',
      dtype: 'fp16',
    });
    expect(found.operations / 1e9).toBeCloseTo(803.3, 1);
    // 989 TFLOP/s: 50 % and 30 % of it
    expect(found.hours).toBeCloseTo((1e6 * found.operations) / 494.5e12 / 3600, 9);
    expect(found.hoursAtMost).toBeCloseTo((1e6 * found.operations) / 296.7e12 / 3600, 9);
    expect([found.price, found.priceAtMost]).toEqual([2 * (found.hours ?? NaN), 2 * (found.hoursAtMost ?? NaN)]);
    // 1.07 billion parameters and 1 GB for CUDA
    expect(found.memory.least.half).toBeGreaterThan(3.1e9);
    expect(found.memory.least.fp32).toBeLessThan(8e9);
    expect(found.memory).toMatchObject({ available: 80e9, fits: true });
  });

  test('of the architectures, parameters and operations are the published ones', () => {
    const xl = architecture('sdxl');
    // 2,567,463,684 of the UNet, 83.7 M of the VAE, 817.8 M of the text encoders
    expect(xl.parameters / 1e6).toBeCloseTo(2567.46 + 83.7 + 817.8, 0);
    expect(operations(xl.source, 128, 128) / 1e12).toBeCloseTo(6.76, 1);
    expect(architecture('demo').parameters / 1e6).toBeCloseTo(3.65, 1);
    // 2,028,328,000 of SD3 medium's transformer; 118.6 G multiplications of DiT-XL/2 at 256 px (Peebles and Xie 2023)
    expect(architecture('sd3').parameters / 1e6).toBeCloseTo(2028.328 + 83.7 + 817.8, 0);
    expect(operations(architecture('dit').source, 32, 32) / 2e9).toBeCloseTo(118.6, 0);
  });

  test('transformers are estimated, their training is not', async () => {
    const base = { images: 60, labelCount: 6, samples: 8 } as const;
    for (const like of ['sd3', 'dit'] as const) expect((await estimate({ ...base, like })).unetCalls).toBe(960);
    await expect(estimateTraining({ images: 60, steps: 4, like: 'sd3', device: 'a100' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });

  test('contrasts and the pilot are counted, and no rate is invented', async () => {
    const base = { like: 'demo', images: 60, labelCount: 6, samples: 8 } as const;
    const calls = async (more: object): Promise<number> => (await estimate({ ...base, ...more })).unetCalls;
    expect(await calls({})).toBe(60 * 8 * 2);
    expect(await calls({ against: 'others' })).toBe(60 * 8 * 2);
    expect(await calls({ against: 'others', othersPerSample: 3 })).toBe(60 * 8 * 4);
    expect(await calls({ against: 'others', othersPerSample: 'all' })).toBe(60 * 8 * 6);
    expect(await calls({ allLabels: true })).toBe(60 * 8 * 6);
    expect(await calls({ allLabels: true, against: 'null' })).toBe(60 * 8 * 7);
    const weighted = await estimate({ ...base, tWeights: 'sqrt' });
    expect(weighted).toMatchObject({ pilotCalls: 16 * 40 * 2, device: null, featurePasses: 60 * 8 });
    expect(weighted.hours).toBeUndefined();
    const passes = async (more: object): Promise<number> => (await estimate({ ...base, ...more })).featurePasses;
    // all images once for the clusters and once for trends, and 32 for what windows are like in general
    expect(await passes({ trends: true })).toBe((60 + 60 + 32) * 8);
    // of each label: 2 with a ranked patch; of 10 images, 5 are sampled
    expect(await passes({ trends: true, top: 2, trendImages: 5, ensemble: 1 })).toBe(6 * 2 + 6 * (2 + 5) + 30);
    expect(await passes({ trends: true, top: 2, trendImages: 5, ensemble: 1, diverse: true })).toBe(
      6 * 4 + 6 * (4 + 5) + 30,
    );
    // 10 images of a label of 40 and 30 of the others test its clusters
    expect(await passes({ images: 240, top: 2, ensemble: 1 })).toBe(6 * (2 + 10 + 30));
    const { images, like } = base;
    for (const labels of [['A', 'B'], ['A, B'], ['A,B,A']])
      expect(await estimate({ images, like, labels })).toMatchObject({ images: 60, labels: 2 });
    expect(await estimate({ images, like, labels: ['1920,1980'], against: 'others' })).toMatchObject({ labels: 2 });
    expect(await estimate({ images, like, holdout: 0.3 })).toMatchObject({ images: 18, labels: 10 });
    expect((await estimate({ ...base, rate: 10 })).hours).toBeCloseTo((60 * 16) / 10 / 3600, 12);
  });

  test('the images of a dataset are those that the scan would take', async () => {
    const { dataset } = options;
    const all = await estimate({ dataset, like: 'demo' });
    for (const more of [
      {},
      { labels: ['1920,1950'] },
      { labels: ['1920', '1950', '1980'], against: '1980' },
      { holdout: 0.5 },
      { holdout: 0.5, labels: ['1920', '1980'] },
    ]) {
      const here = await estimate({ ...options, ...more, calibrate: false });
      const like = await estimate({ dataset, like: 'demo', samples: 3, ...more });
      expect(like).toMatchObject({ images: here.images, labels: here.labels, unetCalls: here.unetCalls });
      if (Object.keys(more).length > 0) expect(like.images).toBeLessThan(all.images);
    }
    await expect(estimate({ dataset, like: 'demo', labels: ['1920', 'x'] })).rejects.toMatchObject({
      message: 'The dataset has no images of "x".',
    });
  });

  test('a race costs between its bounds: halves exactly, the rule as measured', async () => {
    const base = { like: 'demo', images: 2400, labelCount: 1, samples: 32, top: 100 } as const;
    for (const race of [true, 'half'] as const) {
      const { unetCalls, unetCallsAtLeast, unetCallsExpected } = await estimate({ ...base, race });
      expect(unetCallsExpected).toBeGreaterThan(unetCallsAtLeast ?? NaN);
      expect(unetCallsExpected).toBeLessThan(unetCalls);
    }
    const race = { top: 100, rule: 'risk', risk: 0.01, ends: [4, 8, 16, 32], controls: 0 } as const;
    expect(expectedFraction({ ...race, ends: [...race.ends] }, 2400)).toBeCloseTo(0.5, 12);
    expect(expectedFraction({ ...race, ends: [...race.ends] }, 1000)).toBeCloseTo(0.56, 12);
    expect(expectedFraction({ ...race, ends: [6, 8, 12, 16] }, 500)).toBeCloseTo(0.73, 12);
    expect(expectedFraction({ ...race, ends: [...race.ends], rule: 'half' }, 2400)).toBeCloseTo(10 / 32, 12);
  });

  test('what does not fit together is refused', async () => {
    await expect(estimate({ like: 'sd15' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(estimate({ images: 5 })).rejects.toMatchObject({
      message: expect.stringContaining('dataset') as string,
    });
    await expect(estimate({ ...options, device: 'h100' })).rejects.toMatchObject({
      hint: expect.stringContaining('`like`') as string,
    });
    await expect(estimate({ like: 'sd15', images: 5, device: 't4', dtype: 'bf16' })).rejects.toMatchObject({
      message: 'NVIDIA T4 does not multiply in bf16.',
    });
  });

  test('every option of run is taken', () => {
    const known = [...Object.keys(ESTIMATE.shape), 'dryRun']; // which is an estimate itself
    expect(Object.keys(runCommand.options.shape).filter((key) => !known.includes(key))).toEqual([]);
  });
});
