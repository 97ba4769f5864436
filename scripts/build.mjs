// Compiles the addon with cmake-js, offline: build/Release/diffmine.node, and diffmine.json with what it was compiled from.
// Does nothing if that has not changed.
// As a program: node scripts/build.mjs [--cuda]    set-up without the TypeScript part
import fs from 'node:fs';
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { probe, probeOnce } from './addon.mjs';
import { findLibTorch, inspectLibTorch } from './libtorch.mjs';
import { installPackages } from './packages.mjs';
import {
  buildProgress,
  cacheFolder,
  fail,
  fingerprint,
  isClone,
  isMain,
  isWritable,
  lastLines,
  missingTools,
  optionsOf,
  readJson,
  root,
  run,
  say,
  SetupError,
  which,
  withLock,
  writeAtomically,
} from './steps.mjs';

const require = createRequire(import.meta.url);
/** What the addon is compiled from: the same in a clone as in the package, which has no cpp/tests. */
function sources() {
  const core = fs.readdirSync(path.join(root, 'cpp')).filter((name) => name !== 'tests');
  return ['CMakeLists.txt', 'cmake', 'binding', ...core.map((name) => path.join('cpp', name))];
}

/** In the package; of a package in a read-only place, in the cache. src/engine/locate.ts looks in the same two. */
export function buildFolder() {
  const inPackage = path.join(root, 'build');
  if (isWritable(fs.existsSync(inPackage) ? inPackage : root)) return inPackage;
  const id = createHash('sha256').update(root).digest('hex').slice(0, 12);
  return path.join(cacheFolder(), `addon-${id}`);
}

const addonIn = (folder) => path.join(folder, 'Release', 'diffmine.node');
const recordIn = (folder) => path.join(folder, 'Release', 'diffmine.json');

/** What the addon in place was built of, or undefined: { fingerprint, libtorch: { folder, version, cuda, source }, cuda } */
export function builtAddon(folder = buildFolder()) {
  const record = readJson(recordIn(folder));
  return record && fs.existsSync(addonIn(folder)) ? { ...record, addon: addonIn(folder) } : undefined;
}

function sourcesFingerprint(libtorch, cuda) {
  const library = fs.statSync(
    path.join(libtorch.folder, 'lib', process.platform === 'darwin' ? 'libtorch_cpu.dylib' : 'libtorch_cpu.so'),
  );
  const facts = {
    libtorch: libtorch.folder,
    version: libtorch.version,
    size: library.size,
    mtime: Math.round(library.mtimeMs),
    cuda,
    napi: require('node-addon-api/package.json').version,
  };
  return fingerprint(root, sources(), facts);
}

/** The compilers a build needs; an error that names the Debian packages otherwise. */
export function checkTools({ cuda = false } = {}) {
  const missing = missingTools();
  if (missing.length) {
    const packages = missing.map((tool) => tool.debian).join(' ');
    throw new SetupError(
      `The build needs ${missing.map(({ name }) => name).join(', ')}, not found on the PATH.`,
      process.platform === 'darwin'
        ? `xcode-select --install; brew install ${packages.replace('ninja-build', 'ninja')}`
        : `Debian, Ubuntu: sudo apt-get install ${packages}`,
    );
  }
  if (cuda && !process.env.CUDACXX && !which('nvcc') && !fs.existsSync('/usr/local/cuda/bin/nvcc')) {
    throw new SetupError(
      'A CUDA build needs nvcc, not found on the PATH.',
      "Install NVIDIA's CUDA toolkit 13, or set CUDACXX to its nvcc.",
    );
  }
}

/** ATen's headers take about 1 GB a compiler: no more of them at once than memory allows. */
export function jobs() {
  return Math.max(
    1,
    Math.min(os.availableParallelism(), Math.floor((process.availableMemory?.() ?? os.freemem()) / 1.2e9)),
  );
}

function buildFailed(log, output) {
  const text = output.split('\n');
  const errors = text.filter((line) => /error|undefined reference|FAILED/.test(line)).slice(0, 8);
  return new SetupError(
    `The native build failed:\n${errors.join('\n') || lastLines(output, 15)}\nThe whole log: ${log}`,
    /Killed|cc1plus.*signal/.test(output)
      ? 'The compiler was killed, mostly for lack of memory: CMAKE_BUILD_PARALLEL_LEVEL=1 uses the least.'
      : 'If the sources are unchanged, remove the build folder and run the same command again.',
  );
}

/** CMake refuses a build folder whose sources have moved. */
function dropMoved(folder) {
  const cache = path.join(folder, 'CMakeCache.txt');
  if (!fs.existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(fs.readFileSync(cache, 'utf8'))?.[1];
  if (home && path.resolve(home) !== root)
    for (const name of ['CMakeCache.txt', 'CMakeFiles'])
      fs.rmSync(path.join(folder, name), { recursive: true, force: true });
}

/** For clones: ccache if it is installed; in CI a unity build, which is faster as a whole and slower after a small change. */
export function compilerOptions(unity = process.env.CI === 'true') {
  if (!isClone) return {};
  const ccache = process.env.CMAKE_CXX_COMPILER_LAUNCHER ?? which('ccache');
  return {
    CMAKE_UNITY_BUILD: unity ? 'ON' : 'OFF',
    CMAKE_UNITY_BUILD_BATCH_SIZE: '8',
    ...(ccache ? { CMAKE_CXX_COMPILER_LAUNCHER: ccache } : {}),
  };
}

/** Mostly two files with one name in their unnamed namespaces: told, but no reason to stop. */
export function sayUnityFailed(output) {
  const errors = output.split('\n').filter((line) => /error:/.test(line));
  say(`The unity build failed; compiling file by file, which takes longer:\n${errors.slice(0, 4).join('\n')}`);
}

/** Lets ccache find what another clone compiled, precompiled headers included. */
export const compilerEnvironment = {
  CCACHE_BASEDIR: root,
  CCACHE_NOHASHDIR: '1',
  CCACHE_SLOPPINESS: 'pch_defines,time_macros,include_file_mtime,include_file_ctime',
  ...process.env,
};

/**
 * Configures and compiles a target of CMakeLists.txt in `folder`, for the addon or for the C++ tests beside it.
 * @returns the log's path
 */
export async function compile(folder, target, libtorch, { cuda = false, label = target, unity } = {}) {
  checkTools({ cuda });
  fs.mkdirSync(folder, { recursive: true });
  dropMoved(folder);
  const log = path.join(folder, 'build.log');
  fs.writeFileSync(log, '');
  const hasTests = fs.existsSync(path.join(root, 'cpp/tests'));
  const options = {
    LIBTORCH: libtorch.folder,
    DIFFMINE_CUDA: cuda ? 'ON' : 'OFF',
    DIFFMINE_TESTS: hasTests ? 'ON' : 'OFF',
    DIFFMINE_NODE: 'ON',
    ...compilerOptions(unity),
  };
  const program = [require.resolve('cmake-js/bin/cmake-js'), '-d', root, '-O', folder];
  const configured = await run(
    process.execPath,
    [...program, 'configure', ...Object.entries(options).map(([name, value]) => `--CD${name}=${value}`)],
    { log, env: compilerEnvironment },
  );
  if (configured.code !== 0) throw buildFailed(log, configured.output);
  const parallel = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(jobs());
  const built = await run(process.execPath, [...program, 'build', '-T', target, '-p', parallel], {
    log,
    env: compilerEnvironment,
    onLine: buildProgress(label),
  });
  if (built.code !== 0 && options.CMAKE_UNITY_BUILD === 'ON') {
    sayUnityFailed(built.output);
    return compile(folder, target, libtorch, { cuda, label, unity: false });
  }
  if (built.code !== 0) throw buildFailed(log, built.output);
  return log;
}

/**
 * The addon, built if it is not up to date.
 * @param cuda true, false, or undefined: as the last time, at first without
 * @returns {Promise<{ addon: string, built: boolean, cuda: boolean, libtorch: { folder: string, version: string, cuda: boolean, source: string } }>}
 */
export async function buildAddon({ cuda } = {}) {
  const folder = buildFolder();
  const record = builtAddon(folder);
  const withCuda = cuda ?? record?.cuda ?? false;
  // The LibTorch of the last build stays, as long as it is there and LIBTORCH names no other: no surprise rebuilds.
  const kept = record && record.cuda === withCuda && stillGood(record.libtorch);
  if (!kept) checkTools({ cuda: withCuda }); // before LibTorch is downloaded
  const libtorch = kept ? record.libtorch : await findLibTorch({ cuda: withCuda });
  const wanted = sourcesFingerprint(libtorch, withCuda);
  if (record?.fingerprint === wanted) {
    const damaged = probeOnce({ addon: record.addon })?.reason;
    if (!damaged) return { addon: record.addon, built: false, cuda: withCuda, libtorch };
    say(`${record.addon} cannot be loaded: ${damaged}. Compiling it again.`);
    fs.rmSync(record.addon); // the linker makes only what is missing or old
  }
  say(`LibTorch ${libtorch.version}${libtorch.cuda ? ' (CUDA)' : ''} from ${libtorch.source}: ${libtorch.folder}`);
  say(`compiling the addon into ${folder} (some minutes the first time)`);
  await compile(folder, 'diffmine', libtorch, { cuda: withCuda, label: 'addon' });
  const { reason } = probe({ addon: addonIn(folder) });
  if (reason)
    throw new SetupError(
      `The addon ${addonIn(folder)} cannot be loaded: ${reason}.`,
      'If a library is missing, install it or choose another LibTorch with LIBTORCH=folder; then run the same command again.',
    );
  writeAtomically(recordIn(folder), `${JSON.stringify({ fingerprint: wanted, libtorch, cuda: withCuda }, null, 2)}\n`);
  return { addon: addonIn(folder), built: true, cuda: withCuda, libtorch };
}

function stillGood(libtorch) {
  try {
    const asked = process.env.LIBTORCH;
    if (asked && fs.realpathSync(asked) !== libtorch.folder) return false;
    inspectLibTorch(libtorch.folder, { cuda: libtorch.cuda });
    return true;
  } catch {
    return false;
  }
}

/** One set-up of a build folder at a time. */
export function withBuildLock(work) {
  return withLock(path.join(buildFolder(), 'setup.lock'), 'the set-up', work);
}

async function main() {
  const { cuda } = optionsOf({ cuda: { type: 'boolean' } });
  await withBuildLock(async () => {
    await installPackages();
    const { addon, built } = await buildAddon({ cuda });
    say(`${addon}: ${built ? 'built' : 'up to date'}`);
  });
}

if (isMain(import.meta.url)) main().catch(fail);
