// Options as the command line resolves them: parsing, precedence, configuration files, suggestions.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { readConfig } from '../../src/cli/config.js';
import { nearest } from '../../src/util/nearest.js';
import { COMMON, flagsOf, readValues, type Flag } from '../../src/cli/options.js';
import { GROUPS, optionsOf } from '../../src/options/option.js';
import { MINE } from '../../src/stages/mine/options.js';
import { SCAN } from '../../src/stages/scan/options.js';
import { DiffmineError } from '../../src/util/errors.js';
import { COMMANDS } from '../helpers/commands.js';
import { temporaryFolder } from '../helpers/folders.js';

const needed = { dataset: 'photos', model: 'sd15', out: 'run' };
const scanning = { options: SCAN, places: ['dataset'] };

function failure(work: () => unknown): DiffmineError {
  try {
    work();
  } catch (error) {
    if (error instanceof DiffmineError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('values', () => {
  test('are typed', () => {
    const values = readValues(
      scanning,
      {
        ...needed,
        samples: '50',
        't-range': '0.05,0.4',
        size: 'source',
        batch: '16',
        shard: '3/8',
        device: 'cuda:1',
        'no-maps': true,
        'null-prompt': '',
      },
      {},
      'scan',
    );
    expect(values).toEqual({
      ...needed,
      samples: 50,
      tRange: [0.05, 0.4],
      size: 'source',
      batch: 16,
      shard: { index: 3, count: 8 },
      device: 'cuda:1',
      maps: false,
      nullPrompt: '',
    });
  });

  test('come from the flag, then the file; defaults are left to the stage', () => {
    const mining = { options: MINE };
    expect(readValues(mining, { top: '7' }, { top: 8, clusters: 9 }, 'mine')).toEqual({ top: 7, clusters: 9 });
    expect(readValues(mining, {}, { device: 'cpu' }, 'mine').device).toBe('cpu');
  });

  test.each([
    ['samples', '0'],
    ['samples', '1.5'],
    ['samples', 'many'],
    ['samples', '1e3'],
    ['seed', '-1'],
    ['seed', '9007199254740993'],
    ['patch', ''],
    ['size', 'big'],
    ['size', '0'],
    ['batch', 'some'],
    ['device', 'gpu'],
    ['device', 'cuda:'],
    ['dtype', 'int8'],
    ['t-range', '0.7,0.1'],
    ['t-range', '0.1'],
    ['t-range', '0,1.1'],
    ['t-range', ',1'],
    ['t-range', 'a,b'],
    ['sampler', 'uniform'],
    ['preset', 'car'],
    ['replay', ''],
  ])('--%s %j is refused by name', (name, value) => {
    const error = failure(() => readValues(scanning, { ...needed, [name]: value }, {}, 'scan'));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toContain(`--${name} is ${JSON.stringify(value)}; expected `);
    expect(error.hint).toBeTruthy();
  });

  test.each(['8/8', '-1/8', '1', '1/0', 'a/b', '1/8/2'])('--shard %s is refused', (value) => {
    expect(
      failure(() => readValues({ options: optionsOf('x', { shard: SCAN.shape.shard }) }, { shard: value }, {}, 'scan'))
        .message,
    ).toContain('--shard');
  });

  test('a mistyped choice is answered with the nearest', () => {
    expect(failure(() => readValues(scanning, { ...needed, sampler: 'stratifed' }, {}, 'scan')).hint).toBe(
      'Did you mean stratified?',
    );
  });

  test('a missing required option is named', () => {
    expect(failure(() => readValues(scanning, { dataset: 'photos', model: 'sd15' }, {}, 'scan')).message).toBe(
      '--out is missing.',
    );
    expect(failure(() => readValues(scanning, { model: 'sd15', out: 'run' }, {}, 'scan')).message).toBe(
      'DATASET is missing.',
    );
  });

  test('the file gets the same checks', () => {
    expect(failure(() => readValues(scanning, needed, { samples: 'x' }, 'scan')).message).toContain(
      '"samples" in the configuration file',
    );
    expect(failure(() => readValues(scanning, needed, { 'no-maps': 'yes' }, 'scan')).message).toContain(
      'true or false',
    );
    expect(readValues(scanning, needed, { 't-range': [0.05, 0.4], prompt: 1950 }, 'scan')).toMatchObject({
      tRange: [0.05, 0.4],
      prompt: '1950',
    });
  });
});

describe('configuration files', () => {
  const folder = temporaryFolder();
  const own = new Set([...Object.keys(flagsOf(scanning)), ...Object.keys(flagsOf({ options: COMMON }))]);
  const all = new Set([...own, ...Object.keys(flagsOf({ options: MINE }))]);
  const read = (content: string): Promise<Record<string, unknown>> => {
    const file = path.join(folder, 'options.yaml');
    writeFileSync(file, content);
    return readConfig(file, own, all);
  };

  test('hold options by the names of their flags; those of other commands are skipped', async () => {
    expect(await read('samples: 20\nprompt: "A {label}."\nclusters: 4\n')).toEqual({
      samples: 20,
      prompt: 'A {label}.',
    });
    expect(await read('# nothing\n')).toEqual({});
  });

  test('name the key nearest to an unknown one', async () => {
    await expect(read('sampels: 20\n')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('"sampels"'),
      hint: expect.stringContaining('"samples"'),
    });
    await expect(read('json: true\n')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('that are invalid are errors', async () => {
    await expect(read('- a\n- b\n')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(read('a: [1, 2\n')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('not valid YAML'),
    });
    await expect(readConfig(path.join(folder, 'absent.yaml'), own, all)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('cannot be read'),
    });
  });
});

/** Values that only some commands can take; the others refuse them by name. */
const NOT_EVERYWHERE: Record<string, readonly unknown[]> = {
  size: ['source'],
  't-range': ['auto'],
  'images-per-label': [0],
};

describe('one file serves all commands', () => {
  const byName = new Map<string, Flag[]>();
  for (const command of COMMANDS)
    for (const [name, flag] of Object.entries(flagsOf(command))) byName.set(name, [...(byName.get(name) ?? []), flag]);
  const shared = [...byName].filter(([, flags]) => flags.length > 1);

  test.each(shared)('%s: what one command takes, every command takes', (name, flags) => {
    const tried = [
      'auto',
      'all',
      'source',
      'null',
      0,
      2,
      0.5,
      '0.1,0.7',
      'redis://host',
      ...flags.flatMap((flag) => flag.choices ?? []),
    ];
    const odd = tried.filter((value) => {
      const taken = flags.map(({ field }) => field.safeParse(value).success);
      return taken.includes(true) && taken.includes(false);
    });
    expect(odd).toEqual(NOT_EVERYWHERE[name] ?? []);
  });
});

test('help lists the groups of options in one order in every command', () => {
  for (const command of COMMANDS) {
    const groups = [...new Set(Object.values(flagsOf(command)).map(({ group }) => group))];
    expect(groups).toEqual(GROUPS.filter((group) => groups.includes(group)));
  }
});

test('the nearest word is found within its limit', () => {
  expect(nearest('sacn', ['scan', 'mine'])).toBe('scan');
  expect(nearest('zzzzzzzz', ['scan', 'mine'], 3)).toBeUndefined();
});
