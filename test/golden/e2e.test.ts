// The whole pipeline on the golden dataset with replayed noises: the same patches in the same order as the reference, scores, features and inertia
// within their bounds.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from '../../src/pipeline/cluster.js';
import { mine } from '../../src/stages/mine/mine.js';
import { float32, readSafetensors } from '../../src/engine/index.js';
import type { ClusterRow, MinedPatchRow } from '../../src/runs/columns.js';
import { Run } from '../../src/runs/run.js';
import { readTable } from '../../src/runs/tables.js';
import type { ScanEvent, ScanOptions } from '../../src/stages/scan/options.js';
import { scan } from '../../src/stages/scan/scan.js';

const GOLDEN = join(__dirname, '..', 'data', 'golden');
const REPLAY = join(GOLDEN, 'e2e-tiny-sd15', 'result.safetensors');

interface Golden {
  labels: string[];
  patches: Record<string, { image: string; x_start: number; y_start: number; D: number }[]>;
  clusters: Record<string, { inertia: number; k: number; clusters: { score: number; members: number[] }[] }>;
}
const golden = JSON.parse(readFileSync(join(GOLDEN, 'e2e-tiny-sd15', 'result.json'), 'utf8')) as Golden;

let out: string;
let run: Run;
let patches: MinedPatchRow[];
const events: ScanEvent[] = [];

const options = (folder: string): ScanOptions => ({
  dataset: join(GOLDEN, 'mini-dataset'),
  model: join(GOLDEN, 'tiny-sd15'),
  out: folder,
  prompt: "A car at the {label}'s.",
  nullPrompt: 'A car.',
  size: 'source',
  samples: 10,
  against: 'null',
  patch: 16,
  replay: REPLAY,
  device: 'cpu',
  dtype: 'fp32',
  shardSize: 5,
  threads: 1,
});

beforeAll(async () => {
  out = mkdtempSync(join(tmpdir(), 'diffmine-e2e-'));
  const summary = await scan(options(out), { onProgress: (event) => void events.push(event) });
  expect(summary).toMatchObject({
    complete: true,
    resumed: false,
    scored: 12,
    skipped: 0,
    unetCalls: 240,
    shards: { total: 3, done: 3, here: 3 },
  });
  await mine({ run: out, clusters: 4, threads: 1 });
  run = await Run.open(out);
  patches = await readTable<MinedPatchRow>(run.mineFile('patches.parquet'));
});
afterAll(() => rmSync(out, { recursive: true, force: true }));

test.each(golden.labels)('%s: the same patches in the same order, with their scores', (label) => {
  const found = patches.filter(({ condition, list }) => condition === label && list === 'top');
  const expected = golden.patches[label] ?? [];
  expect(found.map(({ image, row, column }) => ({ image, row, column }))).toEqual(
    expected.map(({ image, x_start, y_start }) => ({ image, row: x_start, column: y_start })),
  );
  expect(found.map(({ rank }) => rank)).toEqual(expected.map((_, i) => i + 1));
  found.forEach(({ typicality, standard_error }, i) => {
    const reference = expected[i]?.D ?? NaN;
    expect(Math.abs(typicality - reference)).toBeLessThanOrEqual(1e-6 + 2e-4 * Math.abs(reference));
    expect(standard_error).toBeGreaterThan(0);
  });
});

test.each(golden.labels)('%s: features and clusters', async (label) => {
  const mined = readSafetensors(run.mineFile('features.safetensors'), [`features.${label}`, `centers.${label}`]);
  const features = mined[`features.${label}`];
  const centers = mined[`centers.${label}`];
  const reference = readSafetensors(REPLAY, [`features.${label}`])[`features.${label}`];
  if (!features || !centers || !reference) throw new Error('a tensor is missing');
  expect(features.shape).toEqual(reference.shape);
  const [got, expected] = [float32(features), float32(reference)];
  expect(Math.max(...got.map((value, i) => Math.abs(value - (expected[i] ?? NaN))))).toBeLessThan(1e-4);

  const clusters = (await readTable<ClusterRow>(run.mineFile('clusters.parquet'))).filter(
    ({ condition }) => condition === label,
  );
  const wanted = golden.clusters[label];
  expect(clusters).toHaveLength(wanted?.k ?? NaN);
  expect(clusters.reduce((sum, { inertia }) => sum + inertia, 0)).toBeLessThanOrEqual(
    (wanted?.inertia ?? NaN) * (1 + 1e-4),
  );
  const medians = clusters.map(({ median_typicality }) => median_typicality);
  expect(medians).toEqual([...medians].sort((a, b) => b - a));

  // members, centers and distances belong together
  const width = features.shape[1] ?? 0;
  const middle = float32(centers);
  const members = patches.filter(({ condition, list }) => condition === label && list === 'top');
  members.forEach(({ cluster, distance }, row) => {
    let squared = 0;
    for (let f = 0; f < width; f += 1)
      squared += ((got[row * width + f] ?? NaN) - (middle[(cluster ?? NaN) * width + f] ?? NaN)) ** 2;
    expect(distance).toBeCloseTo(Math.sqrt(squared), 4);
  });
  expect(clusters.map(({ size }) => size)).toEqual(
    clusters.map((_, index) => members.filter(({ cluster }) => cluster === index).length),
  );
});

test.each(golden.labels)('%s: the median as the reference takes it', (label) => {
  for (const { score, members } of golden.clusters[label]?.clusters ?? []) {
    expect(median(members.map((index) => golden.patches[label]?.[index]?.D ?? NaN))).toBeCloseTo(score, 6);
  }
});

test('lists that were not clustered have no cluster; all three are ranked', () => {
  for (const list of ['bottom', 'random']) {
    const rows = patches.filter((row) => row.list === list);
    expect(rows).toHaveLength(60);
    expect(rows.every(({ cluster, distance }) => cluster === null && distance === null)).toBe(true);
  }
  const least = patches
    .filter(({ list, condition }) => list === 'bottom' && condition === '1920')
    .map(({ typicality }) => typicality);
  expect(least).toEqual([...least].sort((a, b) => a - b));
});

test('boxes are in source pixels, which here are the scored ones', () => {
  for (const { x, y, width, height, row, column } of patches)
    expect([x, y, width, height]).toEqual([column, row, 16, 16]);
});

test('what was told on the way adds up', () => {
  expect(events[0]).toMatchObject({
    type: 'plan',
    resumed: false,
    shards: 3,
    shardsDone: 0,
    images: 12,
    imagesDone: 0,
    unetCalls: 240,
  });
  expect(events.filter(({ type }) => type === 'shard')).toMatchObject([
    { done: 1, total: 3, images: 5 },
    { done: 2 },
    { done: 3, images: 2, skipped: 0 },
  ]);
  expect(events.filter(({ type }) => type === 'image').at(-1)).toMatchObject({ done: 12, total: 12 });
  expect(events.filter(({ type }) => type === 'unetCalls').at(-1)).toMatchObject({
    done: 240,
    total: 240,
    secondsLeft: 0,
  });
});

test('repeating the command does nothing; other options or noises are refused', async () => {
  const again = await scan(options(out));
  expect(again).toMatchObject({
    complete: true,
    resumed: true,
    unetCalls: 0,
    shards: { total: 3, done: 3, here: 0 },
  });
  await expect(scan({ ...options(out), prompt: '{label}' })).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('prompt'),
  });
  await expect(
    scan({ ...options(out), replay: join(GOLDEN, 'common-golden', 'golden.safetensors') }),
  ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(scan({ ...options(out), samples: 11 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    hint: 'Give `samples` 10.',
  });
});
