// Ranking by DuckDB equals a plain sort, with ties by image order and place.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from '../../src/pipeline/cluster.js';
import { ImageList } from '../../src/data/index.js';
import { rank } from '../../src/stages/mine/rank.js';
import type { ManifestDraft } from '../../src/runs/manifest.js';
import { Run } from '../../src/runs/run.js';
import { LISTS, PATCH_SCHEMA, type PatchRow } from '../../src/runs/columns.js';
import { writeTable } from '../../src/runs/tables.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "diffmine [rank] it's *"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const LABELS = ['a', "b'; DROP TABLE x", '<c>', 'empty'];
const SHARDS = 12;
const A_SHARD = 10;

async function makeRun(seed: number): Promise<{ run: Run; rows: PatchRow[] }> {
  const images = Array.from({ length: SHARDS * A_SHARD }, (_, i) => ({
    path: `images/${String((i * 37) % 120).padStart(3, '0')}é.png`,
    label: LABELS[i % 3] as string,
  }));
  const draft: ManifestDraft = {
    version: '0',
    created: '',
    model: {
      path: '',
      fingerprint: 'm',
      kind: 'latent',
      conditioning: 'text',
      vaeFactor: 8,
      fold: 1,
      features: { upBlock: 1, diftT: 161 },
    },
    dataset: { path: '', fingerprint: 'd', images: images.length, ignored: 0, labels: LABELS, columns: [] },
    options: {
      prompt: '',
      nullPrompt: '',
      size: 1,
      sizeRule: 'floor',
      patch: 4,
      samples: 1,
      seed,
      tBegin: 0,
      tEnd: 1,
      sampler: 'stratified',
      perImage: 5,
      batch: 1,
      dtype: 'fp32',
      device: 'cpu',
      allLabels: false,
      against: 'null',
      maps: false,
      shardSize: A_SHARD,
      replay: null,
    },
    preset: null,
    replayFile: null,
    conditions: LABELS,
  };
  const run = await Run.begin(
    join(folder, `run-${seed}`),
    draft,
    ImageList.from(images.map((image) => ({ ...image, file: `/${image.path}`, bytes: 1 }))),
  );
  const rows: PatchRow[] = [];
  let state = 1;
  const random = (): number => (state = (state * 48271) % 2147483647) / 2147483647;
  for (let shard = 0; shard < SHARDS; shard += 1) {
    const own: PatchRow[] = [];
    for (const { path: image, label } of await run.shardImages(shard)) {
      for (const list of LISTS) {
        for (let place = 1; place <= 5; place += 1) {
          // few distinct values, so that there are many ties
          const typicality = (Math.round(random() * 20) - 10) / 100;
          own.push({
            image,
            label,
            condition: label,
            list,
            place,
            x: 0.5,
            y: 1,
            width: 4,
            height: 4,
            row: place,
            column: shard,
            patch: 4,
            typicality,
            standard_error: place === 1 ? null : 0.1,
            samples: 1,
          });
        }
      }
    }
    mkdirSync(run.shardPath(shard));
    await writeTable(run.shardFile(shard, 'patches.parquet'), own, PATCH_SCHEMA);
    rows.push(...own);
  }
  return { run, rows };
}

test('the best of each condition and list, in order', async () => {
  const { run, rows } = await makeRun(0);
  for (const top of [1, 7, 60, 100_000]) {
    const rankings = await rank(run, top);
    expect(await rank(run, top, 5)).toEqual(rankings); // a few shards at a time
    expect([...rankings.keys()]).toEqual(LABELS);
    expect(rankings.get('empty')).toEqual({ top: [], bottom: [], random: [] });
    for (const condition of LABELS.slice(0, 3)) {
      const own = rows.filter((row) => row.condition === condition); // stable sorts keep the images' order among equals
      expect(rankings.get(condition)?.top).toEqual(
        own
          .filter(({ list }) => list === 'top')
          .sort((a, b) => b.typicality - a.typicality)
          .slice(0, top),
      );
      expect(rankings.get(condition)?.bottom).toEqual(
        own
          .filter(({ list }) => list === 'bottom')
          .sort((a, b) => a.typicality - b.typicality)
          .slice(0, top),
      );
    }
  }
});

test('the random list: in an order of its own that the seed fixes, all of it when there is room', async () => {
  const { run, rows } = await makeRun(0);
  const all = (await rank(run, 1000)).get('a')?.random ?? [];
  const few = (await rank(run, 10)).get('a')?.random ?? [];
  expect(few).toEqual(all.slice(0, 10));
  const own = rows.filter(({ condition, list }) => condition === 'a' && list === 'random');
  const name = (row: PatchRow): string => `${row.image} ${row.place}`;
  expect(all.map(name).sort()).toEqual(own.map(name).sort());
  expect(all.map(name)).not.toEqual(own.map(name));
  // no list by typicality: neither ascending nor descending, early ones like late ones
  const half = all.length / 2;
  const mean = (part: PatchRow[]): number => part.reduce((sum, { typicality }) => sum + typicality, 0) / part.length;
  expect(Math.abs(mean(all.slice(0, half)) - mean(all.slice(half)))).toBeLessThan(0.03);
  const other = await makeRun(1);
  expect((await rank(other.run, 1000)).get('a')?.random.map(name)).not.toEqual(all.map(name));
});

test('median', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([])).toBeNaN();
});
