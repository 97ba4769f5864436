// Where labels come from, and what becomes of them.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { inspect } from '../../src/tools/inspect/inspect.js';
import { openDataset, type Dataset, type DatasetOptions } from '../../src/data/index.js';
import { expandBraces } from '../../src/data/patterns.js';
import { writeTable } from '../../src/runs/tables.js';
import { temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();
const write = (name: string, text: string | Buffer = 'x'): string => {
  const file = join(folder, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
};
const pairs = ({ images }: Dataset): string[] => images.map(({ path, label }) => `${path} ${label}`);

test('braces stand for files, with the zeros that they are written with', () => {
  expect(expandBraces('a{08..11}.{x,y}')).toEqual(['08', '09', '10', '11'].flatMap((n) => [`a${n}.x`, `a${n}.y`]));
  expect(expandBraces('a{9..7}')).toEqual(['a9', 'a8', 'a7']);
  expect(expandBraces('a{b}c')).toEqual(['a{b}c']);
  expect(() => expandBraces('{0..9999999}')).toThrow(/stands for 10000000 files/);
});

describe('paths as labels', () => {
  const root = join(folder, 'scans');
  beforeAll(() => {
    for (const name of ['paris/front/1920_a.jpg', 'paris/back/1930_b.jpg', 'rome/front/1930_c.jpg', 'rome/front/x.jpg'])
      write(`scans/${name}`);
    write('scans/rome/front/notes.txt');
  });

  test('a pattern: the first folder below its fixed part, or a regular expression', async () => {
    const front = await openDataset(join(root, '*/front/*.jpg'));
    expect(front.root).toBe(root);
    expect(pairs(front)).toEqual([
      'paris/front/1920_a.jpg paris',
      'rome/front/1930_c.jpg rome',
      'rome/front/x.jpg rome',
    ]);
    const years = await openDataset(join(root, '**/*.jpg'), { labelFrom: '([0-9]{4})_' });
    expect(years.labels).toEqual(['1920', '1930']);
    expect(years.warnings).toEqual([
      '1 image has no label by /([0-9]{4})_/ and is left out, such as rome/front/x.jpg.',
    ]);
    const kept = await openDataset(join(root, '{paris,rome}/front/*'));
    expect(kept.ignoredBy).toEqual({ notImages: 1 });
    await expect(openDataset(join(root, '*.jpg'))).rejects.toThrow(/No file matches/);
    await expect(openDataset(join(root, '*/front/*.txt'))).rejects.toThrow(/not all images/);
  });

  test('a folder by a regular expression', async () => {
    const found = await openDataset(root, { labelFrom: '/(?<label>front|back)/([0-9]+)' });
    expect(pairs(found)).toEqual([
      'paris/back/1930_b.jpg back',
      'paris/front/1920_a.jpg front',
      'rome/front/1930_c.jpg front',
    ]);
    await expect(openDataset(root, { labelFrom: '(' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(openDataset(root, { labelFrom: '(?:front)' })).rejects.toThrow(/has no group/);
    await expect(openDataset(root, { labelFrom: 'year' })).rejects.toThrow(/have no column 'year'/);
    await expect(openDataset(root, { labelFrom: 'folder', labelColumn: 'x' })).rejects.toThrow(/both name the label/);
  });
});

describe('tables', () => {
  beforeAll(() => {
    for (const i of [0, 1, 2, 3]) write(`table/${i % 2 ? 'odd' : 'even'}/${i}.png`);
  });

  test('other columns; Parquet tables of paths', async () => {
    const csv = write('table/t.csv', 'file,kind,year\neven/0.png,a,1901\nodd/1.png,b,1915.5\n');
    expect(pairs(await openDataset(csv, { imageColumn: 'file', labelColumn: 'kind' }))).toEqual([
      'even/0.png a',
      'odd/1.png b',
    ]);
    expect(pairs(await openDataset(csv, { imageColumn: 'file', labelFrom: 'folder' }))).toEqual([
      'even/0.png even',
      'odd/1.png odd',
    ]);
    const file = join(folder, 'table', 't.parquet');
    await writeTable(
      file,
      [0, 1, 2].map((i) => ({ path: `${i % 2 ? 'odd' : 'even'}/${i}.png`, label: `l${i}`, year: 1900 + i })),
      [
        ['path', 'STRING'],
        ['label', 'STRING'],
        ['year', 'INT32'],
      ],
    );
    const table = await openDataset(file);
    expect(pairs(table)).toEqual(['even/0.png l0', 'even/2.png l2', 'odd/1.png l1']);
    expect(table.images.at(0).extra).toEqual({ year: '1900' });
  });

  test.each([
    ['csv', 'file_name,label,text\neven/0.png,cat,hello\nodd/1.png,dog,"a, b"\n', ['cat', 'dog']],
    ['jsonl', '{"file_name":"even/0.png","text":"a"}\n{"file_name":"odd/1.png","text":"b"}\n', ['even', 'odd']],
  ])('imagefolder with metadata.%s', async (extension, text, labels) => {
    const root = join(folder, `imagefolder-${extension}`);
    for (const name of ['even/0.png', 'odd/1.png']) write(`imagefolder-${extension}/${name}`);
    write(`imagefolder-${extension}/metadata.${extension}`, text);
    const found = await openDataset(root);
    expect(found.labels).toEqual(labels);
    expect(found.images.at(0).extra).toHaveProperty('text');
  });

  test('an imagefolder with splits is refused, a split of it is read', async () => {
    for (const split of ['train', 'test']) {
      write(`splits/${split}/0.png`);
      write(`splits/${split}/metadata.csv`, 'file_name,label\n0.png,cat\n');
    }
    const root = join(folder, 'splits');
    for (const options of [{}, { labelColumn: 'label' }, { labelFrom: 'label' }])
      await expect(openDataset(root, options)).rejects.toMatchObject({
        code: 'DATASET_INVALID',
        message: expect.stringMatching(/test\/, train\/ are splits.*train\/metadata\.csv/) as string,
        hint: `Give one split: '${root}/train'.`,
      });
    expect((await openDataset(join(root, 'train'))).labels).toEqual(['cat']);
    // the path itself may be asked for
    expect((await openDataset(root, { labelFrom: '^(\\w+)/' })).labels).toEqual(['test', 'train']);
    write('splits/train/1.jpg');
    expect(await inspect(join(root, '*', '0.png'))).toMatchObject({ kind: 'dataset', images: 2 });
  });
});

describe('what becomes of labels', () => {
  const root = join(folder, 'years');
  const open = async (options: DatasetOptions): Promise<Dataset> => openDataset(root, options);
  beforeAll(() => {
    for (let year = 1895; year < 1935; year++) for (const n of [0, 1]) write(`years/${year}/${n}.png`);
  });

  test('bins by their lower edges, others left out; quantiles', async () => {
    const decades = await open({ bin: '1900:1930:10' });
    expect([...decades.images.countByLabel()]).toEqual([
      ['1900', 20],
      ['1910', 20],
      ['1920', 20],
    ]);
    expect(decades.warnings).toEqual([expect.stringMatching(/^20 images are left out \(`bin` 1900:1930:10\)/)]);
    expect((await open({ bin: 'q4' })).labels).toEqual(['1895-1904', '1905-1914', '1915-1924', '1925-1934']);
    await expect(openDataset(join(folder, 'table'), { bin: '0:1:1' })).rejects.toThrow(
      /The label "even" .* is no number/,
    );
  });

  test('a map renames and leaves out; what it names in vain is told', async () => {
    const map = write('map.yaml', '"1900": early\n"1910": early\n"1920": ""\nnone: x\n');
    const found = await open({ bin: '1900:1930:10', map });
    expect([...found.images.countByLabel()]).toEqual([['early', 40]]);
    expect(found.warnings.join(' ')).toContain('The map of labels names "none", which no image has.');
    const csv = write('map.csv', '1900,"a, b"\n1910,c\n');
    expect((await open({ bin: '1900:1930:10', map: csv })).labels).toEqual(['1920', 'a, b', 'c']);
    await expect(open({ map: write('bad.yaml', '- a\n') })).rejects.toThrow(/has no names/);
    await expect(open({ map: write('twice.csv', '1900,a\n1900,b\n') })).rejects.toThrow(
      /has two names for "1900": "a" and "b"/,
    );
    await expect(open({ map: write('latin1.yaml', Buffer.from('"1900": Z\xfcrich\n', 'latin1')) })).rejects.toThrow(
      /latin1\.yaml, line 1: not UTF-8/,
    );
    const latin1 = { bin: '1900:1930:10', map: join(folder, 'latin1.yaml'), encoding: 'latin1' };
    expect((await open(latin1)).labels).toContain('Z\u00fcrich');
    await expect(open({ map: join(folder, 'absent.yaml') })).rejects.toThrow(/cannot be read/);
  });

  test.each([
    ['map.yaml', '007: early\n1.10: 08\ntrue: yes\ne\u0301t\u00e9: summer\n'],
    ['map.csv', '007,early\n1.10,08\ntrue,yes\ne\u0301t\u00e9,summer\n'],
  ])('a map names labels as they are written, in any normalization (%s)', async (name, text) => {
    const rows = ['007', '1.10', 'true', '\u00e9te\u0301', '7'].map((label, i) => ({ path: `odd/${i}.png`, label }));
    for (const row of rows) write(row.path);
    const file = write(
      'table/labels.jsonl',
      rows.map(({ path, label }) => JSON.stringify({ image: path, label })).join('\n'),
    );
    const set = await openDataset(file, { map: write(name, text), imageRoot: folder });
    expect(set.labels).toEqual(['08', '7', 'early', 'summer', 'yes']);
    expect(set.warnings).toEqual([]);
  });

  test('a sample of each label by a seed, which more images hardly change; a limit spread evenly', async () => {
    const one = await open({ bin: '1900:1930:10', sample: 5 });
    expect([...one.images.countByLabel().values()]).toEqual([5, 5, 5]);
    expect(pairs(await open({ bin: '1900:1930:10', sample: 5 }))).toEqual(pairs(one));
    expect(pairs(await open({ bin: '1900:1930:10', sample: 5, sampleSeed: 1 }))).not.toEqual(pairs(one));
    const six = pairs(await open({ bin: '1900:1930:10', sample: 6 }));
    expect(pairs(one).every((pair) => six.includes(pair))).toBe(true);
    const few = await open({ limit: 4 });
    expect(few.images.map(({ path }) => path)).toEqual(['1900/0.png', '1910/0.png', '1920/0.png', '1930/0.png']);
    // the dataset can be opened again from what it says of itself
    const again = await openDataset(one.path, one.source);
    expect(again.fingerprint).toBe(one.fingerprint);
  });
});
