// Consistent changes: the parts by themselves, and runs of the tiny models over tiny parallel folders: resumed, damaged, refused.
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { changesOf, distances, type PlaceFeatures } from '../../src/stages/cotypicality/changes.js';
import { cotypicality } from '../../src/stages/cotypicality/cotypicality.js';
import type { CotypicalityEvent, CotypicalityOptions } from '../../src/stages/cotypicality/options.js';
import { bestPlaces, concatenated, medianMap } from '../../src/stages/cotypicality/places.js';
import { planProjection, project } from '../../src/stages/cotypicality/project.js';
import { agreement, hitBox } from '../../src/stages/cotypicality/purity.js';
import { shownPlaces } from '../../src/stages/cotypicality/report.js';
import type { ChangeRow, GroupedPlaceRow, PlaceRow, ScoreRow } from '../../src/stages/cotypicality/schema.js';
import { Engine, float32, fromFloat32, readSafetensors, toFloat32 } from '../../src/engine/index.js';
import { readTable } from '../../src/runs/tables.js';
import { openParallel } from '../../src/runs/parallel.js';
import { drawImage } from '../../src/tools/world/world.js';
import { writeParallelWorld } from '../../src/tools/world/parallel.js';
import { resultBytes } from '../helpers/bytes.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';
import { uniform } from '../helpers/synthetic-run.js';

const folder = temporaryFolder();
const at = (...names: string[]): string => join(folder, ...names);

describe('the median over labels', () => {
  const next = uniform(1);
  const maps = (count: number): { shape: number[]; values: number[] }[] =>
    Array.from({ length: count }, () => ({ shape: [3, 4], values: Array.from({ length: 12 }, () => next() - 0.5) }));
  test.each([1, 2, 3, 4, 7, 10])('of %i labels, place by place', (count) => {
    const given = maps(count);
    const median = float32(medianMap(given.map(({ shape, values }) => fromFloat32(shape, Float32Array.from(values)))));
    for (let i = 0; i < 12; i += 1) {
      const sorted = given.map(({ values }) => values[i] ?? NaN).sort((a, b) => a - b);
      const [low, high] = [sorted[Math.floor((count - 1) / 2)] ?? NaN, sorted[Math.floor(count / 2)] ?? NaN];
      expect(median[i]).toBeCloseTo((low + high) / 2, 6);
    }
  });

  test('places are greedy, do not touch, and may be fewer', async () => {
    const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
    try {
      // one row of scores: 9 is best; a patch of 2 beside it touches at columns 2 and 6
      const scores = fromFloat32([1, 9], Float32Array.from([1, 0, 8, 0, 9, 0, 7, 2, 3]));
      expect((await bestPlaces(engine, scores, 2, 5)).map(({ column, score }) => [column, score])).toEqual([
        [4, 9],
        [8, 3],
        [0, 1],
      ]);
      expect(await bestPlaces(engine, scores, 2, 1)).toHaveLength(1);
    } finally {
      await engine.dispose();
    }
  });

  test("features of a place stand one after the other, in the labels' order", () => {
    const of = (...values: number[]): ReturnType<typeof fromFloat32> => fromFloat32([2, 2], Float32Array.from(values));
    expect([...float32(concatenated([of(1, 2, 3, 4), of(5, 6, 7, 8)]))]).toEqual([1, 2, 5, 6, 3, 4, 7, 8]);
  });
});

describe('projection', () => {
  const next = uniform(7);
  const count = 40;
  const width = 48;
  // two labels; places lie in two groups far from each other
  const labels = [0, 1].map(() =>
    Float32Array.from({ length: count * width }, (_, i) => (Math.floor(i / width) % 2) * 3 + next()),
  );
  const features: PlaceFeatures = { count, width, labels };
  const asked = { projection: 'umap' as const, dimensions: 8, neighbors: 10 };

  test('UMAP: a seed gives the same numbers, another one others; groups stay apart', async () => {
    const plan = planProjection(count, width, asked);
    const [one, again, other] = [
      await project(features, plan, 3),
      await project(features, plan, 3),
      await project(features, plan, 4),
    ];
    expect(one.width).toBe(16);
    expect([...again.values]).toEqual([...one.values]);
    expect([...other.values]).not.toEqual([...one.values]);
    const far = (a: number, b: number): number =>
      Math.hypot(
        ...Array.from({ length: 16 }, (_, i) => (one.values[a * 16 + i] ?? 0) - (one.values[b * 16 + i] ?? 0)),
      );
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    const places = [...Array(count).keys()];
    const apart = mean(
      places
        .slice(1)
        .filter((i) => i % 2 === 1)
        .map((i) => far(0, i)),
    );
    const near = mean(
      places
        .slice(1)
        .filter((i) => i % 2 === 0)
        .map((i) => far(0, i)),
    );
    expect(apart).toBeGreaterThan(1.5 * near);
  });

  test('PCA keeps distances as far as its dimensions span them; none keeps the features', async () => {
    // features of rank 3: three dimensions hold all of their distances
    const basis = Array.from({ length: 3 * width }, () => next() - 0.5);
    const flat = Float32Array.from({ length: count * width }, () => 0);
    for (let i = 0; i < count; i += 1)
      for (let r = 0; r < 3; r += 1)
        for (let j = 0, c = next(); j < width; j += 1)
          flat[i * width + j] = (flat[i * width + j] ?? 0) + c * (basis[r * width + j] ?? 0);
    const plan = planProjection(count, width, { ...asked, projection: 'pca', dimensions: 3 });
    const made = await project({ count, width, labels: [flat] }, plan, 0);
    expect(made.width).toBe(3);
    const length = (of: Float32Array, w: number, a: number, b: number): number =>
      Math.hypot(...Array.from({ length: w }, (_, i) => (of[a * w + i] ?? 0) - (of[b * w + i] ?? 0)));
    for (const [a, b] of [
      [0, 1],
      [5, 17],
      [30, 2],
    ] as const)
      expect(length(made.values, 3, a, b)).toBeCloseTo(length(flat, width, a, b), 4);
    const whole = await project(features, planProjection(count, width, { ...asked, projection: 'none' }), 0);
    expect(whole.width).toBe(2 * width);
    expect([...whole.values.subarray(width, 2 * width)]).toEqual([...(labels[1] as Float32Array).subarray(0, width)]);
  });

  test('falls back with a word where places or dimensions are few', () => {
    expect(planProjection(10_000, 1280, { projection: 'umap', dimensions: 32, neighbors: 15 })).toEqual({
      projection: 'umap',
      dimensions: 32,
      neighbors: 15,
      notes: [],
    });
    expect(planProjection(12, 1280, { projection: 'umap', dimensions: 32, neighbors: 15 })).toMatchObject({
      projection: 'umap',
      dimensions: 11,
      neighbors: 11,
      notes: [expect.stringContaining('11 dimensions'), expect.stringContaining('11 neighbors')],
    });
    expect(planProjection(12, 1280, { projection: 'pca', dimensions: 32, neighbors: 15 }).notes).toHaveLength(1);
    expect(planProjection(4, 1280, { projection: 'umap', dimensions: 32, neighbors: 15 })).toMatchObject({
      projection: 'none',
      dimensions: 1280,
      notes: [expect.stringContaining('too few')],
    });
    expect(planProjection(500, 24, { projection: 'umap', dimensions: 32, neighbors: 15 })).toMatchObject({
      projection: 'none',
      dimensions: 24,
      notes: [expect.stringContaining('24 dimensions')],
    });
  });

  test('a cancelled projection ends', async () => {
    const controller = new AbortController();
    const going = project(features, planProjection(count, width, asked), 3, { signal: controller.signal });
    controller.abort();
    await expect(going).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});

test('what changes: distances of unit features over those of random places', async () => {
  const unit = (angle: number): number[] => [Math.cos(angle), Math.sin(angle)];
  const of = (...angles: [number, number][]): PlaceFeatures => ({
    count: angles.length,
    width: 2,
    labels: [0, 1].map((label) => Float32Array.from(angles.flatMap((pair) => unit(pair[label] ?? 0)))),
  });
  const top = of([0, Math.PI], [0, Math.PI / 3], [1, 1]);
  const random = of([0, Math.PI / 3], [2, 2 - Math.PI / 3]);
  expect([...distances(top, 0, 1)].map((value) => value.toFixed(4))).toEqual(['2.0000', '1.0000', '0.0000']);
  const rows = await changesOf(top, random, [0, 1, 1], 2, ['a', 'b']);
  expect(rows.map(({ cluster, places, change }) => [cluster, places, Number(change.toFixed(4))])).toEqual([
    [null, 3, 1],
    [0, 1, 2],
    [1, 2, 0.5],
  ]);
  expect(rows[0]).toMatchObject({ label_a: 'a', label_b: 'b' });
  // between pairs, others get a turn; and it can be stopped
  const controller = new AbortController();
  const going = changesOf(top, random, [0, 1, 1], 2, ['a', 'b'], controller.signal);
  controller.abort();
  await expect(going).rejects.toMatchObject({ code: 'CANCELLED' });
});

describe('agreement with boxes', () => {
  const box = (x: number, y: number, size: number): { x: number; y: number; width: number; height: number } => ({
    x,
    y,
    width: size,
    height: size,
  });

  test('a place hits the box it overlaps most', () => {
    expect(hitBox(box(0, 0, 8), [box(20, 20, 8), box(6, 6, 8), box(1, 1, 8)])).toBe(2);
    expect(hitBox(box(0, 0, 8), [box(7, 7, 8)])).toBeUndefined();
    expect(hitBox(box(0, 0, 8), [box(0, 0, 64)])).toBe(0); // its center is in the box
  });

  test('purity counts places on no element as misses, and is compared with chance', () => {
    const found = agreement([0, 0, 0, 0, 1, 1, 1, 1], ['a', 'a', 'a', 'b', 'b', 'b', undefined, undefined]);
    expect(found).toMatchObject({ places: 8, onElement: 0.75, purity: 5 / 8, purityOnElements: 5 / 6 });
    expect(found.chance).toBeGreaterThan(0.3);
    expect(found.chance).toBeLessThan(found.purity);
    // one cluster: the most common element, however they are assigned
    const whole = agreement([0, 0, 0, 0], ['a', 'a', 'b', undefined]);
    expect(whole).toMatchObject({ purity: 0.5, chance: 0.5, purityOnElements: 2 / 3 });
    expect(whole.chanceOnElements).toBeCloseTo(2 / 3, 6);
    // as many clusters as places: pure, but by chance as well
    expect(agreement([0, 1, 2], ['a', 'b', 'c'])).toMatchObject({ purity: 1, chance: 1 });
    expect(agreement([], [])).toMatchObject({ places: 0, purity: 0 });
  });
});

test('a cluster shows the sequences nearest to its center, each once', () => {
  const row = (sequence: string, cluster: number, distance: number, rank: number): GroupedPlaceRow =>
    ({ sequence, cluster, distance, rank }) as unknown as GroupedPlaceRow;
  const shown = shownPlaces(
    [row('a', 0, 3, 1), row('b', 0, 1, 2), row('b', 0, 0.5, 3), row('c', 1, 9, 4), row('d', 0, 2, 5)],
    2,
    2,
  );
  expect(shown.map((of) => of.map(({ sequence, distance }) => [sequence, distance]))).toEqual([
    [
      ['b', 0.5],
      ['d', 2],
    ],
    [['c', 9]],
  ]);
});

test('the parallel world: sources are those of the world; what is typical of a city is replaced, all else stays', async () => {
  const { sequences, cities } = await writeParallelWorld({ out: at('world'), images: 1, size: 32, seed: 5 });
  expect([sequences, cities.length]).toEqual([6, 6]);
  const parallel = await openParallel(at('world'));
  expect(parallel.labels).toEqual([...cities].sort());
  for (const { key, label, source, images } of parallel.sequences) {
    expect(Object.keys(images)).toHaveLength(5);
    const { pixels, boxes } = await drawImage(label as 'belmora', 0, { seed: 5, size: 32 });
    expect((await sharp(source).raw().toBuffer()).equals(pixels)).toBe(true);
    const listed = readFileSync(at('world', 'boxes.csv'), 'utf8')
      .split('\r\n')
      .filter((line) => line.startsWith(`${key},`));
    expect(listed).toHaveLength(boxes.length);
    const target = cities.find((city) => city !== label) as 'belmora';
    const there = await drawImage(label as 'belmora', 0, { seed: 5, size: 32 }, target);
    for (const box of boxes.filter(({ home }) => home !== label && home !== target))
      expect(there.boxes.map(({ kind }) => kind)).toContain(box.kind);
    expect(there.boxes.some(({ home }) => home === label)).toBe(false);
  }
  await expect(writeParallelWorld({ out: at('world') })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

describe('runs', () => {
  const LABELS = ['class0', 'class1', 'class2'];
  /** What every run here has: the smallest that is one. */
  const options = (more: Partial<CotypicalityOptions> = {}): CotypicalityOptions => ({
    parallel: at('parallel'),
    model: join(GOLDEN, 'tiny-fold'),
    out: at('run'),
    device: 'cpu',
    dtype: 'fp32',
    threads: 1,
    samples: 2,
    batch: 12,
    ensemble: 2,
    patch: 8,
    size: 32,
    places: 3,
    shardSize: 2,
    clusters: 3,
    dimensions: 4,
    projection: 'pca',
    ...more,
  });
  const draw = async (file: string, seed: number, width = 32, height = 32): Promise<void> => {
    const next = uniform(seed);
    mkdirSync(join(file, '..'), { recursive: true });
    await sharp(Buffer.from(Array.from({ length: 3 * width * height }, () => Math.floor(256 * next()))), {
      raw: { width, height, channels: 3 },
    })
      .png()
      .toFile(file);
  };
  const sequence = async (root: string, label: string, name: string, seed: number, labels = LABELS): Promise<void> => {
    for (const [i, target] of labels.entries())
      await draw(join(root, label, name, target === label ? 'source.png' : `${target}.png`), 10 * seed + i);
  };

  beforeAll(async () => {
    let seed = 0;
    for (const label of LABELS) for (const name of ['a', 'b']) await sequence(at('parallel'), label, name, (seed += 1));
  });

  test('scores, groups and shows; finished shards are kept, and the bytes are those of a run that was never stopped', async () => {
    const events: CotypicalityEvent[] = [];
    const made = await cotypicality(options(), { onProgress: (event) => void events.push(event) });
    expect(made).toMatchObject({
      complete: true,
      resumed: false,
      labels: LABELS,
      sequences: 6,
      scored: 6,
      skipped: 0,
      shards: { total: 3, done: 3, here: 3 },
      unetCalls: 6 * 3 * 2 * 2,
      truth: null,
    });
    expect(made.places).toBeGreaterThan(6);
    expect(made.clusters.reduce((sum, { size }) => sum + size, 0)).toBe(made.places);
    expect(made.clusters.map(({ medianCotypicality }) => medianCotypicality)).toEqual(
      made.clusters.map(({ medianCotypicality }) => medianCotypicality).sort((a, b) => b - a),
    );
    expect(events.filter(({ type }) => type === 'project')).toHaveLength(3);
    expect(readdirSync(at('run')).sort()).toEqual([
      'clusters',
      'index.parquet',
      'locks',
      'manifest.json',
      'report',
      'shards',
      'skipped.jsonl',
    ]);
    expect(readdirSync(at('run', 'locks'))).toEqual([]);

    // the median of what the images score is the place's co-typicality; the random places are the same in all images
    const places = await readTable<PlaceRow>(at('run', 'shards', '00000', 'places.parquet'));
    const scores = await readTable<ScoreRow>(at('run', 'shards', '00000', 'scores.parquet'));
    for (const place of places) {
      const own = scores.filter(
        ({ sequence: of, list, place: number }) =>
          of === place.sequence && list === place.list && number === place.place,
      );
      expect(own.map(({ condition }) => condition)).toEqual(LABELS);
      expect([...own.map(({ typicality }) => typicality)].sort((a, b) => a - b)[1]).toBeCloseTo(place.cotypicality, 9);
    }
    // features are of length 1, a row per place
    const features = readSafetensors(at('run', 'shards', '00000', 'features.safetensors'));
    for (const label of LABELS) {
      const tensor = features[`features.${label}`];
      if (!tensor) throw new Error('no features');
      const width = tensor.shape[1] ?? 0;
      expect(tensor.shape[0]).toBe(places.length);
      expect(Math.hypot(...toFloat32(tensor).subarray(0, width))).toBeCloseTo(1, 4);
    }
    const changes = await readTable<ChangeRow>(at('run', 'clusters', 'changes.parquet'));
    expect(changes).toHaveLength(3 * (1 + made.clusters.length));

    const before = resultBytes(at('run'), ['shards', 'clusters', 'skipped.jsonl']);
    rmSync(at('run', 'shards', '00001'), { recursive: true });
    rmSync(at('run', 'clusters'), { recursive: true });
    const again = await cotypicality(options());
    expect(again).toMatchObject({ resumed: true, shards: { done: 3, here: 1 }, unetCalls: 2 * 3 * 2 * 2 });
    expect(resultBytes(at('run'), ['shards', 'clusters', 'skipped.jsonl'])).toEqual(before);

    // parts, in any order, in a folder of their own
    for (const index of [1, 0]) {
      const part = await cotypicality(options({ out: at('parts'), shard: { index, count: 2 } }));
      expect(part.complete).toBe(index === 0);
    }
    expect(resultBytes(at('parts'), ['shards', 'clusters', 'skipped.jsonl'])).toEqual(before);
  });

  test('a cancelled run resumes where it stopped', async () => {
    const controller = new AbortController();
    const going = cotypicality(options({ out: at('stopped') }), {
      signal: controller.signal,
      onProgress: ({ type }) => type === 'shard' && controller.abort(),
    });
    await expect(going).rejects.toMatchObject({ code: 'CANCELLED' });
    const left = readdirSync(at('stopped', 'shards')).length;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(3);
    expect(await cotypicality(options({ out: at('stopped') }))).toMatchObject({
      complete: true,
      resumed: true,
      shards: { here: 3 - left },
    });
    const parts = ['shards', 'clusters', 'skipped.jsonl'];
    expect(resultBytes(at('stopped'), parts)).toEqual(resultBytes(at('run'), parts));
  });

  test('other grouping options keep the scores; other scoring options need another folder', async () => {
    const log: string[] = [];
    const same = await cotypicality(options(), { onLog: (line) => void log.push(line) });
    expect([same.unetCalls, log.filter((line) => line.startsWith('Already grouped'))]).toEqual([
      0,
      ['Already grouped with these options.'],
    ]);
    expect(await cotypicality(options({ clusters: 2, maxPlaces: 8, projection: 'none' }))).toMatchObject({
      unetCalls: 0,
      places: 8,
      projection: { asked: 'none', done: 'none' },
      clusters: [{}, {}],
    });
    expect(
      (await readTable<GroupedPlaceRow>(at('run', 'clusters', 'places.parquet')))
        .filter(({ list }) => list === 'top')
        .map(({ rank }) => rank),
    ).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    // the random places beside them are of all sequences, not of the first ones
    await cotypicality(options({ clusters: 2, maxPlaces: 3, projection: 'none' }));
    const few = (await readTable<GroupedPlaceRow>(at('run', 'clusters', 'places.parquet'))).filter(
      ({ list }) => list === 'random',
    );
    expect(few.map(({ label }) => label)).toEqual(LABELS);
    const fewer = await cotypicality(options({ clusters: 99, maxPlaces: 6, dimensions: 9, projection: 'umap' }));
    expect(fewer.notes.join('\n')).toMatch(/99/);
    expect(fewer.notes.join('\n')).toMatch(/5 dimensions, not 9/);
    const auto = await cotypicality(options({ clusters: 'auto', projection: 'none' }));
    expect(auto.clusters).toHaveLength(Math.max(1, Math.round(auto.places / 25)));
    expect(auto.notes).toEqual([]);
    await expect(cotypicality(options({ samples: 3 }))).rejects.toMatchObject({
      code: 'RUN_MISMATCH',
      message: expect.stringContaining('samples: this co-typicality run has 2, you asked for 3') as string,
    });
    await expect(cotypicality(options({ out: at('parallel') }))).rejects.toMatchObject({ code: 'RUN_MISMATCH' });
  });

  test('clusters are compared with boxes, also of random places', async () => {
    const row = (key: string, slot: string): string => `${key},0,0,16,32,${slot}\n${key},16,0,16,32,other`;
    writeFileSync(
      at('boxes.csv'),
      `image,x,y,w,h,slot\n${LABELS.flatMap((label) => ['a', 'b'].map((name) => row(`${label}/${name}.png`, 'left'))).join('\n')}\n`,
    );
    const { truth, unetCalls } = await cotypicality(options({ boxes: at('boxes.csv') }));
    expect(unetCalls).toBe(0);
    expect(Object.keys(truth?.columns ?? {})).toEqual(['slot']);
    expect(truth?.columns['slot']?.top).toMatchObject({ onElement: 1 });
    expect(truth?.columns['slot']?.random.places).toBeGreaterThan(0);
    // images that translate shrank to half their size: boxes are in pixels of what it shrank
    cpSync(at('parallel'), at('shrunk'), { recursive: true });
    const lines = LABELS.flatMap((label) =>
      ['a', 'b'].map((name) => ({
        image: `${label}/${name}.jpg`,
        label,
        folder: `${label}/${name}`,
        width: 32,
        height: 32,
        sourceWidth: 64,
        sourceHeight: 64,
        resized: { width: 32, height: 32 },
        psnr: 20,
        targets: LABELS.filter((other) => other !== label),
      })),
    );
    for (const { folder: of } of lines)
      cpSync(at('parallel', of, 'source.png'), at('shrunk', of, 'reconstruction.png'));
    mkdirSync(at('shrunk', 'shards'));
    writeFileSync(at('shrunk', 'manifest.json'), '{"format":"diffmine-translation-3"}');
    const shard = [{ shard: 0, batch: 12, notes: [] }, ...lines];
    writeFileSync(at('shrunk', 'shards', '00000.jsonl'), shard.map((line) => `${JSON.stringify(line)}\n`).join(''));
    writeFileSync(
      at('large.csv'),
      `image,x,y,w,h,slot\n${lines.map(({ image }) => `${image},0,0,32,64,left\n${image},32,0,32,64,other`).join('\n')}\n`,
    );
    const shrunk = await cotypicality(
      options({ parallel: at('shrunk'), out: at('shrunk-run'), boxes: at('large.csv') }),
    );
    expect(shrunk.truth?.columns['slot']).toEqual(truth?.columns['slot']);
    writeFileSync(at('elsewhere.csv'), 'image,x,y,w,h,slot\nno/such.png,0,0,8,8,window\n');
    await expect(cotypicality(options({ boxes: at('elsewhere.csv') }))).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining('no box') as string,
    });
    await expect(cotypicality(options({ boxes: at('nowhere.csv'), out: at('never') }))).rejects.toMatchObject({
      code: 'DATASET_INVALID',
    });
    expect(readdirSync(folder)).not.toContain('never');
  });

  test('sequences that cannot be compared are skipped and listed', async () => {
    cpSync(at('parallel'), at('mixed'), { recursive: true });
    rmSync(at('mixed', 'class0', 'a', 'class2.png'));
    await draw(at('mixed', 'class1', 'a', 'class0.png'), 1, 32, 40);
    writeFileSync(at('mixed', 'class1', 'b', 'class2.png'), 'no image');
    await draw(at('mixed', 'class2', 'a', 'source.png'), 1, 6, 6);
    const summary = await cotypicality(options({ parallel: at('mixed'), out: at('mixed-run') }));
    expect(summary).toMatchObject({ complete: true, scored: 2, skipped: 4 });
    const listed = readFileSync(at('mixed-run', 'skipped.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { image: string; reason: string });
    expect(listed.map(({ image }) => image)).toEqual(['class0/a', 'class1/a', 'class1/b', 'class2/a']);
    expect(listed[0]?.reason).toContain('no image under "class2"');
    expect(listed[1]?.reason).toContain('different sizes');
    expect(listed[2]?.reason).toMatch(/^has class2\.png, which cannot be read: /);
    expect(listed[3]?.reason).toContain('smaller than the patch');

    // none left: said, and the reasons are there
    for (const label of LABELS)
      for (const name of ['a', 'b']) writeFileSync(at('mixed', label, name, 'source.png'), 'no image');
    await expect(cotypicality(options({ parallel: at('mixed'), out: at('none-run') }))).rejects.toMatchObject({
      code: 'IMAGE_UNREADABLE',
      message: expect.stringContaining('None of the 6') as string,
    });
  });

  test('what cannot be is refused before work begins', async () => {
    mkdirSync(at('one', 'class0'), { recursive: true });
    cpSync(at('parallel', 'class0', 'a', 'source.png'), at('one', 'class0', 'a', 'source.png'), { recursive: true });
    await expect(cotypicality(options({ parallel: at('one'), out: at('no') }))).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining('only "class0"') as string,
    });
    await expect(cotypicality(options({ labels: ['class1'], out: at('no') }))).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining('`labels`') as string,
    });
    await expect(cotypicality(options({ labels: ['clas'], out: at('no') }))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await sequence(at('odd'), 'class0', 'a', 1, ['class0', 'class1']);
    await sequence(at('odd'), 'class2', 'a', 2, ['class2', 'class1']);
    await expect(cotypicality(options({ parallel: at('odd'), out: at('no') }))).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      hint: expect.stringContaining('`labels`') as string,
    });
    await sequence(at('unknown'), 'class0', 'a', 1, ['class0', 'Zebra']);
    await expect(cotypicality(options({ parallel: at('unknown'), out: at('no') }))).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining('Zebra') as string,
    });
    await expect(cotypicality(options({ upBlock: 9, out: at('no') }))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await expect(cotypicality(options({ batch: 1, out: at('no') }))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('`batch`') as string,
    });
    await expect(cotypicality(options({ parallel: at('nowhere'), out: at('no') }))).rejects.toMatchObject({
      code: 'DATASET_INVALID',
    });
    expect(readdirSync(folder)).not.toContain('no');
  });

  test('two of three labels; and prompts of a text model, which must differ', async () => {
    expect(await cotypicality(options({ labels: ['class0', 'class2'], out: at('two') }))).toMatchObject({
      labels: ['class0', 'class2'],
      scored: 6,
    });
    const text = options({
      model: join(GOLDEN, 'tiny-sd15'),
      out: at('text'),
      labels: ['class0', 'class1'],
      size: 32,
      patch: 8,
    });
    await expect(cotypicality({ ...text, prompt: 'A car.' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('same for different labels') as string,
    });
    const noMaps = await cotypicality({ ...text, prompt: 'A {label}.', maps: false });
    expect(noMaps).toMatchObject({ complete: true, scored: 6 });
    expect(readdirSync(at('text', 'shards', '00000'))).not.toContain('maps.safetensors');
  });

  test('images that were removed after scoring leave gaps on the page, which names them', async () => {
    cpSync(at('parallel'), at('moved'), { recursive: true });
    await cotypicality(options({ parallel: at('moved'), out: at('moved-run') }));
    // the same bytes in another order of events: the run is the same, but an image cannot be decoded any more
    renameSync(at('moved', 'class0', 'a', 'class1.png'), at('kept.png'));
    writeFileSync(at('moved', 'class0', 'a', 'class1.png'), Buffer.alloc(readFileSync(at('kept.png')).length));
    expect(await cotypicality(options({ parallel: at('moved'), out: at('moved-run'), clusters: 2 }))).toMatchObject({
      complete: true,
      unetCalls: 0,
    });
    const data = readFileSync(at('moved-run', 'report', 'data', 'run.js'), 'utf8');
    expect(data).toContain('"missing":{"count":1');
  });
});
