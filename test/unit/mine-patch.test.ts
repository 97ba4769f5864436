// Mining patches of another size from the maps of a scan, and features that are not computed again.
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Engine } from '../../src/engine/index.js';
import { mineText } from '../../src/cli/commands/mine.js';
import { candidatesFromMaps } from '../../src/stages/mine/other-patch-size.js';
import { mine } from '../../src/stages/mine/mine.js';
import type { MineEvent, MineOptions } from '../../src/stages/mine/options.js';
import { rank } from '../../src/stages/mine/rank.js';
import { Run } from '../../src/runs/run.js';
import type { ImageRow, MinedPatchRow, PatchRow } from '../../src/runs/columns.js';
import { readTable } from '../../src/runs/tables.js';
import { readMaps } from '../../src/runs/maps.js';
import { upsample } from '../../src/metrics/maps.js';
import { scan } from '../../src/stages/scan/scan.js';
import { temporaryFolder } from '../helpers/folders.js';

const GOLDEN = join(__dirname, '..', 'data', 'golden');
const folder = temporaryFolder();
const run = join(folder, 'run');
const common = { threads: 1, device: 'cpu', model: join(GOLDEN, 'tiny-sd15'), dataset: join(folder, 'data') };

beforeAll(async () => {
  cpSync(join(GOLDEN, 'mini-dataset'), join(folder, 'data'), { recursive: true });
  await scan({ ...common, out: run, size: 'source', patch: 16, samples: 2, batch: 16, shardSize: 4 });
});

const minedOf = async (): Promise<MinedPatchRow[]> =>
  readTable<MinedPatchRow>((await Run.open(run)).mineFile('patches.parquet'));

test('the patch size of the scan gives its ranking from the maps, within their rounding', async () => {
  const opened = await Run.open(run);
  const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
  try {
    const sizes = { size: 'source', rule: 'floor', multiple: 8, patch: 16 } as const;
    const { files, tooSmall, remove } = await candidatesFromMaps(opened, engine, sizes);
    expect(tooSmall).toBe(0);
    const [scanned, mapped] = [await rank(opened, 20), await rank(opened, 20, undefined, files)];
    await remove();
    // F16 has 11 bits: a map's mean is off by at most 2^-11 of its largest value
    const largest = Math.max(
      ...[...scanned.values()].flatMap(({ top, bottom }) =>
        [...top, ...bottom].map(({ typicality }) => Math.abs(typicality)),
      ),
    );
    for (const [condition, lists] of scanned) {
      for (const list of ['top', 'bottom'] as const) {
        const own = mapped.get(condition)?.[list] ?? [];
        expect(own).toHaveLength(lists[list].length);
        own.forEach((patch, i) => {
          expect(patch.standard_error).toBeNull();
          expect(Math.abs(patch.typicality - (lists[list][i] as PatchRow).typicality)).toBeLessThan(
            4 * largest * 2 ** -11,
          );
        });
        const boxes = (rows: readonly PatchRow[]): Set<string> =>
          new Set(
            rows.map(({ image, row, column, x, y, width, height }) =>
              JSON.stringify([image, row, column, x, y, width, height]),
            ),
          );
        const same = [...boxes(own)].filter((box) => boxes(lists[list]).has(box)).length;
        expect(same).toBeGreaterThanOrEqual(0.9 * own.length);
      }
    }
  } finally {
    await engine.dispose();
  }
});

test('another patch size is ranked from the maps: the mean of the map over the box, no standard errors', async () => {
  const events: MineEvent[] = [];
  const summary = await mine(
    { run, ...common, patch: 24, top: 10, evidenceImages: 0 },
    { onProgress: (event) => void events.push(event) },
  );
  expect(summary.notes[0]).toMatch(/Patches of 24 px are ranked from the maps of the scan, whose patches have 16 px/);
  expect(events.filter(({ type }) => type === 'patches').at(-1)).toMatchObject({ done: 3, total: 3 });
  const opened = await Run.open(run);
  const places = await opened.placesOf((await minedOf()).map(({ image: path, label }) => ({ path, label })));
  for (const patch of await minedOf()) {
    expect(patch).toMatchObject({ patch: 24, standard_error: null });
    const shard = Math.floor((places.get(JSON.stringify([patch.label, patch.image])) as number) / 4);
    const map = readMaps(opened, shard, patch.condition, [patch.image]).get(patch.image);
    const image = (await readTable<ImageRow>(opened.shardFile(shard, 'images.parquet'))).find(
      (row) => row.image === patch.image,
    );
    if (!map || !image) throw new Error(`${patch.image} has no map`);
    const { values } = upsample(map, image.width, image.height);
    let sum = 0;
    for (let y = patch.row; y < patch.row + 24; y++)
      for (let x = patch.column; x < patch.column + 24; x++) sum += values[y * image.width + x] as number;
    expect(Math.abs(sum / 576 - patch.typicality)).toBeLessThan(1e-5 * Math.max(1, Math.abs(patch.typicality)));
  }
  await expect(mine({ run, ...common, patch: 5000 })).rejects.toThrow(
    /No image of .* is as large as a patch of 5000 px/,
  );
});

test('features are not computed again; clusters follow from the number of patches', async () => {
  const first = await mine({ run, ...common, top: 20 });
  expect(first).toMatchObject({
    clusters: 'auto',
    reusedFeatures: 0,
    conditions: [{ clusters: 1 }, { clusters: 1 }, { clusters: 1 }],
  });
  const events: MineEvent[] = [];
  const again = await mine(
    { run, ...common, top: 20, clusters: 3 },
    { onProgress: (event) => void events.push(event) },
  );
  expect(again).toMatchObject({ reusedFeatures: 60, conditions: [{ clusters: 3 }, { clusters: 3 }, { clusters: 3 }] });
  expect(events.some(({ type }) => type === 'features')).toBe(false);
  expect(mineText(again)).toContain('Features of 60 patches were reused.');
  // other features are other numbers
  expect((await mine({ run, ...common, top: 20, clusters: 3, ensemble: 2 })).reusedFeatures).toBe(0);
});

test('nor are those of minings before: with another patch, list, number or settings, and back', async () => {
  const bytes = (): Buffer[] =>
    ['features.safetensors', 'patches.parquet'].map((name) => readFileSync(join(run, 'mine', name)));
  /** patches whose features were computed */
  const computed = async (more: Partial<MineOptions> = {}): Promise<number> => {
    const { conditions, reusedFeatures } = await mine({ run, ...common, top: 20, clusters: 2, ...more });
    return conditions.reduce((sum, { patches }) => sum + patches, 0) - reusedFeatures;
  };
  rmSync(join(run, 'mine'), { recursive: true, force: true });
  expect(await computed()).toBe(60);
  expect(existsSync(join(run, 'mine', 'earlier.parquet'))).toBe(false);
  const first = bytes();
  expect(await computed({ patch: 24 })).toBeGreaterThan(30);
  expect(await computed({ ensemble: 2 })).toBe(60);
  expect(await computed()).toBe(0);
  expect(bytes()).toEqual(first);
  expect(await computed({ top: 10, patch: 24 })).toBe(0);
  expect(await computed({ rank: 'bottom' })).toBeGreaterThan(0);
  expect(await computed({ ensemble: 2, clusters: 3 })).toBe(0);
  expect(await computed({ patch: 24, clusters: 3 })).toBe(0);
  // with a diverse ranking, more patches than it keeps have features
  rmSync(join(run, 'mine'), { recursive: true, force: true });
  expect(await computed({ top: 5, diverse: true })).toBe(15);
  expect(await computed({ top: 10 })).toBe(0);
});
