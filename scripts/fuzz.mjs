// Fuzzes what reads other people's files in C++ (cpp/tests/fuzz), with libFuzzer, ASan and UBSan. Needs clang.
//   node scripts/fuzz.mjs [--target safetensors,json,lora] [--runs 1000000] [--seconds N] [--minimize]
// Each target starts from cpp/tests/fuzz/corpus/TARGET and keeps what it finds besides in build-fuzz/corpus/TARGET; --minimize then makes of both the
// smallest corpus that covers the same edges, instead of the first. An input that fails is kept in build-fuzz/failures: run the target on it to see why.
import fs from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { builtAddon, jobs } from './build.mjs';
import { findLibTorch } from './libtorch.mjs';
import { buildProgress, fail, isMain, lastLines, root, run, say, SetupError, which } from './steps.mjs';

const sources = path.join(root, 'cpp/tests/fuzz');
const corpusOf = (target) => path.join(sources, 'corpus', target);

/** All targets: one C++ file each, beside its corpus. */
export const targets = () => fs.readdirSync(path.join(sources, 'corpus')).sort();

/** A clang++ that has libFuzzer, or undefined. */
export async function findClang() {
  const names = ['clang++', ...Array.from({ length: 12 }, (_, i) => `clang++-${24 - i}`)];
  for (const name of [process.env.CXX, ...names]) {
    const program = name && (path.isAbsolute(name) ? name : which(name));
    if (!program) continue;
    const { code } = await run('sh', [
      '-c',
      `echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' | "$0" -x c++ -fsanitize=fuzzer - -o /dev/null`,
      program,
    ]);
    if (code === 0) return program;
  }
  return undefined;
}

async function build(clang, folder) {
  const libtorch = builtAddon()?.libtorch ?? (await findLibTorch({ cuda: false }));
  fs.mkdirSync(folder, { recursive: true });
  const log = path.join(folder, 'build.log');
  fs.writeFileSync(log, '');
  const generator = which('ninja') ? ['-G', 'Ninja'] : [];
  const options = ['-DDIFFMINE_FUZZ=ON', `-DCMAKE_CXX_COMPILER=${clang}`, `-DLIBTORCH=${libtorch.folder}`];
  for (const args of [
    [...generator, '-S', root, '-B', folder, ...options],
    ['--build', folder, '-j', String(jobs())],
  ]) {
    const { code, output } = await run('cmake', args, {
      log,
      env: { ...process.env, CXXFLAGS: '' },
      onLine: buildProgress('fuzz targets'),
    });
    if (code !== 0)
      throw new SetupError(`The fuzz targets were not built:\n${lastLines(output, 15)}`, `The whole log: ${log}`);
  }
}

/**
 * Builds the targets and runs all of them at once, each for so many inputs or seconds, whichever is first.
 *
 * @param options.seconds of each target; 0: no limit
 * @returns {Promise<{ target: string, passed: boolean, line: string }[]>} a line of figures for each, or what went wrong
 */
export async function fuzz({ clang, chosen = targets(), runs = 1_000_000, seconds = 0, minimize = false }) {
  const folder = path.join(root, 'build-fuzz');
  await build(clang, folder);
  const fuzzOne = async (target) => {
    const program = path.join(folder, `diffmine_fuzz_${target}`);
    const found = path.join(folder, 'corpus', target);
    const failures = path.join(folder, 'failures');
    for (const made of [found, failures]) fs.mkdirSync(made, { recursive: true });
    const dictionary = path.join(sources, `${target}.dict`);
    const args = [
      `-runs=${runs}`,
      `-max_total_time=${seconds}`,
      '-max_len=4096',
      '-timeout=10',
      '-print_final_stats=1',
      `-artifact_prefix=${failures}/${target}-`,
    ];
    if (fs.existsSync(dictionary)) args.push(`-dict=${dictionary}`);
    const start = Date.now();
    const { code, output } = await run(program, [...args, found, corpusOf(target)]);
    const took = ((Date.now() - start) / 1000).toFixed(0);
    const executed = /stat::number_of_executed_units: (\d+)/.exec(output)?.[1];
    const state = /DONE\s+cov: (\d+) ft: \d+ corp: (\d+)/.exec(output);
    const passed = code === 0 && executed !== undefined && state !== null;
    const line = passed
      ? `${target}: ${executed} inputs in ${took} s, ${state[1]} edges covered, ${state[2]} inputs kept`
      : `${target}: failed after ${took} s\n${lastLines(output, 40)}`;
    say(line);
    if (passed && minimize) await minimizeCorpus(program, target, [found, corpusOf(target)]);
    return { target, passed, line };
  };
  return Promise.all(chosen.map(fuzzOne));
}

async function minimizeCorpus(program, target, from) {
  const smallest = path.join(root, 'build-fuzz/minimized', target);
  fs.rmSync(smallest, { recursive: true, force: true });
  fs.mkdirSync(smallest, { recursive: true });
  const { code, output } = await run(program, ['-merge=1', '-use_counters=0', '-max_len=4096', smallest, ...from]);
  if (code !== 0) throw new SetupError(`The corpus of ${target} was not minimized:\n${lastLines(output, 10)}`);
  fs.rmSync(corpusOf(target), { recursive: true });
  fs.cpSync(smallest, corpusOf(target), { recursive: true });
  say(`${target}: ${fs.readdirSync(smallest).length} inputs in ${path.relative(root, corpusOf(target))}`);
}

async function main() {
  const { values } = parseArgs({
    options: {
      target: { type: 'string' },
      runs: { type: 'string', default: '1000000' },
      seconds: { type: 'string', default: '0' },
      minimize: { type: 'boolean', default: false },
    },
  });
  const chosen = values.target?.split(',') ?? targets();
  for (const target of chosen)
    if (!targets().includes(target))
      throw new SetupError(`There is no fuzz target "${target}".`, `Targets: ${targets().join(', ')}`);
  const [runs, seconds] = ['runs', 'seconds'].map((name) => {
    const value = Number(values[name]);
    if (!Number.isSafeInteger(value) || value < 0)
      throw new SetupError(`--${name} is not a whole number: "${values[name]}".`);
    return value;
  });
  const clang = await findClang();
  if (!clang)
    throw new SetupError(
      'Fuzzing needs clang with libFuzzer, and none was found on the PATH.',
      'Debian, Ubuntu: sudo apt-get install clang libclang-rt-dev',
    );
  const results = await fuzz({ clang, chosen, runs, seconds, minimize: values.minimize });
  if (!results.every(({ passed }) => passed)) process.exitCode = 1;
}

if (isMain(import.meta.url)) main().catch(fail);
