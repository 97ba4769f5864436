// Tables whose fields are separated by semicolons or tabs.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDataset } from '../../src/data/index.js';
import { readCsv } from '../../src/data/text/csv.js';
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
