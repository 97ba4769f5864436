// Tables whose fields are separated by semicolons or tabs, and .tsv tables.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDataset } from '../../src/data/index.js';
import { readBoxes } from '../../src/data/boxes/index.js';
import { delimiterOf, readCsv } from '../../src/data/text/csv.js';
import { temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();

test.each([',', ';', '\t'])('fields separated by %j', async (separator) => {
  const file = join(folder, 'table.csv');
  const lines = [
    ['path', 'label'],
    ['a.jpg', '"x, y; z"'],
    [' b.jpg ', ''],
    ['"c\n.jpg"', '2'],
  ];
  writeFileSync(file, lines.map((fields) => fields.join(separator)).join('\r\n'));
  const { header, records } = await readCsv(file);
  expect(header).toEqual(['path', 'label']);
  expect(records.map(({ fields }) => fields)).toEqual([
    ['a.jpg', 'x, y; z'],
    ['b.jpg', ''],
    ['c\n.jpg', '2'],
  ]);
});

test.each([',', ';', '\t'])('the line of spreadsheets that names the separator %j is no header', async (separator) => {
  const file = join(folder, 'told.csv');
  for (const line of [`sep=${separator}\r\n`, `\ufeff"SEP=${separator}"\n`]) {
    // more commas than separators in the header
    writeFileSync(file, `${line}"path"${separator}"label, or, what, it, is"\r\na.jpg${separator}x\r\n`);
    const { header, records } = await readCsv(file);
    expect(header).toEqual(['path', 'label, or, what, it, is']);
    expect(records).toEqual([{ fields: ['a.jpg', 'x'], line: 3 }]);
  }
});

test.each([
  [',', []],
  [';', ['table.csv: fields are separated by semicolons.']],
  ['\t', ['table.csv: fields are separated by tabs.']],
])('a dataset says so: %j', async (separator, warnings) => {
  writeFileSync(join(folder, 'a.png'), 'x');
  const file = join(folder, 'table.csv');
  writeFileSync(file, [`image${separator}label`, `a.png${separator}old`].join('\n'));
  expect((await openDataset(file)).warnings).toEqual(warnings);
});

test.each([
  ['image;label;size, px', ';'],
  ['image;label;"a, b, c, d"', ';'],
  ['image,label,"a;b;c;d"', ','],
  ['image\tlabel\tsize, px', '\t'],
  ['image,label;kind', ','],
  ['image', ','],
  ['image,label\n;;;;', ','],
])('%j is separated by %j', (text, delimiter) => {
  expect(delimiterOf('table.csv', text)).toBe(delimiter);
  expect(delimiterOf('table.TSV', text)).toBe('\t');
});

test('a .tsv: as a dataset, as the table of an imagefolder, as a map of labels, as boxes', async () => {
  const root = join(folder, 'tsv');
  mkdirSync(root);
  const file = (name: string, rows: string[][]): string => {
    writeFileSync(join(root, name), rows.map((row) => row.join('\t')).join('\n'));
    return join(root, name);
  };
  writeFileSync(join(root, 'a.png'), 'x');
  const table = file('table.tsv', [
    ['image', 'label', 'size, px, and more'],
    ['a.png', 'old', '1,5'],
  ]);
  const labels = file('map.tsv', [['old', 'a, b']]);
  const { images, warnings } = await openDataset(table);
  expect(images.map(({ label, extra }) => [label, extra])).toEqual([['old', { 'size, px, and more': '1,5' }]]);
  expect(warnings).toEqual([]);
  expect((await openDataset(table, { map: labels })).labels).toEqual(['a, b']);
  const boxes = file('boxes.tsv', [
    ['image', 'x', 'y', 'w', 'h'],
    ['a.png', '1', '2', '3', '4'],
  ]);
  expect((await readBoxes(boxes)).boxes).toHaveLength(1);
  await expect(openDataset(file('commas.tsv', [['image,label'], ['a.png,old']]))).rejects.toMatchObject({
    code: 'DATASET_INVALID',
    hint: expect.stringContaining('There is only one column.') as string,
  });
  file('metadata.tsv', [
    ['file_name', 'label'],
    ['a.png', 'older'],
  ]);
  expect((await openDataset(root)).labels).toEqual(['older']);
});
