// The columns of a run's tables, against the pages that describe them and against what is exported.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CLUSTER_SCHEMA,
  CONTENT_SCHEMA,
  EARLIER_SCHEMA,
  ELEMENT_SCHEMA,
  IMAGE_SCHEMA,
  MINED_PATCH_SCHEMA,
  PATCH_SCHEMA,
  TREND_PATCH_SCHEMA,
  TREND_SCHEMA,
} from '../../src/runs/columns.js';
import type { Schema } from '../../src/runs/tables.js';
import { PATCH_COLUMNS } from '../../src/tools/export/rows.js';
import { ROOT } from '../cli/cli.js';

const page = (name: string): string[] => readFileSync(join(ROOT, 'docs', name), 'utf8').split('\n');

/** "label, image STRING; rank INT32 (from 1)": names with their type, without what is said of them. */
function columnsIn(text: string): [name: string, type: string][] {
  const plain = text.replace(/\([^()]*\)/g, '').replace(/:.*/, '');
  const found: [string, string][] = [];
  let names: string[] = [];
  for (const part of plain.split(/[,;]/)) {
    const [name = '', type] = part.trim().split(/\s+/);
    if (/^\w+$/.test(name)) names.push(name);
    if (type === undefined || !/^(STRING|INT32|DOUBLE)$/.test(type)) continue;
    found.push(...names.map((one): [string, string] => [one, type]));
    names = [];
  }
  return found;
}

test.each<[file: string, row: RegExp, schema: Schema]>([
  ['reference/formats/run.md', /^\| shards\/\*\/images\.parquet \| (.*?); then /, IMAGE_SCHEMA],
  ['reference/formats/run.md', /^\| shards\/\*\/patches\.parquet \| (.*) \|$/, PATCH_SCHEMA],
  ['reference/formats/run.md', /^ +files\.parquet +(.*?):/, CONTENT_SCHEMA],
  ['reference/formats/mining.md', /^\| `patches\.parquet` \| the ranked lists: (.*) \|$/, MINED_PATCH_SCHEMA],
  ['reference/formats/mining.md', /^\| `clusters\.parquet` \| (.*) \|$/, CLUSTER_SCHEMA],
  ['reference/formats/mining.md', /^\| `earlier\.parquet`.*Table: (.*?)\. Tensors/, EARLIER_SCHEMA],
  ['reference/formats/mining.md', /^\| `elements\.parquet` \| (.*) \|$/, ELEMENT_SCHEMA],
  ['reference/formats/mining.md', /^\| `trends\.parquet` \| (.*) \|$/, TREND_SCHEMA],
  ['reference/formats/mining.md', /^\| `trend-patches\.parquet` \| (.*) \|$/, TREND_PATCH_SCHEMA],
])('%s lists them in their order: %s', (file, row, schema) => {
  const [text = ''] = page(file).flatMap((line) => row.exec(line)?.[1] ?? []);
  expect(columnsIn(text)).toEqual(schema.map(([name, type]) => [name, type]));
});

test('every column of ranked patches is exported, in the order that the guide says', () => {
  const [row = ''] = page('guides/exporting.md').filter((line) => line.startsWith('| patches |'));
  const names = PATCH_COLUMNS.map(([name]) => name);
  expect(row).toBe(`| patches | ${names.join(', ')} |`);
  expect([...names].sort()).toEqual(MINED_PATCH_SCHEMA.map(([name]) => name).sort());
});
