// How set-up finds LibTorch: the order, what is refused and in which words, what is fetched and how. The folders looked at are
// small stand-ins with real headers of libraries; python3 is a script, so that this machine's own torch plays no part.
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { librariesOf } from '../../scripts/addon.mjs';
import { inspectLibTorch } from '../../scripts/libtorch.mjs';

const scripts = join(__dirname, '../../scripts');
const machines = { x64: 0x3e, arm64: 0xb7 };
const here = process.arch as keyof typeof machines;
const newAbi = '_ZN3c106detail14torchCheckFailEPKcS2_jRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE';
const oldAbi = '_ZN3c106detail14torchCheckFailEPKcS2_jRKSs';

function elf(machine: number, content = ''): Buffer {
  const head = Buffer.alloc(64);
  head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  head.writeUInt16LE(3, 16);
  head.writeUInt16LE(machine, 18);
  return Buffer.concat([head, Buffer.from(content)]);
}

interface Fake {
  version?: string;
  machine?: number;
  symbol?: string;
  cuda?: boolean;
  headers?: boolean;
}

function write(file: string, content: string | Buffer): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

function libtorch(folder: string, fake: Fake = {}): string {
  const machine = fake.machine ?? machines[here];
  write(join(folder, 'lib/libtorch_cpu.so'), elf(machine));
  write(join(folder, 'lib/libc10.so'), elf(machine, fake.symbol ?? newAbi));
  if (fake.cuda) write(join(folder, 'lib/libtorch_cuda.so'), elf(machine));
  if (fake.headers !== false) write(join(folder, 'include/ATen/ATen.h'), '');
  if (fake.version !== '') write(join(folder, 'version.py'), `__version__ = '${fake.version ?? '2.13.0'}+cpu'\n`);
  return folder;
}

let folder: string;
let deadMirror: string;
beforeAll(async () => {
  const server = createServer().listen(0);
  deadMirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await new Promise((resolve) => server.close(resolve));
});
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'diffmine-libtorch-')));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('inspectLibTorch', () => {
  it('reads version and CUDA of an archive, a wheel, a build from source', () => {
    expect(inspectLibTorch(libtorch(join(folder, 'a')))).toEqual({
      folder: join(folder, 'a'),
      version: '2.13.0',
      cuda: false,
    });
    const archive = libtorch(join(folder, 'b'), { version: '', cuda: true });
    write(join(archive, 'build-version'), '2.14.1+cu130\n');
    expect(inspectLibTorch(archive, { cuda: true })).toMatchObject({ version: '2.14.1', cuda: true });
    const source = libtorch(join(folder, 'c'), { version: '' });
    write(
      join(source, 'include/torch/headeronly/version.h'),
      '#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n#define TORCH_VERSION_PATCH 3\n',
    );
    expect(inspectLibTorch(source).version).toBe('2.11.3');
  });

  it.each<[string, Fake, RegExp]>([
    ['too old', { version: '2.10.2' }, /LibTorch 2\.10\.2 in .* is not one of 2\.11 to 2\.14/],
    ['too new', { version: '2.15.0' }, /2\.15\.0 .* not one of/],
    ['another major', { version: '1.13.1' }, /1\.13\.1 .* not one of/],
    ['no version', { version: '' }, /does not say its version/],
    [
      'another processor',
      { machine: machines[here === 'x64' ? 'arm64' : 'x64'] },
      /libtorch_cpu\.so is for linux-\w+, this Node for linux-/,
    ],
    ['the old C++ ABI', { symbol: oldAbi }, /old C\+\+ ABI/],
    ['no headers', { headers: false }, /no C\+\+ headers/],
  ])('refuses %s', (_, fake, message) => {
    libtorch(folder, fake);
    expect(() => inspectLibTorch(folder)).toThrow(message);
  });

  it('refuses an empty folder, an invalid library, and one without CUDA if CUDA is requested', () => {
    expect(() => inspectLibTorch(folder)).toThrow(/has no lib\/libtorch_cpu\.so/);
    expect(() => inspectLibTorch(libtorch(folder), { cuda: true })).toThrow(/built without CUDA/);
    writeFileSync(join(folder, 'lib/libtorch_cpu.so'), 'version https://git-lfs.github.com/spec/v1');
    expect(() => inspectLibTorch(folder)).toThrow(/for no known system/);
  });
});

/** Runs findLibTorch in a process of its own, with this environment and a python3 that is the given shell script. */
function find(
  env: Record<string, string>,
  python: string,
  option = '',
): Promise<{ found: Record<string, unknown> | null; error: string; said: string }> {
  const bin = join(folder, 'bin');
  write(join(bin, 'python3'), `#!/bin/sh\n${python}\n`);
  chmodSync(join(bin, 'python3'), 0o755);
  const code = `import(${JSON.stringify(join(scripts, 'libtorch.mjs'))}).then((m) => m.findLibTorch({${option}})).then(
    (found) => console.log(JSON.stringify({ found, error: '' })), (e) => console.log(JSON.stringify({ found: null, error: e.message + ' / ' + e.hint })))`;
  const clean = {
    PATH: `${bin}:/usr/bin:/bin`,
    HOME: folder,
    DIFFMINE_CACHE: join(folder, 'cache'),
    DIFFMINE_LIBTORCH_MIRROR: deadMirror,
  };
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['-e', code], { env: { ...clean, ...env } });
    let out = '';
    let said = '';
    child.stdout.on('data', (chunk) => (out += String(chunk)));
    child.stderr.on('data', (chunk) => (said += String(chunk)));
    child.on('error', reject);
    child.on('close', () => {
      try {
        resolve({ ...(JSON.parse(out) as { found: Record<string, unknown> | null; error: string }), said });
      } catch {
        reject(new Error(`no answer: ${out}${said}`));
      }
    });
  });
}

const torchAt = (place: string): string => `case "$1" in -c) echo ${place};; *) exit 1;; esac`;

/** A wheel as pip would bring it, and a python3 whose pip does. */
function pipWith(fake: Fake): string {
  const tree = join(folder, 'wheel');
  libtorch(join(tree, 'torch'), fake);
  for (const name of ['libtorch.so', 'libgomp.so.1', 'libtorch_python.so', 'libshm.so'])
    write(join(tree, 'torch/lib', name), elf(machines[here]));
  write(join(tree, 'torch/share/cmake/Torch/TorchConfig.cmake'), '');
  write(join(tree, 'torch/nn/modules.py'), '');
  const wheel = join(folder, 'torch-2.13.0+cpu-cp311-cp311-linux.whl');
  execFileSync('cmake', ['-E', 'tar', 'cf', wheel, '--format=zip', 'torch'], { cwd: tree });
  return `case "$1" in -c) echo;; -m) while [ "$1" != -d ]; do shift; done; cp ${wheel} "$2";; esac`;
}

onLinux('findLibTorch', () => {
  it('takes LIBTORCH before all else, and refuses a bad one instead of passing it over', async () => {
    const good = libtorch(join(folder, 'mine'), { version: '2.12.0' });
    libtorch(join(folder, 'cache/libtorch-2.13.0-cpu'));
    const { found } = await find({ LIBTORCH: good }, torchAt(libtorch(join(folder, 'py'))));
    expect(found).toEqual({ folder: good, version: '2.12.0', cuda: false, source: 'LIBTORCH' });
    const old = libtorch(join(folder, 'old'), { version: '2.4.1' });
    const { error } = await find({ LIBTORCH: old }, torchAt(''));
    expect(error).toMatch(/LIBTORCH is set, but LibTorch 2\.4\.1 .* is not one of 2\.11 to 2\.14/);
  });

  it("takes Python's torch before the cache", async () => {
    const py = libtorch(join(folder, 'py'), { version: '2.14.1' });
    libtorch(join(folder, 'cache/libtorch-2.13.0-cpu'));
    expect((await find({}, torchAt(py))).found).toMatchObject({ folder: py, source: "Python's torch" });
  });

  it('names a Python torch of another version, and tries the next source', async () => {
    const cached = libtorch(join(folder, 'cache/libtorch-2.13.0-cpu'));
    const { found, said } = await find({}, torchAt(libtorch(join(folder, 'py'), { version: '2.9.0' })));
    expect(found).toMatchObject({ folder: cached, source: 'cache' });
    expect(said).toMatch(/skipped Python's torch: LibTorch 2\.9\.0/);
  });

  it('lists everything it tried if there is none', async () => {
    const { error } = await find({}, 'echo "ERROR: No matching distribution found for torch" >&2; exit 1');
    for (const source of [
      'LIBTORCH: not set',
      "Python's torch: ",
      'cache: ',
      `official archive: ${deadMirror}/`,
      "pip's wheel: ",
    ])
      expect(error).toContain(source);
    expect(error).toMatch(/ECONNREFUSED/);
    expect(error).toMatch(/No matching distribution found/);
    expect(readdirSync(join(folder, 'cache')).filter((name) => name !== 'downloads')).toEqual([]);
  });

  it('says how to get pip where it is missing', async () => {
    const { error } = await find(
      {},
      'case "$1" in -c) echo;; -m) echo "python3: No module named pip" >&2; exit 1;; esac',
    );
    expect(error).toMatch(/pip's wheel: python3 has no pip/);
    expect(error).toMatch(
      /Install python3 with pip \(Debian, Ubuntu: sudo apt-get install python3-pip\)\. Or: Set LIBTORCH/,
    );
  });

  it('requests a CUDA build if CUDA is requested', async () => {
    libtorch(join(folder, 'cache/libtorch-2.13.0-cpu'));
    const py = libtorch(join(folder, 'py'), { cuda: true });
    expect((await find({}, torchAt(py), 'cuda: true')).found).toMatchObject({ folder: py, cuda: true });
    rmSync(join(py, 'lib/libtorch_cuda.so'));
    expect((await find({}, torchAt(py), 'cuda: true')).error).toMatch(/No LibTorch 2\.11 to 2\.14 with CUDA/);
  });

  it('refuses an archive that is not the pinned one, and takes the wheel without its Python parts', async () => {
    const server = createServer((_, response) => response.end('not an archive')).listen(0);
    try {
      const mirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const { error } = await find({ DIFFMINE_LIBTORCH_MIRROR: mirror }, 'exit 1');
      expect(error).toMatch(
        process.arch === 'x64' ? /official archive: http.* has SHA-256 \w{64}, not edbf4cbe/ : /there is none for/,
      );
      // What a killed set-up left half unpacked must not be taken for a LibTorch, nor stay.
      write(join(folder, 'cache/.unpack-1/torch/lib/libtorch_cpu.so'), elf(machines[here]));
      const { found } = await find({ DIFFMINE_LIBTORCH_MIRROR: mirror }, pipWith({}));
      const target = join(folder, 'cache/libtorch-2.13.0-cpu');
      expect(found).toEqual({ folder: target, version: '2.13.0', cuda: false, source: "pip's wheel" });
      expect(readdirSync(join(target, 'lib')).sort()).toEqual([
        'libc10.so',
        'libgomp.so.1',
        'libtorch.so',
        'libtorch_cpu.so',
      ]);
      expect(existsSync(join(target, 'share/cmake/Torch/TorchConfig.cmake'))).toBe(true);
      expect(existsSync(join(target, 'nn'))).toBe(false);
      expect(readdirSync(join(folder, 'cache')).sort()).toEqual(['downloads', 'libtorch-2.13.0-cpu']);
    } finally {
      server.close();
    }
  });

  it('takes LibTorch with CUDA from wheels, with the libraries of NVIDIA that the torch wheel names, and no more', async () => {
    // A folder of wheels for a pip that copies those it is asked for by name.
    const index = join(folder, 'index');
    const wheel = (name: string, files: Record<string, string | Buffer>): void => {
      const tree = join(folder, 'trees', name);
      for (const [file, content] of Object.entries(files)) write(join(tree, file), content);
      mkdirSync(index, { recursive: true });
      execFileSync('cmake', ['-E', 'tar', 'cf', join(index, `${name}-1.whl`), '--format=zip', ...readdirSync(tree)], {
        cwd: tree,
      });
    };
    libtorch(join(folder, 'trees/torch/torch'), { version: '2.13.0', cuda: true });
    wheel('torch', {
      'torch/lib/libc10_cuda.so': elf(machines[here]),
      'torch/lib/libtorch_python.so': elf(machines[here]),
      'torch-2.13.0.dist-info/METADATA': [
        'Name: torch',
        'Requires-Dist: sympy>=1.13',
        'Requires-Dist: cuda-toolkit[cudart,cublas]==13.0.2; platform_system == "Linux"',
        'Requires-Dist: nvidia-cudnn-cu13==9.15.1.9; platform_system == "Linux"',
        'Requires-Dist: triton==3.5.0; platform_system == "Linux"',
      ].join('\n'),
    });
    wheel('cudart', {
      'nvidia/cu13/lib/libcudart.so.13': elf(machines[here]),
      'nvidia/cu13/include/cuda.h': '',
      'nvidia/cu13/lib/libcudart_static.a': '',
    });
    wheel('cudnn', { 'nvidia/cudnn/lib/libcudnn.so.9': elf(machines[here]) });
    const log = join(folder, 'pip.log');
    const pip = `case "$1" in -c) echo;; -m) echo "$@" >> ${log}; all="$*"; while [ "$1" != -d ]; do shift; done; mkdir -p "$2"
      case "$all" in *torch==*) cp ${index}/torch-1.whl "$2";; *) cp ${index}/cud*-1.whl "$2";; esac;; esac`;
    const { found, error } = await find({}, pip, "cuda: true, headers: false, version: '2.13.0'");
    const target = join(folder, 'cache/libtorch-2.13.0-cu130');
    expect([error, found]).toEqual([
      '',
      { folder: join(target, 'torch'), version: '2.13.0', cuda: true, source: "pip's wheel" },
    ]);
    const asked = readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(' ').filter((word) => word.includes('==')));
    expect(asked).toEqual([['torch==2.13.0'], ['cuda-toolkit[cudart,cublas]==13.0.2', 'nvidia-cudnn-cu13==9.15.1.9']]);
    const files = readdirSync(join(target, 'nvidia'), { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    expect(files.map(({ name }) => name).sort()).toEqual(['libcudart.so.13', 'libcudnn.so.9']);
    expect(existsSync(join(target, 'torch/lib/libtorch_python.so'))).toBe(false);
    // What a prebuilt addon finds open: the CUDA run time, then LibTorch in the order of its needs.
    expect(librariesOf(join(target, 'torch'), { cuda: true }).map((file) => basename(file))).toEqual([
      'libcudart.so.13',
      'libc10.so',
      'libtorch_cpu.so',
      'libc10_cuda.so',
      'libtorch_cuda.so',
    ]);
    // The next set-up finds it.
    const again = await find({}, 'exit 1', "cuda: true, headers: false, version: '2.13.0'");
    expect(again.found).toMatchObject({ folder: join(target, 'torch') });
  });

  it('for a prebuilt addon, skips a LibTorch of another release', async () => {
    const cached = libtorch(join(folder, 'cache/libtorch-2.13.0-cpu'), { headers: false });
    const options = "headers: false, version: '2.13.0'";
    const python = torchAt(libtorch(join(folder, 'py'), { version: '2.14.1' }));
    expect((await find({}, python, options)).found).toMatchObject({ folder: cached, source: 'cache' });
    const { error } = await find({ LIBTORCH: join(folder, 'py') }, '', options);
    expect(error).toMatch(/LIBTORCH is set, but LibTorch 2\.14\.1 .* is not 2\.13\.0, which the prebuilt addon needs/);
  });

  it('serves two processes at once with one download', async () => {
    const log = join(folder, 'pip.log');
    const python = pipWith({}).replace('-m)', `-m) echo x >> ${log}; sleep 1;`);
    const answers = await Promise.all([find({}, python), find({}, python)]);
    expect(answers.map(({ found }) => found?.['folder'])).toEqual(
      Array(2).fill(join(folder, 'cache/libtorch-2.13.0-cpu')),
    );
    expect(answers.map(({ found }) => String(found?.['source'])).sort()).toEqual(['cache', "pip's wheel"]);
    expect(readFileSync(log, 'utf8')).toBe('x\n');
  });
});
