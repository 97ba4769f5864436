// JSON as Python and Windows editors write it, read and written.
import fc from 'fast-check';
import { ConfigReader } from '../../src/models/json.js';
import { decodeJson, formatJson, parseJson } from '../../src/util/json.js';

/** JSON of Python's json.dump: as JSON.stringify, but for numbers that are not finite. */
function pythonJson(value: unknown): string {
  if (typeof value === 'number') return Number.isFinite(value) ? JSON.stringify(value) : String(value);
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`;
  if (typeof value === 'object' && value !== null)
    return `{${Object.entries(value)
      .map(([key, one]) => `${JSON.stringify(key)}: ${pythonJson(one)}`)
      .join(', ')}}`;
  return JSON.stringify(value);
}

/** Strings that look like what is rewritten outside of strings. */
const tricky = fc.constantFrom(
  'NaN',
  '-Infinity',
  'x: NaN, y',
  '": NaN',
  '\\" Infinity',
  '\\',
  '1e999',
  '\uE000',
  '\\uE000',
  '\\ue000NaN',
  '[-Infinity]',
  '\uFEFF',
);
const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  tricky,
  fc.tuple(tricky, fc.string(), tricky).map((parts) => parts.join('')),
);
const number = fc.oneof(fc.double(), fc.constantFrom(NaN, Infinity, -Infinity));
const values = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    number,
    text,
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value')),
    fc.dictionary(
      text.filter((key) => key !== '__proto__'),
      tie('value'),
    ),
  ),
})).value;

test('what Python writes is read back, with and without a byte-order mark', () => {
  fc.assert(
    fc.property(values, fc.boolean(), (value, mark) => {
      expect(parseJson(`${mark ? '\uFEFF' : ''}${pythonJson(value)}`)).toEqual(zeros(value));
    }),
    { numRuns: 600 },
  );
});

test('what is written is what Python would write, at any indentation', () => {
  fc.assert(
    fc.property(values, fc.integer({ min: 0, max: 4 }), (value, indent) => {
      expect(parseJson(formatJson(value, indent))).toEqual(zeros(value));
      expect(formatJson(value).replace(/\s/g, '')).toBe(pythonJson(zeros(value)).replace(/\s/g, ''));
    }),
    { numRuns: 300 },
  );
});

test('any other text is accepted as JSON.parse accepts it, or refused', () => {
  const fragment = fc.oneof(
    text,
    fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '\\',
      '-',
      ' ',
      'NaN',
      'Infinity',
      '-Infinity',
      '1',
      'null',
      '"a"',
    ),
  );
  fc.assert(
    fc.property(fc.array(fragment, { maxLength: 8 }), (fragments) => {
      const json = fragments.join('');
      const attempt = (read: () => unknown): unknown => {
        try {
          return [read()];
        } catch (error) {
          expect((error as Error).name).toBe('SyntaxError');
          return undefined;
        }
      };
      const strict = attempt(() => JSON.parse(json));
      const lenient = attempt(() => parseJson(json));
      if (strict !== undefined) expect(lenient).toEqual(strict);
      // With other numbers in their place, what is accepted is JSON.
      else if (lenient !== undefined)
        expect(
          () =>
            void JSON.parse(
              json
                .replace(/^\uFEFF/, '')
                .replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN/gs, (one) => (one.startsWith('"') ? one : '0')),
            ),
        ).not.toThrow();
    }),
    { numRuns: 2000 },
  );
});

test.each([
  '{NaN: 1}',
  '{"a": nan}',
  '{"a": -NaN}',
  '{"a": +Infinity}',
  '{"a": - Infinity}',
  '{"a": 1Infinity}',
  '{"a": Infinity1}',
  '{"a": Infinity.5}',
  '{"a": NaN"b"}',
  '{"a": "NaN}',
  '[NaN,]',
  '',
  '\uFEFF',
  '\uFEFF\uFEFF{}',
  'NaN NaN',
])('%j is not JSON', (json) => {
  expect(() => parseJson(json)).toThrow();
});

test('an error names the place in the file, not in what was made of it', () => {
  expect(() => parseJson('{"a": -Infinity "b"}')).toThrow(/position 16/);
  expect(() => parseJson('{"b": NaN, "c": oops}')).toThrow(/NaN, "c": oops/);
});

test('long strings and many of them', () => {
  const long = {
    text: 'NaN \\ " '.repeat(200_000),
    many: Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`"NaN" ${i}`, i])),
    number: -Infinity,
  };
  expect(parseJson(pythonJson(long))).toEqual(long);
  expect(() => parseJson(`{"a": NaN, "b": "${'\\"'.repeat(1_000_000)}`)).toThrow();
});

test('bytes: UTF-8 with and without a mark, UTF-16 with one', () => {
  const json = '{"größe": -Infinity, "😀": NaN}';
  const expected = { größe: -Infinity, '😀': NaN };
  const utf16 = Buffer.from(`\uFEFF${json}`, 'utf16le');
  for (const bytes of [Buffer.from(json), Buffer.from(`\uFEFF${json}`), utf16, Buffer.from(utf16).swap16()])
    expect(parseJson(decodeJson(bytes))).toEqual(expected);
  expect(() => decodeJson(Buffer.from(json, 'latin1'))).toThrow(/utf-8/);
});

/** -0 is 0 in JSON.stringify. */
function zeros(value: unknown): unknown {
  if (Object.is(value, -0)) return 0;
  if (Array.isArray(value)) return value.map(zeros);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, zeros(one)]));
  return value;
}

test('a message shows the beginning of a long value', () => {
  const { message } = new ConfigReader('config.json', {}).unsupported('betas', Array(1000).fill(0.001), 'null');
  expect(message).toMatch(/^'config\.json': betas = \[0\.001,.{60,80}\.\.\. is not supported\.$/);
});
