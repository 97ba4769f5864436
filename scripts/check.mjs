// npm run check: types and lint, and of what has changed since main format and unit tests. npm test checks all files.
import fs from 'node:fs';
import path from 'node:path';
import { compileTypeScript } from './packages.mjs';
import { fail, filesBelow, findClangFormat, isCpp, optionsOf, root, run, say } from './steps.mjs';

const bin = (name, file) => path.join(root, 'node_modules', name, file);
const git = async (...args) => (await run('git', args, { cwd: root })).stdout.trim();
const isRepository = (await run('git', ['rev-parse'], { cwd: root })).code === 0;

/** Files changed since the last commit that this branch has in common with main, as absolute paths. */
async function changedFiles() {
  let base = 'HEAD';
  for (const branch of ['main', 'origin/main']) {
    const commit = await git('merge-base', 'HEAD', branch);
    if (/^[0-9a-f]{40}$/.test(commit)) base = commit;
  }
  const names = `${await git('diff', '--name-only', '-z', base)}\0${await git('ls-files', '-z', '--others', '--exclude-standard')}`;
  return names
    .split('\0')
    .filter(Boolean)
    .map((name) => path.join(root, name))
    .filter((file) => fs.statSync(file, { throwIfNoEntry: false })?.isFile());
}

/** Unit tests that changed or that import a changed file themselves: whoever imports a common file in turn is left to npm test. */
function testsOf(changed) {
  const imports = (file) =>
    [...fs.readFileSync(file, 'utf8').matchAll(/from '(\.{1,2}\/[^']+)'/g)].map(([, name]) =>
      path.resolve(path.dirname(file), name.replace(/\.js$/, '.ts')),
    );
  return filesBelow(root, ['test/unit'])
    .map((name) => path.join(root, name))
    .filter((file) => file.endsWith('.test.ts') && [file, ...imports(file)].some((one) => changed.includes(one)));
}

/** After a change to one of these, every file may break a rule of the format. Without git nobody knows what changed. */
const rules = ['package-lock.json', '.prettierrc.json', '.prettierignore', '.clang-format'];

const changed = await changedFiles();
const all = !isRepository || rules.some((name) => changed.includes(path.join(root, name)));
const files = all ? ['.'] : changed;
const tests = testsOf(changed);
const cpp = (all ? filesBelow(root, ['cpp', 'binding']) : changed).filter(isCpp);
const clangFormat = findClangFormat();
const node = (needed, ...line) => needed && [process.execPath, ...line];
/** Each a program with its arguments; false if nothing that it checks has changed. */
const checks = {
  'types and lint': node(true, bin('oxlint', 'bin/oxlint')),
  format: node(
    files.length > 0,
    ...[bin('prettier', 'bin/prettier.cjs'), '--check', '--ignore-unknown', '--log-level', 'warn', ...files],
  ),
  'format of C++': cpp.length > 0 && [clangFormat, '--dry-run', '--Werror', ...cpp],
  tests: node(tests.length > 0, bin('jest', 'bin/jest.js'), '--silent', '--runTestsByPath', ...tests),
};

async function check(name) {
  const start = Date.now();
  if (!checks[name]) return say(`ok    ${name} (nothing that it checks has changed)`);
  const [program, ...line] = checks[name];
  const { code, output } = await run(program, line, { cwd: root });
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
  // The tests run dist/; the linter reads src/.
  await Promise.all([
    lane('types and lint'),
    compileTypeScript().then(() => lane('format', ...(clangFormat ? ['format of C++'] : []), 'tests')),
  ]);
}

main().catch(fail);
