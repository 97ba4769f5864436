// Finds or downloads LibTorch: LIBTORCH, Python's torch, the cache, the official archive, pip's wheel, in this order.
// A candidate is checked (files, version, architecture, ABI) before anything is compiled against it.
import fs from 'node:fs';
import path from 'node:path';
import { download, reasonOf } from './download.mjs';
import { cacheFolder, cancelSignal, isFull, lastLines, run, say, SetupError, which, withLock } from './steps.mjs';
import { readZipped, unzip } from './unzip.mjs';

/** The versions whose headers and behavior diffmine was written for: the only place that says so. */
export const accepted = { first: '2.11', last: '2.14' };
/** What is downloaded. */
export const pinned = '2.13.0';

const archives = {
  'linux-x64-cpu': {
    path: `cpu/libtorch-shared-with-deps-${pinned}%2Bcpu.zip`,
    sha256: 'edbf4cbed78433d803e90a65f1752e57783d164bce66c95c0872b2ab8f5c159e',
  },
  'linux-x64-cuda': {
    path: `cu130/libtorch-shared-with-deps-${pinned}%2Bcu130.zip`,
    sha256: '945c5a3d946a28b387ad9dc9fddda7ba03e35fae1375b84ebff15df789436f82',
  },
  'darwin-arm64-cpu': {
    path: `cpu/libtorch-macos-arm64-${pinned}.zip`,
    sha256: '1e10c6c4dc2764150c9fb2ad28e1889191302734e7f939108e5d2f22f21a06f8',
  },
};
const officialHost = 'https://download.pytorch.org';

const libraryName = (name) => (process.platform === 'darwin' ? `lib${name}.dylib` : `lib${name}.so`);

/** '2.13.0' of '2.13.0+cpu', or undefined; from the files that archives, wheels and builds from source have. */
function versionOf(folder) {
  const read = (name) => {
    try {
      return fs.readFileSync(path.join(folder, name), 'utf8');
    } catch {
      return '';
    }
  };
  const plain =
    /^\s*(\d+\.\d+\.\d+)/.exec(read('build-version')) ?? /__version__ = '(\d+\.\d+\.\d+)/.exec(read('version.py'));
  if (plain) return plain[1];
  for (const header of [
    'include/torch/headeronly/version.h',
    'include/torch/csrc/api/include/torch/version.h',
    'include/torch/version.h',
  ]) {
    const text = read(header);
    const numbers = ['MAJOR', 'MINOR', 'PATCH'].map(
      (part) => new RegExp(`TORCH_VERSION_${part} (\\d+)`).exec(text)?.[1],
    );
    if (numbers.every(Boolean)) return numbers.join('.');
  }
  return undefined;
}

const ordinal = (version) => {
  const [major, minor] = version.split('.').map(Number);
  return major * 1000 + minor;
};

export function isAccepted(version) {
  return ordinal(version) >= ordinal(accepted.first) && ordinal(version) <= ordinal(accepted.last);
}

/** The processor a shared library is for, by its ELF or Mach-O header, in Node's words; undefined if it is not a library. */
function architectureOf(file) {
  const head = Buffer.alloc(20);
  const handle = fs.openSync(file, 'r');
  const length = fs.readSync(handle, head, 0, 20, 0);
  fs.closeSync(handle);
  if (length < 20) return undefined;
  const isElf64 = head.readUInt32BE(0) === 0x7f454c46 && head[4] === 2;
  if (isElf64)
    return (
      { 0x3e: 'linux-x64', 0xb7: 'linux-arm64' }[head.readUInt16LE(18)] ?? `linux-machine-${head.readUInt16LE(18)}`
    );
  if (head.readUInt32LE(0) === 0xfeedfacf)
    return { 0x01000007: 'darwin-x64', 0x0100000c: 'darwin-arm64' }[head.readUInt32LE(4)];
  return undefined;
}

/**
 * What LibTorch lies in a folder.
 * @param options.headers whether C++ headers are needed: to compile, not to run
 * @param options.version one whose release (2.13 of 2.13.0) it must be of; any accepted one if undefined
 * @returns {{ folder: string, version: string, cuda: boolean }}
 * @throws SetupError naming what is wrong with it: not there, version, architecture, ABI, no CUDA
 */
export function inspectLibTorch(folder, { cuda = false, headers = true, version: wantedVersion } = {}) {
  const library = path.join(folder, 'lib', libraryName('torch_cpu'));
  if (!fs.existsSync(library)) throw new SetupError(`${folder} has no lib/${libraryName('torch_cpu')}`);
  if (headers && !fs.existsSync(path.join(folder, 'include/ATen/ATen.h')))
    throw new SetupError(`${folder} has no C++ headers (include/ATen/ATen.h)`);
  const version = versionOf(folder);
  if (!version) throw new SetupError(`${folder} does not say its version (build-version, version.py, torch/version.h)`);
  if (!isAccepted(version))
    throw new SetupError(`LibTorch ${version} in ${folder} is not one of ${accepted.first} to ${accepted.last}`);
  if (wantedVersion && ordinal(version) !== ordinal(wantedVersion))
    throw new SetupError(`LibTorch ${version} in ${folder} is not ${wantedVersion}, which the prebuilt addon needs`);
  const architecture = architectureOf(library);
  const wanted = `${process.platform}-${process.arch}`;
  if (architecture !== wanted)
    throw new SetupError(`${library} is for ${architecture ?? 'no known system'}, this Node for ${wanted}`);
  // std::string as libstdc++ has had it since GCC 5: a function that takes one shows it in its name.
  const core = fs.readFileSync(path.join(folder, 'lib', libraryName('c10')));
  if (process.platform === 'linux' && !core.includes('torchCheckFailEPKcS2_jRKNSt7__cxx11')) {
    throw new SetupError(`LibTorch ${version} in ${folder} was built with the old C++ ABI (_GLIBCXX_USE_CXX11_ABI=0)`);
  }
  const hasCuda = fs.existsSync(path.join(folder, 'lib', libraryName('torch_cuda')));
  if (cuda && !hasCuda) throw new SetupError(`LibTorch ${version} in ${folder} is built without CUDA`);
  return { folder: fs.realpathSync(folder), version, cuda: hasCuda };
}

const python = () => which('python3', 'python');

async function pythonTorch() {
  const program = python();
  if (!program) throw new SetupError(NO_PYTHON);
  // Found, not imported: importing torch takes seconds.
  const code =
    'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s and s.submodule_search_locations else "")';
  const { code: status, stdout } = await run(program, ['-c', code], { timeout: 10_000 });
  const folder = stdout.trim();
  if (status !== 0 || !folder) throw new SetupError(`${program} has no torch`);
  return folder;
}

/** The name in the cache. */
export const cachedLibTorch = (version, cuda = false) => `libtorch-${version}-${cuda ? 'cu130' : 'cpu'}`;
const cachedFolder = (cuda, version) => path.join(cacheFolder(), cachedLibTorch(version, cuda));

/** Of wheels, LibTorch is the folder `torch` beside NVIDIA's. */
const libtorchIn = (folder) => (fs.existsSync(path.join(folder, 'torch/lib')) ? path.join(folder, 'torch') : folder);

/** Makes the cached folder from what `fill` puts into a temporary one: whole or not at all. */
async function place(target, fill) {
  const cache = path.dirname(target);
  for (const name of fs.readdirSync(cache)) {
    // Under the lock nobody else unpacks: these are left by killed processes.
    if (name.startsWith('.unpack-')) fs.rmSync(path.join(cache, name), { recursive: true, force: true });
  }
  const temporary = path.join(cache, `.unpack-${process.pid}`);
  fs.mkdirSync(temporary, { recursive: true });
  try {
    const made = await fill(temporary);
    fs.rmSync(target, { recursive: true, force: true });
    fs.renameSync(made, target);
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
  return target;
}

async function officialArchive(cuda, version) {
  if (version !== pinned) throw new SetupError(`only that of LibTorch ${pinned} is known by its SHA-256`);
  const key = `${process.platform}-${process.arch}-${cuda ? 'cuda' : 'cpu'}`;
  const archive = archives[key];
  if (!archive) throw new SetupError(`there is none for ${key}`);
  const base = (process.env.DIFFMINE_LIBTORCH_MIRROR || `${officialHost}/libtorch`).replace(/\/+$/, '');
  const url = `${base}/${archive.path}`;
  const file = path.join(cacheFolder(), 'downloads', decodeURIComponent(path.basename(archive.path)));
  try {
    if (!fs.existsSync(file)) await download(url, file, archive.sha256);
  } catch (error) {
    if (error instanceof SetupError || isFull(error) || error === cancelSignal()?.reason) throw error;
    throw new SetupError(`${url}: ${reasonOf(error)}`);
  }
  const target = await place(cachedFolder(cuda, version), async (folder) => {
    say(`  unpacking ${path.basename(file)}`);
    await unzip(file, folder);
    return path.join(folder, 'libtorch');
  });
  fs.rmSync(file, { force: true });
  return target;
}

const NO_PYTHON = 'no python3 on the PATH';
const NO_PIP = 'python3 has no pip';

/** `pip download` of requirements into a folder; their dependencies too, if asked for. Throws pip's own last error. */
async function pipDownload(program, folder, requirements, { index, dependencies = false } = {}) {
  const args = ['-m', 'pip', 'download', '--only-binary=:all:', '--no-cache-dir', '--retries', '0', '--timeout', '15'];
  if (!dependencies) args.push('--no-deps');
  args.push('-d', folder, ...requirements);
  // First what pip is set up for (a company's index, a folder of wheels), then PyTorch's own index.
  let answer = await run(program, args);
  if (answer.code !== 0 && index)
    answer = await run(program, [...args, '--extra-index-url', `${officialHost}/whl/${index}`]);
  if (answer.code === 0) return;
  if (/No module named '?pip\b/.test(answer.output)) throw new SetupError(NO_PIP);
  const errors = answer.output.split('\n').filter((line) => /error/i.test(line));
  throw new SetupError(
    `pip download ${requirements.join(' ')}: ${(errors.at(-1) ?? lastLines(answer.output, 1)).trim()}`,
  );
}

const wheelsIn = (folder) => fs.readdirSync(folder).filter((name) => name.endsWith('.whl'));

/** A torch wheel is a LibTorch with Python's parts beside it: what is left out is for Python. */
function isOfLibTorch(name) {
  const library = /^torch\/lib\/lib([^/]*?)\.(?:so|dylib)[.\d]*$/.exec(name)?.[1];
  if (library !== undefined) return !/python|shm|aoti_custom|backend_with_compiler|jitbackend|torchbind/.test(library);
  return /^torch\/(include\/|share\/cmake\/|version\.py$)/.test(name) || /^torch\.libs\//.test(name);
}

/** NVIDIA's libraries of a wheel; nothing links statically, and headers come with the toolkit that compiles. */
const isNvidiaLibrary = (name) => /^nvidia\/.*\.so[.\d]*$/.test(name);

/** What a torch wheel with CUDA needs of NVIDIA: the requirements that name its packages, as pip takes them. */
export function nvidiaRequirements(metadata) {
  return [...metadata.matchAll(/^Requires-Dist: *((?:nvidia-|cuda-toolkit)[^;\n]*)/gm)].map(([, text]) =>
    text.replace(/\s|[()]/g, ''),
  );
}

async function pipWheel(cuda, version) {
  const program = python();
  if (!program) throw new SetupError('no python3 on the PATH');
  return place(cachedFolder(cuda, version), async (folder) => {
    const onMac = process.platform === 'darwin';
    const requirement = `torch==${version}${onMac || cuda ? '' : '+cpu'}`;
    await pipDownload(program, folder, [requirement], { index: cuda ? 'cu130' : 'cpu' });
    const [torch] = wheelsIn(folder);
    const parts = path.join(folder, 'parts');
    say(`  unpacking ${torch}`);
    await unzip(path.join(folder, torch), parts, isOfLibTorch);
    if (!cuda) return path.join(parts, 'torch');
    // libtorch_cuda.so looks for NVIDIA's libraries where pip would put them: in `nvidia` beside `torch`.
    const metadata =
      readZipped(path.join(folder, torch), (name) => /^torch-[^/]*\.dist-info\/METADATA$/.test(name)) ?? '';
    const requirements = nvidiaRequirements(metadata);
    if (requirements.length === 0) throw new SetupError(`${torch} is built without CUDA`);
    fs.rmSync(path.join(folder, torch));
    const nvidia = path.join(folder, 'nvidia');
    say(`  NVIDIA's libraries: ${requirements.length} packages, about 2 GB`);
    await pipDownload(program, nvidia, requirements, { dependencies: true });
    for (const wheel of wheelsIn(nvidia)) {
      await unzip(path.join(nvidia, wheel), parts, isNvidiaLibrary);
      fs.rmSync(path.join(nvidia, wheel));
    }
    return parts;
  });
}

/**
 * The LibTorch to use; downloads one when there is none. Safe to run in several processes at once.
 * @param options.headers whether it is to be compiled against
 * @param options.version the version that a prebuilt addon was compiled for; undefined: any accepted one, and the pinned one is downloaded
 * @returns {Promise<{ folder: string, version: string, cuda: boolean, source: string }>} realpath and where it came from
 * @throws SetupError listing everything that was tried
 */
export async function findLibTorch({ cuda = false, headers = true, version } = {}) {
  const wanted = { cuda, headers, version };
  const fetched = version ?? pinned;
  const accepts = version ? `of the release ${version}` : `${accepted.first} to ${accepted.last}`;
  const resolved = (found, source) => ({ ...found, source });
  if (process.env.LIBTORCH) {
    // Asked for by name: nothing else would be what the user means.
    try {
      return resolved(inspectLibTorch(path.resolve(process.env.LIBTORCH), wanted), 'LIBTORCH');
    } catch (error) {
      throw new SetupError(
        `LIBTORCH is set, but ${error.message}.`,
        `Set LIBTORCH to the folder of a LibTorch ${accepts}${cuda ? ' with CUDA' : ''}, or unset it.`,
      );
    }
  }
  const tried = [];
  const attempt = async (source, get) => {
    try {
      return resolved(inspectLibTorch(await get(), wanted), source);
    } catch (error) {
      // The next source would not fit, either.
      if (isFull(error))
        throw new SetupError(
          `The disk is full: LibTorch cannot be written to ${cacheFolder()}.`,
          'Free some space, or name a folder on a larger disk with DIFFMINE_CACHE. Then run the same command again: what was downloaded is kept.',
        );
      if (!(error instanceof SetupError)) throw error;
      tried.push(`${source}: ${error.message}`);
      return undefined;
    }
  };
  const local = async () =>
    (await attempt("Python's torch", pythonTorch)) ??
    (await attempt('cache', () => libtorchIn(cachedFolder(cuda, fetched))));
  const found = await local();
  if (found) {
    // A torch that was skipped is worth a line: its owner may expect it to be used.
    for (const line of tried) if (line.includes('is not one of')) say(`skipped ${line}`);
    return found;
  }
  return withLock(path.join(cacheFolder(), 'libtorch.lock'), 'fetching LibTorch', async () => {
    const meanwhile = await attempt('cache', () => libtorchIn(cachedFolder(cuda, fetched)));
    if (meanwhile) return meanwhile;
    tried.pop();
    for (const line of tried) if (line.includes('is not one of')) say(`skipped ${line}`);
    say(`fetching LibTorch ${fetched} (${cuda ? 'CUDA 13' : 'CPU'}) into ${cacheFolder()}`);
    const archive = () => attempt('official archive', () => officialArchive(cuda, fetched));
    const wheel = () => attempt("pip's wheel", async () => libtorchIn(await pipWheel(cuda, fetched)));
    // With CUDA, the wheels bring NVIDIA's libraries: they need a driver only, the archive needs the CUDA toolkit and cuDNN.
    const here = cuda ? ((await wheel()) ?? (await archive())) : ((await archive()) ?? (await wheel()));
    if (here) return here;
    const withPip = tried.some((line) => line.endsWith(NO_PYTHON) || line.endsWith(NO_PIP))
      ? 'Install python3 with pip (Debian, Ubuntu: sudo apt-get install python3-pip). Or: '
      : '';
    throw new SetupError(
      `No LibTorch ${accepts}${cuda ? ' with CUDA' : ''} was found. Tried:\n  LIBTORCH: not set\n${tried.map((line) => `  ${line}`).join('\n')}`,
      `${withPip}Set LIBTORCH to an unpacked LibTorch, or DIFFMINE_LIBTORCH_MIRROR to a copy of https://download.pytorch.org/libtorch, or HTTPS_PROXY where a proxy leads out.`,
    );
  });
}
