// What rankings leave out: near-duplicates, flat patches, more than so many of one group; and how the diverse ranking and moved patches come about.
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { ImageList } from '../../src/data/index.js';
import { fromFloat32, writeSafetensors } from '../../src/engine/index.js';
import { boxMean, upsample } from '../../src/metrics/maps.js';
import type { ManifestDraft } from '../../src/runs/manifest.js';
import { concentration, concentrations, type MinedCondition } from '../../src/runs/mining.js';
import { Run } from '../../src/runs/run.js';
import { IMAGE_SCHEMA, PATCH_SCHEMA, type PatchRow } from '../../src/runs/columns.js';
import { writeTable } from '../../src/runs/tables.js';
import { diversify } from '../../src/stages/mine/diverse.js';
import { effectiveCount, grouping } from '../../src/stages/mine/groups.js';
import { recenter } from '../../src/stages/mine/recenter.js';
import { select, type Filters } from '../../src/stages/mine/select.js';
import { settings } from '../../src/stages/mine/settings.js';
import { temporaryFolder } from '../helpers/folders.js';
import { drawImages, uniform } from '../helpers/synthetic-run.js';

const folder = temporaryFolder();
const SIZE = { width: 64, height: 48 };
const PATCH = 16;
const NONE: Filters = { keepDuplicates: true, minContrast: 0, maxPerGroup: null };

/** A scanned run of images that lie in `folder`, whose first shard holds the rows of `patches`. */
async function runOf(name: string, images: ImageList, patches: readonly PatchRow[]): Promise<Run> {
  const draft: ManifestDraft = {
    version: '0',
    created: '',
    model: {
      path: '',
      fingerprint: 'm',
      kind: 'pixel',
      conditioning: 'class',
      vaeFactor: 1,
      fold: 1,
      features: { upBlock: 1, diftT: 161 },
    },
    dataset: { path: folder, fingerprint: 'd', images: images.length, ignored: 0, labels: ['a'], columns: ['camera'] },
    options: {
      prompt: null,
      nullPrompt: null,
      size: 'source',
      sizeRule: 'floor',
      patch: PATCH,
      samples: 1,
      seed: 0,
      tBegin: 0,
      tEnd: 1,
      sampler: 'stratified',
      perImage: 5,
      batch: 1,
      dtype: 'fp32',
      device: 'cpu',
      allLabels: false,
      against: 'null',
      maps: true,
      shardSize: 64,
      replay: null,
    },
    preset: null,
    replayFile: null,
    conditions: ['a'],
  };
  const run = await Run.begin(join(folder, name), draft, images);
  mkdirSync(run.shardPath(0));
  await writeTable(run.shardFile(0, 'patches.parquet'), patches, PATCH_SCHEMA);
  return run;
}

const patch = (image: string, typicality: number, row = 0, column = 0): PatchRow => ({
  image,
  label: 'a',
  condition: 'a',
  list: 'top',
  place: 1,
  x: 2 * column,
  y: 2 * row,
  width: 2 * PATCH,
  height: 2 * PATCH,
  row,
  column,
  patch: PATCH,
  typicality,
  standard_error: null,
  samples: 1,
});

const listed = (paths: readonly string[], extra: (path: string) => Record<string, string> = () => ({})): ImageList =>
  ImageList.from(
    paths.map((path) => ({ path, label: 'a', file: join(folder, 'images', path), bytes: 1, extra: extra(path) })),
  );

async function topOf(run: Run, images: ImageList, wanted: number, filters: Partial<Filters>, groupBy?: string) {
  const { rankings, dropped } = await select(
    run,
    { top: wanted, bottom: 1, random: 1 },
    { ...NONE, ...filters },
    {
      images,
      sizes: { size: 'source', rule: 'floor', multiple: 1, patch: PATCH },
      groupOf: grouping(groupBy ?? null, ['camera'], images),
    },
  );
  return { top: rankings.get('a')?.top.map(({ image }) => image), dropped: dropped.get('a')?.top };
}

describe('select', () => {
  const paths = Array.from({ length: 40 }, (_, i) => `s${i % 4}/${String(i).padStart(2, '0')}.png`);
  const images = listed(paths, (path): Record<string, string> => (path.startsWith('s0') ? { camera: 'old' } : {}));
  let run: Run;
  beforeAll(async () => {
    await drawImages(join(folder, 'images'), ['a'], () => paths, SIZE);
    // 01, of another folder, becomes a smaller copy of 00; of 02 the upper left patch is white
    await sharp(join(folder, 'images', 's0/00.png'))
      .resize(48)
      .toFile(join(folder, 'images', 'copy.png'));
    cpSync(join(folder, 'images', 'copy.png'), join(folder, 'images', 's1/01.png'));
    const white = { create: { width: 30, height: 30, channels: 3, background: { r: 255, g: 255, b: 255 } } } as const;
    await sharp(join(folder, 'images', 's3/03.png'))
      .composite([{ input: white, left: 0, top: 0 }])
      .toFile(join(folder, 'images', 'white.png'));
    cpSync(join(folder, 'images', 'white.png'), join(folder, 'images', 's2/02.png'));
    run = await runOf(
      'select',
      images,
      paths.map((path, i) => patch(path, 1 - i / 100)),
    );
  });

  test('without filters: the best, nothing dropped', async () => {
    expect(await topOf(run, images, 5, {})).toEqual({
      top: paths.slice(0, 5),
      dropped: { duplicates: 0, contrast: 0, groups: 0 },
    });
  });

  test('the lower-ranked of two near-duplicate images is left out', async () => {
    expect(await topOf(run, images, 3, { keepDuplicates: false })).toEqual({
      top: [paths[0], paths[2], paths[3]],
      dropped: { duplicates: 1, contrast: 0, groups: 0 },
    });
  });

  test('patches of low contrast are left out', async () => {
    expect(await topOf(run, images, 3, { minContrast: 0.02 })).toEqual({
      top: [paths[0], paths[1], paths[3]],
      dropped: { duplicates: 0, contrast: 1, groups: 0 },
    });
  });

  test('at most so many of one folder, column or match; more candidates are asked for until there are enough', async () => {
    const two = await topOf(run, images, 8, { maxPerGroup: 2 }, 'folder');
    expect(two.top).toEqual(paths.slice(0, 8));
    const one = await topOf(run, images, 8, { maxPerGroup: 1 }, '^(s\\d)/');
    expect(one).toEqual({ top: paths.slice(0, 4), dropped: { duplicates: 0, contrast: 0, groups: 36 } });
    const cameras = await topOf(run, images, 12, { maxPerGroup: 1 }, 'camera');
    expect(cameras.top?.filter((path) => path.startsWith('s0'))).toEqual([paths[0]]);
    expect(cameras.top).toHaveLength(12);
    const last = await topOf(run, images, 31, { maxPerGroup: 1 }, 'camera');
    expect(last.top?.at(-1)).toBe(paths[39]);
  });
});

test('groups: a misspelled column and a broken pattern are refused', () => {
  const images = listed([]);
  expect(() => grouping('camra', ['camera'], images)).toThrow(/names no column/);
  expect(() => grouping('(s', [], images)).toThrow(/not a regular expression/);
  const bySeries = grouping('([a-z]+)_\\d', [], images);
  expect([bySeries('x/tram_1.png', 'a'), bySeries('y/tram_2.png', 'a')]).toEqual(['tram', 'tram']);
  expect(bySeries('a.png', 'a')).not.toBe(bySeries('b.png', 'a'));
  expect(() => settings({ maxPerGroup: 2 }, { upBlock: 1, diftT: 161 })).toThrow(/`maxPerGroup` needs `groupBy`/);
  expect(() => settings({ diverse: true, rank: 'random' }, { upBlock: 1, diftT: 161 })).toThrow(/`diverse`/);
});

test('a ranking from few images or groups is warned of', () => {
  expect(effectiveCount(['x', 'x', 'y', 'y'])).toBe(2);
  expect(effectiveCount([])).toBe(0);
  const condition = (images: number, groups: number | null): MinedCondition => ({
    condition: 'a',
    patches: 100,
    clusters: 1,
    inertia: 0,
    images: { count: images, effective: images },
    groups: groups === null ? null : { count: 40, effective: groups },
    dropped: { duplicates: 0, contrast: 0, groups: 0 },
  });
  expect(concentration(condition(40, null))).toBeNull();
  expect(concentration(condition(40, 30))).toBeNull();
  expect(concentration(condition(6, null))).toContain('6 images');
  expect(concentration(condition(40, 3))).toContain('40 groups');
  // once for all labels
  const named = (name: string, images: number): MinedCondition => ({ ...condition(images, null), condition: name });
  expect(concentrations([named('a', 40), named('b', 90)])).toEqual([]);
  expect(concentrations([named('a', 6), named('b', 40), named('c', 1)])).toEqual([
    'Most patches of these labels come from few images: a (6 images), c (1 image). What they share may be the background or the lighting.',
  ]);
  const many = Array.from({ length: 25 }, (_, i) => named(`label ${i}`, 3));
  expect(concentrations(many)[0]).toMatch(/label 19 \(3 images\), 5 more\. /);
});

describe('diversify', () => {
  const next = uniform(3);
  const noisy = (axis: number): number[] => {
    const vector = Array.from({ length: 8 }, (_, i) => (i === axis ? 1 : 0) + 0.1 * (next() - 0.5));
    const norm = Math.hypot(...vector);
    return vector.map((value) => value / norm);
  };
  /** 30 patches of a strong element, then 6 of a weak one, then 6 of nothing in particular */
  const axes = [...Array<number>(30).fill(0), ...Array<number>(6).fill(1), ...Array<number>(6).fill(2)];
  const scores = axes.map((axis, i) => [0.9, 0.6, 0.1][axis]! - 0.001 * i);
  const features = { values: Float32Array.from(axes.flatMap(noisy)), width: 8 };

  test('a weak element comes among the first; what scores low does not', () => {
    const order = diversify(features, scores, 20);
    expect(order).toHaveLength(20);
    expect(new Set(order).size).toBe(20);
    const kinds = order.slice(0, 10).map((i) => axes[i]);
    expect(kinds[0]).toBe(0);
    expect(kinds.filter((kind) => kind === 1).length).toBeGreaterThanOrEqual(2);
    expect(kinds).not.toContain(2);
  });

  test('where all are equally alike the order is that of typicality, also below zero', () => {
    const same = { values: new Float32Array(6).fill(1), width: 1 };
    expect(diversify(same, [3, 2, 1, 0, -1, -2], 6)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(diversify({ values: new Float32Array(0), width: 0 }, [], 5)).toEqual([]);
  });
});

describe('recenter', () => {
  const cells = { width: 32, height: 24 };
  const image = 'r/1.png';
  /** a bump of typicality at a place in pixels of the image */
  const bump = (x: number, y: number, height = 1): Float32Array =>
    Float32Array.from({ length: cells.width * cells.height }, (_, i) => {
      const [u, v] = [2 * (i % cells.width) + 1, 2 * Math.floor(i / cells.width) + 1];
      return height * Math.exp(-((u - x) ** 2 + (v - y) ** 2) / 50);
    });
  const moved = async (
    name: string,
    values: Float32Array,
    patches: PatchRow[],
    sign: 1 | -1 = 1,
  ): Promise<PatchRow[]> => {
    const run = await runOf(name, listed([image]), patches);
    writeSafetensors(run.shardFile(0, 'maps.safetensors'), {
      [`a/${image}`]: fromFloat32([cells.height, cells.width], values),
    });
    const row = {
      image,
      label: 'a',
      condition: 'a',
      source_width: 128,
      source_height: 96,
      ...SIZE,
      typicality: 0,
      samples: 1,
    };
    await writeTable(run.shardFile(0, 'images.parquet'), [row], IMAGE_SCHEMA);
    return recenter(run, patches, sign);
  };

  test('a patch moves onto the bump, in source pixels too, and keeps its score', async () => {
    const [to] = await moved('one', bump(30, 20), [patch(image, 0.5, 8, 16)]);
    expect(to).toMatchObject({ typicality: 0.5, row: 12, column: 22, y: 24, x: 44 });
  });

  test('by at most half a patch, and never out of the image', async () => {
    const [far] = await moved('far', bump(60, 20), [patch(image, 1, 12, 16)]);
    expect(far).toMatchObject({ row: 12, column: 24 });
    const [corner] = await moved('corner', bump(1, 1), [patch(image, 1, 4, 4)]);
    expect(corner).toMatchObject({ row: 0, column: 0, x: 0, y: 0 });
  });

  test('the least typical move to the lowest place; of two that would meet the better one moves', async () => {
    const [low] = await moved('low', bump(30, 20, -1), [patch(image, -1, 8, 16)], -1);
    expect(low).toMatchObject({ row: 12, column: 22 });
    const [first, second] = await moved('two', bump(32, 24), [patch(image, 2, 16, 18), patch(image, 1, 18, 34)]);
    expect(first).toMatchObject({ row: 16, column: 24 });
    expect(second).toMatchObject({ column: 34 });
  });

  test('the smoothed map is that of plain smoothing: its highest pixel of a noisy map is found', async () => {
    const next = uniform(9);
    const values = bump(33, 21).map((value) => value + 0.4 * (next() - 0.5));
    const [to] = await moved('noise', values, [patch(image, 1, 14, 26)]);
    // three box means of 7 px have nearly the deviation of the Gaussian, a quarter of the patch: (3 (49 - 1) / 12) ** 0.5 = 3.5
    let map = upsample({ values, ...cells }, SIZE.width, SIZE.height);
    for (let i = 0; i < 3; i++) map = boxMean(map, 7);
    const best = { value: -Infinity, x: 0, y: 0 };
    for (let y = 14; y < 30; y++) {
      for (let x = 26; x < 42; x++) {
        const value = map.values[y * SIZE.width + x] as number;
        if (value > best.value) Object.assign(best, { value, x, y });
      }
    }
    expect(Math.abs((to?.row ?? 0) + PATCH / 2 - 1 - best.y)).toBeLessThanOrEqual(1);
    expect(Math.abs((to?.column ?? 0) + PATCH / 2 - 1 - best.x)).toBeLessThanOrEqual(1);
  });
});
