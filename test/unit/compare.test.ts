// compare on runs whose tables are known: every figure is computed again from the tables, in another way.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare, Run, type CompareSummary, type ImageRow, type MinedPatchRow } from '../../src/index.js';
import { IMAGE_SCHEMA, MINED_PATCH_SCHEMA } from '../../src/runs/columns.js';
import { writeTable } from '../../src/runs/tables.js';
import { readTable } from '../../src/runs/tables.js';
import { drawImages, uniform, writeSyntheticRun } from '../helpers/synthetic-run.js';
import { filesWithPaths } from '../helpers/folders.js';

const LABELS = ['1920', '1950'];
let folder = '';
let [run, other] = ['', ''];
let summary: CompareSummary;

/** By its definition: ranks as the mean number of values below, and at most as large. */
function spearman(pairs: [number, number][]): number {
  const ranks = (of: 0 | 1): number[] =>
    pairs.map((pair) => {
      const below = pairs.filter((one) => one[of] < pair[of]).length;
      const equal = pairs.filter((one) => one[of] === pair[of]).length;
      return below + (equal + 1) / 2;
    });
  const [a, b] = [ranks(0), ranks(1)];
  const middle = (pairs.length + 1) / 2;
  const sum = (x: number[], y: number[]): number =>
    x.reduce((total, value, i) => total + (value - middle) * ((y[i] as number) - middle), 0);
  return sum(a, b) / Math.sqrt(sum(a, a) * sum(b, b));
}

const iou = (a: MinedPatchRow, b: MinedPatchRow): number => {
  const along = (p: number, q: number, side: number): number => Math.max(0, side - Math.abs(p - q));
  const common = along(a.x, b.x, a.width) * along(a.y, b.y, a.height);
  return common / (2 * a.width * a.height - common);
};

/** The other run: scores with noise, patches moved by up to 4 px, some of them lost. */
async function change(path: string): Promise<void> {
  const next = uniform(5);
  const opened = await Run.open(path);
  for (const shard of await opened.doneShards()) {
    const file = opened.shardFile(shard, 'images.parquet');
    const rows = await readTable<ImageRow>(file);
    await writeTable(
      file,
      rows.map((row) => ({ ...row, typicality: Math.round(300 * row.typicality + 2 * next()) / 300 })),
      IMAGE_SCHEMA,
    );
  }
  const rows = (await readTable<MinedPatchRow>(opened.mineFile('patches.parquet'))).map((row) => ({
    ...row,
    x: row.x + 4 * next(),
    typicality: row.typicality + 0.04 * next(),
  }));
  const kept = rows.filter((row) => row.list !== 'top' || next() > 0.2);
  for (const label of LABELS)
    for (const list of ['top', 'bottom', 'random'])
      kept
        .filter((row) => row.condition === label && row.list === list)
        .sort((a, b) => b.typicality - a.typicality)
        .forEach((row, i) => (row.rank = i + 1));
  await writeTable(opened.mineFile('patches.parquet'), kept, MINED_PATCH_SCHEMA);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-compare-'));
  const dataset = join(folder, 'dataset');
  const images = await drawImages(dataset, LABELS, (label) =>
    Array.from({ length: 6 }, (_, i) => `${LABELS[label]}/${i}.jpg`),
  );
  [run, other] = [join(folder, 'fp32'), join(folder, 'bf16')];
  await writeSyntheticRun(run, dataset, images, { labels: LABELS, maps: false });
  await writeSyntheticRun(other, dataset, images, { labels: LABELS, maps: false, scan: { dtype: 'bf16' } });
  await change(other);
  summary = await compare({ run, other, at: [3, 10, 1000], movers: 4, out: join(folder, 'out') });
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function rowsOf(path: string, label: string, list: 'top' | 'random'): Promise<MinedPatchRow[]> {
  const rows: MinedPatchRow[] = [];
  for await (const row of (await Run.open(path)).patches({ label, list })) rows.push(row);
  return rows;
}

/** Patches of both runs that are the same, by trying all. */
async function same(label: string, list: 'top' | 'random'): Promise<[MinedPatchRow, MinedPatchRow][]> {
  const [a, b] = [await rowsOf(run, label, list), await rowsOf(other, label, list)];
  return a.flatMap((patch): [MinedPatchRow, MinedPatchRow][] => {
    const found = b.filter((one) => one.image === patch.image && iou(patch, one) >= 0.5);
    return found[0] ? [[patch, found[0]]] : [];
  });
}

describe('compare', () => {
  it('computes the rank correlation of images that both runs have', async () => {
    for (const label of LABELS) {
      const there = new Map<string, number>();
      for await (const row of (await Run.open(other)).images({ label })) there.set(row.image, row.typicality);
      const pairs: [number, number][] = [];
      for await (const row of (await Run.open(run)).images({ label }))
        pairs.push([row.typicality, there.get(row.image) as number]);
      const found = summary.labels.find((one) => one.label === label)?.images;
      expect(found?.common).toBe(6);
      expect(found?.spearman).toBeCloseTo(spearman(pairs), 10);
    }
  });

  it('computes the rank correlation of patches, ranked and random', async () => {
    for (const one of summary.labels) {
      for (const list of ['top', 'random'] as const) {
        const pairs = await same(one.label, list);
        const found = list === 'top' ? one.patches : one.random;
        expect(found.common).toBe(pairs.length);
        expect(found.spearman).toBeCloseTo(spearman(pairs.map(([a, b]) => [a.typicality, b.typicality])), 10);
      }
      expect(one.patches.common).toBeLessThan(one.ranked.run);
      expect(one.patches.common).toBeGreaterThan(10);
    }
  });

  it('measures the overlap of the top K, but not of rankings that are shorter', async () => {
    for (const { label, overlap, ranked } of summary.labels) {
      const pairs = await same(label, 'top');
      for (const { k, fraction } of overlap) {
        const both = pairs.filter(([a, b]) => a.rank <= k && b.rank <= k).length;
        if (k <= Math.min(ranked.run, ranked.other)) expect(fraction).toBeCloseTo(both / k, 10);
        else expect(fraction).toBeNull();
      }
    }
    const [three] = summary.mean.overlap;
    expect(three?.fraction).toBeCloseTo(
      summary.labels.reduce((sum, one) => sum + (one.overlap[0]?.fraction ?? 0), 0) / LABELS.length,
    );
  });

  it('lists the patches whose rank changed most, in both directions', async () => {
    for (const { label, movers, ranked } of summary.labels) {
      const pairs = await same(label, 'top');
      const ratios = (await rowsOf(run, label, 'top')).map((patch) => {
        const match = pairs.find(([a]) => a === patch || a.rank === patch.rank)?.[1];
        return (match?.rank ?? ranked.other + 1) / patch.rank;
      });
      expect(movers.run).toHaveLength(4);
      expect(movers.run.map((one) => (one.other?.rank ?? ranked.other + 1) / (one.run?.rank as number))).toEqual(
        ratios.sort((a, b) => b - a).slice(0, 4),
      );
      for (const one of movers.other)
        expect(one.run?.rank ?? ranked.run + 1).toBeGreaterThan(one.other?.rank as number);
    }
  });

  it('says how the runs were made', () => {
    expect(summary.differences).toEqual([{ name: 'dtype', run: 'fp32', other: 'bf16' }]);
  });

  it('writes a page with the patches, and the same as JSON', () => {
    expect(JSON.parse(readFileSync(join(folder, 'out', 'compare.json'), 'utf8'))).toEqual(summary);
    const page = readFileSync(summary.page, 'utf8');
    const tiles = summary.labels.flatMap(({ movers }) => [...movers.run, ...movers.other].map(({ tile }) => tile));
    expect(tiles.length).toBeGreaterThan(8);
    for (const tile of tiles) {
      expect(page).toContain(`src="${tile}"`);
      expect(
        readFileSync(join(folder, 'out', tile as string))
          .subarray(8, 12)
          .toString(),
      ).toBe('WEBP');
    }
    for (const label of LABELS) expect(page).toContain(label);
    expect(page).not.toContain('undefined');
    expect(filesWithPaths(summary.path)).toEqual([]);
  });

  it('finds a run equal to itself', async () => {
    const found = await compare({ run, other: run, movers: 3, out: join(folder, 'out') }); // an earlier one is replaced
    expect(found.mean).toMatchObject({ images: 1, patches: 1, random: 1 });
    expect(found.mean.overlap.map(({ fraction }) => fraction)).toEqual([1, null, null, null]);
    expect(found.differences).toEqual([]);
    expect(found.labels.flatMap(({ movers }) => [...movers.run, ...movers.other])).toEqual([]);
  });

  it('refuses runs without a common image, runs that are not mined, and folders that hold something else', async () => {
    const [away, bare, full] = [join(folder, 'away'), join(folder, 'bare'), join(folder, 'full')];
    await cp(run, away, { recursive: true });
    const opened = await Run.open(away);
    for (const shard of await opened.doneShards()) {
      const file = opened.shardFile(shard, 'images.parquet');
      const rows = (await readTable<ImageRow>(file)).map((row) => ({ ...row, image: `elsewhere/${row.image}` }));
      await writeTable(file, rows, IMAGE_SCHEMA);
    }
    const out = join(folder, 'refused');
    await expect(compare({ run, other: away, out })).rejects.toMatchObject({ code: 'RUN_MISMATCH' });
    await cp(run, bare, { recursive: true });
    rmSync(join(bare, 'mine'), { recursive: true });
    await expect(compare({ run, other: bare, out })).rejects.toMatchObject({ code: 'RUN_INVALID' });
    mkdirSync(full);
    writeFileSync(join(full, 'notes.txt'), '');
    await expect(compare({ run, other, out: full })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(readFileSync(join(full, 'notes.txt'), 'utf8')).toBe('');
  });
});
