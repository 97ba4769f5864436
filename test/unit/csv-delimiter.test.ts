// Tables whose fields are separated by semicolons or tabs.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
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
