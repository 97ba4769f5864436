// Tables as people have them: other encodings, spaces, lists of labels, paths that lead anywhere.
import { mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { openDataset, type Dataset, type DatasetOptions } from '../../src/data/index.js';
import { listedLabel } from '../../src/data/table-labels.js';
import { temporaryFolder, writeFiles } from '../helpers/folders.js';

const root = temporaryFolder();
let count = 0;
function folder(files: Record<string, string | Buffer>): string {
  const place = path.join(root, `set${++count}`);
  mkdirSync(place);
  writeFiles(place, files);
  return place;
}
const table = async (name: string, text: string | Buffer, options: DatasetOptions = {}): Promise<Dataset> =>
  openDataset(
    path.join(folder({ [name]: text, '1.png': 'x', '2.png': 'xy', 'p/3.png': 'xyz', ' 4.png': 'x' }), name),
    options,
  );
const rows = (set: Dataset): string[][] => set.images.map(({ path: image, label }) => [image, label]);
const invalid = (message: RegExp, hint?: RegExp) =>
  expect.objectContaining({
    code: 'DATASET_INVALID',
    message: expect.stringMatching(message) as unknown,
    ...(hint ? { hint: expect.stringMatching(hint) as unknown } : {}),
  });

describe('encodings', () => {
  const latin1 = Buffer.from('image,label\n1.png,Z\xfcrich\n2.png,Z\xf6rich\n', 'latin1');
  test('labels that differ in bytes that are not UTF-8 never become one', async () => {
    await expect(table('set.csv', latin1)).rejects.toEqual(
      invalid(/set\.csv, line 2: not UTF-8 \("1\.png,Z\\xFCrich"\)/, /`encoding` windows-1252/),
    );
    const set = await table('set.csv', latin1, { encoding: 'windows-1252' });
    expect(set.labels).toEqual(['Zörich', 'Zürich']);
    expect(set.source).toEqual({ encoding: 'windows-1252' });
    await expect(
      table('set.jsonl', Buffer.from('{"image":"1.png","label":"x"}\n{"image":"2.png","label":"\xfc"}', 'latin1')),
    ).rejects.toEqual(invalid(/set\.jsonl, line 2: not UTF-8/));
    expect(
      (await table('set.jsonl', Buffer.from('{"image":"1.png","label":"\xfc"}', 'latin1'), { encoding: 'latin1' }))
        .labels,
    ).toEqual(['ü']);
  });

  test('UTF-16, as spreadsheets save it, is named and read on demand', async () => {
    const utf16 = Buffer.from('\ufeffimage,label\r\n1.png,Zürich\r\n', 'utf16le');
    await expect(table('set.csv', utf16)).rejects.toEqual(invalid(/UTF-16/, /`encoding` utf-16le/));
    expect((await table('set.csv', utf16, { encoding: 'utf-16le' })).labels).toEqual(['Zürich']);
    await expect(table('set.csv', 'image,label\n1.png,a\n', { encoding: 'klingon' })).rejects.toEqual(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'Unknown encoding "klingon".' }),
    );
  });

  test("lists of the paper's datasets are decoded alike", async () => {
    const place = folder({
      'metadata.csv': Buffer.from('id,country\nP1,C\xf4te\n', 'latin1'),
      'images/P1/45.jpg': 'x',
    });
    await expect(openDataset(place)).rejects.toEqual(invalid(/metadata\.csv, line 2: not UTF-8/));
    expect((await openDataset(place, { encoding: 'latin1' })).labels).toEqual(['Côte']);
  });
});

describe('spaces', () => {
  test('around fields go; in quotes they stay in paths and go from labels', async () => {
    expect(
      rows(
        await table(
          'set.csv',
          'image , label,\tnote\n1.png, a , x \n 2.png ,"a ",y\np/3.png,\u00a0a,z\n" 4.png",a,"  "\n',
        ),
      ),
    ).toEqual([
      [' 4.png', 'a'],
      ['1.png', 'a'],
      ['2.png', 'a'],
      ['p/3.png', 'a'],
    ]);
    expect(
      (await table('set.csv', 'image,label,note\n1.png,a, x \n2.png,a," y "\n')).images.map(({ extra }) => extra),
    ).toEqual([{ note: 'x' }, { note: ' y ' }]);
    expect(rows(await table('set.jsonl', '{"image":"1.png","label":" a"}\n{"image":" 4.png","label":"a\\t"}'))).toEqual(
      [
        [' 4.png', 'a'],
        ['1.png', 'a'],
      ],
    );
  });

  test.each([
    ['set.csv', 'image,label\n1.png,"  "\n'],
    ['set.csv', 'image,label\n1.png,\t\n'],
    ['set.jsonl', '{"image":"1.png","label":" "}'],
    ['set.jsonl', '{"image":"1.png","label":[]}'],
  ])('an empty label is refused: %s %j', async (name, text) => {
    await expect(table(name, text)).rejects.toEqual(invalid(/line [12]: 'label' is empty/));
  });
});

describe('labels of JSONL', () => {
  test("Python's NaN and Infinity are values of other columns, and no labels", async () => {
    const set = await table(
      'set.jsonl',
      '\ufeff{"image": "1.png", "label": "x", "score": NaN}\n{"image": "2.png", "label": "y", "score": -Infinity, "more": [Infinity]}\n',
    );
    expect(set.images.map(({ label, extra }) => [label, extra])).toEqual([
      ['x', { score: 'NaN' }],
      ['y', { score: '-Infinity', more: '[Infinity]' }],
    ]);
    await expect(table('set.jsonl', '{"image": "1.png", "label": NaN}\n')).rejects.toEqual(
      invalid(/line 1: 'label' is NaN/, /Every image needs a label/),
    );
    await expect(table('set.jsonl', '{"image": "1.png", "label": ["x", NaN]}\n')).rejects.toEqual(
      invalid(/line 1: 'label' is a list with an item that is NaN/),
    );
  });

  test.each<[unknown, string[]]>([
    [['a', 'b'], ['a|b']],
    [['b', 'a', 'b'], ['b|a']],
    [['only'], ['only']],
    [[1920, true, ' c '], ['1920|true|c']],
    ['a|b', ['a|b']],
    [1920, ['1920']],
    [0.5, ['0.5']],
    [false, ['false']],
  ])('%j', async (label, labels) => {
    expect((await table('set.jsonl', JSON.stringify({ image: '1.png', label }))).labels).toEqual(labels);
  });

  test.each<[string, RegExp]>([
    ['["a|b"]', /line 1: 'label' is a list with "a\|b": '\|' separates labels/],
    ['["a",""]', /a list with an empty label/],
    ['["a",null]', /a list with an item that is null/],
    ['[["a"]]', /a list with an item that is \["a"\]/],
    ['{"name":"a"}', /'label' is \{"name":"a"\}/],
    ['null', /no 'label'/],
    ['12345678901234567890', /too large to be exact/],
    ['"a\\u0000b"', /the label "a\\u0000b" has a NUL character/],
    ['"\\ud800"', /the label "\\ud800" has half of a surrogate pair/],
    ['["a","\\udc00b"]', /half of a surrogate pair/],
  ])('refuses %s', async (label, message) => {
    await expect(table('set.jsonl', `{"image":"1.png","label":${label}}`)).rejects.toEqual(invalid(message));
  });

  test('an image is a path', async () => {
    await expect(table('set.jsonl', '{"image":{"path":"1.png"},"label":"a"}')).rejects.toEqual(
      invalid(/line 1: 'image' is \{"path":"1\.png"\}, not a path/),
    );
    await expect(table('set.jsonl', '{"image":"1\\u0000.png","label":"a"}')).rejects.toEqual(invalid(/NUL/));
  });

  test('a list never means other labels than its items', () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1 }), (items) => {
        const found = listedLabel(items);
        if ('label' in found) expect(found.label.split('|')).toEqual([...new Set(items.map((item) => item.trim()))]);
        else expect(items.some((item) => item.includes('|') || item.trim() === '')).toBe(true);
      }),
    );
  });
});

describe('paths', () => {
  test('absolute, upwards and through links, as given', async () => {
    const place = folder({ 'tables/set.csv': '', 'blobs/0123': 'x', 'images/b.png': 'xy', 'tables/c.png': 'xyz' });
    mkdirSync(path.join(place, 'tables', 'snapshot'));
    symlinkSync('../../blobs/0123', path.join(place, 'tables', 'snapshot', 'a.png'));
    writeFileSync(
      path.join(place, 'tables', 'set.csv'),
      `image,label\nsnapshot/a.png,x\n../images/b.png,x\n${place}/images/b.png,y\n${place}/tables/c.png,x\n./snapshot/../c.png,y\n`,
    );
    const set = await openDataset(path.join(place, 'tables', 'set.csv'));
    expect(rows(set)).toEqual([
      ['../images/b.png', 'x'],
      [`${place}/images/b.png`, 'y'],
      ['c.png', 'x'],
      ['c.png', 'y'],
      ['snapshot/a.png', 'x'],
    ]);
    for (const { file, bytes } of set.images) expect(statSync(file).size).toBe(bytes);
    expect(set.root).toBe(path.join(place, 'tables'));
  });

  test('.. after a link to a folder is the folder above what it links to', async () => {
    const place = folder({
      'other/deep/x': '',
      'other/a.png': 'right',
      'a.png': 'wrong',
      'set.csv': 'image,label\nlink/../a.png,x\na.png,x\n',
    });
    symlinkSync('other/deep', path.join(place, 'link'));
    const set = await openDataset(path.join(place, 'set.csv'));
    expect(set.images.map((image) => [image.path, image.bytes])).toEqual([
      ['a.png', 5],
      ['link/../a.png', 5],
    ]);
    expect(set.images.map(({ file }) => statSync(file).ino)).toEqual(
      [path.join(place, 'a.png'), path.join(place, 'other/a.png')].map((file) => statSync(file).ino),
    );
  });

  test('in another Unicode normalization than the file system has lead to the same files', async () => {
    const [nfc, nfd] = ['caf\u00e9', 'cafe\u0301'];
    const place = folder({ [`${nfd}.png`]: 'x', [`${nfc}/1.png`]: 'xy' });
    for (const [file, text] of Object.entries({
      'set.csv': `image,label\n${nfc}.png,x\n${nfd}/1.png,y\n`,
      'set.jsonl': `{"image": "${nfc}.png", "label": "x"}\n{"image": "${nfd}/1.png", "label": "y"}\n`,
    })) {
      writeFileSync(path.join(place, file), text);
      const set = await openDataset(path.join(place, file));
      expect(rows(set)).toEqual([
        [`${nfd}.png`, 'x'],
        [`${nfc}/1.png`, 'y'],
      ]);
      for (const { file: image, bytes } of set.images) expect(statSync(image).size).toBe(bytes);
    }
  });

  test('in other letters are no other file, but it is named', async () => {
    const place = folder({ 'Photos/A.JPG': 'x', 'set.csv': 'image,label\nphotos/a.jpg,x\n' });
    await expect(openDataset(path.join(place, 'set.csv'))).rejects.toEqual(
      invalid(/line 2: there is no file 'photos\/a\.jpg'/, /There is 'Photos\/A\.JPG'/),
    );
  });

  test('below a folder whose name has signs of patterns start at that folder', async () => {
    const place = folder({ 'a{1,2} *?/x/1.png': 'x', 'other/1.png': 'x' });
    const set = await openDataset(path.join(place, 'a{1,2} *?'));
    expect(set.root).toBe(path.join(place, 'a{1,2} *?'));
    expect(rows(set)).toEqual([['x/1.png', 'x']]);
  });

  test('start at the image root where one is given', async () => {
    const place = folder({ 'lists/set.csv': 'image,label\na.png,x\n', 'images/a.png': 'x' });
    const list = path.join(place, 'lists', 'set.csv');
    await expect(openDataset(list)).rejects.toEqual(invalid(/line 2: there is no file 'a\.png'/, /`imageRoot` DIR/));
    const set = await openDataset(list, { imageRoot: path.join(place, 'images') });
    expect(rows(set)).toEqual([['a.png', 'x']]);
    expect(set.source).toEqual({ imageRoot: path.join(place, 'images') });
    await expect(openDataset(place, { imageRoot: place })).rejects.toEqual(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(/`imageRoot` applies to tables/) as unknown,
      }),
    );
    await expect(openDataset(list, { imageRoot: path.join(place, 'none') })).rejects.toEqual(
      invalid(/there is no file/),
    );
  });

  test('an image that cannot be opened is listed; a missing one is an error', async () => {
    const place = folder({ 'set.csv': 'image,label\na.png,x\n1.png,x\n', '1.png': 'x' });
    symlinkSync('../annex/x', path.join(place, 'a.png'));
    expect(
      (await openDataset(path.join(place, 'set.csv'))).images.map(({ path: image, bytes, mtime }) => [
        image,
        bytes,
        mtime === 0,
      ]),
    ).toEqual([
      ['1.png', 1, false],
      ['a.png', 0, true],
    ]);
    await expect(table('set.csv', 'image,label\n1.png,x\nnone.png,x\n')).rejects.toEqual(
      invalid(/line 3: there is no file 'none\.png'/),
    );
    await expect(table('set.csv', 'image,label\np\\3.png,x\n')).rejects.toEqual(
      invalid(/there is no file/, /forward slashes/),
    );
  });
});

describe('any table', () => {
  const label = fc
    .string({ unit: 'grapheme', minLength: 1 })
    .map((text) => text.trim())
    .filter((text) => text !== '' && !text.includes('\0') && !/\p{Surrogate}/u.test(text));
  const images = ['1.png', '2.png', 'p/3.png'];
  const sorted = (pairs: [string, string][]): string[] =>
    [...new Set(pairs.map((pair) => JSON.stringify(pair)))].sort();
  const place = (): string => folder({ '1.png': 'x', '2.png': 'xy', 'p/3.png': 'xyz' });

  test('that is written is read again, as CSV and as JSONL', async () => {
    const base = place();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(...images), label), { minLength: 1, maxLength: 8 }),
        async (pairs) => {
          const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;
          writeFileSync(
            path.join(base, 'set.csv'),
            `image,label\n${pairs.map((pair) => pair.map(quoted).join(',')).join('\n')}\n`,
          );
          writeFileSync(
            path.join(base, 'set.jsonl'),
            pairs.map(([image, name]) => JSON.stringify({ image, label: name })).join('\n'),
          );
          for (const name of ['set.csv', 'set.jsonl'])
            expect(
              rows(await openDataset(path.join(base, name)))
                .map((row) => JSON.stringify(row))
                .sort(),
            ).toEqual(sorted(pairs));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('of any bytes is a dataset or an error of it', async () => {
    const base = place();
    const piece = fc.oneof(
      fc.constantFrom(
        'image',
        'label',
        ',',
        '\n',
        '"',
        '1.png',
        'a',
        '{"image":"1.png","label":',
        '}',
        '[',
        ']',
        '\0',
        '\\ud800',
      ),
      fc.uint8Array({ maxLength: 3 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 30 }),
        fc.constantFrom('', 'image,label\n1.png,'),
        fc.constantFrom('set.csv', 'set.jsonl'),
        fc.constantFrom(undefined, 'latin1', 'gbk'),
        async (pieces, start, name, encoding) => {
          writeFileSync(path.join(base, name), Buffer.from(start + pieces.join(''), 'latin1'));
          const outcome: unknown = await openDataset(
            path.join(base, name),
            encoding === undefined ? {} : { encoding },
          ).catch((error: unknown) => error);
          if (outcome instanceof Error)
            expect(outcome).toEqual(expect.objectContaining({ name: 'DiffmineError', code: 'DATASET_INVALID' }));
          else expect((outcome as Dataset).images.length).toBeGreaterThan(0);
        },
      ),
      { numRuns: 200 },
    );
  });
});
