// `diffmine doctor`: checks everything a run depends on, one row each. The addon is loaded in a child process, so that a
// crash becomes a failed row.
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { availableParallelism, freemem, totalmem } from 'node:os';
import { dirname } from 'node:path';

import { Bucket } from '../../util/bucket.js';
import { asDiffmineError } from '../../util/errors.js';
import { defaultThreads, withThreads } from '../../engine/cores.js';
import { addonPath } from '../../engine/locate.js';
import type { BuildInfo, DeviceInfo } from '../../engine/types.js';

export type RowStatus = 'ok' | 'warn' | 'fail';

export interface DoctorRow {
  name: string;
  status: RowStatus;
  detail: string;
  /** what mends it */
  hint?: string;
}

export interface DoctorReport {
  /** no row failed: scans can run */
  ok: boolean;
  rows: DoctorRow[];
  /** where the set-up is, for programs; null without one */
  libtorch: { folder: string; version: string; source: string; cuda: boolean } | null;
  addon: { file: string; libtorchCompiled: string; libtorchLoaded: string; cuda: boolean } | null;
  devices: DeviceInfo[];
  /** of an engine on the CPU where nobody chose */
  threads: number;
}

const oldestNode = [20, 17] as const;
const setupHint = 'Run: npx diffmine setup';

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

const minor = (version: string): string => version.split('.').slice(0, 2).join('.');

function nodeRow(): DoctorRow {
  const [major = 0, second = 0] = process.versions.node.split('.').map(Number);
  const recent = major > oldestNode[0] || (major === oldestNode[0] && second >= oldestNode[1]);
  const row: DoctorRow = { name: 'Node', status: recent ? 'ok' : 'fail', detail: process.version };
  return recent ? row : { ...row, hint: `Install Node ${oldestNode.join('.')} or later.` };
}

function platformRow(): DoctorRow {
  const { glibcVersionRuntime } = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header;
  const name = `${process.platform} ${process.arch}${glibcVersionRuntime ? `, glibc ${glibcVersionRuntime}` : ''}`;
  const known = ['linux x64', 'linux arm64', 'darwin arm64'].includes(`${process.platform} ${process.arch}`);
  if (!known)
    return {
      name: 'Platform',
      status: 'fail',
      detail: name,
      hint: 'diffmine runs on Linux (x64, arm64) and on macOS (arm64).',
    };
  if (process.platform === 'linux' && !glibcVersionRuntime) {
    return {
      name: 'Platform',
      status: 'fail',
      detail: `${name}, not glibc`,
      hint: 'LibTorch needs glibc; it does not run on Alpine and other musl systems.',
    };
  }
  return { name: 'Platform', status: 'ok', detail: name };
}

function deviceRow(device: DeviceInfo): DoctorRow {
  const parts = [device.name];
  if (device.computeCapability) parts.push(`compute capability ${device.computeCapability}`);
  if (device.cpuCapability) parts.push(device.cpuCapability);
  parts.push(`${gigabytes(device.memoryFree)} of ${gigabytes(device.memoryTotal)} free`);
  parts.push(device.dtypes.join(', '));
  if (device.threads) parts.push(`${device.threads} threads`);
  return { name: `Device ${device.id}`, status: 'ok', detail: parts.join(', ') };
}

function cacheRow(folder: string): DoctorRow {
  // It may not exist before the first set-up: what counts is the folder it would be made in.
  let existing = folder;
  while (!existsSync(existing)) existing = dirname(existing);
  try {
    accessSync(existing, constants.W_OK);
  } catch {
    return {
      name: 'Cache',
      status: 'warn',
      detail: `${folder} cannot be written`,
      hint: 'Set DIFFMINE_CACHE to another folder.',
    };
  }
  const { bavail, bsize } = statfsSync(existing);
  return { name: 'Cache', status: 'ok', detail: `${folder}, ${gigabytes(bavail * bsize)} free` };
}

function toolRow(name: string, found: string | undefined, purpose: string, hint: string): DoctorRow {
  return found
    ? { name, status: 'ok', detail: found }
    : { name, status: 'warn', detail: `not found; ${purpose}`, hint };
}

/** Writes, lists, reads and removes an object, and checks that of two conditional puts one wins. */
async function storeRow(place: string): Promise<DoctorRow> {
  try {
    const bucket = await Bucket.open(place);
    await bucket.check();
    await bucket.list('').next();
    return { name: 'Store', status: 'ok', detail: `${place} can be written; of two conditional puts one wins` };
  } catch (thrown) {
    const { message, hint } = asDiffmineError(thrown);
    return { name: 'Store', status: 'fail', detail: message, ...(hint === undefined ? {} : { hint }) };
  }
}

/**
 * Looks at everything; never throws for what it finds.
 *
 * @param store a place in a bucket, where runs are to be kept
 */
export async function doctor(store?: string): Promise<DoctorReport> {
  const scripts = await import('../../../scripts/setup.mjs');
  const built = scripts.builtAddon();
  const file = addonPath();
  const rows = [nodeRow(), platformRow()];

  const libtorchThere = built !== undefined && existsSync(built.libtorch.folder);
  if (!built)
    rows.push(
      file
        ? { name: 'LibTorch', status: 'warn', detail: 'the addon was not built by setup, which has no LibTorch yet' }
        : { name: 'LibTorch', status: 'fail', detail: 'none was chosen yet', hint: setupHint },
    );
  else {
    const { version, cuda, source, folder } = built.libtorch;
    const detail = `${version} ${cuda ? 'CUDA' : 'CPU'} from ${source}: ${folder}`;
    rows.push(
      libtorchThere
        ? { name: 'LibTorch', status: 'ok', detail }
        : { name: 'LibTorch', status: 'fail', detail: `${detail} (gone)`, hint: setupHint },
    );
  }

  let build: BuildInfo | undefined;
  let devices: DeviceInfo[] = [];
  if (!file) rows.push({ name: 'Addon', status: 'fail', detail: `not in ${scripts.buildFolder()}`, hint: setupHint });
  else {
    try {
      const answer = await scripts.probe(file);
      build = answer.build as BuildInfo;
      devices = (answer.devices as Omit<DeviceInfo, 'threads'>[]).map(withThreads);
      const detail = `${file}, compiled for LibTorch ${build.libtorchCompiled}, loads ${build.libtorchLoaded}, ${build.cuda ? 'with' : 'without'} CUDA`;
      const same = minor(build.libtorchCompiled) === minor(build.libtorchLoaded);
      rows.push(
        same ? { name: 'Addon', status: 'ok', detail } : { name: 'Addon', status: 'fail', detail, hint: setupHint },
      );
    } catch (thrown) {
      const error = asDiffmineError(thrown);
      rows.push({ name: 'Addon', status: 'fail', detail: error.message, hint: setupHint });
    }
  }

  rows.push(...devices.map(deviceRow));
  if (build?.cuda && !devices.some((device) => device.id.startsWith('cuda'))) {
    rows.push({
      name: 'Device cuda',
      status: 'warn',
      detail: 'the addon supports CUDA, but no GPU was found',
      hint: 'See nvidia-smi; in a container, start it with --gpus all.',
    });
  }
  const threads = defaultThreads();
  rows.push({
    name: 'Threads',
    status: 'ok',
    detail: `${threads} on ${availableParallelism()} processors${process.env['OMP_NUM_THREADS'] ? `, OMP_NUM_THREADS=${process.env['OMP_NUM_THREADS']}` : ''}`,
  });
  rows.push({ name: 'Memory', status: 'ok', detail: `${gigabytes(freemem())} of ${gigabytes(totalmem())} free` });
  rows.push(cacheRow(scripts.cacheFolder()));
  if (store !== undefined) rows.push(await storeRow(store));

  rows.push(
    toolRow('cmake', scripts.which('cmake'), 'set-up compiles with it', 'Debian, Ubuntu: sudo apt-get install cmake'),
  );
  rows.push(
    toolRow(
      'C++ compiler',
      process.env['CXX'] ?? scripts.which('g++', 'clang++'),
      'set-up compiles with it',
      'Debian, Ubuntu: sudo apt-get install g++',
    ),
  );
  rows.push(
    toolRow(
      'ninja',
      scripts.which('ninja'),
      'make is used instead, more slowly',
      'Debian, Ubuntu: sudo apt-get install ninja-build',
    ),
  );
  rows.push({ name: 'nvcc', status: 'ok', detail: scripts.which('nvcc') ?? 'not found; only a CUDA build needs it' });

  return {
    ok: rows.every((row) => row.status !== 'fail'),
    rows,
    libtorch: built && libtorchThere ? built.libtorch : null,
    addon: file && build ? { file, ...build } : null,
    devices,
    threads,
  };
}
