// npm run check: types, lint and format, and the unit tests of what has changed since main. Type-aware lint results are cached by file: npm test checks all of them again.
import fs from 'node:fs';
import path from 'node:path';
import { compileTypeScript } from './packages.mjs';
import { fail, filesBelow, optionsOf, root, run, say } from './steps.mjs';

const cache = path.join(root, 'node_modules/.cache/diffmine');
const bin = (name, file) => path.join(root, 'node_modules', name, file);
const git = async (...args) => (await run('git', args, { cwd: root })).stdout.trim();

/** Files changed since the last commit that this branch has in common with main, as absolute paths. */
async function changedFiles() {
  let base = 'HEAD';
  for (const branch of ['main', 'origin/main']) {
    const commit = await git('merge-base', 'HEAD', branch);
    if (/^[0-9a-f]{40}$/.test(commit)) base = commit;
  }
  const names = `${await git('diff', '--name-only', base)}\n${await git('ls-files', '--others', '--exclude-standard')}`;
  return new Set(names.split('\n').map((name) => path.join(root, name)));
}

/** Unit tests that changed or that import a changed file themselves: whoever imports a common file in turn is left to npm test. */
async function changedTests() {
  const changed = await changedFiles();
  const imports = (file) =>
    [...fs.readFileSync(file, 'utf8').matchAll(/from '(\.{1,2}\/[^']+)'/g)].map(([, name]) =>
      path.resolve(path.dirname(file), name.replace(/\.js$/, '.ts')),
    );
  return filesBelow(root, ['test/unit'])
    .map((name) => path.join(root, name))
    .filter((file) => file.endsWith('.test.ts') && [file, ...imports(file)].some((one) => changed.has(one)));
}

const tests = await changedTests();
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
  tests: [bin('jest', 'bin/jest.js'), '--silent', '--runTestsByPath', ...tests],
};

async function check(name) {
  if (name === 'tests' && tests.length === 0) return say('ok    tests (no unit test is concerned)');
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

async function main() {
  optionsOf();
  // The tests run dist/; the type checker and the linter read src/.
  await Promise.all([lane('types', 'lint'), compileTypeScript().then(() => lane('format', 'tests'))]);
}

main().catch(fail);
