// The project's own programs: a mistyped option is an error, never ignored.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const scripts = path.join(__dirname, '../../scripts');
/** Modules that are no programs, and programs that pass their options on to diffmine, which knows them. */
const others = [
  'addon.mjs',
  'bench.mjs',
  'cases.mjs',
  'demo.mjs',
  'docs-code.mjs',
  'download.mjs',
  'libtorch.mjs',
  'node-version.mjs',
  'prebuilt.mjs',
  'steps.mjs',
  'unzip.mjs',
];
const programs = readdirSync(scripts).filter((name) => name.endsWith('.mjs') && !others.includes(name));

/** without set-up, packages or a network: whatever a program does, it must not begin */
const refuse = (name: string, ...args: string[]): { status: number | null; stderr: string } =>
  spawnSync(process.execPath, [path.join(scripts, name), ...args], {
    encoding: 'utf8',
    env: { PATH: '', HOME: '/nowhere' },
  });

test.each(programs)('%s refuses an unknown option', (name) => {
  const { status, stderr } = refuse(name, '--no-such-option');
  expect([status === 0 || status === null, stderr]).toEqual([false, expect.stringContaining("'--no-such-option'")]);
});

test('the refusal lists the options there are', () => {
  expect(refuse('setup.mjs', '--lib', '/opt/libtorch')).toMatchObject({
    status: 4,
    stderr: expect.stringMatching(
      /^error: Unknown option '--lib'\.\nhint: Usage: node .*scripts\/setup\.mjs --cuda --no-cuda --build --libtorch VALUE\n$/,
    ),
  });
  expect(refuse('setup.mjs', 'cuda').stderr).toMatch(/^error: Unexpected argument 'cuda'/);
});

test('setup.mjs takes --libtorch', () => {
  const { status, stderr } = refuse('setup.mjs', '--libtorch', '/no/such/folder');
  expect([status, stderr]).toEqual([4, expect.stringContaining('/no/such/folder')]);
});

test('every module that reads its command line is among the programs', () => {
  for (const name of others.filter((one) => !['addon.mjs', 'bench.mjs', 'demo.mjs'].includes(one)))
    expect([name, /process\.argv\.slice|parseArgs\(\)/.test(readFileSync(path.join(scripts, name), 'utf8'))]).toEqual([
      name,
      name === 'steps.mjs',
    ]);
});
