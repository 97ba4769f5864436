// Listings of containers are kept with a run: a machine that joins it, with an empty cache, reads images only.
import { mkdirSync, openSync, closeSync, readFileSync, statSync, utimesSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { openDataset, packListings } from '../../src/data/index.js';
import { LISTINGS, listingsOf } from '../../src/runs/listings.js';
import { scan } from '../../src/stages/scan/scan.js';
import type { ScanOptions, ScanSummary } from '../../src/stages/scan/options.js';
import { resultBytes } from '../helpers/bytes.js';
import { writeImageParquet, writeTar } from '../helpers/containers.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();
const at = (...names: string[]): string => join(folder, ...names);
const { DIFFMINE_CACHE: cache } = process.env;
afterAll(() => {
  if (cache === undefined) delete process.env['DIFFMINE_CACHE'];
  else process.env['DIFFMINE_CACHE'] = cache;
});

/** From here on this process has the cache of a machine that never ran diffmine. */
function anotherMachine(name: string): void {
  mkdirSync(at('caches', name), { recursive: true });
  process.env['DIFFMINE_CACHE'] = at('caches', name);
}

const image = (label: string, i: number): Buffer =>
  readFileSync(join(GOLDEN, 'mini-dataset', label, `${label}_${i}.png`));

async function scanPart(out: string, shard?: ScanOptions['shard']): Promise<ScanSummary> {
  const options: ScanOptions = {
    dataset: at('data'),
    model: join(GOLDEN, 'tiny-sd15'),
    out: at(out),
    prompt: 'A car from the {label}s.',
    nullPrompt: 'A car.',
    size: 'source',
    patch: 16,
    samples: 1,
    batch: 8,
    device: 'cpu',
    dtype: 'fp32',
    shardSize: 1,
    threads: 1,
    ...(shard === undefined ? {} : { shard }),
  };
  return scan(options);
}

/** Overwrites bytes of a file, whose time stays. */
function damage(file: string, places: readonly (readonly [begin: number, end: number])[]): void {
  const { atimeMs, mtimeMs } = statSync(file);
  const handle = openSync(file, 'r+');
  for (const [begin, end] of places) writeSync(handle, Buffer.alloc(end - begin, 'x'), 0, end - begin, begin);
  closeSync(handle);
  utimesSync(file, atimeMs / 1000, mtimeMs / 1000);
}

/** A time that can be set as precisely as it is read. */
function settle(file: string): void {
  utimesSync(file, 1_700_000_000, 1_700_000_000);
}

test('another machine that takes a part, or resumes, reads no header of an archive', async () => {
  anotherMachine('first');
  mkdirSync(at('data'), { recursive: true });
  const names = ['a', 'b'];
  for (const [i, name] of names.entries()) {
    await writeTar(at('data', `${name}.tar`), [
      ['0.png', image('1920', i)],
      ['0.cls', '1920'],
      ['1.png', image('1950', i)],
      ['1.cls', '1950'],
    ]);
    settle(at('data', `${name}.tar`));
  }
  await scanPart('whole');
  expect((await scanPart('shared', { index: 0, count: 2 })).complete).toBe(false);

  // every byte that is not of an image is gone: whoever reads a header fails
  const { images } = await openDataset(at('data'));
  for (const name of names) {
    const file = at('data', `${name}.tar`);
    const own = images
      .map(({ path }) => /^(\w)\.tar#(\d+)\+(\d+)/.exec(path))
      .flatMap((found) => (found?.[1] === name ? [[Number(found[2]), Number(found[2]) + Number(found[3])]] : []));
    const ends = [0, ...own.map(([, end]) => end as number)];
    const begins = [...own.map(([begin]) => begin as number), statSync(file).size];
    damage(
      file,
      ends.map((end, i) => [end, begins[i] as number]),
    );
  }
  anotherMachine('none');
  await expect(openDataset(at('data'))).rejects.toThrow(/is not a tar archive/);

  anotherMachine('second');
  expect(await scanPart('shared', { index: 1, count: 2 })).toMatchObject({ complete: true, scored: 4, skipped: 0 });
  const results = (run: string) => resultBytes(at(run), ['shards', 'skipped.jsonl']);
  expect(results('shared')).toEqual(results('whole'));

  // a run that lost them is none the worse where the cache has them, and gets them again
  writeFileSync(at('shared', LISTINGS), 'damaged');
  expect((await scanPart('shared')).complete).toBe(true);
  anotherMachine('third');
  await expect(scanPart('shared')).rejects.toThrow(/is not a tar archive/);
});

test('of Parquet files only the footer is read again', async () => {
  anotherMachine('fourth');
  mkdirSync(at('tables'), { recursive: true });
  const file = at('tables', 'a.parquet');
  const rows = [0, 1].map((i) => ({ bytes: new Uint8Array(image('1920', i)), path: `${i}.png` }));
  const label = { name: 'label', values: [1n, 0n], type: 'INT64', classes: ['cat', 'dog'] } as const;
  await writeImageParquet(file, rows, [label, { name: 'year', values: [1900, null], type: 'DOUBLE' }], {});
  settle(file);
  const open = async () => openDataset(at('tables'), { listings: listingsOf(at('run')) });
  const { images, fingerprint, listings } = await open();
  expect(images.map(({ label, extra }) => [label, extra])).toEqual([
    ['dog', { year: '1900' }],
    ['cat', undefined],
  ]);
  mkdirSync(at('run'));
  writeFileSync(at('run', LISTINGS), await packListings(listings));
  const bytes = readFileSync(file);
  damage(file, [[4, bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8)]]);
  anotherMachine('fifth');
  expect((await open()).fingerprint).toBe(fingerprint);
  await expect(openDataset(at('tables'))).resolves.toBeDefined(); // by now it is in the cache
  anotherMachine('none');
  await expect(openDataset(at('tables'))).rejects.toThrow();
});
