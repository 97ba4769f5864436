// What a dataset's folder holds besides readable images: names that are not UTF-8, litter, entries that cannot be opened, outputs of diffmine, splits.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import fc from 'fast-check';
import sharp from 'sharp';
import { datasetNotes, measureImage, openDataset, readImage, type Dataset } from '../../src/data/index.js';
import { contentOf } from '../../src/data/checksums.js';
import { OUTPUT_MARKERS } from '../../src/data/ignored.js';
import { imageFile, nameOfBytes, nameOfText, systemPath } from '../../src/data/names.js';
import { isSplitName } from '../../src/data/splits.js';
import { sha256 } from '../../src/util/sha256.js';
import { DEMO_FORMAT } from '../../src/tools/demo/folder.js';
import { LOCALIZATION_FORMAT } from '../../src/stages/localize/record.js';
import { MANIFEST, RUN_FORMAT } from '../../src/runs/manifest.js';
import { SAMPLES, SAMPLES_FORMAT } from '../../src/stages/sample/request.js';
import { RECORD, TRAINING_FORMAT } from '../../src/stages/train/record.js';
import { WORLD_FORMAT } from '../../src/tools/world/world.js';
import { temporaryFolder, writeFiles } from '../helpers/folders.js';

const root = temporaryFolder();
let count = 0;
let png: Buffer;
beforeAll(async () => {
  png = await sharp({ create: { width: 16, height: 16, channels: 3, background: '#888' } })
    .png()
    .toBuffer();
});
/** Files by name; `true` is an image. */
function folder(files: Record<string, string | Buffer | true>): string {
  const place = path.join(root, `set${++count}`);
  mkdirSync(place, { recursive: true });
  writeFiles(
    place,
    Object.fromEntries(Object.entries(files).map(([file, content]) => [file, content === true ? png : content])),
  );
  return place;
}
const paths = (set: Dataset): string[] => set.images.map((image) => image.path);
const invalid = (message: RegExp, hint?: RegExp) =>
  expect.objectContaining({
    code: 'DATASET_INVALID',
    message: expect.stringMatching(message) as unknown,
    ...(hint ? { hint: expect.stringMatching(hint) as unknown } : {}),
  });
const SIZES = { size: 'source', rule: 'floor', multiple: 1, patch: 8 } as const;
const asRoot = process.getuid?.() === 0;

describe('names', () => {
  test('bytes that are not UTF-8 are escaped, all else stays', () => {
    expect(nameOfBytes(Buffer.from('caf\xe9.png', 'latin1'))).toBe('caf%xE9.png');
    expect(nameOfBytes(Buffer.from('été %20 %xyz %C3%A9.png'))).toBe('été %20 %xyz %C3%A9.png');
    expect(nameOfBytes(Buffer.from('caf%xE9.png'))).toBe('caf%x25xE9.png');
    expect(nameOfBytes(Buffer.from([0x93, 0x8c, 0x8b, 0x9e]))).toBe('%x93%x8C%x8B%x9E');
    expect(nameOfBytes(Buffer.from([0xe6, 0x9d]))).toBe('%xE6%x9D');
  });

  test('every name leads back to its bytes, so no two share one', () => {
    const parts = fc.array(
      fc.oneof(
        fc.uint8Array({ maxLength: 4 }).map((bytes) => Buffer.from(bytes)),
        fc.constantFrom('%', '%x', 'x', '25', '%x25', '%xE9', 'E9', 'é', '\u{1f697}').map((text) => Buffer.from(text)),
      ),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(parts, (pieces) => {
        const bytes = Buffer.concat(pieces);
        const name = nameOfBytes(bytes);
        expect(Buffer.from(systemPath(name)).equals(bytes)).toBe(true);
        expect(Buffer.from(name).toString()).toBe(name);
      }),
      { numRuns: 2000 },
    );
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => expect(systemPath(nameOfText(text))).toBe(text)));
  });

  test('an image is found where its name says', () => {
    expect(['a/b.png', '../b.png', '/x/b.png'].map((image) => imageFile('/data', image))).toEqual([
      '/data/a/b.png',
      '/data/../b.png',
      '/x/b.png',
    ]);
  });

  test('such files are listed, kept apart, measured and read; such folders are labels', async () => {
    const place = folder({ 'a/plain.png': true });
    const bytes = (...parts: string[]): Buffer => Buffer.concat(parts.map((part) => Buffer.from(part, 'latin1')));
    writeFileSync(bytes(place, '/a/caf\xe9.png'), png);
    writeFileSync(bytes(place, '/a/caf\xe8.png'), png);
    mkdirSync(bytes(place, '/\xe9t\xe9'));
    writeFileSync(bytes(place, '/\xe9t\xe9/1.png'), png);
    if (!readdirSync(path.join(place, 'a'), { encoding: 'buffer' }).some((name) => name.equals(bytes('caf\xe9.png'))))
      return; // a file system of Unicode names
    const set = await openDataset(place);
    expect(paths(set)).toEqual(['%xE9t%xE9/1.png', 'a/caf%xE8.png', 'a/caf%xE9.png', 'a/plain.png']);
    expect(set.labels).toEqual(['%xE9t%xE9', 'a']);
    expect(set.warnings).toEqual([expect.stringMatching(/'%xE9t%xE9' is not UTF-8/)]);
    for (const { file } of set.images) {
      expect(await measureImage(file)).toEqual({ width: 16, height: 16 });
      expect((await readImage(file, SIZES)).pixels).toHaveLength(768);
    }
  });
});

test('the label of a folder whose name looks like an escape is its text', async () => {
  const set = await openDataset(folder({ 'at 100%x80/1.png': true, 'b.tar#1/1.png': true, 'c/1.png': true }));
  expect(set.labels).toEqual(['at 100%x80', 'b.tar#1', 'c']);
  expect(set.warnings).toEqual([]);
  expect(await Promise.all([...set.images].map(({ file }) => measureImage(file)))).toHaveLength(3);
});

describe('litter', () => {
  test('of NAS systems, desktops and tools is ignored and counted in one line', async () => {
    const place = folder({
      'a/1.jpg': true,
      'b/1.jpg': true,
      'a/@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg': true,
      'a/.@__thumb/1.jpg': true,
      'b/Thumbs.db': 'x',
      'b/.thumbnails/1.png': true,
      'b/.picasaoriginals/1.jpg': true,
      'a/SYNOPHOTO_THUMB_M.jpg': true,
      'a/._1.jpg': 'x',
      'a/.AppleDouble/1.jpg': 'x',
      '__MACOSX/a/._1.jpg': 'x',
      '#recycle/old.jpg': true,
      '@Recycle/old.jpg': true,
      'FOUND.000/FILE0001.jpg': true,
      'LOST.DIR/1.jpg': true,
      '_gsdata_/a/1.jpg': true,
      '@SynoResource/1.jpg': true,
      'Network Trash Folder/1.jpg': true,
      '$RECYCLE.BIN/x.jpg': true,
      'System Volume Information/x.jpg': true,
      '.Trash-1000/files/x.jpg': true,
      'a/.ipynb_checkpoints/1-checkpoint.jpg': true,
      'lost+found/1.jpg': true,
      '.git/x.jpg': true,
      'node_modules/icons/x.png': true,
      'a/.secret.jpg': true,
      'a/notes.txt': 'x',
      'labels.csv': 'x',
      'loose.png': true,
    });
    const set = await openDataset(place);
    expect(paths(set)).toEqual(['a/1.jpg', 'b/1.jpg']);
    expect(set.warnings).toEqual([]);
    expect(set.ignoredBy).toEqual({ thumbnails: 6, system: 17, hidden: 1, notImages: 1, besideLabels: 2 });
    expect(set.ignored).toBe(27);
    expect(datasetNotes(set)).toEqual([
      'Ignored 27 entries: 6 thumbnail folders or files, 17 system or trash entries, 1 hidden entry, 1 file that is not an image, 2 files beside the label folders.',
    ]);
  });

  test('no line if nothing was ignored', async () => {
    expect(datasetNotes(await openDataset(folder({ 'a/1.png': true })))).toEqual([]);
  });
});

describe('entries that cannot be opened', () => {
  const reasonsOf = async (set: Dataset): Promise<Record<string, string>> => {
    const reasons: Record<string, string> = {};
    for (const { path: name, file } of set.images) {
      for (const call of [(): Promise<unknown> => readImage(file, SIZES), (): Promise<unknown> => measureImage(file)]) {
        await call().catch((error: Error & { code: string }) => (reasons[name] = `${error.code}: ${error.message}`));
      }
    }
    return reasons;
  };

  test('dangling links, circles of links, sockets and folders are listed with their reason', async () => {
    const place = folder({ 'a/1.png': true });
    const at = (name: string): string => path.join(place, 'a', name);
    symlinkSync('../.git/annex/objects/x/SHA.png', at('annexed.png'));
    symlinkSync('circle.png', at('circle.png'));
    symlinkSync('.', at('folder.png'));
    symlinkSync('nothing', at('link-without-extension'));
    const server = createServer();
    const listening = await new Promise<boolean>((resolve) =>
      server.once('error', () => resolve(false)).listen(at('socket.png'), () => resolve(true)),
    );
    try {
      const set = await openDataset(place);
      expect(paths(set)).toEqual([
        'a/1.png',
        'a/annexed.png',
        'a/circle.png',
        'a/folder.png',
        ...(listening ? ['a/socket.png'] : []),
      ]);
      expect(set.ignoredBy).toEqual({ notImages: 1 });
      expect(set.warnings).toEqual([
        "1 folder or link cannot be read, so any images there are missing: 'a/link-without-extension' (a dangling link).",
      ]);
      const reasons = await reasonsOf(set);
      expect(reasons).toEqual({
        'a/annexed.png': "IMAGE_UNREADABLE: The image 'annexed.png' cannot be read: it is a dangling link.",
        'a/circle.png': "IMAGE_UNREADABLE: The image 'circle.png' cannot be read: its links form a loop.",
        'a/folder.png': "IMAGE_UNREADABLE: The image 'folder.png' cannot be read: it is a folder.",
        ...(listening
          ? { 'a/socket.png': "IMAGE_UNREADABLE: The image 'socket.png' cannot be read: it is a socket." }
          : {}),
      });
    } finally {
      server.close();
    }
  });

  test('pipes and devices are named, and nothing waits for a writer or reads without an end', async () => {
    const place = folder({ 'a/1.png': true });
    const at = (name: string): string => path.join(place, 'a', name);
    execFileSync('mkfifo', [at('pipe.png')]);
    symlinkSync('/dev/zero', at('zero.png'));
    const set = await openDataset(place, { checksum: true });
    expect(await reasonsOf(set)).toEqual({
      'a/pipe.png': "IMAGE_UNREADABLE: The image 'pipe.png' cannot be read: it is a named pipe.",
      'a/zero.png': "IMAGE_UNREADABLE: The image 'zero.png' cannot be read: it is a device.",
    });
    expect(await Promise.all(['1.png', 'pipe.png', 'zero.png'].map(async (name) => contentOf(at(name))))).toEqual([
      sha256(png),
      null,
      null,
    ]);
  });

  (asRoot ? test.skip : test)('files and folders without permission', async () => {
    const place = folder({ 'a/1.png': true, 'a/closed/2.png': true, 'b/1.png': true, 'c/1.png': true });
    chmodSync(path.join(place, 'a', '1.png'), 0);
    chmodSync(path.join(place, 'a', 'closed'), 0);
    chmodSync(path.join(place, 'c'), 0);
    const set = await openDataset(place);
    expect(paths(set)).toEqual(['a/1.png', 'b/1.png']);
    expect(set.warnings).toEqual([
      "2 folders or links cannot be read, so any images there are missing: 'a/closed' (permission denied), 'c' (permission denied).",
    ]);
    expect(await reasonsOf(set)).toEqual({
      'a/1.png': "IMAGE_UNREADABLE: The image '1.png' cannot be read: permission denied.",
    });
    chmodSync(path.join(place, 'a', 'closed'), 0o700);
    chmodSync(path.join(place, 'c'), 0o700);
  });

  test('links are followed, also to folders; a file that was removed before it is read is an error', async () => {
    const elsewhere = folder({ 'x/1.png': true });
    const place = folder({ 'a/1.png': true });
    symlinkSync(elsewhere, path.join(place, 'b'));
    symlinkSync(path.join(elsewhere, 'x', '1.png'), path.join(place, 'a', '2.png'));
    expect(paths(await openDataset(place))).toEqual(['a/1.png', 'a/2.png', 'b/x/1.png']);
    await expect(readImage(path.join(place, 'a', 'gone.png'), SIZES)).rejects.toEqual(
      expect.objectContaining({ message: "The image 'gone.png' cannot be read: there is no such file." }),
    );
  });
});

describe('outputs of diffmine', () => {
  test('are known by their records', () => {
    expect(OUTPUT_MARKERS).toEqual(expect.arrayContaining([MANIFEST, RECORD, SAMPLES]));
  });

  test('are never data, wherever they lie; other records are', async () => {
    const record = (format: string): string => `${JSON.stringify({ format, version: '0.1.0' }, null, 2)}\n`;
    const place = folder({
      'a/1.png': true,
      'b/1.png': true,
      'run/manifest.json': record(RUN_FORMAT),
      'run/report/sprites/0.webp': true,
      'a/run2/manifest.json': `{"format":"${RUN_FORMAT}"}`,
      'a/run2/x.png': true,
      'model/train.json': record(TRAINING_FORMAT),
      'model/samples/1.png': true,
      'b/sampled/samples.json': record(SAMPLES_FORMAT),
      'b/sampled/grid.png': true,
      'demo/demo.json': record(DEMO_FORMAT),
      'demo/world/train/x/1.png': true,
      'maps/localize.json': record(LOCALIZATION_FORMAT),
      'maps/overlays/1.png': true,
      'parallel/manifest.json': record('diffmine-translation-1'),
      'parallel/a/1/source.png': true,
      'page/index.html': '<!doctype html>',
      'page/data/run.js': 'diffmine.run({});\n',
      'page/sprites/0.webp': true,
      'b/web/manifest.json': '{"name": "app"}',
      'b/web/1.png': true,
      'a/world/world.json': record(WORLD_FORMAT),
      'a/world/1.png': true,
    });
    const set = await openDataset(place);
    expect(paths(set)).toEqual(['a/1.png', 'a/world/1.png', 'b/1.png', 'b/web/1.png']);
    expect(set.ignoredBy).toEqual({ outputs: 8, notImages: 2 });
    expect(set.warnings).toEqual([]);
  });

  test('the output folder of the running command is not data, even before it has a record, also through a link', async () => {
    const place = folder({ 'a/1.png': true, 'out/sprite.png': true, 'a/out/1.png': true });
    expect(paths(await openDataset(place, { out: path.join(place, 'out') }))).toEqual(['a/1.png', 'a/out/1.png']);
    expect(paths(await openDataset(place, { out: path.join(place, 'a/out') }))).toEqual(['a/1.png', 'out/sprite.png']);
    symlinkSync(place, `${place}-link`);
    expect(paths(await openDataset(`${place}-link`, { out: path.join(place, 'out') }))).toEqual([
      'a/1.png',
      'a/out/1.png',
    ]);
    expect(paths(await openDataset(place, { out: path.join(place, 'not yet') }))).toHaveLength(3);
  });

  test('a run is not a dataset; what translate wrote is', async () => {
    await expect(
      openDataset(folder({ 'manifest.json': `{"format": "${RUN_FORMAT}"}`, 'report/1.png': true })),
    ).rejects.toEqual(invalid(/is an output folder of diffmine \(diffmine-run-\d*\)?/));
    expect(
      paths(
        await openDataset(folder({ 'manifest.json': '{"format": "diffmine-translation-1"}', 'a/1/source.png': true })),
      ),
    ).toEqual(['a/1/source.png']);
  });
});

describe('splits', () => {
  const three = {
    'train/cat/1.png': true,
    'train/dog/1.png': true,
    'val/cat/1.png': true,
    'test/dog/1.png': true,
    'test/cat/1.png': true,
  } as const;

  test.each([
    [
      'train, val, test',
      { ...three },
      /test\/, train\/, val\/ are splits of one dataset: each has the class folders cat, dog/,
      /Give one split: '.*\/train'/,
    ],
    [
      'with other files and folders beside',
      { ...three, 'README.md': 'x', 'annotations/labels.json': '{}', 'lost+found/x': 'x' },
      /are splits/,
      /\/train'/,
    ],
    [
      'Training and Testing',
      { 'Training/glioma/1.png': true, 'Testing/glioma/2.png': true },
      /Testing\/, Training\/ are splits/,
      /\/Training'/,
    ],
    [
      'of the year, with nested folders',
      { 'train2017/cat/a/b/1.png': true, 'val2017/cat/1.png': true },
      /are splits/,
      /\/train2017'/,
    ],
    ['seg_train', { 'seg_train/sea/1.png': true, 'seg_test/sea/1.png': true }, /are splits/, /\/seg_train'/],
    [
      'folds',
      { 'fold_1/a/1.png': true, 'fold_1/b/1.png': true, 'fold_2/a/1.png': true, 'fold_3/b/1.png': true },
      /fold_1\/, fold_2\/, fold_3\/ are splits/,
      /\/fold_1'/,
    ],
    ['without train', { 'dev/a/1.png': true, 'eval/a/1.png': true }, /dev\/, eval\/ are splits/, /\/dev'/],
    [
      'where a split lacks rare classes',
      { 'train/a/1.png': true, 'train/b/1.png': true, 'train/c/1.png': true, 'valid/b/1.png': true },
      /train\/, valid\/ are splits/,
      /\/train'/,
    ],
  ] as [string, Record<string, string | true>, RegExp, RegExp][])(
    'are refused, with the way to choose one: %s',
    async (_, files, message, hint) => {
      await expect(openDataset(folder(files))).rejects.toEqual(invalid(message, hint));
    },
  );

  test.each([
    ['things to ride in', { 'train/diesel/1.png': true, 'bus/1.png': true }, []],
    ['images in the folders themselves', { 'train/1.png': true, 'test/1.png': true }, []],
    ['other folders in each', { 'train/steam/1.png': true, 'test/exam/1.png': true }, []],
    [
      'folders in one, images in the other',
      { 'train/cat/1.png': true, 'train/dog/1.png': true, 'test/1.png': true },
      [/^Warning: test\/, train\/ look like splits .* give '.*\/train'/],
    ],
    [
      'one folder, which may be the whole dataset',
      { 'train/a/1.png': true, 'train/b/1.png': true },
      [/All images have the label 'train'\. If its folders \(a, b\) are the labels, give '.*\/train'/],
    ],
    [
      'one folder around the labels, as archives unpack',
      { 'photos/a/1.png': true, 'photos/b/1.png': true },
      [/All images have the label 'photos'\. If its folders \(a, b\) are the labels, give '.*\/photos'/],
    ],
    [
      'beside a label of another name',
      { ...three, 'extra/1.png': true },
      [/^Warning: test\/, train\/, val\/ are splits .* give '.*\/train'/],
    ],
  ] as [string, Record<string, string | true>, RegExp[]][])(
    'labels of such names stay labels: %s',
    async (_, files, warnings) => {
      const set = await openDataset(folder(files));
      expect(set.labels).toEqual([...new Set(Object.keys(files).map((file) => file.split('/')[0] as string))].sort());
      expect(set.warnings).toEqual(warnings.map((warning) => expect.stringMatching(warning) as unknown));
    },
  );

  test('a preset that knows splits reads train/, and a split by itself is a dataset', async () => {
    const place = folder({ ...three });
    expect((await openDataset(place, { layout: 'geo' })).labels).toEqual(['cat', 'dog']);
    expect((await openDataset(path.join(place, 'test'))).labels).toEqual(['cat', 'dog']);
  });

  test('names', () => {
    expect(
      [
        'train',
        'TEST',
        'val',
        'validation',
        'train_set',
        'test-images',
        'train 2017',
        'heldout',
        'hold_out',
        'dev',
      ].filter((name) => !isSplitName(name)),
    ).toEqual([]);
    expect(
      ['trains', 'trainer', 'contest', 'valley', 'value', 'evaluate me', '1920', 'test tube', 'device'].filter(
        isSplitName,
      ),
    ).toEqual([]);
  });
});
