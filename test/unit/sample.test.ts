// Images of a model on disk: where they are, that the same command resumes and another is refused, that each is the same whatever is made with it.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { rememberRate } from '../../src/pipeline/remembered-rates.js';
import { sample, sampleKey, type SampleSummary } from '../../src/stages/sample/sample.js';
import type { SampleOptions } from '../../src/stages/sample/options.js';
import { resolveRequest, type SamplesRecord } from '../../src/stages/sample/request.js';
import { openDataset } from '../../src/data/index.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const scratch = temporaryFolder();
const fold = { model: path.join(GOLDEN, 'tiny-fold'), count: 3, inferenceSteps: 3, threads: 1, device: 'cpu' } as const;
const text = {
  model: path.join(GOLDEN, 'tiny-sd15'),
  labels: ['1920', '1980'],
  count: 2,
  inferenceSteps: 2,
  threads: 1,
  device: 'cpu',
} as const;
const at = (...names: string[]): string => path.join(scratch, ...names);
const pixels = async (...names: string[]): Promise<Buffer> =>
  sharp(at(...names))
    .raw()
    .toBuffer();
const record = (folder: string): SamplesRecord =>
  JSON.parse(readFileSync(at(folder, 'samples.json'), 'utf8')) as SamplesRecord;

async function failure(options: SampleOptions): Promise<{ code: string; message: string; hint: string }> {
  try {
    await sample(options);
  } catch (error) {
    return error as { code: string; message: string; hint: string };
  }
  throw new Error('nothing was thrown');
}

/** The largest difference of two images, in levels. */
async function furthest(a: string[], b: string[]): Promise<number> {
  const [one, other] = [await pixels(...a), await pixels(...b)];
  expect(one.length).toBe(other.length);
  return one.reduce((most, value, i) => Math.max(most, Math.abs(value - (other[i] ?? NaN))), 0);
}

describe('a class model of folded pixels', () => {
  let summary: SampleSummary;
  beforeAll(async () => {
    summary = await sample({ ...fold, out: at('all') });
  });

  test('one folder per label, a grid, and the request', async () => {
    expect(summary).toMatchObject({
      path: at('all'),
      grid: at('all', 'grid.png'),
      made: 9,
      kept: 0,
      device: 'cpu',
      options: { inferenceSteps: 3, guidanceScale: 3, seed: 0, size: 32, prompt: null },
    });
    expect(readdirSync(at('all')).sort()).toEqual(['class0', 'class1', 'class2', 'grid.png', 'samples.json']);
    expect(readdirSync(at('all', 'class1'))).toEqual(['00000.png', '00001.png', '00002.png']);
    expect(await sharp(at('all', 'class2', '00001.png')).metadata()).toMatchObject({
      width: 32,
      height: 32,
      channels: 3,
    });
    expect(await sharp(at('all', 'grid.png')).metadata()).toMatchObject({ width: 4 + 3 * 132, height: 4 + 3 * 132 });
    expect(record('all')).toMatchObject({
      format: 'diffmine-samples-2',
      model: { path: fold.model },
      options: summary.options,
      labels: ['class0', 'class1', 'class2'].map((label) => ({ label, folder: label, prompt: null, images: 3 })),
    });
    // the folder is a dataset as it is
    expect(await openDataset(at('all'))).toMatchObject({ labels: ['class0', 'class1', 'class2'], ignored: 2 });
    expect(await furthest(['all', 'class0', '00000.png'], ['all', 'class0', '00001.png'])).toBeGreaterThan(20);
    expect(await furthest(['all', 'class0', '00000.png'], ['all', 'class1', '00000.png'])).toBeGreaterThan(0);
  });

  test('tells its time before it begins, where it was measured', async () => {
    const cache = process.env['DIFFMINE_CACHE'];
    process.env['DIFFMINE_CACHE'] = at('cache');
    try {
      const options = { ...fold, out: at('timed'), labels: ['class2'], count: 2, batch: 4 };
      await rememberRate(sampleKey(await resolveRequest(options), 4), 0.5);
      const log: string[] = [];
      await sample(options, { onLog: (line) => log.push(line) });
      // 2 images x 3 steps x 2 conditions
      expect(log.join('\n')).toMatch(/: 12 UNet calls on cpu, about 24 s at the last rate measured here\.$/m);
    } finally {
      if (cache === undefined) Reflect.deleteProperty(process.env, 'DIFFMINE_CACHE');
      else process.env['DIFFMINE_CACHE'] = cache;
    }
  });

  test('an image does not depend on batch, number and labels', async () => {
    await sample({ ...fold, out: at('few'), labels: ['class2'], count: 2, batch: 1 });
    for (const name of ['00000.png', '00001.png'])
      expect(await furthest(['all', 'class2', name], ['few', 'class2', name])).toBeLessThanOrEqual(1);
    await sample({ ...fold, out: at('seed'), labels: ['class2'], count: 1, seed: 1 });
    expect(await furthest(['all', 'class2', '00000.png'], ['seed', 'class2', '00000.png'])).toBeGreaterThan(20);
  });

  test('the same request resumes, also with more images and labels', async () => {
    await sample({ ...fold, out: at('more'), labels: ['class2'], count: 2 });
    const before = statSync(at('more', 'class2', '00000.png')).mtimeMs;
    const bytes = readFileSync(at('more', 'class2', '00001.png'));
    rmSync(at('more', 'class2', '00001.png'));
    expect(await sample({ ...fold, out: at('more'), labels: ['class2'], count: 2 })).toMatchObject({
      made: 1,
      kept: 1,
    });
    expect(readFileSync(at('more', 'class2', '00001.png')).equals(bytes)).toBe(true);
    expect(await sample({ ...fold, out: at('more'), labels: ['class0', 'class2'], count: 3, batch: 2 })).toMatchObject({
      made: 4,
      kept: 2,
      batch: 2,
    });
    expect(statSync(at('more', 'class2', '00000.png')).mtimeMs).toBe(before);
    expect(record('more').labels.map(({ label, images }) => [label, images])).toEqual([
      ['class0', 3],
      ['class2', 3],
    ]);
    // fewer are there already: nothing is made, nothing forgotten
    expect(await sample({ ...fold, out: at('more'), labels: ['class2'], count: 1 })).toMatchObject({
      made: 0,
      kept: 1,
      batch: null,
    });
    expect(record('more').labels.map(({ images }) => images)).toEqual([3, 3]);
  });

  test('another request, or a folder of something else, is refused and left alone', async () => {
    const before = readFileSync(at('all', 'samples.json'), 'utf8');
    expect(await failure({ ...fold, out: at('all'), inferenceSteps: 4, guidanceScale: 1 })).toMatchObject({
      code: 'RUN_MISMATCH',
      message: expect.stringContaining(
        'inference-steps: these samples have 3, you asked for 4; guidance-scale: these samples have 3, you asked for 1',
      ) as string,
    });
    expect(await failure({ ...text, out: at('all') })).toMatchObject({
      code: 'RUN_MISMATCH',
      message: expect.stringContaining('model: ') as string,
    });
    expect(readFileSync(at('all', 'samples.json'), 'utf8')).toBe(before);
    mkdirSync(at('other'));
    writeFileSync(at('other', 'holiday.jpg'), '');
    expect(await failure({ ...fold, out: at('other') })).toMatchObject({
      code: 'RUN_MISMATCH',
      message: expect.stringContaining('"holiday.jpg"') as string,
    });
    expect(readdirSync(at('other'))).toEqual(['holiday.jpg']);
    mkdirSync(at('damaged'));
    for (const content of ['{', '{}', before.replace('"inferenceSteps": 3', '"inferenceSteps": 5')]) {
      writeFileSync(at('damaged', 'samples.json'), content);
      expect(await failure({ ...fold, out: at('damaged') })).toMatchObject({ code: 'RUN_INVALID' });
    }
  });

  test('stops between steps; what is finished stays', async () => {
    const controller = new AbortController();
    const seen: string[] = [];
    const work = sample(
      { ...fold, out: at('stopped'), batch: 2 },
      {
        signal: controller.signal,
        onProgress: ({ type, done, total }) => {
          seen.push(type);
          if (type !== 'sample') return;
          expect(total).toBe(27);
          if (done === 5) controller.abort();
        },
      },
    );
    await expect(work).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(new Set(seen)).toEqual(new Set(['load', 'sample']));
    expect(readdirSync(at('stopped', 'class0'))).toEqual(['00000.png']);
    expect(existsSync(at('stopped', 'grid.png'))).toBe(false);
    expect(await sample({ ...fold, out: at('stopped') })).toMatchObject({ made: 8, kept: 1 });
    for (const name of ['00000.png', '00001.png'])
      expect(await furthest(['stopped', 'class0', name], ['all', 'class0', name])).toBeLessThanOrEqual(1);
  });

  test.each([
    [{ labels: ['class7'] }, /'class7'/, /Did you mean 'class\d'\? It knows 'class0', 'class1', 'class2'/],
    [{ labels: [''] }, /empty/, /all labels/],
    [{ count: 0 }, /`count` is 0/, undefined],
    [{ inferenceSteps: 1001 }, /1001/, undefined],
    [{ guidanceScale: NaN }, /`guidanceScale`/, undefined],
    [{ size: 33 }, /multiples of 8 px/, /32 or 40/],
    [{ seed: -1 }, /`seed`/, undefined],
    [{ batch: 0 }, /`batch`/, undefined],
  ])('%j is refused before anything is written', async (wrong, message, hint) => {
    const error = await failure({ ...fold, ...wrong, out: at('never') });
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) as string });
    if (hint) expect(error.hint).toMatch(hint);
    expect(existsSync(at('never'))).toBe(false);
  });
});

describe('a text model of latents', () => {
  test('fills the prompt with each label; the size is in pixels', async () => {
    const summary = await sample({
      ...text,
      labels: ['1920', '1980', '19/20'],
      count: 1,
      size: 72,
      prompt: 'A car from {words}.',
      out: at('cars'),
    });
    expect(summary).toMatchObject({
      made: 3,
      options: { guidanceScale: 7.5, size: 72, prompt: 'A car from {words}.', nullPrompt: '' },
    });
    expect(record('cars').labels[2]).toEqual({
      label: '19/20',
      folder: '19%2F20',
      prompt: 'A car from 19/20.',
      images: 1,
    });
    expect(await sharp(at('cars', '19%2F20', '00000.png')).metadata()).toMatchObject({ width: 72, height: 72 });
    expect(await furthest(['cars', '1920', '00000.png'], ['cars', '1980', '00000.png'])).toBeGreaterThan(0);
    expect(
      await failure({ ...text, out: at('cars'), size: 72, prompt: 'A car from {words}.', nullPrompt: 'A car.' }),
    ).toMatchObject({ code: 'RUN_MISMATCH', message: expect.stringContaining('null-prompt') as string });
  });

  test('needs a label, and a prompt that can be filled', async () => {
    expect(await failure({ model: text.model, out: at('never') })).toMatchObject({
      code: 'INVALID_ARGUMENT',
      hint: expect.stringContaining('`labels`') as string,
    });
    expect(await failure({ ...text, prompt: 'A {thing}.', out: at('never') })).toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    const said: string[] = [];
    await sample(
      { ...text, count: 1, guidanceScale: 1, prompt: 'A car.', out: at('same') },
      { onLog: (line) => said.push(line) },
    );
    expect(said[0]).toContain('the same for every label');
    expect(await furthest(['same', '1920', '00000.png'], ['same', '1980', '00000.png'])).toBeLessThanOrEqual(1);
  });
});
