// Images that change after a run began: what is noticed, what is named, what may continue.
import { cpSync, mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { mine } from '../../src/stages/mine/mine.js';
import { scan } from '../../src/stages/scan/scan.js';
import type { ScanOptions, ScanSummary } from '../../src/stages/scan/options.js';
import { translate } from '../../src/stages/translate/translate.js';
import { resultBytes } from '../helpers/bytes.js';

const MODEL = join(__dirname, '..', 'data', 'golden', 'tiny-sd15');
let folder: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-changes-'));
  for (const [label, count] of [
    ['a', 3],
    ['b', 2],
  ] as const) {
    mkdirSync(at('data', label), { recursive: true });
    for (let i = 0; i < count; i++) await draw(`${label}/${i}.tif`, 20 * i + 10);
  }
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const at = (...names: string[]): string => join(folder, ...names);

/** Uncompressed: images of the same size have files of the same size. */
async function draw(name: string, grey: number): Promise<void> {
  await sharp({ create: { width: 64, height: 64, channels: 3, background: { r: grey, g: grey, b: grey } } })
    .tiff({ compression: 'none' })
    .toFile(at('data', name));
}

/** Another image under the name, as if it came a minute later. */
async function replace(name: string, grey = 200): Promise<void> {
  const { mtimeMs } = statSync(at('data', name));
  await draw(name, grey);
  utimesSync(at('data', name), new Date(), new Date(mtimeMs + 60_000));
}

const options = (more: Partial<ScanOptions> = {}): ScanOptions => ({
  dataset: at('data'),
  model: MODEL,
  out: at('run'),
  patch: 16,
  samples: 1,
  batch: 4,
  device: 'cpu',
  dtype: 'fp32',
  threads: 1,
  shardSize: 2,
  ...more,
});

async function again(
  more: Partial<ScanOptions> = {},
): Promise<{ summary?: ScanSummary; log: string[]; error?: { code: string; message: string; hint?: string } }> {
  const log: string[] = [];
  try {
    return { summary: await scan(options(more), { onLog: (line) => log.push(line) }), log };
  } catch (thrown) {
    return { log, error: thrown as { code: string; message: string } };
  }
}

test('an image replaced by one of the same size is named; its shard can be repeated', async () => {
  await scan(options());
  await mine({ run: at('run'), threads: 1, top: 5, clusters: 2 });
  await replace('a/2.tif');
  const { error } = await again();
  expect(error).toMatchObject({
    code: 'RUN_MISMATCH',
    message: '1 image changed since this run worked on them (a/2.tif).',
  });
  expect(error?.hint).toContain('remove shards/00001, mine');
  await expect(mine({ run: at('run'), threads: 1, top: 4, clusters: 2 })).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('a/2.tif') as string,
  });
  await replace('b/1.tif');
  expect((await again()).error?.message).toContain(
    '2 images changed since this run worked on them (the first is a/2.tif)',
  );

  // what the hint says leads to what a new run of today's images gives
  for (const name of ['shards/00001', 'shards/00002', 'mine']) rmSync(at('run', name), { recursive: true });
  expect((await again()).summary).toMatchObject({ complete: true, shards: { here: 2 } });
  await scan(options({ out: at('fresh') }));
  expect(resultBytes(at('run'), ['shards'])).toEqual(resultBytes(at('fresh'), ['shards']));
  await expect(mine({ run: at('run'), threads: 1, top: 4, clusters: 2 })).resolves.toMatchObject({
    conditions: expect.anything() as unknown,
  });
});

test('touched files and copies of a dataset resume', async () => {
  await scan(options());
  for (const name of ['a/0.tif', 'b/1.tif']) utimesSync(at('data', name), new Date(), new Date(1e12));
  const { summary, log } = await again();
  expect(summary).toMatchObject({ complete: true, unetCalls: 0 });
  expect(log).toContain('2 images have another modification time but the same content.');
  cpSync(at('data'), at('copy'), { recursive: true });
  for (const name of ['a/0.tif', 'a/1.tif', 'a/2.tif', 'b/0.tif', 'b/1.tif'])
    utimesSync(at('copy', name), new Date(), new Date(1.1e12));
  expect((await again({ dataset: at('copy') })).summary).toMatchObject({ complete: true });
  await expect(mine({ run: at('run'), threads: 1, top: 5, clusters: 2, dataset: at('copy') })).resolves.toBeDefined();
});

test('an image that changes before it is scored is scored as it is', async () => {
  const abort = new AbortController();
  await expect(
    scan(options(), { signal: abort.signal, onProgress: (event) => event.type === 'shard' && abort.abort() }),
  ).rejects.toMatchObject({
    code: 'CANCELLED',
    hint: expect.stringMatching(/^Kept: 1 of 3 shards \(2 of 5 images\)\./) as string,
  });
  await replace('b/1.tif');
  expect((await again()).summary).toMatchObject({ complete: true });
  // it is noticed from then on by what was scored, not by what was planned
  expect((await again()).log).toContain('1 image has another modification time but the same content.');
  await replace('b/1.tif', 130);
  expect((await again()).error).toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('b/1.tif') as string,
  });
});

test('part of a run looks at its own shards', async () => {
  await scan(options());
  await replace('a/0.tif');
  expect((await again({ shard: { index: 1, count: 3 } })).summary).toMatchObject({ complete: true });
  expect((await again({ shard: { index: 0, count: 3 } })).error).toMatchObject({ code: 'RUN_MISMATCH' });
});

test('a file that could not be read and now can', async () => {
  const { size } = statSync(at('data/a/0.tif'));
  writeFileSync(at('data/a/0.tif'), Buffer.alloc(size));
  await scan(options());
  expect((await again()).summary).toMatchObject({ skipped: 1 });
  await replace('a/0.tif');
  expect((await again()).error).toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('a/0.tif') as string,
  });
});

test('images that came, went, changed their size or their label are counted, and the first of each is named', async () => {
  await scan(options());
  await draw('a/7.tif', 1);
  await draw('a/8.tif', 1);
  rmSync(at('data/a/0.tif'));
  writeFileSync(at('data/b/0.tif'), 'x');
  const { error } = await again();
  expect(error).toMatchObject({
    code: 'RUN_MISMATCH',
    message: `${at('run')} holds another run. dataset: 1 image changed (b/0.tif), 1 image missing or under another label (a/0.tif), 2 images new or under another label (the first is a/7.tif).`,
    hint: 'Restore what it began with to resume it, or give `out` another folder.',
  });
  // with an option that differs, too
  expect((await again({ patch: 8 })).error?.message).toMatch(/patch: this run has 16, you asked for 8\.$/);
});

test('--checksum: content alone decides, and is part of what the run is', async () => {
  await scan(options({ checksum: true }));
  expect((await again({ checksum: true })).summary).toMatchObject({ complete: true, unetCalls: 0 });
  await expect(mine({ run: at('run'), threads: 1, top: 5, clusters: 2 })).resolves.toBeDefined();
  expect((await again()).error?.message).toMatch(/checksum: this run has yes, you asked for none/);
  // of the same size and time
  const { atime, mtime } = statSync(at('data/a/1.tif'));
  await draw('a/1.tif', 222);
  utimesSync(at('data/a/1.tif'), atime, mtime);
  expect((await again({ checksum: true })).error?.message).toContain('dataset: 1 image changed (a/1.tif)');
  await expect(mine({ run: at('run'), threads: 1, top: 4, clusters: 2 })).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
  });
  // files that differ in nothing but their time
  await draw('a/1.tif', 30);
  expect((await again({ checksum: true })).summary).toMatchObject({ complete: true, unetCalls: 0 });
});

test('a translation notices, too', async () => {
  const wanted = {
    dataset: at('data'),
    model: MODEL,
    out: at('parallel'),
    inversionSteps: 2,
    inferenceSteps: 2,
    device: 'cpu',
    threads: 1,
    batch: 8,
    imagesPerLabel: 1,
    size: 64,
  };
  await translate(wanted);
  await expect(translate(wanted)).resolves.toMatchObject({ complete: true, shards: { here: 0 } });
  await replace('a/0.tif');
  await expect(translate(wanted)).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining('a/0.tif') as string,
  });
});

test.each(['fp32', 'bf16'] as const)('auto resumes a run in the dtype that it began with, %s', async (dtype) => {
  await scan(options({ dtype, shard: { index: 0, count: 3 } }));
  const { summary } = await again({ dtype: undefined, shard: { index: 1, count: 3 } });
  expect(summary).toMatchObject({ dtype, complete: false, shards: { done: 2, here: 1 } });
  const other = dtype === 'fp32' ? 'bf16' : 'fp32';
  expect((await again({ dtype: other })).error).toMatchObject({
    code: 'RUN_MISMATCH',
    message: expect.stringContaining(`dtype: this run has "${dtype}", you asked for "${other}"`) as string,
  });
  expect((await again({ dtype: 'auto' })).summary).toMatchObject({ dtype, complete: true });
  await scan(options({ dtype, out: at('fresh') }));
  expect(resultBytes(at('run'), ['shards'])).toEqual(resultBytes(at('fresh'), ['shards']));
});
