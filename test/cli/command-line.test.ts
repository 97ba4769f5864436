// The command line as a process: help, errors, exit codes, and what goes to which stream.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { flagsOf } from '../../src/cli/options.js';
import { EXIT_CODES } from '../../src/util/errors.js';
import { COMMANDS, checkCommand, words } from '../helpers/commands.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';
import { cli, ROOT, type Ran } from './cli.js';

const scratch = temporaryFolder();
const DATASET = path.join(GOLDEN, 'mini-dataset');

interface JsonError {
  error: { code: string; message: string; hint?: string };
}

function jsonError({ stdout }: Ran): JsonError['error'] {
  return (JSON.parse(stdout) as JsonError).error;
}

describe('help', () => {
  test('lists every command on stdout', async () => {
    const { code, stdout, stderr } = await cli(['--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const { name, describe: what } of COMMANDS) {
      expect(stdout).toContain(`diffmine ${name}`);
      expect(stdout.replace(/\s+/g, ' ')).toContain(what.split(',')[0]);
    }
  });

  test.each(COMMANDS.map((one) => [one.name, one] as const))('of %s lists its options', async (name, command) => {
    const { code, stdout } = await cli([name, '--help']);
    expect(code).toBe(0);
    for (const [option, { placed }] of Object.entries(flagsOf(command)))
      expect(stdout).toContain(placed ? option : `--${option}`);
    for (const common of ['--config', '--json', '--quiet', '--verbose']) expect(stdout).toContain(common);
  });

  test('loads nothing heavy', () => {
    const hook = `export const load = (url, context, next) => (process.stdout.write(url + '\\n'), next(url, context));`;
    const script = `
      import { register } from 'node:module';
      register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)});
      await (await import(${JSON.stringify(pathToFileURL(path.join(ROOT, 'dist', 'cli', 'main.js')).href)})).main(['--help']);`;
    const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(status).toBe(0);
    const loaded = stdout.split('\n').filter((line) => line.startsWith('file:'));
    expect(loaded.length).toBeGreaterThan(5);
    expect(
      loaded.filter(
        (file) =>
          /sharp|duckdb|hyparquet|tokenizers|undici|node_modules.yaml|\.node$|dist.(engine|stages|data|models|tools.verify)./.test(
            file,
          ) && !/dist.data.(text.decode|names|ignored|properties)\.js$|options\.js$|train.sizes\.js$/.test(file),
      ),
    ).toEqual([]);
  });
});

test('without arguments, it says what it is and three commands to start with, which exist', async () => {
  const plain = await cli([]);
  expect([plain.code, plain.stderr]).toEqual([0, '']);
  expect(plain.stdout).toMatch(/^diffmine \d+\.\d+\.\d+ finds the image patches that are typical of each label/);
  const { start } = JSON.parse((await cli(['--json'])).stdout) as { start: { command: string }[] };
  expect(start.map(({ command }) => plain.stdout.includes(`  ${command}  `))).toEqual([true, true, true]);
  for (const { command } of start) checkCommand(words(command).slice(2));
});

describe('usage errors', () => {
  test.each([
    [['scan', DATASET, '--sampels', '3'], 'scan has no option --sampels.', 'Did you mean --samples?'],
    [['mine', 'run', '--cluster', '3'], 'mine has no option --cluster.', 'Did you mean --clusters?'],
    [['sacn'], 'There is no command "sacn".', 'Did you mean diffmine scan?'],
    [['scan', DATASET, '--samples'], '--samples needs a value.', 'diffmine'],
    [['scan', DATASET, '--labels', '-x y,a'], '--labels needs a value.', "--labels='-x y,a'"],
    [['scan', DATASET, '--model', 'm'], '--out is missing.', 'diffmine scan --help'],
    [['scan'], 'DATASET is missing.', 'diffmine scan --help'],
    [['scan', '--race', 'photos'], 'DATASET is missing.', '"photos" was read as the value of --race: put it before'],
    [['scan', DATASET, 'more', '--model', 'm', '--out', 'o'], 'scan got an unexpected argument "more".', 'Quote'],
    [['verify', DATASET, '--dtype', 'fp8'], '--dtype is "fp8"; expected one of auto, fp32, bf16, fp16.', ''],
    [['--samples', '3'], 'There is no command "3".', 'diffmine'],
    [['--samples=3'], 'No command was given.', 'scan'],
  ])('%j', async (args, message, hint) => {
    const plain = await cli(args);
    expect(plain.code).toBe(EXIT_CODES.INVALID_ARGUMENT);
    expect(plain.stdout).toBe('');
    expect(plain.stderr).toContain(`error: ${message}`);
    expect(plain.stderr).toContain(hint);
    const json = await cli([...args, '--json']);
    expect(json.code).toBe(EXIT_CODES.INVALID_ARGUMENT);
    expect(jsonError(json)).toMatchObject({ code: 'INVALID_ARGUMENT', message });
    expect(json.stderr).toBe('');
  });

  test('a configuration file is obeyed, and the flag wins', async () => {
    const file = path.join(scratch, 'options.yaml');
    writeFileSync(file, 'samples: 0\n');
    const fromFile = await cli(['scan', DATASET, '--model', 'm', '--out', 'o', '--config', file, '--json']);
    expect(jsonError(fromFile).message).toContain('"samples" in the configuration file is 0');
    const flag = await cli([
      'scan',
      DATASET,
      '--model',
      'no-such-model',
      '--out',
      'o',
      '--config',
      file,
      '--samples',
      '2',
      '--json',
    ]);
    expect(jsonError(flag)).toMatchObject({ code: 'MODEL_INVALID' });
    expect(flag.code).toBe(EXIT_CODES.MODEL_INVALID);
  });
});

describe('inspect', () => {
  test('describes a dataset, for people and for programs', async () => {
    const plain = await cli(['inspect', DATASET]);
    expect(plain.code).toBe(0);
    expect(plain.stdout).toContain('12 images of 3 labels');
    const { stdout, stderr } = await cli(['inspect', DATASET, '--json']);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({
      kind: 'dataset',
      images: 12,
      labels: [{ label: '1920', images: 4 }, { label: '1950' }, { label: '1980' }],
    });
  });

  test('describes a model', async () => {
    const { stdout } = await cli(['inspect', path.join(GOLDEN, 'tiny-sd15'), '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      kind: 'model',
      summary: { kind: 'latent', conditioning: 'text', vaeFactor: 8 },
    });
    const { stdout: folded } = await cli(['inspect', path.join(GOLDEN, 'tiny-fold'), '--json']);
    expect(JSON.parse(folded)).toMatchObject({
      kind: 'model',
      summary: { kind: 'pixel', conditioning: 'class', fold: 2 },
    });
  });

  test('of a missing path is an error', async () => {
    expect(await cli(['inspect', path.join(DATASET, 'absent')])).toMatchObject({
      code: EXIT_CODES.INVALID_ARGUMENT,
      stdout: '',
    });
  });
});

describe('streams', () => {
  test('-v adds the stack, on stderr, also with --json', async () => {
    const { stderr, stdout } = await cli(['inspect', path.join(DATASET, 'absent'), '-v', '--json']);
    expect(stderr).toContain('inspect.js');
    expect(JSON.parse(stdout)).toHaveProperty('error');
  });

  test('no colors where there is no terminal', async () => {
    expect((await cli(['sacn'])).stderr).not.toContain('\x1b[');
  });

  test('a reader that went away is no failure', () => {
    const { status, stderr } = spawnSync(
      'bash',
      ['-c', `set -o pipefail; "${process.execPath}" bin/diffmine.js inspect "${DATASET}" | true`],
      { cwd: ROOT, encoding: 'utf8' },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test('--version says the package and its LibTorch', async () => {
    const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { version: string };
    expect((await cli(['--version'])).stdout).toMatch(
      new RegExp(`^diffmine ${version.replaceAll('.', '\\.')} \\(.+\\)\n$`),
    );
    expect(JSON.parse((await cli(['--version', '--json'])).stdout)).toMatchObject({ version });
  });
});
