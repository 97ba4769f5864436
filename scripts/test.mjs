// npm test: sets everything up, then runs every stage. Every failure is shown, and none stops the other stages.
//   node scripts/test.mjs [--all] [--only NAME,...] [--skip NAME,...] [-- jest arguments]
//   node scripts/test.mjs FILE... [jest arguments]      only these test files, with jest's own output
//   stages: jest, cpp, lint (with types), format, package, sanitize, fuzz, cuda, cases
// --all (npm run test:all) adds what is too slow for every change, the stage sanitize among it: docs/contributing/testing.md.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {
  buildFolder,
  compile,
  compilerEnvironment,
  compilerOptions,
  jobs,
  sayUnityFailed,
  withBuildLock,
} from './build.mjs';
import { runCases } from './cases.mjs';
import { findClang, fuzz } from './fuzz.mjs';
import { setup } from './setup.mjs';
import {
  buildProgress,
  fail,
  filesBelow,
  findClangFormat,
  isCpp,
  optionsOf,
  root,
  run,
  say,
  SetupError,
  which,
} from './steps.mjs';

const inCi = process.env.CI === 'true' || process.env.CI === '1';
const cores = os.availableParallelism();
let all = false;

/** A stage's outcome; `note` is a word beside it, `output` is shown when something failed. */
const outcome = (passed, failed, { skipped = 0, note = '', output = '' } = {}) => ({
  passed,
  failed,
  skipped,
  note,
  output,
});
const check = ({ code, output }, note) => outcome(code === 0 ? 1 : 0, code === 0 ? 0 : 1, { note, output });

/** A stage whose tools are missing is skipped on a developer's machine and fails in CI. */
const lacking = (what) => outcome(0, inCi ? 1 : 0, { skipped: 1, note: what, output: what });

const bin = (name, file) => path.join(root, 'node_modules', name, file);
const node = (args) => run(process.execPath, args, { cwd: root });

async function hasDoctest() {
  const compiler = process.env.CXX ?? which('g++', 'clang++');
  return (await run(compiler, ['-E', '-x', 'c++', '-include', 'doctest/doctest.h', '/dev/null'])).code === 0;
}

async function ctest(folder, env = {}) {
  const { code, output } = await run('ctest', ['--test-dir', folder, '--verbose', '-j', String(cores)], {
    env: { OMP_NUM_THREADS: '1', ...process.env, ...env },
  });
  const counts = [
    ...output.matchAll(/test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed \|(?:\s*(\d+) skipped)?/g),
  ]; // doctest's filters are not counted as skipped: --no-skipped-summary
  const sum = (column) => counts.reduce((total, match) => total + Number(match[column] ?? 0), 0);
  // A crash leaves no count: it is a failure anyway.
  const failed = Math.max(sum(3), code === 0 && counts.length > 0 ? 0 : 1);
  return outcome(sum(2), failed, { skipped: sum(4), output: failedTests(output) });
}

/** Compiles a C++ program beside the addon. */
const program = (target, { libtorch, cuda }, label) =>
  withBuildLock(() => compile(buildFolder(), target, libtorch, { cuda, label }));

/** What doctest says of its failures, and ctest's last lines: the log of a passing program may be long. */
function failedTests(output) {
  const sections = output.split(/^\d+: =+$/m).filter((section) => section.includes('ERROR'));
  const lines = sections.flatMap((section) => section.trim().split('\n').slice(0, 25));
  return [...lines.slice(0, 100), ...output.trimEnd().split('\n').slice(-25)].join('\n');
}

/** A unity build also on a developer's machine: this stage is seldom repeated after a small change. */
async function compileSanitized(folder, libtorch, unity = true) {
  const log = path.join(folder, 'build.log');
  fs.writeFileSync(log, '');
  const options = {
    ...compilerOptions(unity),
    LIBTORCH: libtorch.folder,
    DIFFMINE_NODE: 'OFF',
    DIFFMINE_SANITIZE: 'ON',
    CMAKE_BUILD_TYPE: 'Release',
    CMAKE_CXX_FLAGS_RELEASE: '-O1 -g1',
  };
  const generator = which('ninja') ? ['-G', 'Ninja'] : [];
  const defines = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
  const configured = await run('cmake', [...generator, '-S', root, '-B', folder, ...defines], {
    log,
    env: compilerEnvironment,
  });
  if (configured.code !== 0) return configured;
  const built = await run('cmake', ['--build', folder, '-j', String(jobs()), '--target', 'diffmine_tests'], {
    log,
    env: compilerEnvironment,
    onLine: buildProgress('sanitized C++ tests'),
  });
  if (built.code === 0 || !unity) return built;
  sayUnityFailed(built.output);
  return compileSanitized(folder, libtorch, false);
}

/** Prettier, and clang-format where its style is written down. */
async function checkFormat() {
  const prettier = await node([bin('prettier', 'bin/prettier.cjs'), '--check', '.']);
  if (prettier.code !== 0 || !fs.existsSync(path.join(root, '.clang-format'))) return check(prettier);
  const clangFormat = findClangFormat();
  if (!clangFormat) return lacking('clang-format is not installed (Debian: apt-get install clang-format)');
  const sources = filesBelow(root, ['cpp', 'binding']).filter(isCpp);
  return check(await run(clangFormat, ['--dry-run', '--Werror', ...sources], { cwd: root }));
}

/** Packs the package and checks that its entry points and types resolve for those who import it. */
async function checkPackage() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'diffmine-package-'));
  try {
    const packed = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root });
    if (packed.code !== 0) return check(packed);
    const tarball = path.join(folder, JSON.parse(packed.stdout)[0].filename);
    const lint = await node([bin('publint', 'src/cli.js'), 'run', tarball, '--strict']);
    if (lint.code !== 0) return check(lint);
    return check(await node([bin('@arethetypeswrong/cli', 'dist/index.js'), tarball, '--profile', 'esm-only']));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/**
 * In the order they start. `cores` is how many a stage is counted for, all of them unless given. Those of one core use more at times, and wait at others.
 */
const stages = {
  jest: {
    title: 'jest',
    cores: 1, // its three processes wait half of the time: for servers, browsers, and what they kill. The other stages use that half.
    async work(_, extra) {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'diffmine-test-'));
      const file = path.join(folder, 'jest.json');
      const args = [bin('jest', 'bin/jest.js'), '--json', '--outputFile', file, ...extra];
      const code = await new Promise((resolve) => {
        // jest writes its progress to stderr; with --json its stdout is the same as the file.
        spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] }).on('close', resolve);
      });
      const result = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : undefined;
      fs.rmSync(folder, { recursive: true });
      if (!result) return outcome(0, 1, { output: `jest ended with ${code} and no result` });
      const broken = result.testResults.filter(
        (suite) => suite.status === 'failed' && suite.assertionResults.length === 0,
      ).length;
      const failed = result.numFailedTests + broken;
      return outcome(result.numPassedTests, code === 0 ? failed : Math.max(failed, 1), {
        skipped: result.numPendingTests,
      });
    },
  },
  cpp: {
    title: 'C++ tests',
    async work({ libtorch, cuda }) {
      if (!(await hasDoctest())) return lacking('doctest is not installed (Debian: apt-get install doctest-dev)');
      await program('diffmine_tests', { libtorch, cuda }, 'C++ tests');
      await program('diffmine_bench', { libtorch, cuda }, 'C++ benchmark');
      return ctest(buildFolder());
    },
  },
  lint: {
    title: 'types and lint',
    cores: 1,
    async work() {
      const linted = await node([bin('oxlint', 'bin/oxlint')]);
      if (linted.code !== 0) return check(linted);
      return check(await node([bin('dependency-cruiser', 'bin/dependency-cruise.mjs'), 'src', '--output-type', 'err']));
    },
  },
  format: {
    title: 'format',
    cores: 1,
    work: checkFormat,
  },
  package: {
    title: 'package',
    cores: 1,
    work: checkPackage,
  },
  sanitize: {
    title: 'C++ tests, ASan + UBSan',
    nightly: true,
    async work({ libtorch }) {
      if (!(await hasDoctest())) return lacking('doctest is not installed (Debian: apt-get install doctest-dev)');
      const folder = path.join(root, 'build-asan');
      fs.mkdirSync(folder, { recursive: true });
      const built = await compileSanitized(folder, libtorch);
      if (built.code !== 0) return outcome(0, 1, { output: built.output });
      return ctest(folder, { UBSAN_OPTIONS: 'print_stacktrace=1' });
    },
  },
  fuzz: {
    title: 'fuzzing',
    cores: 1,
    async work() {
      const clang = await findClang();
      if (!clang)
        return lacking('clang with libFuzzer is not installed (Debian: apt-get install clang libclang-rt-dev)');
      const results = await fuzz({ clang, runs: 1e9, seconds: all ? 300 : 10 });
      const failed = results.filter(({ passed }) => !passed);
      return outcome(results.length - failed.length, failed.length, {
        note: failed.length ? '' : results.map(({ line }) => line).join('; '),
        output: failed.map(({ line }) => line).join('\n'),
      });
    },
  },
  cuda: {
    title: 'CUDA compile check',
    cores: 1,
    async work({ libtorch }) {
      if (!which('nvcc')) return outcome(0, 0, { skipped: 1, note: 'no nvcc on the PATH' });
      return check(
        await run('bash', ['scripts/cuda-compile-check.sh'], {
          cwd: root,
          env: {
            CMAKE_BUILD_PARALLEL_LEVEL: String(jobs()), // of itself, ninja runs two more than there are cores
            ...process.env,
            LIBTORCH: libtorch.folder,
            ARCHITECTURES: all ? '80;90' : '90',
            UNITY: all ? 'OFF' : 'ON',
          },
          onLine: buildProgress('CUDA'),
        }),
      );
    },
  },
  cases: {
    title: 'cases from the field',
    cores: 1,
    async work() {
      const result = outcome(0, 0);
      await runCases(cores, (name, code, output) => {
        if (code === 0) result.passed++;
        else if (code === 2 && !inCi) result.skipped++;
        else result.failed++;
        if (code !== 0) result.output += `${name}: exit code ${code}: ${output}\n`;
      });
      return result;
    },
  },
};

function parse(argv) {
  const split = argv.includes('--') ? argv.indexOf('--') : argv.length;
  const own = argv.slice(0, split);
  const options = { all: { type: 'boolean' }, only: { type: 'string' }, skip: { type: 'string' } };
  const values = optionsOf(options, [], own);
  all = values.all ?? false;
  const only = values.only?.split(',');
  const skip = values.skip?.split(',') ?? [];
  for (const name of [...(only ?? []), ...skip]) {
    if (!(name in stages))
      throw new SetupError(`There is no stage "${name}".`, `Stages: ${Object.keys(stages).join(', ')}`);
  }
  const usual = (name) => all || !stages[name].nightly;
  const chosen = Object.keys(stages).filter((name) => (only?.includes(name) ?? usual(name)) && !skip.includes(name));
  return { chosen, extra: argv.slice(split + 1) };
}

const seconds = (start) => `${((Date.now() - start) / 1000).toFixed(0)} s`;

/** Runs one stage. @returns its line of the summary and its counts */
async function runStage(name, ready, extra) {
  const { title, work } = stages[name];
  const start = Date.now();
  say(`${title} ...`);
  let result;
  try {
    result = await work(ready, extra);
  } catch (error) {
    result = outcome(0, 1, { output: error.message });
  }
  const { passed, failed, skipped, note, output } = result;
  if (failed) say(output.trimEnd().split('\n').slice(-125).join('\n'));
  const counts = [
    `${passed} passed`,
    ...(failed ? [`${failed} FAILED`] : []),
    ...(skipped ? [`${skipped} skipped`] : []),
  ];
  const verdict = failed ? 'FAIL' : passed ? 'ok  ' : 'skip';
  const line = `${verdict}  ${title}: ${counts.join(', ')} (${seconds(start)})${note ? ` - ${note}` : ''}`;
  say(line);
  return { line, passed, failed, skipped };
}

/**
 * Runs stages in order, side by side while cores are free. One more than there are is given away, because every stage waits at times: for a network, for a
 * disk, or at its end for its last process.
 *
 * @returns their results in the same order
 */
async function runStages(names, ready, extra) {
  const running = new Set();
  const results = [];
  let free = cores + 1;
  for (const name of names) {
    const needed = Math.min(stages[name].cores ?? cores, cores);
    while (free < needed) await Promise.race(running);
    free -= needed;
    const stage = runStage(name, ready, extra).finally(() => {
      free += needed;
      running.delete(stage);
    });
    running.add(stage);
    results.push(stage);
  }
  return Promise.all(results);
}

async function test(argv) {
  const start = Date.now();
  const { chosen, extra } = parse(argv);
  if (all) {
    process.env.DIFFMINE_TEST_ALL = '1';
    process.env.DIFFMINE_TEST_SEED ??= String(Date.now() % 2 ** 32); // of the C++ tests: a failure names it
  }
  const ready = await setup();
  if (all && chosen.includes('jest')) await program('diffmine_bench', ready, 'C++ benchmark'); // jest compares it with ours
  const setupLine = `ok    set-up (${seconds(start)})`;
  say(setupLine);
  const summary = await runStages(chosen, ready, extra);
  const sum = (key) => summary.reduce((total, stage) => total + stage[key], 0);
  const skipped = sum('skipped') ? `, ${sum('skipped')} skipped` : '';
  const lines = [setupLine, ...summary.map((stage) => stage.line)];
  process.stdout.write(
    `\n${lines.join('\n')}\n\n${sum('passed')} passed, ${sum('failed')} failed${skipped} (${seconds(start)})\n`,
  );
  if (sum('failed')) process.exitCode = 1;
}

/** npm test -- FILE...: set-up, then jest on these files as `npx jest` would run them. */
async function testFiles(args) {
  await setup();
  const jest = spawn(process.execPath, [bin('jest', 'bin/jest.js'), ...args], { cwd: root, stdio: 'inherit' });
  process.exitCode = await new Promise((resolve) => jest.on('close', resolve));
}

const argv = process.argv.slice(2);
const isFile = argv[0] !== undefined && !argv[0].startsWith('-');
(isFile ? testFiles(argv) : test(argv)).catch(fail);
