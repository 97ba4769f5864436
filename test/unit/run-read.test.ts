// Reading a mined run without SQL: its patches and clusters. Its images are read in scorer.test.ts, of a scan.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Run } from '../../src/runs/run.js';
import type { ClusterRow, MinedPatchRow } from '../../src/runs/columns.js';
import { readTable } from '../../src/runs/tables.js';
import { temporaryFolder } from '../helpers/folders.js';
import { drawImages, writeSyntheticRun } from '../helpers/synthetic-run.js';

const folder = temporaryFolder();
const collect = async <T>(rows: AsyncIterable<T>): Promise<T[]> => {
  const all: T[] = [];
  for await (const row of rows) all.push(row);
  return all;
};

const path = join(folder, 'run');
beforeAll(async () => {
  const dataset = join(folder, 'dataset');
  const images = await drawImages(dataset, ["a'b", 'c'], (label) => [`${label}/1.png`, `${label}/2.png`]);
  await writeSyntheticRun(path, dataset, images, { labels: ["a'b", 'c'], perImage: 3, clusters: 2 });
});

test('patches by label, list and limit, best first', async () => {
  const run = await Run.open(path);
  const table = await readTable<MinedPatchRow>(run.mineFile('patches.parquet'));
  const all = await collect(run.patches());
  expect(all).toHaveLength(table.length);
  expect(new Set(all.map(({ condition }) => condition))).toEqual(new Set(["a'b", 'c']));
  const best = await collect(run.patches({ label: "a'b", list: 'bottom', limit: 2 }));
  expect(best.map(({ condition, list, rank }) => [condition, list, rank])).toEqual([
    ["a'b", 'bottom', 1],
    ["a'b", 'bottom', 2],
  ]);
  expect(table).toContainEqual(best[0]);
  expect(await collect(run.patches({ limit: 1 }))).toHaveLength(6);
  expect(await collect(run.patches({ limit: 0 }))).toEqual([]);
  for await (const { rank } of run.patches({ label: 'c', list: 'top' })) {
    expect(rank).toBe(1);
    break;
  }
});

test('clusters of a label', async () => {
  const run = await Run.open(path);
  const table = await readTable<ClusterRow>(run.mineFile('clusters.parquet'));
  expect(await collect(run.clusters())).toEqual(table);
  const own = await collect(run.clusters({ label: 'c' }));
  expect(own).toEqual(table.filter(({ condition }) => condition === 'c'));
  expect(own).toHaveLength(2);
});

test('what a run cannot have is an error', async () => {
  const run = await Run.open(path);
  const invalid = { code: 'INVALID_ARGUMENT' };
  await expect(collect(run.patches({ label: 'z' }))).rejects.toMatchObject({
    ...invalid,
    hint: "Known labels: a'b, c.",
  });
  await expect(collect(run.clusters({ label: 'z' }))).rejects.toMatchObject(invalid);
  await expect(collect(run.images({ label: 'z' }))).rejects.toMatchObject(invalid);
  await expect(collect(run.patches({ list: 'least' as 'top' }))).rejects.toMatchObject(invalid);
  await expect(collect(run.patches({ limit: 1.5 }))).rejects.toMatchObject(invalid);
  await rm(run.mineFile('mine.json'));
  await expect(collect(run.patches())).rejects.toMatchObject({ code: 'RUN_INVALID' });
});
