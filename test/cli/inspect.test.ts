// inspect of a dataset: counts, what was ignored in one line, tables in other encodings and places.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { temporaryFolder } from '../helpers/folders.js';
import { cli, ROOT } from './cli.js';

const root = temporaryFolder();

test('a folder, and a table read with --encoding and --image-root', async () => {
  const png = await sharp({ create: { width: 16, height: 8, channels: 3, background: '#888' } })
    .png()
    .toBuffer();
  for (const folder of ['a/@eaDir', 'b', 'out']) mkdirSync(path.join(root, 'set', folder), { recursive: true });
  mkdirSync(path.join(root, 'lists'));
  for (const file of ['a/1.png', 'a/@eaDir/1.png', 'b/1.png']) writeFileSync(path.join(root, 'set', file), png);
  writeFileSync(path.join(root, 'set', 'out', 'manifest.json'), '{"format": "diffmine-run-1"}');
  writeFileSync(
    path.join(root, 'lists', 't.csv'),
    Buffer.from('image, label\na/1.png, Z\xfcrich\nb/1.png,Z\xf6rich\n', 'latin1'),
  );

  const folder = await cli(['inspect', path.join(root, 'set')]);
  expect(folder.code).toBe(0);
  expect(folder.stdout).toMatch(/: 2 images of 2 labels, \d+ B\.\n/);
  expect(folder.stdout).toContain('Ignored 2 entries: 1 thumbnail folder or file, 1 output folder of diffmine.\n');
  const table = await cli([
    'inspect',
    path.join(root, 'lists', 't.csv'),
    '--encoding',
    'windows-1252',
    '--image-root',
    path.join(root, 'set'),
    '--json',
  ]);
  expect(JSON.parse(table.stdout)).toMatchObject({
    images: 2,
    labels: [
      { label: 'Zörich', images: 1 },
      { label: 'Zürich', images: 1 },
    ],
    ignored: 0,
    ignoredBy: {},
    warnings: [],
  });
  expect(await cli(['inspect', path.join(root, 'set'), '--encoding', 'klingon'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--encoding is "klingon"; expected the name of an encoding') as unknown,
  });
});

test('--image-grid writes a row of images for each label', async () => {
  const colors = { red: [255, 0, 0], blue: [0, 0, 255] };
  for (const [label, [r = 0, g = 0, b = 0]] of Object.entries(colors)) {
    mkdirSync(path.join(root, 'grid', label), { recursive: true });
    for (const name of ['1.png', '2.png', '3.png']) {
      const image = sharp({ create: { width: 256, height: 128, channels: 3, background: { r, g, b } } });
      await image.toFile(path.join(root, 'grid', label, name));
    }
  }
  writeFileSync(path.join(root, 'grid', 'red', '4.png'), 'not an image');
  const file = path.join(root, 'new', 'grid.png');
  const { code, stdout } = await cli(['inspect', path.join(root, 'grid'), '--image-grid', file, '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ imageGrid: { path: file, labels: ['blue', 'red'] } });
  const { data, info } = await sharp(file).raw().toBuffer({ resolveWithObject: true });
  expect([info.width, info.height]).toEqual([3 * (128 + 4) + 4, 2 * (64 + 4) + 4]);
  const at = (x: number, y: number): number[] => [
    ...data.subarray(3 * (y * info.width + x), 3 * (y * info.width + x) + 3),
  ];
  expect([at(300, 30), at(300, 100)]).toEqual([colors.blue, colors.red]);
  const model = path.join(ROOT, 'test/data/golden/tiny-sd15');
  expect(await cli(['inspect', model, '--image-grid', file])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('is not a dataset: it has no image grid') as unknown,
  });
});

test('names folders of diffmine that are neither a model, a dataset nor a run', async () => {
  const written = (name: string, file: string, record: object, ...pages: string[]): string => {
    const folder = path.join(root, name);
    mkdirSync(folder);
    writeFileSync(path.join(folder, file), JSON.stringify(record));
    for (const page of pages) writeFileSync(path.join(folder, page), '');
    return folder;
  };
  const translation = written('moved', 'manifest.json', { format: 'diffmine-translation-3' }, 'index.html');
  mkdirSync(path.join(translation, 'shards'));
  const changes = written('changes', 'manifest.json', { format: 'diffmine-cotypicality-3' });
  const settings = { steps: 100 };
  const training = written('begun', 'train.json', {
    format: 'diffmine-train-2',
    status: 'stopped',
    step: 20,
    settings,
  });
  expect(await cli(['inspect', translation])).toMatchObject({
    code: 0,
    stdout: `${translation} is the output of translate.\npage: ${path.join(translation, 'index.html')}\n`,
  });
  expect((await cli(['inspect', changes])).stdout).toBe(`${changes} is the output of cotypicality.\n`);
  expect((await cli(['inspect', training])).stdout).toBe(
    `${training} is a training that stopped after step 20 of 100: it has no model yet, and the same train command resumes it.\n`,
  );
});
