// Datasets: folders, CSV, JSONL; what is counted, refused, and how it is ordered. What folders hold besides: folders.test.ts; tables: tables-read.test.ts.
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { openDataset } from '../../src/data/dataset.js';
import { compareCodePoints } from '../../src/data/order.js';
import { GOLDEN, temporaryFolder, writeFiles } from '../helpers/folders.js';

const root = temporaryFolder();
let count = 0;
function folder(files: Record<string, string>): string {
  const place = path.join(root, `set${++count}`);
  mkdirSync(place);
  writeFiles(place, files);
  return place;
}
const invalid = (message: RegExp) =>
  expect.objectContaining({ code: 'DATASET_INVALID', message: expect.stringMatching(message) as unknown });

describe('a folder of label folders', () => {
  test('lists the golden dataset in order', async () => {
    const set = await openDataset(path.join(GOLDEN, 'mini-dataset'));
    expect(set.labels).toEqual(['1920', '1950', '1980']);
    expect(set.images.map((image) => image.path)).toEqual(
      ['1920', '1950', '1980'].flatMap((label) => [0, 1, 2, 3].map((i) => `${label}/${label}_${i}.png`)),
    );
    expect(
      [...set.images].every(
        (image) => image.label === image.path.split('/')[0] && image.bytes > 0 && path.isAbsolute(image.file),
      ),
    ).toBe(true);
    expect(set.ignored).toBe(0);
  });

  test('takes nested files, ignores hidden ones, counts the rest', async () => {
    const place = folder({
      'a/1.jpg': 'x',
      'a/deep/er/2.PNG': 'x',
      'a/notes.txt': 'x',
      'a/.hidden.jpg': 'x',
      'a/.git/3.jpg': 'x',
      'b/4.heic': 'x',
      'b/5.bmp': 'x',
      'empty/readme.md': 'x',
      'labels.csv': 'x',
      'loose.png': 'x',
      '.DS_Store': 'x',
    });
    const set = await openDataset(place);
    expect(set.images.map(({ path, label }) => [path, label])).toEqual([
      ['a/1.jpg', 'a'],
      ['a/deep/er/2.PNG', 'a'],
      ['b/4.heic', 'b'],
      ['b/5.bmp', 'b'],
    ]);
    expect(set.labels).toEqual(['a', 'b']);
    expect(set.ignored).toBe(7);
    expect(set.ignoredBy).toEqual({ besideLabels: 2, hidden: 1, notImages: 2, system: 2 });
    expect(set.warnings).toEqual(["The label folder 'empty' has no images."]);
  });

  test('takes any label a file system can hold, ordered by code point', async () => {
    const labels = ['<script>alert(1)<', 'a b', 'été', '東京', '\uff21', '\u{1f697}', '10', '9'];
    const set = await openDataset(folder(Object.fromEntries(labels.map((label) => [`${label}/x.png`, 'x']))));
    expect(set.labels).toEqual(['10', '9', '<script>alert(1)<', 'a b', 'été', '東京', '\uff21', '\u{1f697}']);
  });

  test('follows links once: a loop ends', async () => {
    const place = folder({ 'a/1.jpg': 'x', 'elsewhere.dir/2.jpg': 'x' });
    symlinkSync(place, path.join(place, 'a', 'loop'));
    symlinkSync(path.join(place, 'a'), path.join(place, 'a', 'self'));
    const set = await openDataset(place);
    expect(set.images.map((image) => image.path)).toContain('a/1.jpg');
    expect(set.images.length).toBeLessThan(10);
  });

  test('does not follow links to folders that it is in', async () => {
    const above = folder({ 'data/a/1.jpg': 'x', 'others/2.jpg': 'x' });
    symlinkSync('../..', path.join(above, 'data', 'a', 'up'));
    symlinkSync('/', path.join(above, 'data', 'a', 'root'));
    const set = await openDataset(path.join(above, 'data'));
    expect(set.images.map((image) => image.path)).toEqual(['a/1.jpg']);
  });

  test('explains what is wrong if there are no labels', async () => {
    await expect(openDataset(folder({ 'a.jpg': 'x', 'b.png': 'x' }))).rejects.toEqual(
      invalid(/2 images, but no label folders/),
    );
    await expect(openDataset(folder({ 'a/readme.txt': 'x' }))).rejects.toEqual(invalid(/no images in them/));
    await expect(openDataset(folder({}))).rejects.toEqual(invalid(/no label folders/));
    await expect(openDataset(path.join(root, 'nowhere'))).rejects.toEqual(invalid(/There is no dataset/));
    await expect(openDataset(path.join(folder({ 'x.txt': 'x' }), 'x.txt'))).rejects.toEqual(
      invalid(/neither a folder nor/),
    );
  });

  test('the fingerprint follows names, sizes and labels, not the place', async () => {
    const first = folder({ 'a/1.jpg': 'x', 'b/2.jpg': 'yy' });
    const print = (await openDataset(first)).fingerprint;
    const moved = path.join(root, 'moved');
    cpSync(first, moved, { recursive: true });
    expect((await openDataset(moved)).fingerprint).toBe(print);
    writeFileSync(path.join(moved, 'a', '1.jpg'), 'longer');
    expect((await openDataset(moved)).fingerprint).not.toBe(print);
    expect((await openDataset(folder({ 'a/1.jpg': 'x', 'c/2.jpg': 'yy' }))).fingerprint).not.toBe(print);
    expect((await openDataset(folder({ 'a/1.jpg': 'x', 'b/3.jpg': 'yy' }))).fingerprint).not.toBe(print);
  });
});

describe('a CSV', () => {
  const table = async (text: string, options = {}) =>
    openDataset(path.join(folder({ 'set.csv': text, 'p/a.jpg': 'x', 'p/b, "c".jpg': 'xy' }), 'set.csv'), options);

  test('reads quotes, CRLF, a byte order mark, and carries columns along', async () => {
    const set = await table(
      '\ufefflabel,image,year,note\r\n"a/b <script>",p/a.jpg,1920,"two\nlines"\r\n\u{1f697},"p/b, ""c"".jpg",,\r\n',
    );
    expect(set.images.map(({ file: _, mtime: __, ...image }) => image)).toEqual([
      { path: 'p/a.jpg', label: 'a/b <script>', bytes: 1, extra: { year: '1920', note: 'two\nlines' } },
      { path: 'p/b, "c".jpg', label: '\u{1f697}', bytes: 2, extra: { year: '', note: '' } },
    ]);
    expect(set.labels).toEqual(['a/b <script>', '\u{1f697}']);
  });

  test('takes path for image, other names by option, and one image under two labels', async () => {
    const set = await table('path,finding\np/./a.jpg,one\np/a.jpg,two\n', { labelColumn: 'finding' });
    expect(set.images.map(({ path, label, extra }) => [path, label, extra])).toEqual([
      ['p/a.jpg', 'one', undefined],
      ['p/a.jpg', 'two', undefined],
    ]);
    expect((await table('f,g\np/a.jpg,1\n', { imageColumn: 'f', labelColumn: 'g' })).labels).toEqual(['1']);
  });

  test('takes URLs of files; columns without a name are of spreadsheets, and not carried', async () => {
    const root = folder({ 'p q/a#1.jpg': 'x' });
    const file = path.join(root, 'set.csv');
    writeFileSync(file, `,image,label,,\n0,${pathToFileURL(path.join(root, 'p q/a#1.jpg')).href},one,,\n`);
    const set = await openDataset(file);
    expect(set.images.map(({ path: image, extra }) => [image, extra])).toEqual([['p q/a#1.jpg', undefined]]);
  });

  test('says of a ~ that it is not read', async () => {
    await expect(table('image,label\n~/a.jpg,one\n')).rejects.toMatchObject({
      hint: expect.stringContaining('whole path') as string,
    });
  });

  test('keeps the first of repeated pairs and warns', async () => {
    const set = await table('image,label,x\np/a.jpg,one,1\np/a.jpg,one,2\n');
    expect(set.images.map((image) => image.extra)).toEqual([{ x: '1' }]);
    expect(set.warnings).toEqual(['1 row repeats an image and label; only the first of each is kept.']);
  });

  test('is the same dataset in any order of rows', async () => {
    const one = await table('image,label\np/a.jpg,one\n"p/b, ""c"".jpg",two\n');
    const other = await table('label,image\ntwo,"p/b, ""c"".jpg"\none,p/a.jpg\n');
    expect(other.fingerprint).toBe(one.fingerprint);
  });

  test.each([
    ['photo,label\np/a.jpg,one\n', /set\.csv, line 1: no 'image'; there is 'photo', 'label'/],
    ['a,b\n1,2\n', /no 'image' and no 'label'/],
    ['image,label,label\np/a.jpg,1,2\n', /there are two columns 'label'/],
    ['image,label\np/a.jpg,one\np/none.jpg,one\n', /line 3: there is no file 'p\/none.jpg'/],
    ['image,label\n/nowhere/a.jpg,one\n', /line 2: there is no file '\/nowhere\/a\.jpg'/],
    ['image,label\np\\a.jpg,one\n', /line 2: there is no file 'p\\a\.jpg'/],
    ['image,label\n../../x.jpg,one\n', /line 2: there is no file '..\/..\/x\.jpg'/],
    ['image,label\np,one\n', /line 2: 'p' is a folder, not an image/],
    ['image,label\np/a.jpg,"  "\n', /line 2: 'label' is empty/],
    ['image,label\np/a.jpg,a\0b\n', /line 2: the label "a\\u0000b" has a NUL character/],
    ['image,label\np/a.jpg,\n', /line 2: 'label' is empty/],
    ['image,label\n,one\n', /line 2: 'image' is empty/],
    ['image,label\np/a.jpg,one,two\n', /line 2: 3 fields, but the header names 2/],
    ['image,label\np/a.jpg\n', /line 2: 1 field, but the header names 2/],
    ['image,label\nfile://elsewhere/a.jpg,one\n', /line 2: 'file:\/\/elsewhere\/a\.jpg' is not the URL of a file here/],
    ['image,label\np/a.jpg,"one\n', /line 2: a quote is opened and not closed/],
    ['image,label\n', /has no rows/],
    ['', /has no rows/],
  ])('refuses %j', async (text, message) => {
    await expect(table(text)).rejects.toEqual(invalid(message));
  });
});

describe('JSONL', () => {
  const table = async (text: string) =>
    openDataset(path.join(folder({ 'set.jsonl': text, 'a.jpg': 'x', 'b.jpg': 'xy' }), 'set.jsonl'));

  test('reads rows, numbers as labels, and further keys', async () => {
    const set = await table(
      '\ufeff{"image":"b.jpg","label":1920,"box":[1,2],"none":null}\r\n\n{"path":"a.jpg","label":"x\u2028y","who":"me"}',
    );
    expect(set.images.map(({ path, label, extra }) => [path, label, extra])).toEqual([
      ['a.jpg', 'x\u2028y', { who: 'me' }],
      ['b.jpg', '1920', { box: '[1,2]' }],
    ]);
  });

  test.each([
    ['{"image":"a.jpg","label":"x"}\n{"image":"a.jpg"', /set\.jsonl, line 2: not JSON/],
    ['[1]', /line 1: not an object/],
    ['{"image":"a.jpg"}', /line 1: no 'label'; there is 'image'/],
    ['{"image":"a.jpg","label":null}', /no 'label'/],
    ['{"image":"../a.jpg","label":"x"}', /there is no file/],
    ['', /has no rows/],
  ])('refuses %j', async (text, message) => {
    await expect(table(text)).rejects.toEqual(invalid(message));
  });

  test('separators are no hint: it has none', async () => {
    await expect(table('{"image":"a.jpg","label":null}')).rejects.not.toMatchObject({
      hint: expect.stringContaining('separated') as string,
    });
  });
});

test('names are ordered as their UTF-8 bytes are', () => {
  const names = [
    '',
    'a',
    'A',
    'a/b',
    'a-b',
    'é',
    '\uff01',
    '\ud7ff',
    '\ue000',
    '\u{1f600}',
    '\u{1f600}a',
    '\u{10ffff}',
    '東',
    'ab',
  ];
  expect([...names].sort(compareCodePoints)).toEqual(
    [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
  );
});
