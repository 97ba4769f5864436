// Labels that options name: several values, commas between them, and labels that hold commas themselves.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { readConfig } from '../../src/cli/config.js';
import { COMMANDS, loadCommand } from '../../src/cli/commands.js';
import { rawOf } from '../../src/cli/declare.js';
import { flagsOf, readValues } from '../../src/cli/options.js';
import { optionsOf, type Schema, type Shape } from '../../src/options/option.js';
import { COTYPICALITY } from '../../src/stages/cotypicality/options.js';
import { LOCALIZE } from '../../src/stages/localize/options.js';
import { SAMPLE } from '../../src/stages/sample/options.js';
import { SCAN } from '../../src/stages/scan/options.js';
import { TRANSLATE } from '../../src/stages/translate/options.js';
import { BENCH } from '../../src/tools/bench/options.js';
import { lookAlikes, namedLabels } from '../../src/data/labels.js';
import { labelsToMap } from '../../src/stages/scan/single-labels.js';
import type { Dataset } from '../../src/data/index.js';
import type { ModelFolder } from '../../src/models/index.js';
import { temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();
const scan = () => loadCommand(COMMANDS.find(({ name }) => name === 'scan') as (typeof COMMANDS)[number]);
const CITIES = ['Paris, Texas', 'Paris', 'Rome', 'a "quoted" name', "Val d'Or", 'x, y, z', ' padded ', 'Z\u00fcrich'];

test.each([
  ['a label with a comma stays whole', ['Paris, Texas'], ['Paris, Texas']],
  ['commas between labels', ['Paris,Rome'], ['Paris', 'Rome']],
  ['with spaces', ['Paris , Rome'], ['Paris', 'Rome']],
  ['the longest label first', ['Paris, Texas,Rome'], ['Paris, Texas', 'Rome']],
  ['in the middle and at the end', ['Rome,x, y, z,Paris, Texas'], ['Rome', 'x, y, z', 'Paris, Texas']],
  ['given several times', ['Rome', 'Paris, Texas'], ['Rome', 'Paris, Texas']],
  ['quotes are part of a label', ['a "quoted" name,Val d\'Or'], ['a "quoted" name', "Val d'Or"]],
  ['spaces around a label, where it has them', [' padded '], [' padded ']],
  ['spaces around a label that has none', [' Rome '], ['Rome']],
  ['NFD for NFC: the label as it is written in the data', ['Zu\u0308rich'], ['Z\u00fcrich']],
  ['an unknown value is left as it is', ['Oslo'], ['Oslo']],
  ['commas, too', ['Oslo, Norway'], ['Oslo, Norway']],
  ['also beside a label', ['Rome,Oslo'], ['Rome,Oslo']],
])('%s', (_, values, labels) => {
  expect(namedLabels(values, CITIES)).toEqual(labels);
});

test('if only known labels are allowed, the wrong part is named', () => {
  expect(namedLabels(['Rome,Oslo', 'Oslo, Norway', 'Rome,'], CITIES, true)).toEqual([
    'Rome',
    'Oslo',
    'Oslo, Norway',
    'Rome',
    '',
  ]);
});

test('any labels joined by commas are found again, or read as longer labels', () =>
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.stringMatching(/^[ab,"' ]{1,6}$/), { minLength: 1, maxLength: 6 }),
      fc.infiniteStream(fc.nat()),
      (known, stream) => {
        const asked = Array.from({ length: 3 }, () => known[(stream.next().value as number) % known.length] as string);
        const found = namedLabels([asked.join(',')], known);
        for (const label of found) expect(known).toContain(label);
        expect(namedLabels(known, known)).toEqual(known);
      },
    ),
  ));

test('many commas without a matching label take no time', () => {
  expect(namedLabels([`${'a,'.repeat(300)}b`], ['a', 'a,a'])).toHaveLength(1);
});

describe('options', () => {
  const value = (schema: Schema, name: string, raw: unknown): unknown => {
    const key = flagsOf({ options: schema })[name]?.key ?? name;
    const options = optionsOf('x', { [key]: schema.shape[key] } as Shape);
    return (readValues({ options }, { [name]: raw }, {}, 'x') as Record<string, unknown>)[key];
  };

  test('of labels take one value, several, and lists', () => {
    for (const [table, name] of [
      [LOCALIZE, 'labels'],
      [COTYPICALITY, 'labels'],
      [SAMPLE, 'labels'],
      [TRANSLATE, 'to'],
    ] as const) {
      expect([name, value(table, name, 'Paris, Texas'), value(table, name, ['Paris, Texas', 'Rome'])]).toEqual([
        name,
        ['Paris, Texas'],
        ['Paris, Texas', 'Rome'],
      ]);
    }
    expect([
      value(LOCALIZE, 'labels', 'own'),
      value(LOCALIZE, 'labels', ['all']),
      value(LOCALIZE, 'labels', ['all', 'x']),
    ]).toEqual(['own', 'all', ['all', 'x']]);
    expect(() => value(LOCALIZE, 'labels', ' ')).toThrow('own, all, or labels');
  });

  test('of other lists, too', () => {
    expect([
      value(BENCH, 'latents', '32,64'),
      value(BENCH, 'latents', ['32,64', '16']),
      value(BENCH, 'latents', [32, 64]),
    ]).toEqual([
      [32, 64],
      [32, 64, 16],
      [32, 64],
    ]);
    expect([
      value(SCAN, 'devices', '0, 1'),
      value(SCAN, 'devices', ['0', 'cuda:1']),
      value(SCAN, 'devices', [0, 1]),
      value(SCAN, 'devices', 0),
    ]).toEqual([['cuda:0', 'cuda:1'], ['cuda:0', 'cuda:1'], ['cuda:0', 'cuda:1'], ['cuda:0']]);
    expect(value(TRANSLATE, 'feature-layers', ['up_blocks.1', 'up_blocks.2,up_blocks.3'])).toEqual([
      'up_blocks.1',
      'up_blocks.2',
      'up_blocks.3',
    ]);
    expect(() => value(SCAN, 'devices', '0,gpu')).toThrow('devices with commas');
  });

  test('a YAML list names labels with commas and quotes', async () => {
    const file = join(folder, 'options.yaml');
    writeFileSync(file, 'labels: ["Paris, Texas", \'a "quoted" name\', 1950]\nto: Paris, Texas\n');
    const read = await readConfig(file, new Set(['labels', 'to']), new Set(['labels', 'to']));
    expect(value(LOCALIZE, 'labels', read['labels'])).toEqual(['Paris, Texas', 'a "quoted" name', '1950']);
    expect(value(TRANSLATE, 'to', read['to'])).toEqual(['Paris, Texas']);
  });

  test.each([
    ['007', ['007']],
    ['[007, 7, 1.10, 0x10, 1e3, true, ~yes]', ['007', '7', '1.10', '0x10', '1e3', 'true', '~yes']],
    ['[1910, "007"]', ['1910', '007']],
    ['null', undefined],
  ])('labels %s in YAML are read as they are written', async (written, labels) => {
    const file = join(folder, 'texts.yaml');
    writeFileSync(file, `labels: ${written}\nsamples: 50.0\nseed: 0x10\n`);
    const { flags, file: read } = await rawOf(await scan(), { config: file, _: ['scan'] });
    expect({ ...flags, ...read }).toMatchObject({ samples: 50, seed: 16 });
    expect((read['labels'] ?? null) === null ? undefined : value(SCAN, 'labels', read['labels'])).toEqual(labels);
  });
});

test('labels that differ in invisible characters only are named; joined emoji and accents are not', () => {
  expect(
    lookAlikes([
      'Rome',
      'Rome\u200b',
      'Ro\u00adme',
      'Oslo',
      'Z\u00fcrich',
      'Zu\u0308rich',
      '\u{1f468}\u200d\u{1f469}',
      '\u{1f468}\u{1f469}',
    ]),
  ).toEqual([
    'Warning: the labels "Rome", "Rome<U+200B>", "Ro<U+00AD>me" differ only in invisible characters. They are read as different labels; `map` renames them.',
  ]);
});

test('labels to map', () => {
  const dataset = { labels: ['Paris, Texas', 'Rome|Oslo'] } as Dataset;
  const model = { conditioning: 'text' } as ModelFolder;
  expect(labelsToMap(model, dataset, ['Paris, Texas'], 'null').wanted).toEqual(['Paris, Texas']);
  expect(labelsToMap(model, dataset, ['Oslo,Paris, Texas'], 'null').wanted).toEqual(['Oslo', 'Paris, Texas']);
  expect(() => labelsToMap(model, dataset, ['Rome,Bergen'], 'null')).toThrow('no label "Bergen"');
  expect(() => labelsToMap(model, dataset, ['Bergen, Norway'], 'null')).toThrow('no label "Bergen, Norway"');
});
