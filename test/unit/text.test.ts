// Text files: encodings, CSV, lines. Wrong bytes are named by line and never become U+FFFD.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { CsvParser, encodingName, readCsv, readLines, readText } from '../../src/data/text/index.js';
import { temporaryFolder } from '../helpers/folders.js';

const root = temporaryFolder();
let count = 0;
function file(content: string | Buffer, name = 'set.csv'): string {
  const place = path.join(root, `${++count}-${name}`);
  writeFileSync(place, content);
  return place;
}
const invalid = (message: RegExp, hint?: RegExp) =>
  expect.objectContaining({
    code: 'DATASET_INVALID',
    message: expect.stringMatching(message) as unknown,
    ...(hint ? { hint: expect.stringMatching(hint) as unknown } : {}),
  });

describe('encodings', () => {
  test('UTF-8 with and without a byte-order mark', async () => {
    expect(await readText(file('\ufeffZürich 東京 \u{1f697}'))).toBe('Zürich 東京 \u{1f697}');
    expect(await readText(file('Zürich'))).toBe('Zürich');
    expect(await readText(file(''))).toBe('');
  });

  test.each([
    ['windows-1252', Buffer.from('Z\xfcrich \x80 \x93quoted\x94', 'latin1'), 'Zürich € “quoted”'],
    ['latin1', Buffer.from('caf\xe9', 'latin1'), 'café'],
    ['shift_jis', Buffer.from([0x93, 0x8c, 0x8b, 0x9e]), '東京'],
    ['gbk', Buffer.from([0xb1, 0xb1, 0xbe, 0xa9]), '北京'],
    ['euc-kr', Buffer.from([0xbc, 0xad, 0xbf, 0xef]), '서울'],
    ['utf-16le', Buffer.from('\ufeffZürich', 'utf16le'), 'Zürich'],
    ['utf-16be', Buffer.from('\ufeffZürich', 'utf16le').swap16(), 'Zürich'],
    ['UTF8', Buffer.from('Zürich'), 'Zürich'],
  ])('reads %s', async (encoding, bytes, text) => {
    expect(await readText(file(bytes), { encoding })).toBe(text);
  });

  test.each([
    [
      'latin1 without --encoding',
      Buffer.from('image,label\n1.png,Z\xfcrich\n', 'latin1'),
      /csv, line 2: not UTF-8 \("1\.png,Z\\xFCrich"\)/,
      /`encoding` windows-1252/,
    ],
    ['a cut character at the end', Buffer.from([0x61, 0x0a, 0x0a, 0xe6, 0x9d]), /line 3: not UTF-8/, /`encoding`/],
    ['an overlong form', Buffer.from([0xc0, 0xaf]), /line 1: not UTF-8/, /`encoding`/],
    ['a surrogate', Buffer.from([0x61, 0xed, 0xa0, 0x80]), /line 1: not UTF-8/, /`encoding`/],
    [
      'UTF-16 with a mark',
      Buffer.from('\ufeffimage,label\n', 'utf16le'),
      /is UTF-16 \(utf-16le\), not UTF-8/,
      /`encoding` utf-16le/,
    ],
    [
      'big-endian UTF-16',
      Buffer.from('\ufeffimage,label\n', 'utf16le').swap16(),
      /is UTF-16 \(utf-16be\)/,
      /`encoding` utf-16be/,
    ],
    ['UTF-16 without a mark', Buffer.from('image,label\n', 'utf16le'), /is UTF-16 \(utf-16le\)/, /`encoding` utf-16le/],
    [
      'big-endian UTF-16 without a mark',
      Buffer.from('image,label\n', 'utf16le').swap16(),
      /is UTF-16 \(utf-16be\)/,
      /`encoding` utf-16be/,
    ],
  ])('refuses %s', async (_, bytes, message, hint) => {
    await expect(readText(file(bytes))).rejects.toEqual(invalid(message, hint));
  });

  test('names the line in large files, and of other encodings', async () => {
    const rows = Array.from({ length: 60_000 }, (_, i) => `image-${i}.png,label`);
    rows[50_000] = 'image-50000.png,label\xe9';
    await expect(readText(file(Buffer.from(rows.join('\n'), 'latin1')))).rejects.toEqual(
      invalid(/line 50001: not UTF-8/),
    );
    await expect(
      readText(file(Buffer.concat([Buffer.from('a\nb\n'), Buffer.from([0xff, 0xff])])), { encoding: 'shift_jis' }),
    ).rejects.toEqual(invalid(/line 3: not shift_jis/));
    await expect(readText(file('\ufeffa'), { encoding: 'latin1' })).rejects.toEqual(
      invalid(/byte-order mark of UTF-8/, /Leave out `encoding`/),
    );
  });

  test('a character over the boundary of two reads stays whole', async () => {
    for (const pad of [262_141, 262_142, 262_143])
      expect((await readText(file('x'.repeat(pad) + '東京'))).slice(pad)).toBe('東京');
  });

  test('an unknown encoding, and a missing file', async () => {
    expect(encodingName('Latin1')).toBe('windows-1252');
    expect(() => encodingName('utf-7')).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'Unknown encoding "utf-7".' }) as Error,
    );
    await expect(readText(path.join(root, 'none.csv'))).rejects.toEqual(
      invalid(/none\.csv' cannot be read: there is no such file/),
    );
    await expect(readText(root)).rejects.toEqual(invalid(/it is a folder/));
  });
});

describe('CSV', () => {
  const parse = (text: string): [string[], number][] => {
    const parser = new CsvParser('set.csv');
    return [...parser.push(text), ...parser.end()].map(({ fields, line }) => [fields, line]);
  };

  test.each<[string, [string[], number][]]>([
    [
      'a,b\nc,d\n',
      [
        [['a', 'b'], 1],
        [['c', 'd'], 2],
      ],
    ],
    [
      'a,b\r\nc,d',
      [
        [['a', 'b'], 1],
        [['c', 'd'], 2],
      ],
    ],
    [
      'a,b\rc,d\r',
      [
        [['a', 'b'], 1],
        [['c', 'd'], 2],
      ],
    ],
    [
      '\n\na\n  \nb,\n',
      [
        [['a'], 3],
        [['b', ''], 5],
      ],
    ],
    [
      'image, label\n1.png,\t a b \u00a0\n',
      [
        [['image', 'label'], 1],
        [['1.png', 'a b'], 2],
      ],
    ],
    ['"a, b" , " c " ,"d ""e"""\n', [[['a, b', ' c ', 'd "e"'], 1]]],
    [
      '"two\r\nlines",x\ny,z\n',
      [
        [['two\r\nlines', 'x'], 1],
        [['y', 'z'], 3],
      ],
    ],
    ['""\n', [[[''], 1]]],
    ['5" disc,x\n', [[['5" disc', 'x'], 1]]],
  ])('reads %j', (text, records) => {
    expect(parse(text)).toEqual(records);
  });

  test.each([
    ['a\n"b\nc\n', /set\.csv, line 2: a quote is opened and not closed/],
    ['a,"b"c\n', /set\.csv, line 1: text follows a closing quote/],
  ])('refuses %j', (text, message) => {
    expect(() => parse(text)).toThrow(invalid(message) as Error);
  });

  const quoted = (field: string): string => `"${field.replaceAll('"', '""')}"`;
  const fields = fc.array(fc.array(fc.string({ unit: 'grapheme' }), { minLength: 2, maxLength: 4 }), {
    minLength: 1,
    maxLength: 6,
  });

  test('what is written in quotes is read again, wherever the text is cut', () => {
    fc.assert(
      fc.property(
        fields,
        fc.constantFrom('\n', '\r\n', '\r'),
        fc.array(fc.nat(200), { maxLength: 5 }),
        (records, newline, cuts) => {
          const text = records.map((record) => record.map(quoted).join(',') + newline).join('');
          const parser = new CsvParser('set.csv');
          const places = [0, ...cuts.map((cut) => Math.min(cut, text.length)).sort((a, b) => a - b), text.length];
          const read = places.slice(1).flatMap((place, i) => parser.push(text.slice(places[i], place)));
          expect([...read, ...parser.end()].map((record) => record.fields)).toEqual(records);
        },
      ),
    );
  });

  test('where the text is cut never matters', () => {
    const pieces = fc.array(fc.constantFrom('a', '"', ',', '\n', '\r', ' ', 'é', '""'), { maxLength: 30 });
    const outcome = (texts: string[]): unknown => {
      try {
        const parser = new CsvParser('set.csv');
        return [...texts.flatMap((text) => parser.push(text)), ...parser.end()];
      } catch (error) {
        return (error as Error).message;
      }
    };
    fc.assert(
      fc.property(pieces, (texts) => expect(outcome(texts)).toEqual(outcome([texts.join('')]))),
      { numRuns: 1000 },
    );
  });

  test('any bytes are read or refused with an error of the dataset', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom(undefined, 'latin1', 'shift_jis', 'utf-16le', 'gbk'),
        async (bytes, encoding) => {
          const place = file(Buffer.from(bytes), 'any.csv');
          for (const read of [readCsv, readLines, readText]) {
            const error: unknown = await read(place, encoding === undefined ? {} : { encoding }).then(
              () => undefined,
              (thrown: unknown) => thrown,
            );
            if (error !== undefined)
              expect(error).toEqual(expect.objectContaining({ name: 'DiffmineError', code: 'DATASET_INVALID' }));
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});

test('a line without an end is refused before it fills the memory', async () => {
  await expect(readLines(file(`a\n${'x'.repeat(17 * 2 ** 20)}`, 'list.txt'))).rejects.toEqual(
    invalid(/list\.txt, line 2: the line is longer than 16 million characters/),
  );
});

test('lines are trimmed and numbered; U+2028 is not a line break', async () => {
  expect(await readLines(file('a\r\n\n  b\u2028c  ', 'list.txt'))).toEqual([
    { text: 'a', where: expect.stringMatching(/list\.txt, line 1$/) as unknown },
    { text: 'b\u2028c', where: expect.stringMatching(/line 3$/) as unknown },
  ]);
});
