// npm test: sets everything up, then proves it, stage by stage. Everything that fails is shown; nothing stops the rest.
//   node scripts/test.mjs [--only NAME,...] [--skip NAME,...] [-- arguments of jest]
//   stages: cpp, sanitize, fuzz, types, lint, cuda, cases, jest
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { buildFolder, compile, jobs, withBuildLock } from './build.mjs';
import { findClang, fuzz, targets } from './fuzz.mjs';
import { setup } from './setup.mjs';
import { buildProgress, fail, root, run, say, SetupError, which } from './steps.mjs';

const require = createRequire(import.meta.url);
const inCi = process.env.CI === 'true' || process.env.CI === '1';

/** A stage's outcome; `note` is a word beside it, `output` is shown when something failed. */
const outcome = (passed, failed, { skipped = 0, note = '', output = '' } = {}) => ({
  passed,
  failed,
  skipped,
  note,
  output,
});
const check = ({ code, output }, note) => outcome(code === 0 ? 1 : 0, code === 0 ? 0 : 1, { note, output });

/** What a machine lacks is passed over with a word on a developer's machine, and is a failure where the tests must all run. */
const lacking = (what) => outcome(0, inCi ? 1 : 0, { skipped: 1, note: what, output: what });

const bin = (name, file) => path.join(path.dirname(require.resolve(`${name}/package.json`)), file);
const node = (args) => run(process.execPath, args, { cwd: root });

async function hasDoctest() {
  const compiler = process.env.CXX ?? which('g++', 'clang++');
  return (await run(compiler, ['-E', '-x', 'c++', '-include', 'doctest/doctest.h', '/dev/null'])).code === 0;
}

async function ctest(folder, env = {}) {
  const { code, output } = await run('ctest', ['--test-dir', folder, '--verbose'], { env: { ...process.env, ...env } });
  const counts = [
    ...output.matchAll(/test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed \|(?:\s*(\d+) skipped)?/g),
  ]; // those a test leaves out on purpose are not told
  const sum = (column) => counts.reduce((total, match) => total + Number(match[column] ?? 0), 0);
  // A crash leaves no count: it is a failure all the same.
  return outcome(sum(2), Math.max(sum(3), code === 0 && counts.length > 0 ? 0 : 1), { skipped: sum(4), output });
}

const stages = {
  cpp: {
    title: 'C++ tests',
    async work({ libtorch, cuda }) {
      if (!(await hasDoctest())) return lacking('doctest is not installed (Debian: apt-get install doctest-dev)');
      await withBuildLock(async () => {
        for (const target of ['diffmine_bench', 'diffmine_tests'])
          await compile(buildFolder(), target, libtorch, { cuda, label: 'C++ tests' });
      });
      return ctest(buildFolder());
    },
  },
  sanitize: {
    title: 'C++ tests, ASan + UBSan',
    async work({ libtorch }) {
      if (!(await hasDoctest())) return lacking('doctest is not installed (Debian: apt-get install doctest-dev)');
      const folder = path.join(root, 'build-asan');
      fs.mkdirSync(folder, { recursive: true });
      const log = path.join(folder, 'build.log');
      fs.writeFileSync(log, '');
      const generator = which('ninja') ? ['-G', 'Ninja'] : [];
      const options = [
        `-DLIBTORCH=${libtorch.folder}`,
        '-DDIFFMINE_NODE=OFF',
        '-DDIFFMINE_SANITIZE=ON',
        '-DCMAKE_BUILD_TYPE=Release',
        '-DCMAKE_CXX_FLAGS_RELEASE=-O1 -g1',
      ];
      const configured = await run('cmake', [...generator, '-S', root, '-B', folder, ...options], { log });
      if (configured.code !== 0) return outcome(0, 1, { output: configured.output });
      const built = await run('cmake', ['--build', folder, '-j', String(jobs()), '--target', 'diffmine_tests'], {
        log,
        onLine: buildProgress('sanitized C++ tests'),
      });
      if (built.code !== 0) return outcome(0, 1, { output: built.output });
      return ctest(folder, { UBSAN_OPTIONS: 'print_stacktrace=1' });
    },
  },
  fuzz: {
    title: 'fuzzing',
    async work() {
      const clang = await findClang();
      if (!clang)
        return lacking('clang with libFuzzer is not installed (Debian: apt-get install clang libclang-rt-dev)');
      // A minute in all; scripts/fuzz.mjs runs for longer.
      const results = await fuzz({ clang, runs: 1e9, seconds: Math.ceil(60 / targets().length) });
      const failed = results.filter(({ passed }) => !passed);
      return outcome(results.length - failed.length, failed.length, {
        note: failed.length ? '' : results.map(({ line }) => line).join('; '),
        output: failed.map(({ line }) => line).join('\n'),
      });
    },
  },
  types: {
    title: 'types',
    async work() {
      const sources = await node([bin('typescript', 'bin/tsc'), '--noEmit']);
      if (sources.code !== 0) return check(sources);
      return check(await node([bin('typescript', 'bin/tsc'), '-p', 'test']));
    },
  },
  lint: {
    title: 'lint',
    work: async () => check(await node([bin('eslint', 'bin/eslint.js'), '.'])),
  },
  cuda: {
    title: 'CUDA compile check',
    async work({ libtorch }) {
      if (!which('nvcc')) return outcome(0, 0, { skipped: 1, note: 'no nvcc on the PATH' });
      return check(
        await run('bash', ['scripts/cuda-compile-check.sh'], {
          cwd: root,
          env: { ...process.env, LIBTORCH: libtorch.folder },
          onLine: buildProgress('CUDA'),
        }),
      );
    },
  },
  cases: {
    title: 'cases from the field',
    async work() {
      const folder = path.join(root, 'test/cases');
      const waiting = fs
        .readdirSync(folder)
        .filter((name) => /^\d+-.*\.sh$/.test(name))
        .sort();
      const result = outcome(0, 0);
      const worker = async () => {
        for (let name = waiting.shift(); name; name = waiting.shift()) {
          const { code, output } = await run('bash', [path.join(folder, name), root], { timeout: 300_000 });
          if (code === 0) result.passed++;
          else if (code === 2 && !inCi) result.skipped++;
          else result.failed++;
          if (code !== 0)
            result.output += `${name}: exit code ${code}: ${output.trimEnd().split('\n').slice(-5).join('\n')}\n`;
        }
      };
      await Promise.all(Array.from({ length: os.availableParallelism() }, worker));
      return result;
    },
  },
  jest: {
    title: 'jest',
    async work(_, extra) {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'diffmine-test-'));
      const file = path.join(folder, 'jest.json');
      const args = [bin('jest', 'bin/jest.js'), '--json', '--outputFile', file, ...extra];
      const code = await new Promise((resolve) => {
        // A test's sandbox cannot set libgomp's environment as src/engine does.
        // jest tells its progress on stderr; with --json its stdout is the same as the file.
        spawn(process.execPath, args, {
          cwd: root,
          stdio: ['ignore', 'ignore', 'inherit'],
          env: { GOMP_SPINCOUNT: '1000', ...process.env },
        }).on('close', resolve);
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
};

function parse(argv) {
  const split = argv.includes('--') ? argv.indexOf('--') : argv.length;
  const own = argv.slice(0, split);
  const list = (flag) => {
    const at = own.indexOf(flag);
    return at < 0 ? undefined : (own[at + 1] ?? '').split(',');
  };
  const only = list('--only');
  const skip = list('--skip') ?? [];
  for (const name of [...(only ?? []), ...skip]) {
    if (!(name in stages))
      throw new SetupError(`There is no stage "${name}".`, `Stages: ${Object.keys(stages).join(', ')}`);
  }
  const chosen = Object.keys(stages).filter((name) => (only?.includes(name) ?? true) && !skip.includes(name));
  return { chosen, extra: argv.slice(split + 1) };
}

async function test() {
  const { chosen, extra } = parse(process.argv.slice(2));
  const ready = await setup();
  const summary = [];
  for (const name of chosen) {
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
    if (failed) say(output.trimEnd().split('\n').slice(-60).join('\n'));
    const counts = [
      `${passed} passed`,
      ...(failed ? [`${failed} FAILED`] : []),
      ...(skipped ? [`${skipped} skipped`] : []),
    ];
    const line = `${failed ? 'FAIL' : passed ? 'ok  ' : 'skip'}  ${title}: ${counts.join(', ')} (${((Date.now() - start) / 1000).toFixed(0)} s)${note ? ` - ${note}` : ''}`;
    say(line);
    summary.push({ line, passed, failed, skipped });
  }
  const sum = (key) => summary.reduce((total, stage) => total + stage[key], 0);
  const skipped = sum('skipped') ? `, ${sum('skipped')} skipped` : '';
  process.stdout.write(
    `\n${summary.map((stage) => stage.line).join('\n')}\n\n${sum('passed')} passed, ${sum('failed')} failed${skipped}\n`,
  );
  if (sum('failed')) process.exitCode = 1;
}

test().catch(fail);
