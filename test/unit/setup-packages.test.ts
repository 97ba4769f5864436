// npm ci in set-up: never behind a link, if it would empty the folder of another checkout.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';

import { npmReason } from '../../scripts/prebuilt.mjs';
import { temporaryFolder, writeFiles } from '../helpers/folders.js';

const folder = temporaryFolder();
const clone = path.join(folder, 'clone');
const stamp = path.join(folder, 'npm-was-called');

beforeAll(() => {
  for (const name of ['packages.mjs', 'steps.mjs'])
    cpSync(path.join(__dirname, '../../scripts', name), path.join(clone, 'scripts', name));
  writeFiles(folder, {
    'clone/package-lock.json': '{}',
    'clone/src/index.ts': '',
    'other/node_modules/kept/package.json': '{}',
    'bin/npm': `#!/bin/sh\necho "$@" > '${stamp}'\n`,
  });
  chmodSync(path.join(folder, 'bin/npm'), 0o755);
});

/** set-up's packages, with a stand-in for npm */
const install = (): { status: number | null; stderr: string } =>
  spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { installPackages } from ${JSON.stringify(path.join(clone, 'scripts/packages.mjs'))}; import { fail } from ${JSON.stringify(path.join(clone, 'scripts/steps.mjs'))}; installPackages().catch(fail);`,
    ],
    {
      encoding: 'utf8',
      env: { ...process.env, PATH: `${path.join(folder, 'bin')}${path.delimiter}${process.env['PATH'] ?? ''}` },
    },
  );

test('a linked node_modules is refused with a hint, and not changed', () => {
  symlinkSync(path.join(folder, 'other/node_modules'), path.join(clone, 'node_modules'));
  const { status, stderr } = install();
  expect(status).toBe(4);
  expect(stderr).toContain(`node_modules is a link to ${path.join(folder, 'other/node_modules')}`);
  expect(stderr).toMatch(/^hint: Remove the link/m);
  expect([existsSync(stamp), existsSync(path.join(folder, 'other/node_modules/kept/package.json'))]).toEqual([
    false,
    true,
  ]);
});

test('packages are installed once into a real folder', () => {
  const own = path.join(folder, 'own');
  cpSync(path.join(clone, 'scripts'), path.join(own, 'scripts'), { recursive: true });
  writeFiles(folder, { 'own/package-lock.json': '{}', 'own/src/index.ts': '' });
  mkdirSync(path.join(own, 'node_modules'));
  const run = (): number | null =>
    spawnSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { installPackages } from ${JSON.stringify(path.join(own, 'scripts/packages.mjs'))}; await installPackages();`,
      ],
      {
        env: { ...process.env, PATH: `${path.join(folder, 'bin')}${path.delimiter}${process.env['PATH'] ?? ''}` },
      },
    ).status;
  expect(run()).toBe(0);
  expect(readFileSync(stamp, 'utf8')).toMatch(/^ci --include=dev/);
  expect(existsSync(path.join(own, 'node_modules/.diffmine-lock-hash'))).toBe(true);
});

it.each([
  [
    'npm error code E404\nnpm error 404 Not Found - GET https://a.b/@c%2fd - Not found\nnpm error 404\nnpm error A complete log is in: x',
    '404 Not Found - GET https://a.b/@c%2fd - Not found',
  ],
  [
    'npm error code ECONNREFUSED\nnpm error syscall connect\nnpm error errno ECONNREFUSED\nnpm error FetchError: request to http://a.b/ failed, reason: connect',
    'FetchError: request to http://a.b/ failed, reason: connect',
  ],
  ['spawn npm ENOENT', 'spawn npm ENOENT'],
])('of npm, the line that says what is wrong: %j', (output, reason) => {
  expect(npmReason(output)).toBe(reason);
});
