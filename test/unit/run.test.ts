// Run directories: begin, resume, mismatch, damage; atomic writes; fingerprints.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync, existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  removeLeftovers,
  replaceFolder,
  temporaryName,
  writeFileAtomic,
  writeFolderAtomic,
} from '../../src/runs/atomic.js';
import { sha256 } from '../../src/util/sha256.js';
import { canonicalJson, fingerprintOf, randomKey } from '../../src/runs/fingerprint.js';
import { ImageList } from '../../src/data/index.js';
import { readManifest, runFingerprint, type ManifestDraft } from '../../src/runs/manifest.js';
import { Run } from '../../src/runs/run.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-run-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function draft(options: Partial<ManifestDraft['options']> = {}, more: Partial<ManifestDraft> = {}): ManifestDraft {
  return {
    version: '0.0.0',
    created: '2026-01-01T00:00:00.000Z',
    model: {
      path: '/m',
      fingerprint: 'model-1',
      kind: 'latent',
      conditioning: 'text',
      vaeFactor: 8,
      fold: 1,
      features: { upBlock: 1, diftT: 161 },
    },
    dataset: { path: '/d', fingerprint: 'data-1', images: 5, ignored: 0, labels: ['a', 'b'], columns: [] },
    options: {
      prompt: '{label}',
      nullPrompt: '',
      size: 512,
      sizeRule: 'floor',
      patch: 64,
      samples: 100,
      seed: 0,
      tBegin: 100,
      tEnd: 700,
      sampler: 'stratified',
      perImage: 5,
      batch: 8,
      dtype: 'fp32',
      device: 'cpu',
      allLabels: false,
      against: 'null',
      maps: true,
      shardSize: 2,
      replay: null,
      ...options,
    },
    preset: null,
    replayFile: null,
    conditions: ['a', 'b'],
    ...more,
  };
}

const images = ImageList.from(
  [1, 2, 3, 4, 5].map((i) => ({
    path: `a/${i}.png`,
    file: `/d/a/${i}.png`,
    label: 'a',
    bytes: 10 * i,
    mtime: 1000 + i,
  })),
);
const begin = async (path: string, wanted: ManifestDraft, anyBatch = false): Promise<Run> =>
  Run.begin(path, wanted, images, { anyBatch });

describe('fingerprints', () => {
  test('canonical JSON sorts keys at every depth and leaves undefined out', () => {
    expect(canonicalJson({ b: [1, { z: null, y: 'ü"' }], a: true, c: undefined })).toBe(
      '{"a":true,"b":[1,{"y":"ü\\"","z":null}]}',
    );
    expect(fingerprintOf({ a: 1, b: 2 })).toBe(fingerprintOf({ b: 2, a: 1 }));
    expect(fingerprintOf({ a: 1 })).not.toBe(fingerprintOf({ a: '1' }));
  });
  test('known sha256, and the image key is its first eight bytes', () => {
    expect(sha256('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    expect(randomKey('abc')).toBe(0xeacf018fbf1678ban);
  });
});

describe('Run', () => {
  test('begins in a new folder, and the same options find it again', async () => {
    const run = await begin(join(folder, 'new', 'run'), draft());
    expect(run.manifest.shards).toBe(3);
    expect((await run.shardImages(2)).map(({ path }) => path)).toEqual(['a/5.png']);
    const again = await begin(
      join(folder, 'new', 'run'),
      draft({}, { created: '2027-01-01T00:00:00.000Z', version: '9.9.9' }),
    );
    expect(again.manifest).toEqual(run.manifest);
    expect((await Run.open(run.path)).manifest).toEqual(run.manifest);
  });

  test('the data may lie elsewhere, another model or dataset may not', async () => {
    await begin(folder, draft());
    const moved = draft();
    moved.model.path = '/elsewhere';
    await expect(begin(folder, moved)).resolves.toBeInstanceOf(Run);
    moved.model.fingerprint = 'model-2';
    moved.dataset.fingerprint = 'data-2';
    await expect(begin(folder, moved)).rejects.toMatchObject({
      code: 'RUN_MISMATCH',
      message: expect.stringMatching(
        /model: this run has \/m, you asked for \/elsewhere; dataset: \/d has changed since this run began\.$/,
      ),
    });
  });

  test('another option is named, with both values', async () => {
    await begin(folder, draft());
    await expect(begin(folder, draft({ samples: 50, tBegin: 0 }))).rejects.toMatchObject({
      code: 'RUN_MISMATCH',
      exitCode: 6,
      message: expect.stringContaining(
        'samples: this run has 100, you asked for 50; t-range, first timestep: this run has 100, you asked for 0',
      ),
    });
  });

  test('a batch that was only sized from memory gives way to the one that stands', async () => {
    await begin(folder, draft({ batch: 8 }), true);
    expect((await begin(folder, draft({ batch: 16 }), true)).manifest.options.batch).toBe(8);
    await expect(begin(folder, draft({ batch: 16 }))).rejects.toMatchObject({
      code: 'RUN_MISMATCH',
      message: expect.stringContaining('batch: this run has 8, you asked for 16'),
    });
    await expect(begin(folder, draft({ batch: 16, seed: 1 }), true)).rejects.toMatchObject({
      code: 'RUN_MISMATCH',
      message: expect.stringMatching(/another run\. seed: this run has 0, you asked for 1\.$/),
    });
  });

  test('a folder with something else in it is left alone', async () => {
    writeFileSync(join(folder, 'thesis.doc'), 'x');
    await expect(begin(folder, draft())).rejects.toMatchObject({
      code: 'RUN_MISMATCH',
      message: expect.stringContaining('thesis.doc'),
    });
    expect(readdirSync(folder)).toEqual(['thesis.doc']);
  });

  test('many begin at once: one manifest stands', async () => {
    const runs = await Promise.all(
      Array.from({ length: 8 }, (_, i) => begin(folder, draft({}, { created: `2026-01-0${i + 1}T00:00:00.000Z` }))),
    );
    expect(new Set(runs.map(({ manifest }) => manifest.created)).size).toBe(1);
    expect(readdirSync(folder).sort()).toEqual(['index.parquet', 'locks', 'manifest.json', 'shards']);
  });

  test.each([
    ['not JSON', 'x{', /is not JSON/],
    ['another format', '{"format":"other"}', /is of format "other"/],
    ['nothing in it', '{"format":"diffmine-run-3"}', /is damaged/],
  ])('a damaged manifest is RUN_INVALID: %s', async (_, text, message) => {
    writeFileSync(join(folder, 'manifest.json'), text);
    await expect(Run.open(folder)).rejects.toMatchObject({
      code: 'RUN_INVALID',
      message: expect.stringMatching(message),
    });
    await expect(begin(folder, draft())).rejects.toMatchObject({ code: 'RUN_INVALID' });
  });

  test('an edited manifest is noticed', async () => {
    await begin(folder, draft());
    const file = join(folder, 'manifest.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace('"samples": 100', '"samples": 99'));
    await expect(Run.open(folder)).rejects.toMatchObject({
      code: 'RUN_INVALID',
      message: expect.stringContaining('changed'),
    });
  });

  test('no run, no manifest', async () => {
    await expect(Run.open(folder)).rejects.toMatchObject({ code: 'RUN_INVALID' });
    await expect(Run.open(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'RUN_INVALID' });
    expect(await readManifest(join(folder, 'nowhere'))).toBeUndefined();
  });

  test('shards are locked, written whole, and then done; leftovers of the dead go', async () => {
    const run = await begin(folder, draft());
    const leftover = join(folder, 'shards', '.00001.tmp-host-1-abc');
    mkdirSync(leftover);
    const lock = await run.lockShard(1);
    expect(lock).toBeDefined();
    expect(existsSync(leftover)).toBe(false);
    expect(await run.lockShard(1)).toBeUndefined();
    await run.writeShard(1, async (into) => {
      writeFileSync(join(into, 'shard.json'), JSON.stringify({ id: 1, images: 1, skipped: 1, batch: 8, notes: [] }));
      writeFileSync(join(into, 'skipped.jsonl'), '{"image":"a/3.png","label":"a","reason":"r"}\n');
    });
    await lock?.release();
    expect(await run.lockShard(1)).toBeUndefined();
    expect(await run.doneShards()).toEqual([1]);
    expect(await run.isComplete()).toBe(false);
    expect(await run.readShard(1)).toMatchObject({ images: 1, skipped: 1 });
    await run.writeSkipped();
    expect(readFileSync(join(folder, 'skipped.jsonl'), 'utf8')).toBe('{"image":"a/3.png","label":"a","reason":"r"}\n');
  });

  test('the fingerprint ignores where things lie and when', () => {
    const other = draft({}, { created: 'later', replayFile: '/x' });
    other.dataset.path = '/other';
    expect(runFingerprint(other)).toBe(runFingerprint(draft()));
    expect(runFingerprint(draft({ seed: 1 }))).not.toBe(runFingerprint(draft()));
  });
});

describe('atomic', () => {
  test('a file is replaced whole; a failed write leaves the old one and no rubbish', async () => {
    const file = join(folder, 'f');
    await writeFileAtomic(file, 'one');
    await writeFileAtomic(file, 'two');
    expect(readFileSync(file, 'utf8')).toBe('two');
    mkdirSync(join(folder, 'd'));
    await expect(writeFileAtomic(join(folder, 'd'), 'x')).rejects.toThrow();
    expect(readdirSync(folder).sort()).toEqual(['d', 'f']);
  });

  test('a folder appears only when it is full; a failure leaves nothing', async () => {
    const target = join(folder, 't');
    await expect(
      writeFolderAtomic(target, async (into) => {
        writeFileSync(join(into, 'a'), '1');
        expect(existsSync(target)).toBe(false);
        throw new Error('stop');
      }),
    ).rejects.toThrow('stop');
    expect(readdirSync(folder)).toEqual([]);
    expect(await writeFolderAtomic(target, async (into) => writeFileSync(join(into, 'a'), '1'))).toBe(true);
    expect(await writeFolderAtomic(target, async (into) => writeFileSync(join(into, 'a'), '2'))).toBe(false);
    expect(readFileSync(join(target, 'a'), 'utf8')).toBe('1');
    expect(readdirSync(folder)).toEqual(['t']);
  });

  test('replaceFolder puts the new one in place and leaves nothing of the old', async () => {
    const target = join(folder, 't');
    await replaceFolder(target, async (into) => writeFileSync(join(into, 'a'), '1'));
    await replaceFolder(target, async (into) => writeFileSync(join(into, 'b'), '2'));
    expect(readdirSync(target)).toEqual(['b']);
    expect(readdirSync(folder)).toEqual(['t']);
  });

  test('leftovers of one name only are removed', async () => {
    mkdirSync(temporaryName(join(folder, 't')));
    mkdirSync(temporaryName(join(folder, 'tt')));
    await removeLeftovers(join(folder, 't'));
    expect(readdirSync(folder)).toHaveLength(1);
  });
});
