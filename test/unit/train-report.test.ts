// The report of a training: what is read from its log, what of it is drawn, and that names from outside stay text.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import sharp from 'sharp';
import { lowest, rangeOf, reduce, smooth, stepTicks } from '../../src/stages/train/page/curves.js';
import { duration, html, short } from '../../src/web/html.js';
import { readMetrics } from '../../src/stages/train/page/metrics.js';
import { writeTrainReport } from '../../src/stages/train/report.js';
import { temporaryFolder, writeFiles } from '../helpers/folders.js';
import { isNightly } from '../helpers/nightly.js';

const folder = temporaryFolder();
let made = 0;

interface Options {
  status?: string;
  step?: number;
  labels?: string[];
  settings?: Record<string, unknown>;
  /** of metrics.jsonl: objects, or lines as they are; null: no file */
  log: (object | string)[] | null;
  validation?: number;
}

/** A training's folder. */
function training({
  status = 'running',
  step = 0,
  labels = ['a', 'b'],
  settings = {},
  log,
  validation = 3,
}: Options): string {
  const path = join(folder, String(made++));
  writeFiles(path, {
    'train.json': JSON.stringify({
      format: 'diffmine-train-2',
      version: '0.1.0',
      created: '2026-01-02T03:04:05.678Z',
      status,
      step,
      settings: { steps: 1000, trainBatch: 16, learningRate: 0.0008, lrSchedule: 'cosine', ...settings },
      dataset: {
        path: '/data/streets',
        fingerprint: 'f00d',
        labels: labels.map((label, i) => ({ label, training: 1200 + i, heldOut: validation })),
      },
      model: {
        from: null,
        size: 'pixel-small',
        kind: 'pixel',
        conditioning: 'class',
        parameters: 3_412_345,
        trained: 3_412_345,
      },
      device: 'cpu',
      dtype: 'bf16',
      changes: [{ step: 20, settings: { checkpointEvery: 2000 } }],
      best: null,
    }),
    ...(log && {
      'metrics.jsonl': log.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'),
    }),
  });
  return path;
}

const steps = (count: number, loss = (step: number): number | null => 0.03 + 1 / step): object[] =>
  Array.from({ length: count }, (_, i) => ({
    step: i + 1,
    loss: loss(i + 1),
    gradientNorm: 1 / (i + 1),
    learningRate: 1e-5,
    seconds: (i + 1) / 2,
  }));

const write = async (options: Options): Promise<string> =>
  readFileSync(await writeTrainReport(training(options)), 'utf8');
const text = (page: string): string =>
  page
    .replace(/<style>.*?<\/style>|<script.*?<\/script>/gs, ' ')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ');
interface Stored {
  steps: number[];
  values: (number | null)[];
  smooth?: (number | null)[];
  low: number;
  high: number;
  last: number;
}
const curvesOf = (page: string): Record<string, Stored> =>
  JSON.parse(/<script type="application\/json" id="curves">(.*?)<\/script>/s.exec(page)![1]!) as Record<string, Stored>;

describe('metrics.jsonl', () => {
  const read = (log: (object | string)[] | null) => readMetrics(join(training({ log }), 'metrics.jsonl'));

  test('steps, validations and grids, each where it belongs', async () => {
    const metrics = await read([
      ...steps(2),
      { step: 2, validation: 0.5 },
      { step: 2, grid: 'samples/step-000002.webp', labels: ['a', 'b'] },
      '',
    ]);
    expect(metrics.loss).toEqual({ steps: [1, 2], values: [1.03, 0.53] });
    expect(metrics.seconds).toEqual({ steps: [1, 2], values: [0.5, 1] });
    expect(metrics.validation).toEqual({ steps: [2], values: [0.5] });
    expect(metrics.grids).toEqual([{ step: 2, file: 'samples/step-000002.webp', labels: ['a', 'b'] }]);
    expect([metrics.last, metrics.torn]).toEqual([2, 0]);
  });

  test('torn lines are left out, the others kept', async () => {
    const metrics = await read([
      ...steps(2),
      '{"step":3,"lo',
      { step: 3, loss: 0.25 },
      '[1]',
      'null',
      '{"step":"4","loss":1}',
      '{"step":4,"loss":0.2',
    ]);
    expect(metrics.loss).toEqual({ steps: [1, 2, 3], values: [1.03, 0.53, 0.25] });
    expect(metrics.gradientNorm.values[2]).toBeNaN();
    expect(metrics.torn).toBe(5);
  });

  test('a resumed training takes the place of what came after its checkpoint', async () => {
    const metrics = await read([
      ...steps(6),
      { step: 4, validation: 0.4 },
      { step: 6, validation: 0.1 },
      { step: 6, grid: 'samples/6.webp', labels: [] },
      { step: 5, loss: 9, seconds: 7 },
      { step: 6, loss: 8, seconds: 8 },
      { step: 6, validation: 0.3 },
    ]);
    expect(metrics.loss.steps).toEqual([1, 2, 3, 4, 5, 6]);
    expect(metrics.loss.values.slice(4)).toEqual([9, 8]);
    expect(metrics.validation).toEqual({ steps: [4, 6], values: [0.4, 0.3] });
    expect(metrics.grids).toEqual([]);
  });

  test('a NaN loss is a gap; grids outside the folder are ignored; a missing log is empty', async () => {
    const metrics = await read([
      { step: 1, loss: null },
      { step: 1, grid: '../../secret.png' },
      { step: 1, grid: '/etc/x.png' },
      { step: 1, grid: 'samples/..\\x.png' },
    ]);
    expect(metrics.loss.values).toEqual([NaN]);
    expect(metrics.grids).toEqual([]);
    expect(await read(null)).toMatchObject({ last: 0, torn: 0 });
  });
});

describe('curves', () => {
  test('smoothing keeps constants, follows a beginning, skips gaps and does not depend on later values', () => {
    for (const value of smooth(Array<number>(50).fill(0.25), 4)) expect(value).toBeCloseTo(0.25, 12);
    const steep = smooth(
      Array.from({ length: 4000 }, (_, i) => Math.exp(-i / 20)),
      100,
    );
    expect(steep[200]).toBeLessThan(0.01);
    const flat = smooth(
      Array.from({ length: 1000 }, (_, i) => (i < 990 ? 1 : 1000)),
      25,
    );
    expect(flat[989]).toBeCloseTo(1, 9);
    // a step is taken to 1 − (1 − 1 / 25)^10 of its height in ten points
    expect((flat[999]! - 1) / 999).toBeCloseTo(1 - (24 / 25) ** 10, 9);
    expect(smooth([NaN, 1, NaN], 2)).toEqual([NaN, 1, 1]);
  });

  test('fewer points keep every extreme of their run, and both ends', () => {
    const values = Array.from({ length: 300_000 }, (_, i) => Math.sin(i / 100));
    values[123_456] = 50;
    values[200_001] = -50;
    const kept = reduce(values, 2000);
    expect(kept.length).toBeLessThanOrEqual(2002);
    expect(kept.length).toBeGreaterThan(1500);
    for (const index of [0, 123_456, 200_001, 299_999]) expect(kept).toContain(index);
    expect(kept).toEqual([...kept].sort((a, b) => a - b));
    expect(reduce([3, 1, 2], 2000)).toEqual([0, 1, 2]);
    expect(lowest([NaN, 3, 1, NaN, 1])).toBe(2);
  });

  test('the range shows the flat part: no steep beginning, no lone spike, but what is asked for', () => {
    const series = {
      steps: Array.from({ length: 1000 }, (_, i) => i + 1),
      values: Array.from({ length: 1000 }, (_, i) => (i < 40 ? 1 : i === 700 ? 30 : 0.04 + 0.01 * (i % 2))),
    };
    expect(rangeOf(series)).toEqual({ low: 0.04, high: 0.05, ticks: [0.04, 0.045, 0.05] });
    expect(rangeOf(series, 0.001).low).toBe(0);
    // and no explosion at the end
    expect(
      rangeOf({
        steps: series.steps,
        values: series.steps.map((step) => (step > 980 ? 3 ** (step - 980) : 0.04 + 0.01 * (step % 2))),
      }).high,
    ).toBeLessThan(0.2);
    expect(rangeOf({ steps: [1], values: [2] })).toMatchObject({ low: 0, high: 4 });
    expect(rangeOf({ steps: [1], values: [NaN] })).toEqual({ low: 0, high: 1, ticks: [0, 1] });
    expect(rangeOf({ steps: [1, 2], values: [0, 0] })).toMatchObject({ low: 0, high: 1 });
    expect(stepTicks(12_000)).toEqual([0, 5000, 10_000]);
    expect(stepTicks(1)).toEqual([0, 1]);
  });

  test('numbers and times as people read them', () => {
    expect([0.0312749, 1.2, 8e-7, 0, -0.5, NaN].map(short)).toEqual([
      '0.03127',
      '1.2',
      '8e−7',
      '0',
      '−0.5',
      'not finite',
    ]);
    expect([3, 99, 125, 3600, 12_000, 190_000].map(duration)).toEqual([
      '3 s',
      '99 s',
      '2 min 5 s',
      '1 h',
      '3 h 20 min',
      '2 d 4 h',
    ]);
    expect(html`<a title="${'"&<'}">${['<b>', html`<i>${1}</i>`]}${null}${false}</a>`.text).toBe(
      '<a title="&quot;&amp;&lt;">&lt;b&gt;<i>1</i></a>',
    );
  });
});

describe('the page', () => {
  test('state, numbers, best validation, settings and images of a real log', async () => {
    const page = await write({
      log: [
        ...steps(500),
        { step: 250, validation: 0.041 },
        { step: 400, validation: 0.0312 },
        { step: 500, validation: 0.035 },
      ],
      settings: { trainTRange: [0.05, 0.4], flips: true, prompt: null },
    });
    const said = text(page);
    for (const part of [
      'streets',
      'Running',
      'Step 500 of 1,000',
      'Time 4 min 10 s',
      'Time left 4 min 10 s',
      'Images per second 32',
      'Best validation loss 0.0312',
      'best 0.0312 at step 400',
      'CPU, bf16',
      'trained from scratch on 2,401 images of 2 labels, conditioned on the label. 3.4 M parameters.',
      'Learning-rate schedule cosine',
      'Timesteps, fractions of the schedule 0.05, 0.4',
      'Horizontal flips yes',
      'a 1,200 3',
      'b 1,201 3',
      'All 2,401 6',
      'Before step 20: Steps between checkpoints 2,000.',
      '2026-01-02 03:04 UTC',
      'Above the chart: up to 1.03, at step 1.',
    ])
      expect(said).toContain(part);
    const curves = curvesOf(page);
    expect(Object.keys(curves)).toEqual(['loss', 'validation', 'gradient', 'rate']);
    expect(curves.loss!.steps).toHaveLength(500);
    expect(curves.loss!.values[99]).toBe(0.04);
    expect(curves.loss!.high).toBeLessThan(0.2);
    expect(curves.validation).toMatchObject({ steps: [250, 400, 500], values: [0.041, 0.0312, 0.035], last: 500 });
    // the mark of the best stands at 400 of 500 steps
    expect(page).toMatch(/<circle class="best" cx="80%"/);
  });

  test('done, stopped and diverged say so', async () => {
    expect(text(await write({ status: 'done', step: 30, log: steps(30) }))).toMatch(/Done .*Step 30 of 1,000/);
    const page = await write({
      status: 'diverged',
      step: 31,
      log: [...steps(30), { step: 31, loss: null, gradientNorm: null, learningRate: 1e-5, seconds: 16 }],
    });
    expect(text(page)).toMatch(/Diverged .*stopped at step 31/);
    expect(curvesOf(page).loss!.values[30]).toBeNull();
    expect(page.replace(/<script>.*?<\/script>/s, '')).not.toMatch(/NaN|undefined|Infinity/);
  });

  test('a training without validation has no such curve and no such column', async () => {
    const page = await write({ log: steps(20), validation: 0 });
    expect(Object.keys(curvesOf(page))).toEqual(['loss', 'gradient', 'rate']);
    expect(text(page)).not.toMatch(/validation/i);
  });

  test('a torn last line is not a reason for a word, more than one is', async () => {
    expect(text(await write({ log: [...steps(3), '{"step":4,"l'] }))).not.toContain('could not be read');
    expect(text(await write({ log: ['{"st', ...steps(3), '{"step":4,"l'] }))).toContain(
      '2 lines of metrics.jsonl could not be read',
    );
  });

  test('before the first step there is a page too', async () => {
    for (const log of [null, []]) expect(text(await write({ log }))).toContain('No step has been logged yet.');
    expect(text(await write({ log: steps(1) }))).toContain('Step 1 of 1,000');
  });

  test('grids: newest first, one row per label; missing grids are left out', async () => {
    const path = training({
      labels: ['north', 'south'],
      log: [
        ...steps(30),
        ...[10, 20, 30].map((step) => ({ step, grid: `samples/step ${step}#.webp`, labels: ['north', 'south'] })),
      ],
    });
    const image = await sharp({ create: { width: 130, height: 64, channels: 3, background: '#888' } })
      .webp()
      .toBuffer();
    writeFiles(path, { 'samples/step 10#.webp': image, 'samples/step 30#.webp': image });
    const page = readFileSync(await writeTrainReport(path), 'utf8');
    expect([...page.matchAll(/<figcaption>Step (\d+)/g)].map((match) => match[1])).toEqual(['30', '10']);
    expect(page).toMatch(/<img\s+src="samples\/step%2030%23\.webp"\s+width="130"\s+height="64"/);
    expect([...page.matchAll(/<li>\s*<span title="(\w+)">\1<\/span>\s*<\/li>/g)].map((match) => match[1])).toEqual([
      'north',
      'south',
      'north',
      'south',
    ]);
  });

  test('names stay text: no markup, script or address comes from them', async () => {
    const hostile = [
      '</script><script>alert(1)</script>',
      '"><img src=x onerror=alert(2)>',
      "'&amp;<b>",
      'javascript:alert(3)',
    ];
    const path = training({
      labels: hostile,
      settings: { '<i>name</i>': '<u>value</u>', constructor: 1 },
      log: [...steps(3), { step: 3, grid: 'javascript:alert(4)', labels: hostile }],
    });
    writeFileSync(
      join(path, 'javascript:alert(4)'),
      await sharp({ create: { width: 8, height: 8, channels: 3, background: '#888' } })
        .png()
        .toBuffer(),
    );
    const page = readFileSync(await writeTrainReport(path), 'utf8');
    expect(page).not.toMatch(/<img src=x|<b>|<i>|<u>|alert\(1\)<\/script>|(href|src)="javascript:/);
    expect(page.match(/<script/g)).toHaveLength(2);
    expect(page).toContain('&lt;/script&gt;&lt;script&gt;alert(1)');
  });

  test('the policy allows the page its own style and script, and nothing else', async () => {
    const page = await write({ log: steps(3) });
    const hash = (content: string): string => `sha256-${createHash('sha256').update(content).digest('base64')}`;
    const policy = /Content-Security-Policy" content="([^"]*)"/.exec(page)![1]!.replaceAll('&#39;', "'");
    expect(policy).toContain(`style-src '${hash(/<style>(.*?)<\/style>/s.exec(page)![1]!)}'`);
    expect(policy).toContain(`script-src '${hash(/<script>(.*?)<\/script>/s.exec(page)![1]!)}'`);
    expect(policy).toContain("default-src 'none'");
    expect(page.replace('http://www.w3.org/2000/svg', '')).not.toMatch(/ style="| on\w+="|https?:/);
  });

  test.each(isNightly ? [60_000, 300_000] : [60_000])('%i steps are a small page', async (count) => {
    const highest = count / 2;
    const log = steps(count, (step) => (step === highest ? 77 : 0.03 + 1 / step + 0.01 * Math.sin(step)));
    const page = await write({
      log: [
        ...log,
        ...Array.from({ length: 5000 }, (_, i) => ({ step: (count / 5000) * (i + 1), validation: 0.03 + 1 / (i + 1) })),
      ],
      settings: { steps: count },
    });
    expect(Buffer.byteLength(page)).toBeLessThan(500_000);
    for (const { steps: drawn, values } of Object.values(curvesOf(page))) {
      expect(drawn.length).toBeLessThanOrEqual(2002);
      expect(values).toHaveLength(drawn.length);
    }
    expect(text(page)).toContain(`Above the chart: up to 77, at step ${highest.toLocaleString('en')}.`);
  });

  test('an earlier page is replaced whole, nothing else is left behind', async () => {
    const path = training({ log: steps(3) });
    await writeTrainReport(path);
    writeFileSync(
      join(path, 'metrics.jsonl'),
      steps(5)
        .map((line) => JSON.stringify(line))
        .join('\n'),
    );
    expect(text(readFileSync(await writeTrainReport(path), 'utf8'))).toContain('Step 5 of 1,000');
    expect(readdirSync(path).sort()).toEqual(['metrics.jsonl', 'train-report.html', 'train.json']);
  });

  test('a folder that is not a training is named', async () => {
    await expect(writeTrainReport(join(folder, 'nowhere'))).rejects.toMatchObject({
      code: 'RUN_INVALID',
      message: expect.stringContaining('nowhere') as string,
    });
    const path = training({ log: [] });
    for (const content of ['{', '{"format":"other"}', 'null']) {
      writeFileSync(join(path, 'train.json'), content);
      await expect(writeTrainReport(path)).rejects.toMatchObject({ code: 'RUN_INVALID' });
    }
  });
});
