// Damage to what runs are read from: whatever was done to a file, the error is RUN_INVALID.
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { CotypicalityRun, type CotypicalityDraft } from '../../src/stages/cotypicality/run.js';
import { ImageList } from '../../src/data/index.js';
import { DiffmineError } from '../../src/util/errors.js';
import { rank } from '../../src/stages/mine/rank.js';
import type { ManifestDraft } from '../../src/runs/manifest.js';
import { Run } from '../../src/runs/run.js';
import { CONTENT_SCHEMA, PATCH_SCHEMA } from '../../src/runs/columns.js';
import { readTable, writeTable } from '../../src/runs/tables.js';
import { TranslationFolder, type TranslationDraft } from '../../src/stages/translate/folder.js';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-damage-'));
  await makeRun();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (...names: string[]): string => join(folder, ...names);

const model = {
  path: '/m',
  fingerprint: 'm',
  kind: 'latent',
  conditioning: 'text',
  vaeFactor: 8,
  fold: 1,
  features: { upBlock: 1, diftT: 161 },
} as const;
const scored = {
  prompt: '{label}',
  nullPrompt: '',
  size: 512,
  sizeRule: 'floor',
  samples: 1,
  seed: 0,
  tBegin: 100,
  tEnd: 700,
  sampler: 'stratified',
  batch: 8,
  dtype: 'fp32',
  device: 'cpu',
  maps: true,
  shardSize: 2,
} as const;
const images = ImageList.from(
  [1, 2, 3, 4, 5].map((i) => ({
    path: `a/${i}.png`,
    file: `/d/a/${i}.png`,
    label: 'a',
    bytes: i,
    mtime: i,
    extra: { year: `19${i}0`, width: 'x' },
  })),
);

async function makeRun(): Promise<void> {
  const draft: ManifestDraft = {
    version: '0',
    created: '',
    model,
    dataset: { path: '/d', fingerprint: 'd', images: 5, ignored: 0, labels: ['a'], columns: ['width', 'year'] },
    options: { ...scored, patch: 64, perImage: 5, allLabels: false, against: 'null', replay: null },
    preset: null,
    replayFile: null,
    conditions: ['a'],
  };
  const run = await Run.begin(at('run'), draft, images);
  for (let shard = 0; shard < run.manifest.shards; shard++) {
    mkdirSync(run.shardPath(shard));
    const own = await run.shardImages(shard);
    writeFileSync(
      run.shardFile(shard, 'shard.json'),
      JSON.stringify({ id: shard, images: own.length, skipped: 0, batch: 8, notes: [] }),
    );
    writeFileSync(run.shardFile(shard, 'skipped.jsonl'), '{"image":"a/3.png","label":"a","reason":"r"}\n');
    await writeTable(
      run.shardFile(shard, 'files.parquet'),
      own.map(({ path: image, label }) => ({ image, label, sha256: null })),
      CONTENT_SCHEMA,
    );
    await writeTable(
      run.shardFile(shard, 'patches.parquet'),
      own.map(({ path: image, label }) => ({ image, label, condition: label, list: 'top', place: 1, typicality: 0.5 })),
      PATCH_SCHEMA,
    );
  }
}

/** What fails, fails with RUN_INVALID. */
async function orInvalid(read: () => Promise<unknown>): Promise<void> {
  try {
    await read();
  } catch (error) {
    if (!(error instanceof DiffmineError) || error.code !== 'RUN_INVALID') throw error;
  }
}

const damage: fc.Arbitrary<(bytes: Buffer) => Buffer> = fc.oneof(
  fc.nat(100).map((percent) => (bytes: Buffer) => bytes.subarray(0, Math.floor((percent * bytes.length) / 100))),
  fc
    .array(fc.tuple(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), fc.nat(255)), {
      minLength: 1,
      maxLength: 8,
    })
    .map((places) => (bytes: Buffer) => {
      const damaged = Buffer.from(bytes);
      for (const [place, value] of places) if (damaged.length > 0) damaged[Math.floor(place * damaged.length)] = value;
      return damaged;
    }),
  fc.uint8Array({ maxLength: 200 }).map((other) => () => Buffer.from(other)),
  fc.uint8Array({ minLength: 1, maxLength: 50 }).map((more) => (bytes: Buffer) => Buffer.concat([bytes, more])),
);

/** Reads a copy of the run with one file damaged. */
async function damaged(
  name: string,
  change: (bytes: Buffer) => Buffer,
  read: (path: string) => Promise<unknown>,
): Promise<void> {
  copyFileSync(at('run', name), at('kept'));
  try {
    writeFileSync(at('run', name), change(readFileSync(at('kept'))));
    await orInvalid(async () => read(at('run')));
  } finally {
    copyFileSync(at('kept'), at('run', name));
  }
}

async function readAll(path: string): Promise<void> {
  const run = await Run.open(path);
  for (const shard of await run.doneShards()) {
    await run.shardImages(shard);
    await run.readShard(shard);
    await run.shardContents(shard);
  }
  await run.skipped();
  await run.placesOf([{ path: 'a/4.png', label: 'a' }]);
  await rank(run, 3);
}

test('the run is sound to begin with', async () => {
  await readAll(at('run'));
  const run = await Run.open(at('run'));
  expect(await run.shardImages(2)).toEqual([{ path: 'a/5.png', label: 'a', extra: { width: 'x', year: '1950' } }]);
  expect([
    ...(await run.placesOf([
      { path: 'a/4.png', label: 'a' },
      { path: 'a/4.png', label: 'b' },
    ])),
  ]).toEqual([['["a","a/4.png"]', 3]]);
});

test.each(['manifest.json', 'index.parquet', 'shards/00001/shard.json', 'shards/00001/skipped.jsonl'])(
  '%s: any bytes',
  async (name) => {
    await fc.assert(
      fc.asyncProperty(damage, async (change) => damaged(name, change, readAll)),
      { numRuns: 60 },
    );
  },
  60_000,
);

test('index.parquet: any change is noticed', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.integer({ min: 1, max: 255 }),
      async (place, flip) => {
        const whole = readFileSync(at('run', 'index.parquet'));
        const index = Math.floor(place * whole.length);
        await damaged(
          'index.parquet',
          (bytes) => Buffer.from(bytes.map((byte, i) => (i === index ? byte ^ flip : byte))),
          async (path) => {
            await expect(Run.open(path)).rejects.toMatchObject({ code: 'RUN_INVALID' });
          },
        );
      },
    ),
    { numRuns: 40 },
  );
});

test.each(['files.parquet', 'patches.parquet'])('a shard without its %s, or with an empty one', async (name) => {
  for (const remove of [true, false]) {
    cpSync(at('run'), at('broken'), { recursive: true });
    if (remove) rmSync(at('broken', 'shards', '00001', name));
    else writeFileSync(at('broken', 'shards', '00001', name), '');
    const run = await Run.open(at('broken'));
    const read = name === 'files.parquet' ? run.shardContents(1) : rank(run, 3);
    await expect(read).rejects.toMatchObject({ code: 'RUN_INVALID', message: expect.stringContaining(name) as string });
    rmSync(at('broken'), { recursive: true });
  }
});

test('a table that is not Parquet', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), async (bytes) => {
      writeFileSync(at('x.parquet'), bytes);
      await orInvalid(async () => readTable(at('x.parquet')));
    }),
    { numRuns: 50 },
  );
});

describe('a manifest with one value replaced', () => {
  const json = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(null, 0, -1, 0.5, '', 'x', [], {}, true, 1e300, '1'),
  );

  /** Every place of a value in a JSON object. */
  function placesOf(value: unknown, path: string[] = []): string[][] {
    if (typeof value !== 'object' || value === null) return [path];
    return [
      ...(path.length > 0 ? [path] : []),
      ...Object.entries(value).flatMap(([name, member]) => placesOf(member, [...path, name])),
    ];
  }

  function replaced(manifest: object, path: readonly string[], value: unknown): object {
    const copy = structuredClone(manifest) as Record<string, unknown>;
    let place = copy;
    for (const name of path.slice(0, -1)) place = place[name] as Record<string, unknown>;
    if (value === undefined) delete place[path.at(-1) as string];
    else place[path.at(-1) as string] = value;
    return copy;
  }

  const translation: TranslationDraft = {
    version: '0',
    created: '',
    model,
    dataset: { path: '/d', fingerprint: 'd', images: 5, ignored: 0, labels: ['a', 'b'] },
    labels: ['b'],
    options: {
      inversionSteps: 10,
      inferenceSteps: 10,
      guidanceScale: 3,
      guidanceBegin: 0,
      guidanceEnd: 1000,
      negative: 'source',
      featureFraction: 0.8,
      attentionFraction: 0.5,
      featureLayers: ['x'],
      attentionLayers: [],
      prompt: '{label}',
      nullPrompt: '',
      size: 64,
      sizeRule: 'floor',
      imagesPerLabel: null,
      batch: 8,
      dtype: 'fp32',
      device: 'cpu',
      shardSize: 2,
    },
    preset: null,
  };
  const sequences: CotypicalityDraft = {
    version: '0',
    created: '',
    model,
    parallel: { path: '/p', fingerprint: 'p', sequences: 1, labels: ['a', 'b'] },
    options: { ...scored, patch: 16, places: 5, diftT: 161, upBlock: 1, ensemble: 8 },
    preset: null,
  };
  const kinds: [string, () => Promise<{ path: string; read: () => Promise<unknown> }>][] = [
    ['a scan', async () => ({ path: at('run'), read: async () => readAll(at('run')) })],
    [
      'a translation',
      async () => {
        const { path } = await TranslationFolder.begin(at('translation'), translation, images);
        return { path, read: async () => TranslationFolder.open(path) };
      },
    ],
    [
      'co-typicality',
      async () => {
        const rows = [{ key: 'a/1', label: 'a', image: 'a/1.png' }];
        const { path } = await CotypicalityRun.begin(at('sequences'), sequences, rows, {});
        return {
          path,
          read: async () =>
            CotypicalityRun.begin(path, sequences, rows, {}).catch((error: DiffmineError) =>
              Promise.reject(error.code === 'RUN_MISMATCH' ? new DiffmineError('RUN_INVALID', '') : error),
            ),
        };
      },
    ],
  ];
  test.each(kinds)(
    '%s',
    async (_, make) => {
      const { path, read } = await make();
      const file = join(path, 'manifest.json');
      const whole = readFileSync(file, 'utf8');
      const manifest = JSON.parse(whole) as object;
      await read();
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...placesOf(manifest)),
          fc.option(json, { nil: undefined }),
          async (place, value) => {
            writeFileSync(file, JSON.stringify(replaced(manifest, place, value)));
            await orInvalid(read);
          },
        ),
        { numRuns: 150 },
      );
      writeFileSync(file, whole);
    },
    60_000,
  );
});
