// `diffmine doctor`: checks everything a run depends on, one row each, and says in three lines what works, what does not, and what fixes it.
// The addon is loaded in a child process, so that a crash becomes a failed row.
import { count } from '../../web/html.js';
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { dirname } from 'node:path';

import { Bucket } from '../../util/s3/bucket.js';
import { asDiffmineError } from '../../util/errors.js';
import { defaultThreads, withThreads } from '../../engine/cores.js';
import { candidates } from '../../engine/locate.js';
import type { BuildInfo, DeviceInfo } from '../../engine/types.js';

export type RowStatus = 'ok' | 'warn' | 'fail';

export interface DoctorRow {
  name: string;
  status: RowStatus;
  detail: string;
  /** how to fix it */
  hint?: string;
}

export interface DoctorReport {
  /** no row failed: scans can run */
  ok: boolean;
  summary: { works: string; missing: string; fix: string };
  rows: DoctorRow[];
  /** where the set-up is, for programs; null without one */
  libtorch: { folder: string; version: string; source: string; cuda: boolean } | null;
  addon: {
    file: string;
    prebuilt: string | null;
    libtorchCompiled: string;
    libtorchLoaded: string;
    cuda: boolean;
  } | null;
  devices: DeviceInfo[];
  /** of an engine on the CPU where nobody chose */
  threads: number;
}

type Scripts = typeof import('../../../scripts/setup.mjs');

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

function platformRow({ unsupported }: Scripts): DoctorRow {
  const { glibcVersionRuntime } = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header;
  const name = `${process.platform} ${process.arch}${glibcVersionRuntime ? `, glibc ${glibcVersionRuntime}` : ''}`;
  return machineRow('Platform', name, unsupported());
}

/** A row of what no set-up changes. */
function machineRow(name: string, detail: string, beyond: ReturnType<Scripts['unsupported']>): DoctorRow {
  return beyond?.what === name
    ? { name, status: 'fail', detail: `${detail}: ${beyond.reason}`, hint: beyond.hint }
    : { name, status: 'ok', detail };
}

function deviceRow(device: DeviceInfo): DoctorRow {
  const parts = [device.name];
  if (device.computeCapability) parts.push(`compute capability ${device.computeCapability}`);
  if (device.cpuCapability) parts.push(device.cpuCapability);
  parts.push(`${gigabytes(device.memoryFree)} of ${gigabytes(device.memoryTotal)} free`);
  parts.push(device.dtypes.join(', '));
  if (device.threads) parts.push(count(device.threads, 'thread'));
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

function cpuRow({ cpuFlags, levelOf, unsupported }: Scripts): DoctorRow {
  const model = cpus()[0]?.model ?? process.arch;
  const flags = cpuFlags();
  const level = flags && levelOf(flags);
  const amx = flags?.includes('amx_bf16') ? ' with AMX' : '';
  return machineRow('CPU', `${model}${level ? `, ${level}${amx}` : ''}`, unsupported());
}

interface SetUp {
  file: string;
  libtorch: DoctorReport['libtorch'];
  prebuilt: string | null;
}

/** The addon that would be loaded, and what set-up noted of it. */
function current(scripts: Scripts): SetUp | undefined {
  const first = candidates().find(({ addon }) => existsSync(addon));
  if (!first) return undefined;
  const taken = scripts.prebuiltAddon();
  if (taken?.addon === first.addon) return { file: first.addon, libtorch: taken.libtorch, prebuilt: taken.package };
  return { file: first.addon, libtorch: scripts.builtAddon()?.libtorch ?? null, prebuilt: null };
}

function libtorchRow(found: SetUp | undefined, fix: string): DoctorRow {
  if (!found) return { name: 'LibTorch', status: 'fail', detail: 'not chosen yet', hint: fix };
  if (!found.libtorch)
    return { name: 'LibTorch', status: 'warn', detail: 'the addon was not built by setup, which has no LibTorch yet' };
  const { version, cuda, source, folder } = found.libtorch;
  const detail = `${version} ${cuda ? 'CUDA' : 'CPU'} from ${source}: ${folder}`;
  return existsSync(folder)
    ? { name: 'LibTorch', status: 'ok', detail }
    : { name: 'LibTorch', status: 'fail', detail: `${detail} (gone)`, hint: fix };
}

/** Every addon that is there, until one loads. */
function addonRow(
  scripts: Scripts,
  found: SetUp | undefined,
  fix: string,
): { row: DoctorRow; file?: string; build?: BuildInfo; devices: DeviceInfo[] } {
  if (!found) {
    const { name, reason } = scripts.platformPackage();
    const chosen = process.env['DIFFMINE_ADDON'];
    const detail =
      chosen !== undefined
        ? `${chosen} (DIFFMINE_ADDON) is not there`
        : scripts.isClone
          ? 'not compiled yet'
          : `not set up yet; prebuilt: ${reason ?? name}`;
    return { row: { name: 'Addon', status: 'fail', detail, hint: fix }, devices: [] };
  }
  const failures: { addon: string; reason: string }[] = [];
  const told = (): string[] => failures.map(({ addon, reason }) => `${addon} cannot be loaded: ${reason}`);
  for (const candidate of candidates().filter(({ addon }) => existsSync(addon))) {
    const answer = scripts.probe(candidate);
    if ('reason' in answer) {
      failures.push({ addon: candidate.addon, reason: answer.reason });
      continue;
    }
    const build = answer.build as BuildInfo;
    const devices = (answer.devices as Omit<DeviceInfo, 'threads'>[]).map(withThreads);
    const origin = found.prebuilt !== null && candidate.addon === found.file ? ` of ${found.prebuilt}` : '';
    const detail = `${candidate.addon}${origin}, compiled for LibTorch ${build.libtorchCompiled}, loads ${build.libtorchLoaded}, ${build.cuda ? 'with' : 'without'} CUDA`;
    const row: DoctorRow =
      failures.length === 0
        ? { name: 'Addon', status: 'ok', detail }
        : { name: 'Addon', status: 'warn', detail: [detail, ...told()].join('; '), hint: scripts.fixes({ failures }) };
    return { row, file: candidate.addon, build, devices };
  }
  return {
    row: { name: 'Addon', status: 'fail', detail: told().join('; '), hint: scripts.fixes({ failures }) },
    devices: [],
  };
}

function gpuRow(build: BuildInfo, devices: readonly DeviceInfo[], scripts: Scripts): DoctorRow[] {
  if (devices.some(({ id }) => id.startsWith('cuda'))) return [];
  if (build.cuda)
    return [
      {
        name: 'Device cuda',
        status: 'warn',
        detail: 'the addon supports CUDA, but no GPU was found',
        hint: 'See nvidia-smi; in a container, start it with --gpus all.',
      },
    ];
  if (!existsSync('/dev/nvidiactl')) return [];
  return [
    {
      name: 'Device cuda',
      status: 'warn',
      detail: 'this machine has an NVIDIA driver, but the addon is without CUDA',
      hint: scripts.fixes({ cuda: true }),
    },
  ];
}

/** What only compiling needs: its absence counts where the addon in use is not a prebuilt one. */
function toolRows(scripts: Scripts, needed: boolean): DoctorRow[] {
  const row = (name: string, found: string | undefined, purpose: string, hint: string): DoctorRow => {
    if (found) return { name, status: 'ok', detail: found };
    return needed
      ? { name, status: 'warn', detail: `not found; ${purpose}`, hint }
      : { name, status: 'ok', detail: 'not found; a prebuilt addon needs none' };
  };
  const install = (name: string): string => `Debian, Ubuntu: sudo apt-get install ${name}`;
  const compiler = process.env['CXX'] ?? scripts.which('g++', 'clang++');
  return [
    row('cmake', scripts.which('cmake'), 'set-up compiles with it', install('cmake')),
    row('C++ compiler', compiler, 'set-up compiles with it', install('g++')),
    row('ninja', scripts.which('ninja'), 'make is used instead, more slowly', install('ninja-build')),
    { name: 'nvcc', status: 'ok', detail: scripts.which('nvcc') ?? 'not found; only compiling for CUDA needs it' },
  ];
}

const FILES_ONLY = 'commands that only read and write files (inspect, pull, report, export)';

function summaryOf(
  rows: readonly DoctorRow[],
  devices: readonly DeviceInfo[],
  scripts: Scripts,
): DoctorReport['summary'] {
  const failed = rows.filter(({ status }) => status === 'fail');
  const [first] = failed;
  if (first)
    return {
      works: ['Platform', 'CPU'].includes(first.name) ? 'this command' : FILES_ONLY,
      missing:
        first.name === 'Store'
          ? `keeping runs in the bucket: ${first.detail}`
          : `commands that compute (demo, scan, train): ${failed.map(({ name, detail }) => `${name}: ${detail}`).join('; ')}`,
      fix: first.hint?.replace(/^Run: /, '') ?? 'see below',
    };
  const places = devices.map(({ id, name, threads }) =>
    id === 'cpu' ? `cpu (${count(threads, 'thread')})` : `${id} (${name})`,
  );
  const gpu = rows.find(({ name, status }) => name === 'Device cuda' && status === 'warn');
  return {
    works: `everything, on ${places.join(', ')}`,
    missing: gpu ? `computing on a GPU: ${gpu.detail}` : 'nothing',
    fix:
      gpu?.hint?.replace(/^Run: /, '') ??
      `nothing to fix; try: ${scripts.isClone ? 'npm run demo' : 'npx diffmine demo'}`,
  };
}

/**
 * Looks at everything; never throws for what it finds.
 *
 * @param store a place in a bucket, where runs are to be kept
 */
export async function doctor(store?: string): Promise<DoctorReport> {
  const scripts = await import('../../../scripts/setup.mjs');
  const fix = scripts.fixes();
  const found = current(scripts);
  const libtorch = libtorchRow(found, fix);
  const { row, file, build, devices } = addonRow(scripts, found, fix);
  // An older Node than diffmine needs does not get here (scripts/node-version.mjs).
  const node: DoctorRow = { name: 'Node', status: 'ok', detail: process.version };
  const rows = [node, platformRow(scripts), cpuRow(scripts), libtorch, row];
  rows.push(...devices.map(deviceRow));
  if (build) rows.push(...gpuRow(build, devices, scripts));
  const threads = defaultThreads();
  rows.push({
    name: 'Threads',
    status: 'ok',
    detail: `${threads} on ${availableParallelism()} processors${process.env['OMP_NUM_THREADS'] ? `, OMP_NUM_THREADS=${process.env['OMP_NUM_THREADS']}` : ''}`,
  });
  rows.push({ name: 'Memory', status: 'ok', detail: `${gigabytes(freemem())} of ${gigabytes(totalmem())} free` });
  rows.push(cacheRow(scripts.cacheFolder()));
  if (store !== undefined) rows.push(await storeRow(store));
  rows.push(...toolRows(scripts, found ? found.prebuilt === null : 'reason' in scripts.platformPackage()));

  return {
    ok: rows.every(({ status }) => status !== 'fail'),
    summary: summaryOf(rows, devices, scripts),
    rows,
    libtorch: found && libtorch.status === 'ok' ? found.libtorch : null,
    addon:
      file !== undefined && build ? { file, prebuilt: file === found?.file ? found.prebuilt : null, ...build } : null,
    devices,
    threads,
  };
}
