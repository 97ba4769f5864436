// An estimate counts what the scan then does.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { estimate } from '../../src/tools/estimate/estimate.js';
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
      expect(estimated.rate).toBeUndefined();
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
