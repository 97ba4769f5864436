// The schemas of the options: the API and the command line take and refuse the same values, in the same words; defaults in --help are those that the
// stages use.
import { guesses } from '../../src/util/nearest.js';
import fc from 'fast-check';
import { flagsOf, readValues } from '../../src/cli/options.js';
import { given, resolved } from '../../src/options/check.js';
import { defaultsOf, describeAll, optionsOf, type Schema, type Shape } from '../../src/options/option.js';
import { CONTRAST, NOISE } from '../../src/options/scoring.js';
import { RUN } from '../../src/runs/manifest.js';
import { localize } from '../../src/stages/localize/localize.js';
import { COTYPICALITY } from '../../src/stages/cotypicality/options.js';
import { EVALUATE } from '../../src/stages/evaluate/options.js';
import { LOCALIZE } from '../../src/stages/localize/options.js';
import { MINE } from '../../src/stages/mine/options.js';
import { mine } from '../../src/stages/mine/mine.js';
import { REPORT } from '../../src/stages/report/options.js';
import { SAMPLE } from '../../src/stages/sample/options.js';
import { sample } from '../../src/stages/sample/sample.js';
import { SCAN, type ScanOptions } from '../../src/stages/scan/options.js';
import { scan } from '../../src/stages/scan/scan.js';
import { SCORER } from '../../src/stages/scan/scorer-options.js';
import { TRAIN } from '../../src/stages/train/options.js';
import { train } from '../../src/stages/train/train.js';
import { MEASUREMENT, TRANSLATE } from '../../src/stages/translate/options.js';
import { BENCH } from '../../src/tools/bench/options.js';
import { DATA_ONLY, DEMO } from '../../src/tools/demo/options.js';
import { ESTIMATE } from '../../src/tools/estimate/options.js';
import { EXPORT } from '../../src/tools/export/options.js';
import { INSPECT } from '../../src/tools/inspect/options.js';
import { VERIFY } from '../../src/tools/verify/options.js';
import { DiffmineError } from '../../src/util/errors.js';
import { COMMANDS } from '../helpers/commands.js';
import { runs } from '../helpers/nightly.js';

const SCHEMAS: Record<string, Schema> = {
  SCAN,
  SCORER,
  MINE,
  REPORT,
  EVALUATE,
  LOCALIZE,
  TRAIN,
  SAMPLE,
  TRANSLATE,
  MEASUREMENT,
  COTYPICALITY,
  ESTIMATE,
  EXPORT,
  INSPECT,
  VERIFY,
  DEMO,
  DATA_ONLY,
  BENCH,
};
const OPTIONS = Object.entries(SCHEMAS).flatMap(([name, schema]) =>
  describeAll(schema).map((option) => [`${name} ${option.key}`, schema, option] as const),
);
/** Schemas share options: each is tried once. */
const DISTINCT = [...new Map(OPTIONS.map((one) => [one[1].shape[one[2].key], one])).values()];

const value = fc.oneof(
  fc.string(),
  fc.constantFrom(
    'auto',
    'cpu',
    'source',
    'all',
    'fp32',
    'top',
    '5%',
    '0.1,0.7',
    '3/8',
    'a,b',
    '0,1',
    'utf-8',
    '-1',
    '1e9',
  ),
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.array(fc.oneof(fc.string(), fc.double()), { maxLength: 3 }),
  fc.constantFrom<unknown>({}, [0.1, 0.7], [0.7, 0.1], { index: 3, count: 8 }, { index: 8, count: 8 }),
);

interface Outcome {
  value?: unknown;
  refused?: string;
}

function outcome(work: () => object, key: string): Outcome {
  try {
    return { value: (work() as Record<string, unknown>)[key] };
  } catch (error) {
    if (!(error instanceof DiffmineError)) throw error;
    expect([error.code, error.option]).toEqual(['INVALID_ARGUMENT', key]);
    return { refused: error.message };
  }
}

test.each(DISTINCT)('%s: the API and the command line agree on any value', (_, schema, { key, name, negated }) => {
  const alone = optionsOf('x', { [key]: schema.shape[key] } as Shape);
  fc.assert(
    fc.property(value, (raw) => {
      const api = outcome(() => given(alone, { [key]: raw }), key);
      const typed = negated !== undefined && typeof raw === 'boolean' ? !raw : raw;
      const line = outcome(() => readValues({ options: alone }, { [name]: typed }, {}, 'x'), key);
      if (api.refused === undefined) {
        expect(line).toEqual(api);
        // what was read is a value of the option itself: stages check again what the command line has read
        expect(given(alone, { [key]: api.value })).toEqual({ [key]: api.value });
        expect(resolved(alone, { [key]: api.value })).toEqual({ [key]: api.value });
      } else {
        expect(api.refused).toMatch(/^`\w+` is .*; expected .*\.$/s);
        expect(line.refused).toBe(api.refused.replace(`\`${key}\``, () => `--${name}`));
      }
    }),
    { numRuns: runs(60) },
  );
});

test.each(OPTIONS)(
  '%s has a description, a group and a sound default',
  (_, schema, { key, description, group, expected }) => {
    expect([description, group, expected].every((text) => text.length > 0)).toBe(true);
    const defaults = defaultsOf(schema) as Record<string, unknown>;
    if (key in defaults)
      expect(given(optionsOf('x', { [key]: schema.shape[key] } as Shape), { [key]: defaults[key] })).toEqual({
        [key]: defaults[key],
      });
  },
);

test('the defaults in --help are those that stages use', () => {
  for (const command of COMMANDS) {
    const flags = Object.values(flagsOf(command));
    const defaults = defaultsOf(command.options) as Record<string, unknown>;
    for (const { key, name, fallback, negated } of flags) {
      const used = defaults[key];
      if (used === undefined) continue;
      if (typeof used === 'boolean') expect([name, negated !== undefined]).toEqual([name, used]);
      else if (fallback !== undefined && !/ /.test(fallback)) {
        const read = readValues(
          { options: optionsOf('x', { [key]: command.options.shape[key] } as Shape) },
          { [name]: fallback.replace(/^"(.*)"$/, '$1') },
          {},
          'x',
        );
        expect([command.name, read]).toEqual([command.name, { [key]: used }]);
      }
    }
  }
});

describe('stages refuse what the command line refuses', () => {
  const needed = { dataset: 'no', model: 'no', out: 'no' };
  const wrong: [string, () => Promise<unknown>, string][] = [
    ['tRange', () => scan({ ...needed, tRange: [0.7, 0.1] }), '`tRange` is [0.7,0.1]; expected two fractions'],
    ['samples', () => scan({ ...needed, samples: 0 }), '`samples` is 0; expected a whole number from 1 to 1000000.'],
    ['model', () => scan({ dataset: 'no', out: 'no' } as ScanOptions), '`model` is missing.'],
    ['sampels', () => scan({ ...needed, sampels: 5 } as ScanOptions), 'scan has no option `sampels`.'],
    ['blur', () => localize({ ...needed, blur: -1 }), '`blur` is -1; expected a number of at least 0.'],
    ['count', () => sample({ model: 'no', out: 'no', count: 1.5 }), '`count` is 1.5; expected'],
    ['rank', () => mine({ run: 'no', rank: 'tops' as 'top' }), '`rank` is "tops"; expected one of top'],
    ['ema', () => train({ dataset: 'no', out: 'no', ema: 1 }), '`ema` is 1; expected a number from 0 to below 1.'],
  ];
  test.each(wrong)('%s', async (option, work, message) => {
    await expect(work()).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      option,
      message: expect.stringContaining(message) as string,
    });
  });
  test('a mistyped word is answered with the nearest', async () => {
    await expect(scan({ ...needed, sampels: 5 } as ScanOptions)).rejects.toMatchObject({
      hint: 'Did you mean `samples`?',
    });
    await expect(mine({ run: 'no', rank: 'tops' as 'top' })).rejects.toMatchObject({ hint: 'Did you mean top?' });
    const names = ['dtype', 'inversion-steps', 'inference-steps', 'seed', 'guidanceScale'];
    expect(guesses('steps', names)).toEqual(['inversion-steps', 'inference-steps']);
    expect(guesses('scale', names)).toEqual(['guidanceScale']);
    expect(guesses('sede', names)).toEqual(['seed']);
    expect(guesses('inferencesteps', names)).toEqual(['inference-steps']);
    expect(guesses('x', names)).toEqual([]);
    expect(guesses('colors', names)).toEqual([]);
  });
});

test('manifests take the values that the options take', () => {
  const manifest = {
    model: {
      path: 'm',
      fingerprint: 'f',
      kind: 'pixel',
      conditioning: 'class',
      vaeFactor: 1,
      fold: 1,
      features: { upBlock: 1, diftT: 161 },
    },
    dataset: { path: 'd', fingerprint: 'f', images: 1, ignored: 0, labels: ['a'], columns: [] },
    options: {
      ...defaultsOf(optionsOf('x', { ...NOISE, ...CONTRAST })),
      prompt: null,
      nullPrompt: null,
      against: 'null',
      size: 64,
      sizeRule: 'floor',
      patch: 8,
      tBegin: 100,
      tEnd: 700,
      perImage: 5,
      batch: 8,
      dtype: 'fp32',
      device: 'cpu',
      maps: true,
      shardSize: 64,
      replay: null,
    },
    preset: null,
    replayFile: null,
    conditions: ['a'],
  };
  expect(RUN.shape(manifest)).toBe(true);
  for (const wrong of [
    { samples: 0 },
    { seed: '0' },
    { sampler: 'uniform' },
    { maps: 'yes' },
    { sizeRule: 'round' },
    { othersPerSample: 0 },
  ])
    expect([wrong, RUN.shape({ ...manifest, options: { ...manifest.options, ...wrong } })]).toEqual([wrong, false]);
});
