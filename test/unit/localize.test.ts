// Localization with the tiny models, in process: which maps are made, against what, what they are worth, resuming, and input that cannot be meant.
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { localize } from '../../src/stages/localize/localize.js';
import { edgeOf } from '../../src/stages/localize/marks.js';
import { gaussian } from '../../src/stages/localize/heat.js';
import type { LocalizeOptions } from '../../src/stages/localize/options.js';
import { readLocalization, type LocalizationRecord } from '../../src/stages/localize/record.js';
import { paperAucPr } from '../../src/metrics/paper.js';
import { mine } from '../../src/stages/mine/mine.js';
import { fromFloat32, readSafetensors, toFloat32, Engine, type Tensor } from '../../src/engine/index.js';
import { Run } from '../../src/runs/run.js';
import { planSingles, type ContrastOptions } from '../../src/stages/scan/contrasts.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const TEXT_MODEL = join(GOLDEN, 'tiny-sd15');
const CLASS_MODEL = join(GOLDEN, 'tiny-fold');
const folder = temporaryFolder();
const at = (...names: string[]): string => join(folder, ...names);

/** A table of the golden images: [image, label]. */
function table(name: string, rows: readonly (readonly [string, string])[]): string {
  const root = at('data');
  if (!existsSync(root)) cpSync(join(GOLDEN, 'mini-dataset'), root, { recursive: true });
  writeFileSync(join(root, name), ['image,label', ...rows.map((row) => row.join(','))].join('\n'));
  return join(root, name);
}
const image = (decade: number, n: number): string => `${decade}/${decade}_${n}.png`;

/** Two labels, one of them with a second one on an image. Images are 64 x 64, or 80 x 64 where n is odd. */
const dataset = table('labels.csv', [
  [image(1920, 0), 'class0'],
  [image(1920, 1), 'class0|class1'],
  [image(1920, 2), 'class1'],
  [image(1950, 0), 'class1'],
  [image(1950, 2), 'class0'],
]);
const boxes = at('data', 'boxes.csv');
writeFileSync(
  boxes,
  [
    'image,label,x,y,w,h',
    `${image(1920, 0)},class0,8,10,20,16`,
    `${image(1920, 1)},class0,40,20,30,30`,
    `${image(1920, 1)},class1,0,0,16,16`,
    `${image(1920, 2)},class1,30,30,20,20`,
    `elsewhere/1.png,class1,0,0,9,9`,
  ].join('\n'),
);

const base = (out: string, more: Partial<LocalizeOptions> = {}): LocalizeOptions => ({
  dataset,
  model: CLASS_MODEL,
  out: at(out),
  size: 'source',
  samples: 2,
  batch: 8,
  device: 'cpu',
  dtype: 'fp32',
  shardSize: 2,
  threads: 1,
  bootstrap: 20,
  ...more,
});
async function record(out: string): Promise<LocalizationRecord> {
  return (await readLocalization(await Run.open(at(out)))) as LocalizationRecord;
}
async function maps(out: string): Promise<Record<string, Tensor>> {
  const run = await Run.open(at(out));
  return Object.assign(
    {},
    ...(await run.doneShards()).map((shard) => readSafetensors(run.shardFile(shard, 'maps.safetensors'))),
  ) as Record<string, Tensor>;
}

describe('which labels', () => {
  const labels = ['a', 'b', 'c'];
  const given = ['a', 'b|a', 'c'];
  const against = (name: string): ContrastOptions => ({ against: name, othersPerSample: 1, samples: 4, seed: 0 });
  test('own: each image under its single labels', () => {
    const plan = planSingles(labels, against('null'), 'own', given);
    expect(plan).toMatchObject({ scored: labels, fanOut: 3 });
    expect(plan.of('b|a')).toEqual({
      conditions: [1, 0, 3],
      calls: 3,
      subjects: [0, 1],
      weights: [
        [0, 0, 1],
        [0, 0, 1],
      ],
      names: ['b', 'a'],
    });
    expect(plan.of('c')).toEqual({ conditions: [2, 3], calls: 2, subjects: [0], weights: [[0, 1]], names: ['c'] });
  });
  test('against a label: it is not scored, and images with nothing else are left out', () => {
    const plan = planSingles(labels, against('a'), 'own', given);
    expect(plan).toMatchObject({ scored: ['b', 'c'], fanOut: 2 });
    expect(plan.of('b|a')).toEqual({ conditions: [1, 0], calls: 2, subjects: [0], weights: [[0, 1]], names: ['b'] });
    expect(plan.of('a')).toBeUndefined();
  });
  test('against the others, and named labels', () => {
    expect(planSingles(labels, against('others'), 'own', given).of('b|a')).toEqual({
      conditions: [0, 1, 2],
      calls: 3,
      subjects: [1, 0],
      weights: [
        [0.5, 0, 0.5],
        [0, 0.5, 0.5],
      ],
      names: ['b', 'a'],
    });
    const plan = planSingles(labels, against('null'), ['c'], given);
    expect(plan.scored).toEqual(['c']);
    for (const label of given) expect(plan.of(label)?.names).toEqual(['c']);
  });
});

test("the Gaussian is the paper's at 512 px, in proportion elsewhere, and reaches no farther than the image", () => {
  expect(gaussian(1 / 16, 512, 640)).toEqual({ sigma: 32, kernel: 127 });
  expect(gaussian(1 / 16, 64, 64)).toEqual({ sigma: 4, kernel: 15 });
  expect(gaussian(12, 512, 512)).toEqual({ sigma: 12, kernel: 47 });
  expect(gaussian(0.9, 10, 20)).toEqual({ sigma: 9, kernel: 19 });
  expect(gaussian(0, 64, 64)).toBeUndefined();
});

test('the edge of a mask: its straight runs', () => {
  const mask = Uint8Array.of(0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0);
  expect(edgeOf(mask, 4, 3)).toBe('M1 1h2M2 2h1M1 3h1M1 1v2M2 2v1M3 1v1');
  expect(edgeOf(new Uint8Array(4), 2, 2)).toBe('');
});

test('maps, figures and files of a model and its baseline', async () => {
  const summary = await localize(base('run', { boxes, baseline: 'untrained' }));
  // 4 images with one label and one with two, each label beside the null condition
  expect(summary.scan).toMatchObject({ complete: true, scored: 5, skipped: 0, unetCalls: 2 * (4 * 2 + 3), patch: 0 });
  expect(summary.baseline).toMatchObject({ complete: true, scored: 5 });
  const found = await record('run');
  expect(found).toMatchObject({
    boxes: { marks: 5, used: 4 },
    baseline: { untrained: true },
    options: { against: 'null', blur: 1 / 16, bootstrap: 20, seed: 0 },
  });
  expect(found.notes).toEqual(['1 of 5 boxes or masks belong to images that are not in the run.']);
  expect(found.labels.map(({ label, images, marked }) => [label, images, marked])).toEqual([
    ['class0', 3, 2],
    ['class1', 3, 2],
  ]);
  expect(
    found.images.map(({ label, maps: own }) => [label, own.map((map) => [map.label, map.fraction !== null])]),
  ).toEqual([
    ['class0', [['class0', true]]],
    [
      'class0|class1',
      [
        ['class0', true],
        ['class1', true],
      ],
    ],
    ['class1', [['class1', true]]],
    ['class1', [['class1', false]]],
    ['class0', [['class0', false]]],
  ]);

  // raw maps: single precision, of every single label
  const raw = await maps('run');
  expect(Object.keys(raw).sort()).toEqual([
    'class0/1920/1920_0.png',
    'class0/1920/1920_1.png',
    'class0/1950/1950_2.png',
    'class1/1920/1920_1.png',
    'class1/1920/1920_2.png',
    'class1/1950/1950_0.png',
  ]);
  for (const [name, map] of Object.entries(raw))
    expect([map.dtype, map.shape]).toEqual(['F32', [64, name.includes('_1') ? 80 : 64]]);
  expect(Object.keys(await maps('run/baseline'))).toEqual(Object.keys(raw));

  // figures follow from the maps: of pixel models these are the unblurred ones
  const multi = found.images[1]?.maps[1];
  const truth = Uint8Array.from({ length: 80 * 64 }, (_, i) => (i % 80 < 16 && i < 16 * 80 ? 1 : 0));
  expect(multi?.fraction).toBe(256 / (80 * 64));
  expect(multi?.model.figures?.paperAucPr).toBeCloseTo(
    paperAucPr({ scores: toFloat32(raw['class1/1920/1920_1.png'] as Tensor), truth }) as number,
    12,
  );
  for (const label of found.labels) {
    const own = found.images.flatMap((one) => one.maps.filter((map) => map.label === label.label));
    for (const part of ['model', 'baseline'] as const) {
      for (const name of ['paperAucPr', 'pointing', 'bestIou'] as const) {
        const values = own.flatMap((map) => map[part]?.figures?.[name] ?? []);
        expect(label[part]?.[name].value).toBeCloseTo(values.reduce((a, b) => a + b, 0) / values.length, 12);
      }
      expect(label[part]?.averagePrecision.value).toBeGreaterThan(0);
      expect(label[part]?.averagePrecision.low).toBeLessThanOrEqual(label[part]?.averagePrecision.high ?? NaN);
    }
    expect(label.difference?.bestIou.value).toBeCloseTo(
      (label.model?.bestIou.value ?? NaN) - (label.baseline?.bestIou.value ?? NaN),
      12,
    );
  }
  expect(found.mean.model?.bestIou.value).toBeCloseTo(
    ((found.labels[0]?.model?.bestIou.value ?? NaN) + (found.labels[1]?.model?.bestIou.value ?? NaN)) / 2,
    12,
  );

  // overlays, which the page and localize.json name
  for (const one of found.images) {
    for (const map of one.maps) {
      for (const part of [map.model, map.baseline]) {
        const { width, height, format } = await sharp(at('run', 'localize', part?.overlay as string)).metadata();
        expect([format, width, height]).toEqual([
          'png',
          one.width * (one.width === 80 ? 3 : 4),
          one.height * (one.width === 80 ? 3 : 4),
        ]);
      }
    }
  }
  const data = readFileSync(at('run', 'localize', 'data.js'), 'utf8');
  expect(data.startsWith('diffmine.localized({')).toBe(true);
  expect(data).toContain('M8 10h20'); // the first box's edge
  expect(readdirSync(at('run', 'localize')).sort()).toEqual([
    'baseline',
    'data.js',
    'figures.css',
    'figures.js',
    'images',
    'index.html',
    'localize.json',
    'look.css',
    'overlays',
    'page.css',
    'page.js',
    'settings.js',
    'tools.js',
  ]);

  // the same command scores nothing again, other options of the figures do not either, other options of the maps are refused
  const shards = statSync(at('run', 'shards', '00000')).mtimeMs;
  const again = await localize(base('run', { boxes, baseline: 'untrained', blur: 0, bootstrap: 0, overlays: 1 }));
  expect([again.scan.unetCalls, again.baseline?.unetCalls, statSync(at('run', 'shards', '00000')).mtimeMs]).toEqual([
    0,
    0,
    shards,
  ]);
  expect(again.result?.labels[0]?.model?.paperAucPr).toEqual({
    value: found.labels[0]?.model?.paperAucPr.value,
    low: null,
    high: null,
  });
  expect(again.result?.labels[0]?.model?.averagePrecision.value).not.toBe(
    found.labels[0]?.model?.averagePrecision.value,
  );
  expect(readdirSync(at('run', 'localize', 'overlays')).sort()).toEqual(['1-0.png', '2-1.png']);
  await expect(localize(base('run', { samples: 3 }))).rejects.toMatchObject({ code: 'RUN_MISMATCH' });
  await expect(localize(base('run', { labels: 'all' }))).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('localize') as string,
  });
  await expect(localize(base('run', { against: 'others' }))).rejects.toMatchObject({ code: 'RUN_MISMATCH' });
  await expect(mine({ run: at('run') })).rejects.toMatchObject({ code: 'RUN_INVALID' });
});

test('against the null condition, another label, or the others: differences of the same losses', async () => {
  await localize(base('null', { labels: 'all', bootstrap: 0, overlays: 0 }));
  await localize(base('rival', { labels: ['class0', 'class2'], against: 'class1', bootstrap: 0, overlays: 0 }));
  await localize(
    base('others', { labels: ['class0'], against: 'others', othersPerSample: 'all', bootstrap: 0, overlays: 0 }),
  );
  const [null_, rival, others] = [await maps('null'), await maps('rival'), await maps('others')];
  expect(Object.keys(null_)).toHaveLength(15); // every image under every label of the model
  expect((await record('null')).labels.map(({ label }) => label)).toEqual(['class0', 'class1', 'class2']);
  expect((await record('rival')).labels.map(({ label, model }) => [label, model])).toEqual([
    ['class0', null],
    ['class2', null],
  ]);
  for (const name of [image(1920, 0), image(1920, 1)]) {
    const [zero, one, two] = ['class0', 'class1', 'class2'].map((label) =>
      toFloat32(null_[`${label}/${name}`] as Tensor),
    );
    const versusOne = toFloat32(rival[`class0/${name}`] as Tensor);
    const versusAll = toFloat32(others[`class0/${name}`] as Tensor);
    let [worst, worstAll, size] = [0, 0, 0];
    versusOne.forEach((value, i) => {
      const [a, b, c] = [zero?.[i] as number, one?.[i] as number, two?.[i] as number];
      worst = Math.max(worst, Math.abs(value - (a - b)));
      worstAll = Math.max(worstAll, Math.abs((versusAll[i] as number) - (a - (b + c) / 2)));
      size = Math.max(size, Math.abs(value));
    });
    expect(size).toBeGreaterThan(1e-4);
    expect(worst).toBeLessThan(1e-3 * size + 2e-5);
    expect(worstAll).toBeLessThan(1e-3 * size + 2e-5);
  }
});

test('a text model, whose maps are latent: heat maps are upsampled and blurred by the engine', async () => {
  const words = table('words.csv', [
    [image(1920, 0), '1920'],
    [image(1950, 1), '1950'],
    [image(1980, 2), '1980'],
  ]);
  const summary = await localize(
    base('text', {
      dataset: words,
      model: TEXT_MODEL,
      labels: ['1950'],
      against: 'no finding',
      prompt: 'A car from the {label}s.',
      nullPrompt: 'A car.',
    }),
  );
  expect(summary.result?.labels).toEqual([
    expect.objectContaining({ label: '1950', images: 3, marked: 0, model: null }),
  ]);
  const raw = (await maps('text'))[`1950/${image(1950, 1)}`] as Tensor;
  expect(raw.shape).toEqual([8, 10]);
  const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
  try {
    const heat = toFloat32(
      await engine.heatMaps(fromFloat32([1, 8, 10], toFloat32(raw)), { height: 64, width: 80, kernel: 15, sigma: 4 }),
    );
    expect(heat).toHaveLength(64 * 80);
    const mean = (values: Float32Array): number => values.reduce((a, b) => a + b, 0) / values.length;
    expect(Math.abs(mean(heat) - mean(toFloat32(raw)))).toBeLessThan(0.1 * Math.max(...toFloat32(raw).map(Math.abs)));
  } finally {
    await engine.dispose();
  }
});

test('masks in place of boxes, and images that cannot be read', async () => {
  const rows = [
    [image(1920, 0), 'class0'],
    [image(1920, 2), 'class0'],
    ['broken.png', 'class0'],
  ] as const;
  const data = table('masked.csv', rows);
  writeFileSync(at('data', 'broken.png'), 'x');
  mkdirSync(at('masks', '1920'), { recursive: true });
  const pixels = Buffer.from({ length: 64 * 64 } as ArrayLike<number>);
  for (let i = 0; i < 64 * 64; i++) pixels[i] = i % 64 < 32 ? 255 : 0;
  await sharp(pixels, { raw: { width: 64, height: 64, channels: 1 } })
    .png()
    .toFile(at('masks', '1920', '1920_0.png'));
  const summary = await localize(base('masked', { dataset: data, boxes: at('masks') }));
  expect(summary.scan).toMatchObject({ scored: 2, skipped: 1 });
  expect(readFileSync(at('masked', 'skipped.jsonl'), 'utf8')).toContain('broken.png');
  expect(summary.result?.labels).toEqual([
    expect.objectContaining({ label: 'class0', images: 2, marked: 1, fraction: 0.5 }),
  ]);
  expect((await record('masked')).images.map(({ image, maps: own }) => [image, own[0]?.fraction])).toEqual([
    [image(1920, 0), 0.5],
    [image(1920, 2), null],
  ]);

  // a mask of other proportions: the maps are kept, and the corrected command resumes from them
  await sharp({ create: { width: 90, height: 64, channels: 3, background: 'white' } })
    .png()
    .toFile(at('masks', '1920', '1920_2.png'));
  await expect(localize(base('masked', { dataset: data, boxes: at('masks') }))).rejects.toMatchObject({
    code: 'DATASET_INVALID',
  });
  await sharp({ create: { width: 128, height: 128, channels: 3, background: 'white' } })
    .png()
    .toFile(at('masks', '1920', '1920_2.png'));
  const mended = await localize(base('masked', { dataset: data, boxes: at('masks') }));
  expect(mended.scan.unetCalls).toBe(0);
  expect(mended.result?.labels[0]).toMatchObject({ marked: 2, fraction: 0.75 });
});

test('a cancelled localization keeps its finished shards, and resumes', async () => {
  const abort = new AbortController();
  await expect(
    localize(base('cut', { boxes }), {
      signal: abort.signal,
      onProgress: (event) => 'of' in event && event.type === 'shard' && event.done === 1 && abort.abort(),
    }),
  ).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(await (await Run.open(at('cut'))).doneShards()).toEqual([0]);
  const drawing = new AbortController();
  await expect(
    localize(base('cut', { boxes }), {
      signal: drawing.signal,
      onProgress: (event) => event.type === 'draw' && drawing.abort(),
    }),
  ).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(readdirSync(at('cut')).sort()).toEqual(['index.parquet', 'locks', 'manifest.json', 'shards', 'skipped.jsonl']);
  const done = await localize(base('cut', { boxes }));
  expect(done.scan).toMatchObject({ resumed: true, unetCalls: 0 });
  expect(done.result?.labels.map(({ marked }) => marked)).toEqual([2, 2]);
  // a part of the shards alone has no figures yet
  const part = await localize(base('part', { boxes, shard: { index: 0, count: 2 } }));
  expect(part).toMatchObject({ scan: { complete: false }, result: null, page: null });
});

test('what cannot be meant is refused before any work', async () => {
  const file = (name: string, text: string): string => {
    writeFileSync(at('data', name), text);
    return at('data', name);
  };
  const coco = (name: string, size: { width: number; height: number }): string =>
    file(
      `coco${size.width}.json`,
      JSON.stringify({
        images: [{ id: 1, file_name: name, ...size }],
        categories: [{ id: 1, name: 'class0' }],
        annotations: [{ image_id: 1, category_id: 1, bbox: [0, 0, 9, 9] }],
      }),
    );
  const strangers = at('data', 'strangers.csv');
  writeFileSync(strangers, 'image,x,y,w,h\nnobody.png,0,0,9,9\n');
  const wrongs: [Partial<LocalizeOptions>, string, string][] = [
    [{ boxes: strangers }, 'DATASET_INVALID', 'belongs to an image'],
    [{ boxes: at('data', 'gone.csv') }, 'DATASET_INVALID', 'gone.csv'],
    [
      { boxes: file('objects.csv', `image,label,x,y,w,h\n${image(1920, 0)},wheel,0,0,9,9\n`) },
      'DATASET_INVALID',
      'Labels of the boxes: wheel. Labels of the run: class0, class1.',
    ],
    [
      { boxes: file('outside.csv', `image,x,y,w,h\n${image(1920, 0)},900,0,9,9\n`) },
      'DATASET_INVALID',
      'covers a pixel',
    ],
    [
      { boxes: file('yolo.csv', `image,x,y,w,h\n${image(1920, 0)},0.1,0.2,0.3,0.3\n`) },
      'DATASET_INVALID',
      'normalized',
    ],
    [
      { boxes: coco('1920_1.png', { width: 64, height: 80 }) },
      'DATASET_INVALID',
      `64 x 80 px, the image ${image(1920, 1)} has 80 x 64`,
    ],
    [{ boxes: coco('1920_1.png', { width: 500, height: 80 }) }, 'DATASET_INVALID', '500 x 80'],
    [{ labels: ['class0', 'class9'] }, 'INVALID_ARGUMENT', 'class9'],
    [{ against: 'class9' }, 'INVALID_ARGUMENT', 'class9'],
    [{ labels: ['class1'], against: 'class1' }, 'INVALID_ARGUMENT', 'class1'],
    [{ baseline: at('gone') }, 'MODEL_INVALID', 'gone'],
    [{ blur: -1 }, 'INVALID_ARGUMENT', 'blur'],
    [{ bootstrap: 1.5 }, 'INVALID_ARGUMENT', 'bootstrap'],
    [{ overlays: -1 }, 'INVALID_ARGUMENT', 'overlays'],
  ];
  for (const [more, code, words] of wrongs) {
    await expect(localize(base('wrong', more))).rejects.toMatchObject({
      code,
      message: expect.stringContaining(words) as string,
    });
    expect(existsSync(at('wrong'))).toBe(false);
  }
});

test('only the images that are marked: a run of a dataset that has no others', async () => {
  const { scan, result } = await localize(base('marked', { boxes, onlyMarked: true, bootstrap: 0, overlays: 0 }));
  expect(scan).toMatchObject({ images: 3, scored: 3 });
  expect(result?.labels.map(({ label, images, marked }) => [label, images, marked])).toEqual([
    ['class0', 2, 2],
    ['class1', 2, 2],
  ]);
  await expect(localize(base('marked', { boxes }))).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('dataset: ') as string,
  });
  await expect(localize(base('unmarked', { onlyMarked: true }))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('notes name boxes of a label that is not mapped, and a label without boxes', async () => {
  const only = at('data', 'only.csv');
  writeFileSync(
    only,
    ['image,label,x,y,w,h', `${image(1920, 0)},class2,0,0,9,9`, `${image(1920, 0)},class0,0,0,9,9`].join('\n'),
  );
  const summary = await localize(base('told', { boxes: only, overlays: 0, bootstrap: 5 }));
  expect(summary.result?.notes).toEqual([
    'No metrics for class1: their images have no boxes or masks.',
    'No maps for labels that have boxes or masks: class2.',
  ]);
  expect(summary.result?.labels.map(({ model }) => model === null)).toEqual([false, true]);
  expect(summary.result?.mean.model?.averagePrecision.value).toBe(
    summary.result?.labels[0]?.model?.averagePrecision.value,
  );
});
