// --untrained: a scan with random weights instead of the UNet's own, told apart from the trained one wherever they could be mixed.
import { unetOf } from '../../src/models/denoiser.js';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mine } from '../../src/stages/mine/mine.js';
import { readSafetensors } from '../../src/engine/index.js';
import { openModel, untrained } from '../../src/models/index.js';
import { Run } from '../../src/runs/run.js';
import type { PatchRow } from '../../src/runs/columns.js';
import { readTable } from '../../src/runs/tables.js';
import type { ScanOptions } from '../../src/stages/scan/options.js';
import { scan } from '../../src/stages/scan/scan.js';

const GOLDEN = join(__dirname, '..', 'data', 'golden');
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-untrained-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const options = (out: string, more: Partial<ScanOptions> = {}): ScanOptions => ({
  dataset: join(GOLDEN, 'mini-dataset'),
  model: join(GOLDEN, 'tiny-sd15'),
  out: join(folder, out),
  size: 'source',
  patch: 16,
  samples: 2,
  batch: 16,
  device: 'cpu',
  dtype: 'fp32',
  threads: 1,
  ...more,
});
const scores = async (out: string): Promise<number[]> =>
  (await readTable<PatchRow>((await Run.open(join(folder, out))).shardFile(0, 'patches.parquet')))
    .filter(({ list }) => list === 'top')
    .map(({ typicality }) => typicality);

test('the UNet alone is replaced; the model stays the one it is', async () => {
  const model = await openModel(join(GOLDEN, 'tiny-sd15'));
  const random = untrained(model, 3);
  expect(random.source.unet).toEqual({ config: unetOf(model.source).config, files: [], synthetic: 3 });
  expect(random.source.vae).toBe(model.source.vae);
  expect(random.fingerprint).toBe(model.fingerprint);
  expect(random.summary()).toEqual(model.summary());
});

test('scan, resume and mine keep to the weights the run began with', async () => {
  await scan(options('trained'));
  await scan(options('untrained', { untrained: true }));
  const { manifest } = await Run.open(join(folder, 'untrained'));
  expect(manifest.options.untrained).toBe(true);
  expect((await Run.open(join(folder, 'trained'))).manifest.options).not.toHaveProperty('untrained');
  const [with0, without] = [await scores('untrained'), await scores('trained')];
  expect(with0.every(Number.isFinite)).toBe(true);
  expect(with0).not.toEqual(without);
  // the same seed gives the same weights, another seed others
  await scan(options('again', { untrained: true }));
  expect(await scores('again')).toEqual(with0);

  await expect(scan(options('untrained'))).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('untrained weights: this run has yes, you asked for none') as string,
  });
  await expect(scan(options('trained', { untrained: true }))).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('untrained weights: this run has none, you asked for yes') as string,
  });
  expect(await scan(options('untrained', { untrained: true }))).toMatchObject({ resumed: true, unetCalls: 0 });

  const mining = { clusters: 2, ensemble: 1, threads: 1, rank: 'random', top: 6 } as const;
  for (const run of ['trained', 'untrained']) await mine({ run: join(folder, run), ...mining });
  const features = async (run: string): Promise<Uint8Array | undefined> =>
    Object.values(
      readSafetensors((await Run.open(join(folder, run))).mineFile('features.safetensors'), ['features.1920']),
    )[0]?.data;
  // the same patches at random, but features of other weights
  expect(await features('untrained')).not.toEqual(await features('trained'));
});
