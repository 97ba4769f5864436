// Names made of parts, which must not meet: maps, and a dataset's further columns in tables.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { mapName } from '../../src/runs/names.js';
import { carriedNames, IMAGE_SCHEMA, imageSchema, withCarried } from '../../src/runs/columns.js';
import { query, readTable, sqlFiles, writeTable } from '../../src/runs/tables.js';

const part = fc.oneof(
  fc.constantFrom('a', 'a/b', 'b', '/', '%', '%2F', 'a%2Fb', '%25', '', 'a/pics', 'pics/x/1.png', 'x/1.png'),
  fc.string({ unit: 'grapheme', maxLength: 6 }),
);

test('maps of two conditions or two images never have one name', () => {
  expect(mapName('a', 'pics/x/1.png')).toBe('a/pics/x/1.png');
  expect(mapName('a/pics', 'x/1.png')).toBe('a%2Fpics/x/1.png');
  fc.assert(
    fc.property(part, part, part, part, (a, b, c, d) => (mapName(a, b) === mapName(c, d)) === (a === c && b === d)),
  );
});

describe("a dataset's further columns", () => {
  const own = IMAGE_SCHEMA.map(([name]) => name);
  const column = fc.oneof(
    fc.constantFrom(
      ...own,
      ...own.map((name) => `input_${name}`),
      ...own.map((name) => name.toUpperCase()),
      '',
      'input_',
      'Input_Input_width',
      '__proto__',
      'constructor',
    ),
    fc.string({ maxLength: 4 }),
  );

  test('never take a name that is taken, in any case of letters', () => {
    fc.assert(
      fc.property(fc.uniqueArray(column, { maxLength: 12 }), (columns) => {
        const names = carriedNames(IMAGE_SCHEMA, columns);
        expect([...names.keys()]).toEqual(columns);
        const all = imageSchema(columns).map(([name]) => name.toLowerCase());
        expect(new Set(all).size).toBe(all.length);
        expect(all).not.toContain('');
        expect(all.slice(own.length)).toEqual([...names.values()].map((name) => name.toLowerCase()));
      }),
    );
  });

  test('keep their own name where it is free', () => {
    expect([...carriedNames(IMAGE_SCHEMA, ['input_width', 'width', 'year'])]).toEqual([
      ['input_width', 'input_width'],
      ['width', 'input_input_width'],
      ['year', 'year'],
    ]);
    expect([...carriedNames(IMAGE_SCHEMA, ['Width', 'Year', 'year', ''])]).toEqual([
      ['Width', 'input_Width'],
      ['Year', 'Year'],
      ['year', 'input_year'],
      ['', 'input_'],
    ]);
  });

  test('are all there for Parquet readers and DuckDB', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'diffmine-keys-'));
    try {
      const columns = ['', 'Image', 'IMAGE', 'input_image', '__proto__', 'constructor', "it's", 'a"b', '*'];
      const names = carriedNames([['image', 'STRING']], columns);
      const file = join(folder, 'x.parquet');
      await writeTable(
        file,
        [Object.fromEntries([['image', 'own'], ...[...names].map(([from, name]) => [name, `of ${from}`])])],
        withCarried([['image', 'STRING']], columns),
      );
      for (const row of [(await readTable(file))[0], (await query(`SELECT * FROM ${sqlFiles([file])}`))[0]]) {
        expect(row?.['image']).toBe('own');
        for (const [from, name] of names) expect(row?.[name]).toBe(`of ${from}`);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
