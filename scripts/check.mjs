// npm run check: types, lint and format, and the unit tests of what has changed since main. Under a minute; npm test runs everything.
import path from 'node:path';
import { compileTypeScript } from './packages.mjs';
import { fail, root, run, say } from './steps.mjs';

const cache = path.join(root, 'node_modules/.cache/diffmine');
const bin = (name, file) => path.join(root, 'node_modules', name, file);
const git = async (...args) => (await run('git', args, { cwd: root })).stdout.trim();

/** The last commit that this branch has in common with main. */
async function base() {
  for (const branch of ['origin/main', 'main']) {
    const commit = await git('merge-base', 'HEAD', branch);
    if (/^[0-9a-f]{40}$/.test(commit)) return commit;
  }
  return 'HEAD';
}

const since = await base();
const checks = {
  types: [
    bin('typescript', 'bin/tsc'),
    ...['-p', 'test', '--incremental', '--tsBuildInfoFile', path.join(cache, 'test.tsbuildinfo')],
  ],
  lint: [bin('eslint', 'bin/eslint.js'), '.', '--cache', '--cache-location', path.join(cache, 'eslint')],
  format: [
    bin('prettier', 'bin/prettier.cjs'),
    ...['--check', '.', '--log-level', 'warn', '--cache', '--cache-location', path.join(cache, 'prettier')],
  ],
  tests: [bin('jest', 'bin/jest.js'), '--changedSince', since, '--passWithNoTests', '--silent', 'test/unit'],
};

async function check(name) {
  const start = Date.now();
  const { code, output } = await run(process.execPath, checks[name], { cwd: root });
  const seconds = ((Date.now() - start) / 1000).toFixed(0);
  if (code !== 0) say(output.trimEnd());
  say(`${code === 0 ? 'ok  ' : 'FAIL'}  ${name} (${seconds} s)`);
  if (code !== 0) process.exitCode = 1;
}

/** One after another, in one of two lanes. */
async function lane(...names) {
  for (const name of names) await check(name);
}

compileTypeScript()
  .then(() => Promise.all([lane('types', 'format'), lane('lint', 'tests')]))
  .catch(fail);
