// Scans of the tiny models, in process: what is skipped, what is compared with what, cancelling and resuming, batches, memory that runs out.
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { DiffmineError } from '../../src/util/errors.js';
import { exportTable } from '../../src/tools/export/export.js';
import {
  Engine,
  readSafetensors,
  toFloat32,
  writeSafetensors,
  type TypicalityInput,
  type TypicalityOptions,
  type TypicalityResult,
  type CallOptions,
  type Conditions,
} from '../../src/engine/index.js';
import { Run } from '../../src/runs/run.js';
import type { ImageRow, PatchRow } from '../../src/runs/columns.js';
import { readTable } from '../../src/runs/tables.js';
import { scan } from '../../src/stages/scan/scan.js';
import { resolveOptions } from '../../src/stages/scan/resolve.js';
import { stageOf } from '../../src/stages/scan/stage.js';
import { doShard } from '../../src/pipeline/shard.js';
import type { ScanOptions } from '../../src/stages/scan/options.js';
import { resultBytes } from '../helpers/bytes.js';

const GOLDEN = join(__dirname, '..', 'data', 'golden');
const IMAGES = join(GOLDEN, 'mini-dataset');
const TEXT_MODEL = join(GOLDEN, 'tiny-sd15');
const CLASS_MODEL = join(GOLDEN, 'tiny-fold');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-scan-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const base = (out: string, more: Partial<ScanOptions> = {}): ScanOptions => ({
  dataset: IMAGES,
  model: TEXT_MODEL,
  out: join(folder, out),
  prompt: 'A car from the {label}s.',
  nullPrompt: 'A car.',
  size: 'source',
  patch: 16,
  samples: 4,
  batch: 8,
  device: 'cpu',
  dtype: 'fp32',
  shardSize: 5,
  threads: 1,
  ...more,
});

async function rows<T>(out: string, name: 'images.parquet' | 'patches.parquet'): Promise<T[]> {
  const run = await Run.open(join(folder, out));
  const all: T[] = [];
  for (const shard of await run.doneShards()) all.push(...(await readTable<T>(run.shardFile(shard, name))));
  return all;
}
const imageRows = async (out: string): Promise<ImageRow[]> => rows<ImageRow>(out, 'images.parquet');
const patches = async (out: string): Promise<PatchRow[]> => rows<PatchRow>(out, 'patches.parquet');

/** A dataset of two labels with `count` images each, and what else `add` puts there. */
function dataset(count: number, add: (root: string) => void = () => undefined, name = 'data'): string {
  const root = join(folder, name);
  for (const label of ['1920', '1950']) {
    mkdirSync(join(root, label), { recursive: true });
    for (let i = 0; i < count; i += 1)
      copyFileSync(join(IMAGES, label, `${label}_${i}.png`), join(root, label, `${i}.png`));
  }
  add(root);
  return root;
}

test('tables and maps hold every image, its candidates in order, and finite scores', async () => {
  const summary = await scan(base('run'));
  expect(summary.engineWaiting).toBeGreaterThan(0);
  expect(summary.engineWaiting).toBeLessThan(1);
  expect(summary).toMatchObject({
    complete: true,
    scored: 12,
    skipped: 0,
    batch: 8,
    samples: 4,
    patch: 16,
    device: 'cpu',
    dtype: 'fp32',
    labels: ['1920', '1950', '1980'],
  });
  const [images, candidates] = [await imageRows('run'), await patches('run')];
  expect(images.map(({ image }) => image)).toEqual([...images.map(({ image }) => image)].sort());
  expect(images).toHaveLength(12);
  expect(candidates).toHaveLength(12 * 15);
  for (const { image, label, condition } of images) expect([image.split('/')[0], condition]).toEqual([label, label]);
  for (const list of ['top', 'bottom', 'random']) {
    const own = candidates.filter((row) => row.list === list && row.image === '1950/1950_1.png');
    expect(own.map(({ place }) => place)).toEqual([1, 2, 3, 4, 5]);
    for (const [i, a] of own.entries())
      for (const b of own.slice(0, i))
        expect(Math.abs(a.row - b.row) > 16 || Math.abs(a.column - b.column) > 16).toBe(true);
  }
  const run = await Run.open(join(folder, 'run'));
  const maps = readSafetensors(run.shardFile(1, 'maps.safetensors'));
  expect(Object.keys(maps).sort()).toEqual((await run.shardImages(1)).map(({ path, label }) => `${label}/${path}`));
  for (const [name, map] of Object.entries(maps)) {
    expect(map.dtype).toBe('F16');
    const values = toFloat32(map);
    const image = images.find(({ label, image }) => `${label}/${image}` === name);
    expect(map.shape).toEqual([(image?.height ?? 0) / 8, (image?.width ?? 0) / 8]);
    expect(Math.abs(values.reduce((a, b) => a + b, 0) / values.length - (image?.typicality ?? NaN))).toBeLessThan(2e-4);
  }
  expect(JSON.parse(readFileSync(run.shardFile(2, 'shard.json'), 'utf8'))).toEqual({
    id: 2,
    images: 2,
    skipped: 0,
    batch: 8,
    notes: [],
  });
  expect(readFileSync(join(folder, 'run', 'skipped.jsonl'), 'utf8')).toBe('');
  expect(await run.locks.holder('00000')).toBeUndefined();
});

test('bad images are skipped and listed in order; the others are scored as if they were alone', async () => {
  const tiny = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
    .png()
    .toBuffer();
  const data = dataset(2, (root) => {
    writeFileSync(join(root, '1950', 'a-empty.png'), '');
    writeFileSync(join(root, '1920', 'no-image.jpg'), 'hello');
    writeFileSync(join(root, '1920', 'tiny.png'), tiny);
    writeFileSync(join(root, '1920', '0-cut.png'), readFileSync(join(IMAGES, '1920', '1920_1.png')).subarray(0, 2000));
  });
  const told: string[] = [];
  const summary = await scan(base('run', { dataset: data, maps: false }), {
    onProgress: (event) => event.type === 'image' && event.reason && told.push(event.image),
  });
  expect(summary).toMatchObject({ complete: true, scored: 4, skipped: 4, unetCalls: 32 });
  const skipped = readFileSync(join(folder, 'run', 'skipped.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { image: string; label: string; reason: string });
  expect(skipped.map(({ image, label }) => `${label} ${image}`)).toEqual([
    '1920 1920/0-cut.png',
    '1920 1920/no-image.jpg',
    '1920 1920/tiny.png',
    '1950 1950/a-empty.png',
  ]);
  expect(skipped.map(({ reason }) => reason)).toEqual([
    expect.stringMatching(/^cannot be read: (?!Unknown)/), // the name is beside it
    expect.stringMatching(/^cannot be read: (?!Unknown)/),
    expect.stringContaining('smaller than the patch'),
    expect.stringContaining('empty'),
  ]);
  expect(told.sort()).toEqual(skipped.map(({ image }) => image).sort());
  expect(existsSync(join(folder, 'run', 'shards', '00000', 'maps.safetensors'))).toBe(false);
  const all = await imageRows('run');
  const alone = dataset(2, undefined, 'clean');
  await scan(base('alone', { dataset: alone }));
  const clean = await imageRows('alone');
  expect(clean.map(({ image }) => image)).toEqual(all.map(({ image }) => image));
  clean.forEach((row, i) => expect(Math.abs(row.typicality - (all[i]?.typicality ?? NaN))).toBeLessThan(5e-6));
});

test('only unreadable images: a finished run with nothing in it', async () => {
  const data = join(folder, 'data');
  mkdirSync(join(data, 'x'), { recursive: true });
  writeFileSync(join(data, 'x', 'a.png'), 'x');
  expect(await scan(base('run', { dataset: data }))).toMatchObject({
    complete: true,
    scored: 0,
    skipped: 1,
    unetCalls: 0,
  });
  expect(await imageRows('run')).toEqual([]);
});

test('a cancelled scan keeps its finished shards, and resumes to the same bytes', async () => {
  await scan(base('whole'));
  const abort = new AbortController();
  await expect(
    scan(base('run'), {
      signal: abort.signal,
      onProgress: (event) => event.type === 'shard' && event.done === 2 && abort.abort(),
    }),
  ).rejects.toMatchObject({ code: 'CANCELLED', exitCode: 130 });
  expect(await (await Run.open(join(folder, 'run'))).doneShards()).toEqual([0, 1]);
  expect(await scan(base('run'))).toMatchObject({
    complete: true,
    resumed: true,
    shards: { total: 3, done: 3, here: 1 },
    unetCalls: 16,
  });
  expect(resultBytes(join(folder, 'run'), ['shards', 'skipped.jsonl'])).toEqual(
    resultBytes(join(folder, 'whole'), ['shards', 'skipped.jsonl']),
  );

  const inside = new AbortController();
  const cancelled = scan(base('inside', { samples: 400 }), {
    signal: inside.signal,
    onProgress: (event) => event.type === 'unetCalls' && inside.abort(),
  });
  await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(await (await Run.open(join(folder, 'inside'))).doneShards()).toEqual([]);
  const before = new AbortController();
  before.abort();
  await expect(scan(base('before'), { signal: before.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
});

test('batch sizes and shard sizes change scores by rounding only, and no picks', async () => {
  await scan(base('a', { batch: 2, shardSize: 64 }));
  await scan(base('b', { batch: 64, shardSize: 64 }));
  await scan(base('c', { batch: 8, shardSize: 1 }));
  const [a, b, c] = [await patches('a'), await patches('b'), await patches('c')];
  for (const other of [b, c]) {
    expect(other.map(({ image, list, place, row, column }) => [image, list, place, row, column])).toEqual(
      a.map(({ image, list, place, row, column }) => [image, list, place, row, column]),
    );
    a.forEach(({ typicality }, i) => expect(Math.abs(typicality - (other[i]?.typicality ?? NaN))).toBeLessThan(5e-6));
  }
});

test.each([
  ['several labels', {}, 'others'],
  ['two of them', { labels: ['1920', '1980'] }, 'others'],
  ['a single label', { labels: ['1920'] }, 'null'],
  ["a preset of the paper's", { preset: 'cars' }, 'null'],
  ['a localization', { localize: 'own' }, 'null'],
] as const)('contrasts %s by default', async (_, options, against) => {
  const { draft } = await resolveOptions({ ...base('run'), ...options }, '0');
  expect(draft.options.against).toBe(against);
});

test('images with several labels are contrasted with the null condition by default', async () => {
  writeFileSync(
    join(folder, 'labels.jsonl'),
    ['a', 'b']
      .map((name, i) => JSON.stringify({ image: `${name}.png`, label: i ? ['1920', '1950'] : '1920' }))
      .join('\n'),
  );
  for (const name of ['a', 'b'])
    await sharp({ create: { width: 32, height: 32, channels: 3, background: name === 'a' ? 'red' : 'blue' } }).toFile(
      join(folder, `${name}.png`),
    );
  const { draft } = await resolveOptions(base('run', { dataset: join(folder, 'labels.jsonl') }), '0');
  expect(draft.options.against).toBe('null');
});

test('against the others is the mean of the differences of what is against null', async () => {
  await scan(base('null', { allLabels: true, against: 'null' }));
  await scan(base('own', { against: 'null' }));
  await scan(base('others', { against: 'others', othersPerSample: 'all' }));
  await scan(base('rival', { against: '1950' }));
  const all = await imageRows('null');
  expect(all).toHaveLength(36);
  const of = (list: ImageRow[], image: string, condition: string): number =>
    list.find((row) => row.image === image && row.condition === condition)?.typicality ?? NaN;
  for (const { image, label, typicality } of await imageRows('own'))
    expect(Math.abs(typicality - of(all, image, label))).toBeLessThan(5e-6);
  for (const { image, label, typicality } of await imageRows('others')) {
    const others = ['1920', '1950', '1980']
      .filter((name) => name !== label)
      .map((name) => of(all, image, label) - of(all, image, name));
    expect(Math.abs(typicality - (others[0]! + others[1]!) / 2)).toBeLessThan(5e-6);
  }
  const rival = await imageRows('rival');
  expect(new Set(rival.map(({ label }) => label))).toEqual(new Set(['1920', '1980']));
  for (const { image, label, typicality } of rival)
    expect(Math.abs(typicality - (of(all, image, label) - of(all, image, '1950')))).toBeLessThan(5e-6);
  expect((await Run.open(join(folder, 'rival'))).manifest.conditions).toEqual(['1920', '1980']);
});

test('others that take turns: two calls a sample, in expectation the mean of all', async () => {
  // Every noise and timestep twice in a row: both other labels have their turn with each.
  const noises = Float32Array.from({ length: 6 * 4 * 64 }, (_, i) => {
    const [sample, place] = [Math.floor(i / 256), i % 256];
    return Math.SQRT2 * Math.sin(1 + 7.3 * Math.floor(sample / 2) + 2.399 * place * (1 + Math.floor(sample / 2)));
  });
  const replay = join(folder, 'replay.safetensors');
  writeSafetensors(replay, {
    noises: { dtype: 'F32', shape: [6, 4, 8, 8], data: new Uint8Array(noises.buffer) },
    timesteps: {
      dtype: 'I64',
      shape: [6],
      data: new Uint8Array(BigInt64Array.from([150n, 150n, 420n, 420n, 650n, 650n]).buffer),
    },
  });
  // one shape for all noises
  const square = join(folder, 'square');
  for (const label of ['1920', '1950', '1980']) {
    mkdirSync(join(square, label), { recursive: true });
    for (const i of [0, 2]) copyFileSync(join(IMAGES, label, `${label}_${i}.png`), join(square, label, `${i}.png`));
  }
  const more = { dataset: square, against: 'others', samples: 6, replay };
  expect(await scan(base('all', { ...more, othersPerSample: 'all' }))).toMatchObject({ unetCalls: 6 * 6 * 3 });
  expect(await scan(base('turns', more))).toMatchObject({ unetCalls: 6 * 6 * 2 });
  const [all, turns] = [await patches('all'), await patches('turns')];
  expect(turns.map(({ list, row, column }) => [list, row, column])).toEqual(
    all.map(({ list, row, column }) => [list, row, column]),
  );
  const size = Math.max(...all.map(({ typicality }) => Math.abs(typicality)));
  expect(size).toBeGreaterThan(1e-4);
  turns.forEach(({ typicality }, i) => expect(Math.abs(typicality - (all[i]?.typicality ?? NaN))).toBeLessThan(2e-6));
  expect((await Run.open(join(folder, 'turns'))).manifest.options.othersPerSample).toBe(1);
  await expect(scan(base('turns', { ...more, othersPerSample: 'all' }))).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('others-per-sample') as string,
  });
});

test('`loss` is recorded if it is not the squared one, decides the scores, and is part of what a run is', async () => {
  const few: Partial<ScanOptions> = { samples: 4, limit: 4 };
  for (const loss of ['squared', 'absolute', 'huber'] as const) await scan(base(`loss-${loss}`, { ...few, loss }));
  const [squared, absolute, huber] = await Promise.all(
    ['squared', 'absolute', 'huber'].map(async (loss) => {
      const { options } = (await Run.open(join(folder, `loss-${loss}`))).manifest;
      expect(options.loss).toBe(loss === 'squared' ? undefined : loss);
      return (await imageRows(`loss-${loss}`)).map(({ typicality }) => typicality);
    }),
  );
  // 0.2 (sqrt(d^2 + 0.01) - 0.1) grows more slowly than d^2 and than 0.2 |d|
  const size = (all: number[] = []): number => all.reduce((sum, x) => sum + Math.abs(x), 0);
  expect(size(huber)).toBeLessThan(size(squared));
  expect(absolute).not.toEqual(squared);
  await expect(scan(base('loss-huber', few))).rejects.toMatchObject({ code: 'RUN_MISMATCH' });
});

test('a pilot weights samples and chooses timesteps; what resumes takes its numbers from the manifest', async () => {
  const told: string[] = [];
  const hooks = { onLog: (sentence: string) => void told.push(sentence) };
  const small = join(folder, 'small');
  for (const label of ['1920', '1950', '1980']) {
    mkdirSync(join(small, label), { recursive: true });
    copyFileSync(join(IMAGES, label, `${label}_0.png`), join(small, label, '0.png'));
  }
  const more: Partial<ScanOptions> = {
    dataset: small,
    tRange: 'auto',
    tWeights: 'inverse',
    against: 'others',
    samples: 8,
    shardSize: 2,
  };
  await scan(base('run', more), hooks);
  const { pilot, options } = (await Run.open(join(folder, 'run'))).manifest;
  expect(told.filter((sentence) => sentence.includes('pilot'))).toEqual([
    `Measured 3 images with 240 UNet calls as a pilot. \`tRange\` auto takes timesteps ${options.tBegin} to ${options.tEnd - 1}.`,
  ]);
  expect(pilot).toMatchObject({ images: 3, unetCalls: 240, patch: 16 });
  expect(pilot?.timesteps).toEqual(Array.from({ length: 20 }, (_, i) => 25 + 50 * i));
  expect(pilot?.noise).toHaveLength(20);
  expect(Math.min(...(pilot?.noise ?? []))).toBeGreaterThan(0);
  expect(options.tEnd - options.tBegin).toBeGreaterThanOrEqual(50);
  expect(options.tWeights).toBe('inverse');

  told.length = 0;
  expect(await scan(base('run', more), hooks)).toMatchObject({ resumed: true, unetCalls: 0 });
  expect(told.join()).not.toContain('pilot');
  // parts share one pilot, and give the same bytes
  await scan(base('parts', { ...more, shard: { index: 0, count: 2 } }), hooks);
  await scan(base('parts', { ...more, shard: { index: 1, count: 2 } }), hooks);
  expect(told.filter((sentence) => sentence.includes('pilot'))).toHaveLength(1);
  expect(resultBytes(join(folder, 'parts'), ['shards', 'skipped.jsonl'])).toEqual(
    resultBytes(join(folder, 'run'), ['shards', 'skipped.jsonl']),
  );
  const range = [options.tBegin / 1000, options.tEnd / 1000] as const;
  await scan(base('plain', { ...more, tWeights: 'none', tRange: range }));
  const [weighted, plain] = [await imageRows('run'), await imageRows('plain')];
  expect(weighted.map(({ typicality }) => typicality)).not.toEqual(plain.map(({ typicality }) => typicality));
  await expect(scan(base('plain', more))).rejects.toMatchObject({ code: 'RUN_MISMATCH' });
  await expect(
    scan(base('replayed', { tRange: 'auto', replay: join(GOLDEN, 'common-golden', 'golden.safetensors') })),
  ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('a class model scores the labels it knows, and stops before work begins at others', async () => {
  await expect(
    scan(base('run', { model: CLASS_MODEL, prompt: undefined, nullPrompt: undefined, size: 16, patch: 4 })),
  ).rejects.toMatchObject({
    code: 'DATASET_INVALID',
    message: expect.stringContaining('1920'),
  });
  expect(existsSync(join(folder, 'run'))).toBe(false);
  const { id2label } = JSON.parse(readFileSync(join(CLASS_MODEL, 'model_index.json'), 'utf8')) as {
    id2label: Record<string, string>;
  };
  const data = join(folder, 'labels');
  const names = Object.values(id2label).slice(0, 2);
  names.forEach((name, i) =>
    cpSync(join(IMAGES, ['1920', '1950'][i] as string), join(data, name), { recursive: true }),
  );
  const summary = await scan(base('classes', { model: CLASS_MODEL, dataset: data, size: 16, patch: 4 }));
  expect(summary).toMatchObject({ complete: true, scored: 8, labels: [...names].sort() });
  const manifest = (await Run.open(join(folder, 'classes'))).manifest;
  expect(manifest.options).toMatchObject({ prompt: null, nullPrompt: null });
  const [map] = Object.values(readSafetensors(join(folder, 'classes', 'shards', '00000', 'maps.safetensors')));
  const [first] = await imageRows('classes');
  expect(map?.shape).toEqual([first?.height, first?.width]); // folded: as fine as the image
});

test('further columns of a table are carried into the images table', async () => {
  const data = dataset(1);
  writeFileSync(
    join(data, 'table.csv'),
    'image,label,photographer,width\n1920/0.png,1920,"O\'Neill, J.",wide\n1950/0.png,1950,,\n',
  );
  await scan(base('run', { dataset: join(data, 'table.csv') }));
  const target = join(folder, 'images.json');
  expect(await exportTable({ run: join(folder, 'run'), table: 'images', format: 'json', out: target })).toBe(2);
  const exported = JSON.parse(readFileSync(target, 'utf8')) as Record<string, unknown>[];
  expect(exported[0]).toMatchObject({ image: '1920/0.png', photographer: "O'Neill, J.", input_width: 'wide' });
  expect(typeof exported[0]?.['width']).toBe('number');
});

test('options that cannot be are refused before anything is written', async () => {
  const refused: [Partial<ScanOptions>, string][] = [
    [{ samples: 0 }, 'INVALID_ARGUMENT'],
    [{ seed: -1 }, 'INVALID_ARGUMENT'],
    [{ seed: 2 ** 53 }, 'INVALID_ARGUMENT'],
    [{ tRange: [0.7, 0.1] }, 'INVALID_ARGUMENT'],
    [{ size: 32, patch: 64 }, 'INVALID_ARGUMENT'],
    [{ prompt: 'A {decade}' }, 'INVALID_ARGUMENT'],
    [{ nullPrompt: 'A {label}.' }, 'INVALID_ARGUMENT'],
    [{ preset: 'cats' as 'cars' }, 'INVALID_ARGUMENT'],
    [{ against: '1900' }, 'INVALID_ARGUMENT'],
    [{ against: 'null', othersPerSample: 2 }, 'INVALID_ARGUMENT'],
    [{ against: 'others', othersPerSample: 0 }, 'INVALID_ARGUMENT'],
    [{ device: 'tpu' }, 'INVALID_ARGUMENT'],
    [{ model: join(folder, 'none') }, 'MODEL_INVALID'],
    [{ dataset: join(folder, 'none') }, 'DATASET_INVALID'],
  ];
  for (const [option, code] of refused) await expect(scan(base('run', option))).rejects.toMatchObject({ code });
  expect(existsSync(join(folder, 'run'))).toBe(false);
});

test('warns about suspicious prompts', async () => {
  const log: string[] = [];
  const long = Array(80).fill('car').join(' ');
  await resolveOptions(base('run', { prompt: 'A car.', nullPrompt: long, against: 'null' }), '0', {
    onLog: (line) => void log.push(line),
  });
  expect(log).toEqual([
    'The prompt is the same for every label: "A car." has no {label}.',
    `The model sees only the first 75 tokens of the prompt "${long}".`,
  ]);
});

/** An engine with little memory: it cannot take more than `most` rows at once. */
class SmallEngine extends Engine {
  readonly asked: number[] = [];
  constructor(private readonly most: number) {
    super({ device: 'cpu', dtype: 'fp32', threads: 1 });
  }
  override async scoreTypicality(
    conditions: Conditions,
    input: TypicalityInput,
    settings: TypicalityOptions,
    options?: CallOptions,
  ): Promise<TypicalityResult> {
    this.asked.push(settings.batch);
    if (settings.batch > this.most && this.asked.length > 1)
      throw new DiffmineError('OUT_OF_MEMORY', 'The device has no memory left.');
    return super.scoreTypicality(conditions, input, settings, options);
  }
}

test.each([3, 1])(
  'where memory runs out the shard is scored again with half the batch, which it notes (room for %i rows)',
  async (most) => {
    const options = base('run', { batch: 16, shardSize: 64, maps: false });
    const resolved = await resolveOptions(options, '0');
    const run = await Run.begin(options.out, resolved.draft, resolved.images);
    const engine = new SmallEngine(most);
    const counted = { unetCalls: 0, images: 0 };
    try {
      await engine.loadModel(resolved.model.source);
      const stage = stageOf(run, resolved);
      const workOn = await stage.prepare(engine, {});
      const meter = {
        add: (n: number) => void (counted.unetCalls += n),
        drop: () => undefined,
        image: () => void (counted.images += 1),
        uncount: (n: number) => void (counted.images -= n),
        time: () => undefined,
        shard: () => undefined,
      };
      const work = doShard(stage, workOn, { shard: 0 }, meter, {});
      if (most < 2) {
        // not even one sample under both conditions fits
        await expect(work).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
        expect(await run.doneShards()).toEqual([]);
        return;
      }
      await work;
    } finally {
      await engine.dispose();
    }
    expect([...new Set(engine.asked)]).toEqual([16, 8, 4, 2]);
    expect(await run.readShard(0)).toEqual({
      id: 0,
      images: 12,
      skipped: 0,
      batch: 2,
      notes: [16, 8, 4].map((batch) => `Out of memory at batch ${batch}: restarted with batch ${batch / 2}.`),
    });
    expect(counted).toEqual({ unetCalls: 12 * 4 * 2, images: 12 });
    await scan(base('small', { batch: 2, shardSize: 64, maps: false }));
    expect(await patches('run')).toEqual(await patches('small'));
  },
);
