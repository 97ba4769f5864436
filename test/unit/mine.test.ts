// Mining a scanned run of the tiny model: what is clustered, what replaces what, and what is refused.
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportTable } from '../../src/tools/export/export.js';
import { mineText } from '../../src/cli/commands/mine.js';
import { mine } from '../../src/stages/mine/mine.js';
import type { MineEvent } from '../../src/stages/mine/options.js';
import { readSafetensors, toFloat32 } from '../../src/engine/index.js';
import { Run } from '../../src/runs/run.js';
import type { ClusterRow, ImageRow, MinedPatchRow } from '../../src/runs/columns.js';
import { readTable } from '../../src/runs/tables.js';
import { scan } from '../../src/stages/scan/scan.js';
import { resultBytes } from '../helpers/bytes.js';

const GOLDEN = join(__dirname, '..', 'data', 'golden');
let folder: string;
let run: string;
let data: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-mine-'));
  run = join(folder, 'run');
  data = join(folder, 'data');
  cpSync(join(GOLDEN, 'mini-dataset'), data, { recursive: true });
  await scan({
    threads: 1,
    dataset: data,
    model: join(GOLDEN, 'tiny-sd15'),
    out: run,
    size: 'source',
    patch: 16,
    samples: 2,
    batch: 16,
    device: 'cpu',
    dtype: 'fp32',
    maps: false,
    shardSize: 4,
  });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const patchesOf = async (): Promise<MinedPatchRow[]> =>
  readTable<MinedPatchRow>((await Run.open(run)).mineFile('patches.parquet'));
const clustersOf = async (): Promise<ClusterRow[]> =>
  readTable<ClusterRow>((await Run.open(run)).mineFile('clusters.parquet'));

test('the chosen list is clustered; the folder is replaced; the same options again do nothing', async () => {
  const events: MineEvent[] = [];
  expect(
    await mine({ run, threads: 1, clusters: 3, top: 12 }, { onProgress: (event) => void events.push(event) }),
  ).toMatchObject({
    rank: 'top',
    reused: false,
    images: 12,
    notes: ['Clusters of "1920", "1950", "1980" are not tested: a label needs 20 images for that. Add images.'],
    conditions: [{ condition: '1920', patches: 12, clusters: 3 }, { condition: '1950' }, { condition: '1980' }],
  });
  expect(events.filter(({ type }) => type === 'features').at(-1)).toMatchObject({ done: 12, total: 12 });
  const top = await patchesOf();
  expect(top.filter(({ cluster }) => cluster !== null).every(({ list }) => list === 'top')).toBe(true);
  const first = resultBytes(run, ['mine']);

  const again = await mine({ run, threads: 1, clusters: 3, top: 12 });
  expect(again).toMatchObject({ reused: true, images: 12 });
  expect(mineText(again)).toContain(
    `Already mined with these options (36 highest-typicality patches of 3 labels): ${run}`,
  );

  await mine({ run, threads: 1, clusters: 3, top: 12, rank: 'bottom' });
  const least = await patchesOf();
  expect(least.filter(({ cluster }) => cluster !== null).every(({ list }) => list === 'bottom')).toBe(true);
  const bare = (rows: MinedPatchRow[]): unknown[] => rows.map((row) => ({ ...row, cluster: 0, distance: 0 }));
  expect(bare(least)).toEqual(bare(top)); // all three lists are always there

  await mine({ run, threads: 1, clusters: 3, top: 12 });
  expect(resultBytes(run, ['mine'])).toEqual(first);
  expect(readdirSync(run).sort()).toEqual([
    'index.parquet',
    'locks',
    'manifest.json',
    'mine',
    'shards',
    'skipped.jsonl',
  ]);
  expect(readdirSync(join(run, 'locks'))).toEqual([]);
});

test('fewer patches than clusters are handled with a word', async () => {
  const { notes, conditions } = await mine({ run, threads: 1, clusters: 32, top: 5, evidenceImages: 0 });
  expect(conditions.every(({ patches, clusters }) => patches === 5 && clusters <= 5)).toBe(true);
  expect(notes).toHaveLength(1);
  expect(notes[0]).toMatch(
    /^Fewer clusters than 32, for lack of different patches: (\S+ \(\d clusters? of 5 patches\)(, |\.)){3}$/,
  );
  const clusters = await clustersOf();
  expect(clusters.reduce((sum, { size }) => sum + size, 0)).toBe(15);
});

test('features are unit vectors in rank order, and do not depend on the batch', async () => {
  await mine({ run, threads: 1, clusters: 2, top: 20, batch: 8 });
  const file = (await Run.open(run)).mineFile('features.safetensors');
  const one = readSafetensors(file);
  await mine({ run, threads: 1, clusters: 2, top: 20, batch: 64 });
  const other = readSafetensors(file);
  for (const label of ['1920', '1950', '1980']) {
    const [a, b] = [one[`features.${label}`], other[`features.${label}`]];
    if (!a || !b) throw new Error(`features.${label} is missing`);
    expect(a.shape[0]).toBe(20);
    const [values, again] = [toFloat32(a), toFloat32(b)];
    const width = a.shape[1] ?? 0;
    for (let row = 0; row < 20; row += 1)
      expect(Math.hypot(...values.subarray(row * width, (row + 1) * width))).toBeCloseTo(1, 5);
    values.forEach((value, i) => expect(Math.abs(value - (again[i] ?? NaN))).toBeLessThan(1e-5));
  }
});

test('exports: columns in their order, every format the same rows', async () => {
  await mine({ run, threads: 1, clusters: 2, top: 7 });
  const file = (name: string): string => join(folder, name);
  expect(await exportTable({ run, table: 'patches', format: 'json', out: file('p.json') })).toBe(63);
  const rows = JSON.parse(readFileSync(file('p.json'), 'utf8')) as Record<string, unknown>[];
  expect(Object.keys(rows[0] ?? {})).toEqual([
    'image',
    'label',
    'condition',
    'rank',
    'x',
    'y',
    'width',
    'height',
    'typicality',
    'standard_error',
    'samples',
    'cluster',
    'list',
    'distance',
    'row',
    'column',
    'patch',
  ]);
  await exportTable({ run, table: 'patches', format: 'parquet', out: file('p.parquet') });
  expect(await readTable(file('p.parquet'))).toEqual(rows);
  await exportTable({ run, table: 'patches', format: 'csv', out: file('p.csv') });
  const lines = readFileSync(file('p.csv'), 'utf8').trimEnd().split('\r\n');
  expect(lines[0]).toBe(Object.keys(rows[0] ?? {}).join(','));
  expect(lines.slice(1)).toEqual(
    rows.map((row) =>
      Object.values(row)
        .map((value) => value ?? '')
        .join(','),
    ),
  );
  expect(await exportTable({ run, table: 'clusters', format: 'csv', out: file('c.csv') })).toBe(6);
  expect(await exportTable({ run, table: 'images', format: 'csv', out: file('i.csv') })).toBe(12);
  await exportTable({ run, table: 'images', format: 'parquet', out: file('i.parquet') });
  const images = await readTable<ImageRow>(file('i.parquet'));
  await exportTable({ run, table: 'images', format: 'parquet', out: file('best.parquet'), top: 1, labels: ['1950'] });
  expect(await readTable<ImageRow>(file('best.parquet'))).toEqual(
    images
      .filter(({ condition }) => condition === '1950')
      .sort((a, b) => b.typicality - a.typicality)
      .slice(0, 1),
  );
});

test('a cancel leaves what was mined before', async () => {
  await mine({ run, threads: 1, clusters: 2, top: 9 });
  const before = resultBytes(run, ['mine']);
  const abort = new AbortController();
  await expect(
    mine(
      { run, threads: 1, clusters: 3, top: 9, ensemble: 2 },
      { signal: abort.signal, onProgress: ({ type }) => type === 'features' && abort.abort() },
    ),
  ).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(resultBytes(run, ['mine'])).toEqual(before);
  expect(readdirSync(join(run, 'locks'))).toEqual([]);
});

test('where another process mines the run this one waits for it', async () => {
  const options = { threads: 1, clusters: 2, top: 9 };
  await mine({ run, ...options });
  const { locks } = await Run.open(run);
  const lock = await locks.acquire('mine');
  const log: string[] = [];
  await mine(
    { run, ...options },
    {
      onLog: (line) => {
        log.push(line);
        void lock?.release();
      },
    },
  );
  expect(log).toEqual([`Waiting for process ${process.pid} on ${hostname()}, which mines ${run}.`]);

  const again = await locks.acquire('mine');
  const abort = new AbortController();
  await expect(mine({ run, ...options }, { signal: abort.signal, onLog: () => abort.abort() })).rejects.toMatchObject({
    code: 'CANCELLED',
  });
  await again?.release();
});

test('what does not fit is refused', async () => {
  await expect(mine({ run, threads: 1, clusters: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(mine({ run, threads: 1, top: 1_000_000 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(mine({ run: join(folder, 'nowhere') })).rejects.toMatchObject({ code: 'RUN_INVALID' });
  await expect(mine({ run, threads: 1, clusters: 4, model: join(GOLDEN, 'tiny-fold') })).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
  });

  const unfinished = join(folder, 'unfinished');
  cpSync(run, unfinished, { recursive: true });
  rmSync(join(unfinished, 'shards', '00001'), { recursive: true });
  rmSync(join(unfinished, 'mine'), { recursive: true });
  await expect(mine({ run: unfinished })).rejects.toMatchObject({
    code: 'RUN_INVALID',
    message: expect.stringContaining('2 of 3'),
  });
  await expect(
    exportTable({ run: unfinished, table: 'patches', format: 'json', out: join(folder, 'x') }),
  ).rejects.toMatchObject({
    code: 'RUN_INVALID',
  });

  writeFileSync(join(data, '1920', 'new.png'), 'x');
  await expect(mine({ run, threads: 1, clusters: 5 })).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('changed'),
  });
  rmSync(join(data, '1920', 'new.png'));
});
