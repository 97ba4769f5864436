// Addons that were built elsewhere: platform packages, what they need of a system, and the probe, which loads an addon in a process
// of its own. src/engine/load.ts uses it, and set-up. As a program it is the probed process: node scripts/addon.mjs CANDIDATE (JSON)
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder, filesBelow, isClone, isMain, missingTools, quoted, readJson, root, which } from './steps.mjs';

const require = createRequire(import.meta.url);
const self = fileURLToPath(import.meta.url);
const { version, optionalDependencies = {} } = readJson(path.join(root, 'package.json')) ?? {};

/** The platforms that a release has addons for, as npm's fields of a package. `onRequest` is fetched by `setup --cuda` only. */
export const platforms = {
  'linux-x64': { os: ['linux'], cpu: ['x64'], libc: ['glibc'] },
  'linux-arm64': { os: ['linux'], cpu: ['arm64'], libc: ['glibc'] },
  'darwin-arm64': { os: ['darwin'], cpu: ['arm64'] },
  'linux-x64-cuda13': { os: ['linux'], cpu: ['x64'], libc: ['glibc'], onRequest: true },
};

/**
 * The oldest system libraries that a prebuilt addon may need: those of Debian 12 and Ubuntu 22.04. LibTorch itself needs glibc 2.28.
 * scripts/pack.mjs refuses an addon that needs newer ones.
 */
export const baseline = { GLIBC: '2.34', GLIBCXX: '3.4.30', CXXABI: '1.3.13' };

export const platformOf = ({ cuda = false } = {}) => `${process.platform}-${process.arch}${cuda ? '-cuda13' : ''}`;
export const packageOf = (platform) => `@diffmine/${platform}`;

/** Whether this copy of diffmine was published, and its platform packages with it (scripts/pack.mjs lists them). */
export const isPublished = Object.keys(optionalDependencies).some((name) => name.startsWith('@diffmine/'));

/** Where `setup --cuda` keeps the package that npm does not install by itself. */
export const fetchedPackages = () => path.join(cacheFolder(), 'packages', version);

/** -1, 0 or 1, for versions such as 2.34 and 3.4.30. */
export function compareVersions(one, other) {
  const [a, b] = [one, other].map((text) => text.split('.').map(Number));
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference) return Math.sign(difference);
  }
  return 0;
}

export const release = (text) => text.split('.').slice(0, 2).join('.');

/** How to get a package whose absence is a reason. */
export const installCommand = (name) => `npm install ${name}@${version}`;

/**
 * The platform package of this machine.
 * @returns {{ name: string, version: string, addon: string, preload: string, libtorch: string } | { name: string, reason: string, missing?: boolean }} or why there is none
 */
export function platformPackage({ cuda = false } = {}) {
  const platform = platformOf({ cuda });
  const name = packageOf(platform);
  if (!(platform in platforms)) return { name, reason: `there is no prebuilt addon for ${platform}` };
  if (isClone) return { name, reason: 'a clone compiles its own sources' };
  if (!isPublished) return { name, reason: 'this copy of diffmine was not published with prebuilt addons' };
  if (!platforms[platform].onRequest && !(name in optionalDependencies))
    return { name, reason: `diffmine ${version} was published without a prebuilt addon for ${platform}` };
  let manifest;
  for (const place of [path.join(root, 'package.json'), path.join(fetchedPackages(), 'package.json')]) {
    try {
      manifest = createRequire(place).resolve(`${name}/package.json`);
      break;
    } catch {
      // not there
    }
  }
  if (!manifest) return { name, missing: true, reason: `${name} is not installed` };
  const found = readJson(manifest);
  if (found?.version !== version)
    return { name, missing: true, reason: `${name} is of version ${found?.version}, diffmine of ${version}` };
  const { libtorch, requires } = found.diffmine;
  const glibc = glibcVersion();
  if (requires?.GLIBC && glibc && compareVersions(glibc, requires.GLIBC) < 0)
    return { name, reason: `${name} needs glibc ${requires.GLIBC}, this system has ${glibc}` };
  const folder = path.dirname(manifest);
  return {
    name,
    version,
    addon: path.join(folder, 'diffmine.node'),
    preload: path.join(folder, 'preload.node'),
    libtorch,
  };
}

const glibcVersion = () => process.report?.getReport().header.glibcVersionRuntime;

/**
 * What of this machine LibTorch cannot run on: no set-up changes it.
 * @returns {{ what: 'Platform' | 'CPU', reason: string, hint: string } | undefined}
 */
export function unsupported({ platform = platformOf(), glibc = glibcVersion(), flags = cpuFlags() } = {}) {
  if (!(platform in platforms))
    return {
      what: 'Platform',
      reason: `diffmine does not run on ${platform}`,
      hint: 'diffmine runs on Linux (x64, arm64) and on macOS (arm64).',
    };
  if (platform.startsWith('linux') && !glibc)
    return {
      what: 'Platform',
      reason: 'this system has no glibc, which LibTorch needs',
      hint: 'Use a system with glibc, such as Debian or Ubuntu: Alpine and other musl systems have none.',
    };
  if (flags && !levelOf(flags))
    return { what: 'CPU', reason: 'this CPU lacks SSE4.2, which LibTorch needs', hint: 'Use a CPU made after 2012.' };
  return undefined;
}

/** The CUDA run time and its compiler, which the addon itself names, in NVIDIA's wheels beside a torch. */
function cudaLibraries(libtorch) {
  const nvidia = path.join(libtorch, '..', 'nvidia');
  if (!fs.existsSync(nvidia)) return []; // of the CUDA toolkit, on the system's search path
  return filesBelow(nvidia, ['.'])
    .filter((name) => /(^|\/)lib(cudart|nvrtc)\.so\.\d+$/.test(name))
    .map((name) => path.join(nvidia, name));
}

/** The libraries of a LibTorch that a prebuilt addon finds open, in the order in which they need each other. */
export function librariesOf(libtorch, { cuda = false } = {}) {
  const folder = path.join(libtorch, 'lib');
  const extension = process.platform === 'darwin' ? 'dylib' : 'so';
  const openmp = fs.readdirSync(folder).filter((name) => /^lib(gomp|omp)\b.*\.(so|dylib)/.test(name));
  const names = ['c10', 'torch_cpu', ...(cuda ? ['c10_cuda', 'torch_cuda'] : [])].map(
    (name) => `lib${name}.${extension}`,
  );
  return [...(cuda ? cudaLibraries(libtorch) : []), ...[...openmp, ...names].map((name) => path.join(folder, name))];
}

/** x86-64 levels by what /proc/cpuinfo calls their instructions. LibTorch and diffmine choose among them at run time. */
const levels = [
  ['x86-64-v4', ['avx512f', 'avx512bw', 'avx512cd', 'avx512dq', 'avx512vl']],
  ['x86-64-v3', ['avx2', 'fma', 'f16c', 'bmi2']],
  ['x86-64-v2', ['sse4_2', 'ssse3', 'popcnt']],
];

/** @returns the level of a CPU with these flags; undefined below x86-64-v2, which LibTorch needs */
export function levelOf(flags) {
  const has = new Set(flags);
  return levels.find(([, needed]) => needed.every((flag) => has.has(flag)))?.[0];
}

/** This CPU's flags; undefined where the system does not tell. */
export function cpuFlags() {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  try {
    return /^flags\s*:\s*(.*)$/m.exec(fs.readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.split(' ');
  } catch {
    return undefined;
  }
}

const DAMAGED = 'it was built for another system or is damaged';

/** Explains a message of the dynamic loader. */
export function explain(message) {
  const [line = ''] = message.replace(/^Error: /, '').split('\n');
  const newer = /version `((?:GLIBC|GLIBCXX|CXXABI)_[\d.]+)' not found/.exec(line)?.[1];
  if (newer) return `it needs ${newer}, which this system's libraries lack (${line})`;
  if (/lib(torch|c10|gomp)\S*: cannot open|Library not loaded.*lib(torch|c10)/.test(line))
    return `LibTorch is no longer where it was (${line})`;
  if (/undefined symbol|Symbol not found/.test(line)) return `it was compiled for another LibTorch (${line})`;
  if (/ELF header|file too short|mach-o|wrong architecture|incompatible architecture/i.test(line))
    return `${DAMAGED} (${line})`;
  return line.replace(/\.$/, '');
}

/**
 * Loads an addon into this process.
 * @param {{ addon: string, preload?: string, libraries?: string[] }} candidate
 * @throws with a reason to be shown
 */
export function load({ addon, preload, libraries = [] }) {
  let loaded;
  try {
    if (preload) {
      const { open } = require(preload);
      libraries.forEach((library) => open(library));
    }
    loaded = require(addon);
  } catch (error) {
    throw new Error(explain(error.message), { cause: error });
  }
  const { libtorchCompiled, libtorchLoaded } = loaded.buildInfo();
  if (libtorchLoaded && release(libtorchLoaded) !== release(libtorchCompiled))
    throw new Error(`it was compiled for LibTorch ${libtorchCompiled} but finds ${libtorchLoaded}`);
  return loaded;
}

/** What a signal that ended the probe means. */
const signals = {
  SIGILL: 'the process ended by SIGILL: this CPU lacks an instruction that the addon or LibTorch uses',
  SIGSEGV: 'the process crashed (SIGSEGV)',
};

/**
 * Loads an addon in a process of its own, so that a library that crashes is a reason and not the end of this process.
 * @returns {{ build: object, devices: object[] } | { reason: string }} buildInfo() and devices() of src/engine/types.ts
 */
export function probe(candidate) {
  const { status, signal, stdout, stderr, error } = spawnSync(process.execPath, [self, JSON.stringify(candidate)], {
    encoding: 'utf8',
    timeout: 120_000,
    env: { ...process.env, ELECTRON_RUN_AS_NODE: '1' },
  });
  if (error && error.code !== 'ETIMEDOUT')
    return { reason: `no process could be started to try it (${error.message})` };
  if (error) return { reason: 'it did not load within two minutes' };
  if (signal) return { reason: signals[signal] ?? `the process ended by ${signal}` };
  const answer = lastJson(stdout);
  if (status === 0 && answer) return answer;
  return { reason: answer?.reason ?? `the process ended with code ${status}: ${stderr.trim().split('\n').at(-1)}` };
}

function lastJson(text) {
  try {
    return JSON.parse(text.trim().split('\n').at(-1));
  } catch {
    return undefined;
  }
}

const stampOf = ({ addon }) =>
  path.join(cacheFolder(), 'probes', `${Buffer.from(addon).toString('base64url').slice(-80)}.json`);

/** What a probe's outcome depends on: the files, this Node, this CPU. */
function conditions({ addon, libraries = [] }) {
  const files = [addon, ...libraries].map((file) => {
    const { size, mtimeMs } = fs.statSync(file);
    return [file, size, mtimeMs];
  });
  return JSON.stringify([files, process.execPath, process.version, os.cpus()[0]?.model]);
}

/** As `probe`, but only if the same addon was not seen to load here before; undefined if it was. */
export function probeOnce(candidate) {
  const stamp = stampOf(candidate);
  let now;
  try {
    now = conditions(candidate);
    if (fs.readFileSync(stamp, 'utf8') === now) return undefined;
  } catch {
    // never probed, or a library is gone, which the probe explains
  }
  const answer = probe(candidate);
  if (now && !answer.reason) {
    try {
      fs.mkdirSync(path.dirname(stamp), { recursive: true });
      fs.writeFileSync(stamp, now);
    } catch {
      // a cache that cannot be written: the next process probes again
    }
  }
  return answer;
}

/** Puts new files in place of a platform package's: npm takes those that are there for good. */
export const reinstall = (name, addon) => `rm -r ${quoted(path.dirname(addon))} && ${installCommand(name)}`;

/**
 * What fixes an addon that is absent or does not load: commands, unless no command does.
 * @param failures the addons that were tried, and why they do not load
 */
export function fixes({ cuda = false, failures = [] } = {}) {
  const beyond = unsupported();
  if (beyond) return beyond.hint;
  const { name, missing, reason, addon } = platformPackage({ cuda });
  const setup = isClone ? `npm run setup${cuda ? ' -- --cuda' : ''}` : `npx diffmine setup${cuda ? ' --cuda' : ''}`;
  if (missing) return `Run: ${platforms[platformOf({ cuda })].onRequest ? '' : `${installCommand(name)} && `}${setup}`;
  const damaged = failures.some((one) => one.addon === addon && one.reason.includes(DAMAGED));
  if (damaged) return `Run: ${reinstall(name, addon)} && ${setup}`;
  // set-up compiles where no prebuilt addon fits
  const tools = reason && which('apt-get') ? missingTools().map((tool) => tool.debian) : [];
  return `Run: ${tools.length > 0 ? `sudo apt-get install ${tools.join(' ')} && ` : ''}${setup}`;
}

if (isMain(import.meta.url)) {
  let answer;
  try {
    const beyond = unsupported();
    if (beyond) throw new Error(beyond.reason);
    const addon = load(JSON.parse(process.argv[2]));
    answer = { build: addon.buildInfo(), devices: addon.devices() };
  } catch (error) {
    answer = { reason: error.message };
    process.exitCode = 1;
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
