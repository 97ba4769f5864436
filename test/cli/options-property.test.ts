// Whatever is typed or stands in a configuration file gives a value or an INVALID_ARGUMENT that names the option or the file.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { readConfig } from '../../src/cli/config.js';
import { COMMON, flagsOf, readValues, type Flag, type Optioned } from '../../src/cli/options.js';
import { optionsOf, type Shape } from '../../src/options/option.js';
import { duration, printable, table } from '../../src/cli/output.js';
import { byteSize } from '../../src/util/bytes.js';
import { DiffmineError } from '../../src/util/errors.js';
import { COMMANDS } from '../helpers/commands.js';
import { temporaryFolder } from '../helpers/folders.js';
import { runs } from '../helpers/nightly.js';
import { ROOT } from './cli.js';

const OPTIONS: Record<string, { flag: Flag; command: Optioned }> = Object.fromEntries(
  [...COMMANDS, { options: COMMON }].flatMap((command: Optioned) =>
    Object.entries(flagsOf(command)).map(([name, flag]) => [name, { flag, command }]),
  ),
);
const NAMES = Object.keys(OPTIONS);

/** What users type, or nearly so. */
const typed = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom(...Array.from('0123456789.,:/%+-eE xcpud \t\u0000é٣')) }),
  fc.integer().map(String),
  fc.double().map(String),
  fc.bigInt().map(String),
  fc.tuple(fc.double(), fc.double()).map(String),
  fc.tuple(fc.nat(9), fc.nat(9)).map(([a, b]) => `${a}/${b}`),
  fc.nat(120).map((n) => `${n}%`),
  fc.constantFrom(
    '',
    ' ',
    'auto',
    'source',
    'cpu',
    'cuda:0',
    '0,1',
    'own',
    'all',
    'true',
    'null',
    'NaN',
    'Infinity',
    '-0',
    '0x10',
    '1e3',
    '1_000',
    '١٢',
    '0.1,0.7',
    '0.7,0.1',
    ',',
    'a,,b',
    '__proto__',
  ),
);
/** What YAML can hold. */
const scalar = fc.oneof(typed, fc.double(), fc.integer(), fc.boolean(), fc.constant(null), fc.date());
const yaml = fc.oneof(
  scalar,
  fc.array(scalar, { maxLength: 4 }),
  fc.dictionary(fc.string(), scalar, { maxKeys: 3 }),
  fc.array(fc.array(scalar, { maxLength: 2 }), { maxLength: 2 }),
);

/** The value of one option, or the error that names it. */
function resolved(name: string, flags: Record<string, unknown>, file: Record<string, unknown>): unknown {
  const { flag, command } = OPTIONS[name] as (typeof OPTIONS)[string];
  const options = optionsOf('scan', { [flag.key]: command.options.shape[flag.key] } as Shape);
  try {
    const values = readValues({ options, places: command.places ?? [] }, flags, file, 'scan');
    return (values as Record<string, unknown>)[flag.key];
  } catch (error) {
    if (!(error instanceof DiffmineError)) throw error;
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message.includes(flag.label) || error.message.includes(`"${name}"`)).toBe(true);
    expect(error.hint).toBeTruthy();
    return undefined;
  }
}

/** No number in a value may be what nobody can mean. */
function expectSound(value: unknown): void {
  if (typeof value === 'number') expect(Number.isFinite(value)).toBe(true);
  else if (Array.isArray(value)) value.forEach(expectSound);
  else if (typeof value === 'object' && value !== null) Object.values(value).forEach(expectSound);
}

test.each(NAMES)('%s takes any text and any YAML value', (name) => {
  fc.assert(
    fc.property(typed, (raw) => expectSound(resolved(name, { [name]: raw }, {}))),
    { numRuns: runs(150) },
  );
  fc.assert(
    fc.property(yaml, (raw) => expectSound(resolved(name, {}, { [name]: raw }))),
    { numRuns: runs(150) },
  );
});

describe('what is accepted', () => {
  test('ranges of the schedule are ordered fractions, from numbers only', () => {
    fc.assert(
      fc.property(yaml, (raw) => {
        const range = resolved('t-range', {}, { 't-range': raw }) as [number, number] | undefined;
        if (range === undefined) return;
        expect(range).toHaveLength(2);
        expect(range[0] >= 0 && range[0] < range[1] && range[1] <= 1).toBe(true);
      }),
    );
    for (const raw of [[false, true], [null, 1], ['', 1], [[0], 1], { 0: 0, 1: 1 }])
      expect(resolved('t-range', {}, { 't-range': raw })).toBeUndefined();
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }), (a, b) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        expect(resolved('t-range', { 't-range': `${low},${high}` }, {})).toEqual(low < high ? [low, high] : undefined);
      }),
    );
  });

  test('whole numbers are whole and safe; a flag and a file agree on them', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (n) => {
        const [flag, file] = [resolved('seed', { seed: String(n) }, {}), resolved('seed', {}, { seed: n })];
        expect(flag).toBe(n >= 0 ? n : undefined);
        expect(file).toBe(flag);
      }),
    );
    fc.assert(
      fc.property(typed, (raw) => {
        const value = resolved('seed', { seed: raw }, {});
        expect(value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0)).toBe(true);
      }),
    );
  });

  test('shards are i of n with i < n', () => {
    fc.assert(
      fc.property(fc.nat(20), fc.nat(20), (index, count) => {
        expect(resolved('shard', { shard: `${index}/${count}` }, {})).toEqual(
          index < count ? { index, count } : undefined,
        );
      }),
    );
  });

  test('a path has no NUL', () => {
    fc.assert(
      fc.property(typed, (raw) =>
        expect((resolved('out', { out: raw }, {}) as string | undefined) ?? '').not.toContain('\0'),
      ),
    );
    expect(resolved('out', {}, { out: 'a\0b' })).toBeUndefined();
  });
});

describe('configuration files', () => {
  const file = join(temporaryFolder(), 'options.yaml');
  const all = new Set(NAMES);
  async function read(text: string | Buffer): Promise<Record<string, unknown> | undefined> {
    writeFileSync(file, text);
    try {
      return await readConfig(file, all, all);
    } catch (error) {
      if (!(error instanceof DiffmineError)) throw error;
      expect({ code: error.code, named: error.message.includes(file) }).toEqual({
        code: 'INVALID_ARGUMENT',
        named: true,
      });
      return undefined;
    }
  }

  test('any text gives options or an error that names the file', async () => {
    const line = fc
      .tuple(
        fc.constantFrom(
          ...NAMES,
          'sampels',
          '? a',
          '- a',
          '"',
          '&x',
          '*x',
          '!!js',
          '%TAG',
          '---',
          '<<',
          '__proto__',
          'constructor',
        ),
        fc.constantFrom(': ', ':', ' ', ': &x ', ': *x', ': !!binary '),
        fc.oneof(typed, fc.string({ unit: fc.constantFrom(...Array.from('[]{}"\'|>-&*!%@`,:#?\n 1a')) })),
      )
      .map((parts) => parts.join(''));
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 4 }).map((lines) => lines.join('\n')),
        async (text) => {
          const options = await read(text);
          for (const [name, raw] of Object.entries(options ?? {})) expectSound(resolved(name, {}, { [name]: raw }));
        },
      ),
      { numRuns: runs(400) },
    );
  });

  test('any bytes do, too', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 40 }), async (bytes) => {
        await read(Buffer.from(bytes));
      }),
    );
    expect(await read(Buffer.from('prompt: caf\xe9', 'latin1'))).toBeUndefined();
  });

  test('circles and bombs of aliases are refused', async () => {
    const circle = await read('prompt: &a [*a]');
    expect(circle === undefined || resolved('prompt', {}, circle) === undefined).toBe(true);
    const bomb = [
      'a: &a [1, 1]',
      ...Array.from(
        { length: 12 },
        (_, i) => `k${i}: &${'bcdefghijklm'[i]} [${Array(9).fill(`*${'abcdefghijkl'[i]}`).join(', ')}]`,
      ),
    ].join('\n');
    expect(await read(bomb)).toBeUndefined();
  });
});

test('any command line ends with a documented exit code, never as a bug', () => {
  // one process for all of them: `inspect` of a path that is not there, with anything behind it
  const script = `
    const fc = require('fast-check');
    const { main } = require(process.argv[1]);
    process.stderr.write = () => true;
    const names = JSON.parse(process.argv[2]);
    const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string(), fc.double().map(String));
    const word = fc.oneof(
      text.map((one) => 'x' + one), fc.constantFrom(...names.filter((name) => name !== 'json' && name !== 'config'), '__proto__', 'constructor', 'toString', '', 'a.b', 'no-json').map((name) => '--' + name),
      fc.tuple(fc.constantFrom(...names.filter((name) => name !== 'json')), text).map(([name, one]) => '--' + name + '=' + one), fc.constantFrom('-v', '-q', '-x', '--', '-', '---', '-vq'));
    fc.assert(fc.asyncProperty(fc.array(word, { maxLength: 5 }), async (words) => (await main(['inspect', 'x-missing', ...words])) === 2), { numRuns: ${runs(500)} })
      .then(() => (process.exitCode = 0), (error) => { process.exitCode = 1; console.log(error.message); });`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['-e', script, join(ROOT, 'dist', 'cli', 'main.js'), JSON.stringify(NAMES)],
    { cwd: ROOT, encoding: 'utf8' },
  );
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
});

describe('figures', () => {
  test('durations have no 60 s and no 60 min', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e7, noNaN: true }), (seconds) => {
        expect(duration(seconds)).toMatch(/^(\d{1,2} s|\d min [1-5]?\d s|\d{2} min|\d+ h [1-5]?\d min)$/);
        expect(duration(seconds)).not.toMatch(/\b60 (s|min)/);
      }),
    );
    expect([59.4, 59.6, 119.7, 599.7, 3599].map(duration)).toEqual([
      '59 s',
      '1 min 0 s',
      '2 min 0 s',
      '10 min',
      '1 h 0 min',
    ]);
    expect([NaN, Infinity, -1].map(duration)).toEqual(['?', '?', '0 s']);
  });

  test('sizes have at most three digits before their unit', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 9e17, noNaN: true }), (bytes) =>
        expect(byteSize(bytes)).toMatch(/^\d{1,3}(\.\d)? (B|kB|MB|GB|TB|PB)$/),
      ),
    );
  });

  test('no control character of a name reaches the terminal', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => expect(printable(text)).not.toMatch(/[^\P{Cc}\n\t]/u)),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string(), fc.string()), { maxLength: 5 }), (rows) =>
        expect(table(['a', 'b'], rows).split('\n').length).toBeGreaterThanOrEqual(2),
      ),
    );
  });
});
