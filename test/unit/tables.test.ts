// Parquet tables: what is written is read back by us and by DuckDB, and the same rows give the same bytes.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toCsv, toJson } from '../../src/tools/export/export.js';
import { encodeTable, query, readTable, sqlFiles, sqlText, writeTable, type Schema } from '../../src/runs/tables.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-tables-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const SCHEMA: Schema = [
  ['name', 'STRING'],
  ['count', 'INT32'],
  ['value', 'DOUBLE'],
];
const ROWS = [
  { name: '<script>alert("1")</script>', count: 1, value: 0.1 },
  { name: '日本, "quoted"\nnext 🚗', count: -2147483648, value: null },
  { name: "o'neill/a.png", count: 0, value: -1e-300 },
];

test('round trip, through our reader and through DuckDB', async () => {
  const file = join(folder, 't.parquet');
  await writeTable(file, ROWS, SCHEMA);
  expect(await readTable(file)).toEqual(ROWS);
  expect(await readTable(file, ['value'])).toEqual(ROWS.map(({ value }) => ({ value })));
  expect(await query(`SELECT * FROM ${sqlFiles([file])}`)).toEqual(ROWS);
});

test('equal rows, equal bytes; no rows is a table too', async () => {
  expect(await encodeTable(ROWS, SCHEMA)).toEqual(await encodeTable(structuredClone(ROWS), SCHEMA));
  const file = join(folder, 'empty.parquet');
  await writeTable(file, [], SCHEMA);
  expect(await readTable(file)).toEqual([]);
  expect(await query(`SELECT name, count, value FROM ${sqlFiles([file])}`)).toEqual([]);
  // a table without rows keeps its types, so that it can stand beside others
  await writeTable(join(folder, 't.parquet'), ROWS, SCHEMA);
  expect(await query(`SELECT count(*)::INTEGER AS n FROM ${sqlFiles([file, join(folder, 't.parquet')])}`)).toEqual([
    { n: 3 },
  ]);
});

test('many rows come back in order', async () => {
  const rows = Array.from({ length: 250_000 }, (_, i) => ({ name: `n${i % 7}`, count: i, value: Math.sqrt(i) }));
  const file = join(folder, 'many.parquet');
  await writeTable(file, rows, SCHEMA);
  const back = await readTable<{ count: number; value: number }>(file, ['count', 'value']);
  expect(back).toHaveLength(rows.length);
  expect(back.every((row, i) => row.count === i && row.value === Math.sqrt(i))).toBe(true);
});

test('a damaged file is RUN_INVALID', async () => {
  writeFileSync(join(folder, 'x.parquet'), 'PAR1 nonsense PAR1');
  await expect(readTable(join(folder, 'x.parquet'))).rejects.toMatchObject({ code: 'RUN_INVALID' });
});

test('names with quotes and pattern characters stand for themselves', async () => {
  const odd = join(folder, "it's [a] * b?");
  mkdirSync(odd);
  await writeTable(join(odd, 't.parquet'), ROWS, SCHEMA);
  expect(await query(`SELECT count(*)::INTEGER AS n FROM ${sqlFiles([join(odd, 't.parquet')])}`)).toEqual([{ n: 3 }]);
  expect(sqlText("a'b")).toBe("'a''b'");
});

test('CSV quotes what needs it and only that; JSON keeps types', () => {
  expect(toCsv(ROWS, SCHEMA)).toBe(
    'name,count,value\r\n"<script>alert(""1"")</script>",1,0.1\r\n"日本, ""quoted""\nnext 🚗",-2147483648,\r\no\'neill/a.png,0,-1e-300\r\n',
  );
  expect(JSON.parse(toJson(ROWS, SCHEMA))).toEqual(ROWS);
  expect(JSON.parse(toJson([], SCHEMA))).toEqual([]);
});
