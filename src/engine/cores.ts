// The number of CPU cores that this process can use: cores of its affinity mask, counting the hardware threads of a core once (they share its vector
// units), limited by the cgroup's quota. Otherwise a container with a quota of 2 CPUs on a machine of 64 would start 64 threads that throttle each other.
//
// LibTorch's default is not used: it counts cores by CPUID, which a virtual machine may report wrongly (one core of two).
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import type { DeviceInfo } from './types.js';

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** CPUs' worth of time that one cgroup folder grants; Infinity where it sets no limit. */
function quotaOf(folder: string): number {
  const [quota, period] = read(join(folder, 'cpu.max'))?.split(/\s+/) ?? [
    read(join(folder, 'cpu.cfs_quota_us')),
    read(join(folder, 'cpu.cfs_period_us')),
  ];
  const cores = Number(quota) / Number(period);
  return cores > 0 && Number.isFinite(cores) ? cores : Infinity;
}

/**
 * The smallest quota of the process's cgroup and those above it, in CPUs' worth of time; Infinity without one. cgroup v2 (cpu.max) and v1
 * (cpu.cfs_quota_us); in a container the own group is usually the root of what is mounted.
 *
 * @param root where cgroups are mounted, and `self` what tells the process's own
 */
export function cpuQuota(root = '/sys/fs/cgroup', self = '/proc/self/cgroup'): number {
  let min = Infinity;
  for (const line of (read(self) ?? '').split('\n')) {
    const [, controllers, group] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (
      group === undefined ||
      controllers === undefined ||
      !(controllers === '' || controllers.split(',').includes('cpu'))
    )
      continue;
    const base = controllers === '' ? [root] : [join(root, 'cpu'), join(root, controllers)];
    const parts = group.split('/').filter((part) => part !== '' && part !== '..');
    for (let depth = 0; depth <= parts.length; depth++)
      for (const mount of base) min = Math.min(min, quotaOf(join(mount, ...parts.slice(0, depth))));
  }
  return min;
}

/**
 * Cores with at least one hardware thread that the process is scheduled on, as Linux tells; undefined elsewhere.
 *
 * @param cpus the system's folder of processors, and `status` what tells where the process may run
 */
export function scheduledCores(cpus = '/sys/devices/system/cpu', status = '/proc/self/status'): number | undefined {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(read(status) ?? '')?.[1];
  if (list === undefined) return undefined;
  const cores = new Set<string>();
  for (const range of list.split(',')) {
    const [first = NaN, last = first] = range.split('-').map(Number);
    for (let cpu = first; cpu <= last; cpu++) {
      const core = read(join(cpus, `cpu${cpu}`, 'topology/thread_siblings_list'));
      if (core !== undefined) cores.add(core);
    }
  }
  return cores.size || undefined;
}

/** Cores to compute on: at least 1. */
export function usableCores(): number {
  return Math.max(1, Math.min(scheduledCores() ?? Infinity, availableParallelism(), Math.floor(cpuQuota())));
}

/** Threads of an engine where nobody chose: OMP_NUM_THREADS, else one for each usable core. */
export function defaultThreads(environment: NodeJS.ProcessEnv = process.env): number {
  const wanted = Number.parseInt(environment['OMP_NUM_THREADS'] ?? '', 10); // a list, one number for each level of nesting
  return wanted >= 1 ? wanted : usableCores();
}

/** A device as the addon lists it, with the threads an engine on it has where nobody chose. */
export const withThreads = (device: Omit<DeviceInfo, 'threads'>): DeviceInfo => ({
  ...device,
  threads: device.id === 'cpu' ? defaultThreads() : 0,
});
