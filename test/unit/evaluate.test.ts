// A run evaluated: images with a vivid square each, maps that are high on it, and rankings that begin with it.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { evaluateText } from '../../src/cli/commands/evaluate.js';
import { evaluate } from '../../src/stages/evaluate/evaluate.js';
import type { EvaluateSummary } from '../../src/stages/evaluate/options.js';
import { MANIFEST, RUN, type Manifest } from '../../src/runs/manifest.js';
import { imageSchema } from '../../src/runs/columns.js';
import { writeTable } from '../../src/runs/tables.js';
import { completeManifest } from '../../src/runs/sharded-manifest.js';
import { temporaryFolder } from '../helpers/folders.js';
import { drawImages, writeSyntheticRun, type SyntheticImage } from '../helpers/synthetic-run.js';

const folder = temporaryFolder();
const LABELS = ['one', 'two'];
const SHARD = 4;
/** Without what reads the images (evaluate-controls.test.ts). */
const bare = { colorBaseline: false, gridImages: 0 } as const;
const at = (name: string): string => join(folder, name);
let images: SyntheticImage[];

/** A run of the images, with its images table. */
async function makeRun(name: string, options: { maps?: boolean } = {}): Promise<string> {
  await writeSyntheticRun(at(name), at('data'), images, {
    labels: LABELS,
    shardSize: SHARD,
    maps: options.maps ?? true,
  });
  for (let shard = 0; shard * SHARD < images.length; shard++) {
    const rows = images.slice(shard * SHARD, (shard + 1) * SHARD).map(({ path, label, width, height }) => ({
      image: path,
      label,
      condition: label,
      source_width: width,
      source_height: height,
      width,
      height,
      typicality: 0,
      samples: 100,
    }));
    await writeTable(join(at(name), 'shards', String(shard).padStart(5, '0'), 'images.parquet'), rows, imageSchema([]));
  }
  return at(name);
}

function boxFile(name: string, rows: string[], header = 'image,label,x,y,w,h,slot,kind,city'): string {
  writeFileSync(at(name), [header, ...rows, ''].join('\n'));
  return at(name);
}
const hot = ({ path, label, hot: { x, y, width, height } }: SyntheticImage, kind: string, city: string): string =>
  [path, label, x, y, width, height, 'square', kind, city].join(',');

beforeAll(async () => {
  images = await drawImages(at('data'), LABELS, (label) => [0, 1, 2, 3, 4].map((n) => `${LABELS[label]}/${n}.png`));
  await makeRun('run');
  boxFile('boxes.csv', [
    ...images.map((image, i) => hot(image, i % 2 ? 'odd' : 'even', image.label)),
    'elsewhere/0.png,one,0,0,9,9,square,odd,one',
  ]);
});

let summary: EvaluateSummary;
test('finds what is there', async () => {
  summary = await evaluate({ run: at('run'), boxes: at('boxes.csv'), bootstrap: 50, ...bare });
  expect(summary.boxes).toMatchObject({ rows: 11, used: 10 });
  expect(summary.labels.map(({ label }) => label)).toEqual(LABELS);
  for (const {
    images: count,
    boxes,
    fraction,
    averagePrecision,
    pointing,
    top,
    random,
    typicality,
    patches,
  } of summary.labels) {
    expect({ count, boxes, patches }).toEqual({ count: 5, boxes: 5, patches: 25 });
    expect(fraction).toBeCloseTo((32 * 32) / (192 * 128), 12);
    expect(averagePrecision.value).toBeGreaterThan(0.8);
    expect(pointing.value).toBe(1);
    // each image's best patch is its square: five squares among the first ten patches, at least
    expect(top[0]?.center.value).toBeGreaterThanOrEqual(0.5);
    expect(top[0]?.hit.value).toBeGreaterThanOrEqual(top[0]?.center.value as number);
    expect(random[0]?.hit.value).toBeLessThan(top[0]?.hit.value as number);
    expect(typicality.own).toBeGreaterThan(0.03);
    expect(typicality.rest).toBeLessThan(0.01);
    expect(typicality.others).toBeNull();
  }
  expect(summary.notes).toEqual([expect.stringContaining('fewer than k patches')]);
});

test('intervals contain the figure, and depend on the seed only', async () => {
  for (const { value, low, high } of [...summary.labels, summary.mean].flatMap(
    ({ averagePrecision, pointing, top }) => [averagePrecision, pointing, ...top.map(({ hit }) => hit)],
  )) {
    expect(low).toBeLessThanOrEqual(value as number);
    expect(high).toBeGreaterThanOrEqual(value as number);
  }
  expect(summary.mean.averagePrecision.high).toBeGreaterThan(summary.mean.averagePrecision.low as number);
  expect(await evaluate({ run: at('run'), boxes: at('boxes.csv'), bootstrap: 50, ...bare })).toEqual(summary);
  const other = await evaluate({ run: at('run'), boxes: at('boxes.csv'), bootstrap: 50, seed: 1, ...bare });
  expect(other.mean.averagePrecision.value).toBe(summary.mean.averagePrecision.value);
  expect(other.mean.averagePrecision).not.toEqual(summary.mean.averagePrecision);
  const log: string[] = [];
  const none = await evaluate(
    { run: at('run'), boxes: at('boxes.csv'), bootstrap: 0, ...bare },
    { onLog: (line) => log.push(line) },
  );
  expect(log[0]).toMatch(
    /^Evaluating \d+ images of \d labels against \d+ boxes, with 0 bootstrap resamples: no UNet calls\.$/,
  );
  expect(none.mean.averagePrecision).toEqual({ value: summary.mean.averagePrecision.value, low: null, high: null });
});

test('recall by kind: every square is hit', () => {
  expect(summary.kinds.map(({ label, kind, slot, boxes }) => [label, kind, slot, boxes])).toEqual([
    ['one', 'even', 'square', 3],
    ['one', 'odd', 'square', 2],
    ['two', 'odd', 'square', 3],
    ['two', 'even', 'square', 2],
  ]);
  for (const { recall, recall50, patches50, boxes, typicality } of summary.kinds) {
    expect([recall, recall50]).toEqual([1, 1]);
    expect(patches50).toBeGreaterThanOrEqual(boxes);
    expect(typicality).toBeGreaterThan(0.03);
  }
});

test('what is typical of the other label is not a finding', async () => {
  const swapped = boxFile(
    'swapped.csv',
    images.map((image) => hot(image, 'square', image.label === 'one' ? 'two' : 'one')),
  );
  const { labels, kinds, mean } = await evaluate({ run: at('run'), boxes: swapped, bootstrap: 0, ...bare });
  for (const { boxes, averagePrecision, pointing, top, typicality } of labels) {
    expect({
      boxes,
      averagePrecision: averagePrecision.value,
      pointing: pointing.value,
      top: top[0]?.hit.value,
    }).toEqual({ boxes: 0, averagePrecision: null, pointing: null, top: 0 });
    expect(typicality.own).toBeNull();
    expect(typicality.others).toBeGreaterThan(0.03);
  }
  expect(kinds).toEqual([]);
  expect(mean.averagePrecision.value).toBeNull();
  // told to go by the image's label, the same file is the truth
  const again = await evaluate({ run: at('run'), boxes: swapped, typicalColumn: 'label', bootstrap: 0, ...bare });
  expect(again.mean.averagePrecision.value).toBe(summary.mean.averagePrecision.value);
});

test('without a column for it, a box counts for its image’s label', async () => {
  const plain = boxFile(
    'plain.csv',
    images.map(({ path, hot: { x, y, width, height } }) => [path, x, y, width, height].join(',')),
    'image,x,y,width,height',
  );
  const { mean, kinds } = await evaluate({ run: at('run'), boxes: plain, bootstrap: 0, ...bare });
  expect(mean.averagePrecision.value).toBe(summary.mean.averagePrecision.value);
  expect(kinds).toEqual([]);
});

test('the column label alone is what a box is typical of; labels that no image has are an error that names both', async () => {
  const rows = (label: (own: string) => string): string[] =>
    images.map(({ path, label: own, hot: { x, y, width, height } }) =>
      [path, label(own), x, y, width, height].join(','),
    );
  const header = 'image,label,x,y,w,h';
  const own = await evaluate({
    run: at('run'),
    boxes: boxFile(
      'own.csv',
      rows((label) => label),
      header,
    ),
    bootstrap: 0,
    ...bare,
  });
  expect(own.mean.averagePrecision.value).toBe(summary.mean.averagePrecision.value);
  const others = await evaluate({
    run: at('run'),
    boxes: boxFile(
      'others.csv',
      rows((label) => (label === 'one' ? 'two' : 'one')),
      header,
    ),
    bootstrap: 0,
    ...bare,
  });
  expect(
    others.labels.map(({ boxes, typicality }) => [boxes, typicality.own, (typicality.others ?? 0) > 0.03]),
  ).toEqual([
    [0, null, true],
    [0, null, true],
  ]);
  await expect(
    evaluate({
      run: at('run'),
      boxes: boxFile(
        'objects.csv',
        rows((label) => (label === 'one' ? 'wheel' : 'door')),
        header,
      ),
      ...bare,
    }),
  ).rejects.toMatchObject({
    code: 'DATASET_INVALID',
    message: expect.stringMatching(/Labels of the boxes: door, wheel\. Labels of the run: one, two\./) as string,
    hint: expect.stringContaining('kind') as string,
  });
  // beside a column of its own, `label` is the image's: with the wrong one, nothing is left
  await expect(
    evaluate({
      run: at('run'),
      boxes: boxFile(
        'wrong.csv',
        images.map((image) => hot({ ...image, label: 'three' }, 'k', image.label)),
      ),
      ...bare,
    }),
  ).rejects.toMatchObject({ message: expect.stringContaining('boxes: three') as string });
});

test('boxes outside, clipped and too small are counted and told; none that covers a pixel is an error', async () => {
  const first = images[0]?.path;
  const some = boxFile(
    'some.csv',
    [`${first},-8,-8,16,16`, `${first},5000,0,20,20`, `${first},3.2,3.2,0.5,0.5`, `${first},0,0,32,32`],
    'image,x,y,w,h',
  );
  const { boxes, notes } = await evaluate({ run: at('run'), boxes: some, bootstrap: 0, ...bare });
  expect(boxes).toMatchObject({ rows: 4, used: 4, turned: 0, clipped: 1, outside: 1, empty: 1 });
  expect(notes.filter((note) => note.startsWith('1 of 4 boxes'))).toHaveLength(3);
  const none = boxFile('none.csv', [`${first},5000,0,20,20`], 'image,x,y,w,h');
  await expect(evaluate({ run: at('run'), boxes: none, ...bare })).rejects.toMatchObject({
    code: 'DATASET_INVALID',
    message: expect.stringContaining('covers a pixel') as string,
  });
  const yolo = boxFile('yolo.csv', [`${first},0.5,0.5,0.2,0.2`], 'image,x,y,w,h');
  await expect(evaluate({ run: at('run'), boxes: yolo, ...bare })).rejects.toMatchObject({
    code: 'DATASET_INVALID',
    message: expect.stringContaining('normalized') as string,
  });
});

test('COCO: sizes of other images and names that two images have are refused', async () => {
  const coco = (name: string, size: { width: number; height: number } | object): string => {
    writeFileSync(
      at('c.json'),
      JSON.stringify({
        images: [{ id: 1, file_name: name, ...size }],
        categories: [{ id: 1, name: 'one' }],
        annotations: [{ image_id: 1, category_id: 1, bbox: [0, 0, 64, 64] }],
      }),
    );
    return at('c.json');
  };
  const [{ path, width, height }] = images as [SyntheticImage];
  const half = await evaluate({
    run: at('run'),
    boxes: coco(path, { width: width / 2, height: height / 2 }),
    bootstrap: 0,
    ...bare,
  });
  expect(half.labels[0]?.fraction).toBeCloseTo((128 * 128) / (5 * width * height), 12);
  for (const size of [
    { width: height, height: width },
    { width: 500, height },
  ]) {
    await expect(evaluate({ run: at('run'), boxes: coco(path, size), ...bare })).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining(`the image ${path} has ${width} x ${height}`) as string,
    });
  }
  await expect(evaluate({ run: at('run'), boxes: coco('0.png', {}), ...bare })).rejects.toMatchObject({
    message: expect.stringContaining('one/0.png, two/0.png') as string,
  });
});

test('a run without maps, one that is not mined, and one with neither', async () => {
  await makeRun('no maps', { maps: false });
  const mapless = await evaluate({ run: at('no maps'), boxes: at('boxes.csv'), bootstrap: 3, ...bare });
  expect(mapless.mean).toMatchObject({
    averagePrecision: { value: null },
    pointing: { value: null },
    top: summary.mean.top.map(({ k, hit }) => ({ k, hit: { value: hit.value } })),
  });
  expect(mapless.notes[0]).toContain('no maps');
  expect(evaluateText(mapless)).toContain('no maps');

  cpSync(at('run'), at('not mined'), { recursive: true });
  rmSync(join(at('not mined'), 'mine'), { recursive: true });
  const unmined = await evaluate({ run: at('not mined'), boxes: at('boxes.csv'), bootstrap: 0, ...bare });
  expect(unmined.mean.averagePrecision.value).toBe(summary.mean.averagePrecision.value);
  expect(unmined.mean.top[0]?.hit.value).toBeNull();
  expect(unmined.notes[0]).toContain('not mined');

  rmSync(join(at('no maps'), 'mine'), { recursive: true });
  await expect(evaluate({ run: at('no maps'), boxes: at('boxes.csv') })).rejects.toMatchObject({ code: 'RUN_INVALID' });
});

test('what it refuses', async () => {
  const strangers = boxFile('strangers.csv', ['other/0.png,one,1,1,2,2,s,k,one']);
  await expect(evaluate({ run: at('run'), boxes: strangers })).rejects.toMatchObject({
    code: 'DATASET_INVALID',
    hint: expect.stringContaining('one/0.png') as string,
  });
  await expect(evaluate({ run: at('run'), boxes: at('boxes.csv'), smooth: 4 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
  await expect(evaluate({ run: at('data'), boxes: at('boxes.csv') })).rejects.toMatchObject({ code: 'RUN_INVALID' });
  await expect(
    evaluate({ run: at('run'), boxes: at('boxes.csv') }, { signal: AbortSignal.abort() }),
  ).rejects.toMatchObject({
    code: 'CANCELLED',
  });
  cpSync(at('run'), at('unfinished'), { recursive: true });
  rmSync(join(at('unfinished'), 'shards', '00001'), { recursive: true });
  await expect(evaluate({ run: at('unfinished'), boxes: at('boxes.csv') })).rejects.toMatchObject({
    code: 'RUN_INVALID',
    message: expect.stringContaining('2 of 3') as string,
  });
});

test('boxes are in source pixels, the map in those of the scored image', async () => {
  // the same run as if its images had been scored at half their size: sources are twice as large, and so are the boxes
  await makeRun('half');
  const manifest = JSON.parse(readFileSync(join(at('half'), MANIFEST), 'utf8')) as Manifest;
  writeFileSync(
    join(at('half'), MANIFEST),
    JSON.stringify(completeManifest(RUN, { ...manifest, options: { ...manifest.options, size: 128 } }, manifest.index)),
  );
  for (let shard = 0; shard * SHARD < images.length; shard++) {
    const rows = images.slice(shard * SHARD, (shard + 1) * SHARD).map(({ path, label, width, height }) => ({
      image: path,
      label,
      condition: label,
      source_width: 2 * width,
      source_height: 2 * height,
      width,
      height,
      typicality: 0,
      samples: 100,
    }));
    await writeTable(
      join(at('half'), 'shards', String(shard).padStart(5, '0'), 'images.parquet'),
      rows,
      imageSchema([]),
    );
  }
  const double = boxFile(
    'double.csv',
    images.map((image) =>
      hot(
        {
          ...image,
          hot: {
            x: 2 * image.hot.x,
            y: 2 * image.hot.y,
            width: 2 * image.hot.width,
            height: 2 * image.hot.height,
          },
        },
        'k',
        image.label,
      ),
    ),
  );
  const { mean } = await evaluate({ run: at('half'), boxes: double, bootstrap: 0, ...bare });
  expect(mean.averagePrecision.value).toBe(summary.mean.averagePrecision.value);
  expect(mean.fraction).toBe(summary.mean.fraction);
});

test('boxes of a COCO file, of copies in half the size', async () => {
  const half = ({ hot: { x, y, width, height } }: SyntheticImage): number[] => [x / 2, y / 2, width / 2, height / 2];
  const root = {
    images: images.map(({ path, width, height }, id) => ({
      id,
      file_name: path,
      width: width / 2,
      height: height / 2,
    })),
    categories: LABELS.map((name, id) => ({ id, name })),
    annotations: images.map((image, image_id) => ({
      image_id,
      category_id: LABELS.indexOf(image.label),
      bbox: half(image),
    })),
  };
  writeFileSync(at('coco.json'), JSON.stringify(root));
  const found = await evaluate({ run: at('run'), boxes: at('coco.json'), bootstrap: 0, ...bare });
  expect(found.boxes).toMatchObject({ rows: 10, used: 10 });
  expect(found.mean).toMatchObject({
    fraction: summary.mean.fraction,
    averagePrecision: { value: summary.mean.averagePrecision.value },
    pointing: { value: 1 },
  });
  await expect(
    evaluate({ run: at('run'), boxes: at('coco.json'), typicalColumn: 'city', ...bare }),
  ).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
  await expect(evaluate({ run: at('run'), boxes: at('data'), ...bare })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringMatching(/is a folder, as masks are/) as string,
  });
});

test('the table has one row per label, the mean, and the elements', () => {
  const text = evaluateText(summary);
  for (const word of ['one', 'two', 'mean', 'P@50', 'random P@10', 'even', 'square']) expect(text).toContain(word);
  expect(text).toMatch(/mean +0\.042 +0\.9\d\d \[0\.\d{3}, 0\.\d{3}\]/);
});
