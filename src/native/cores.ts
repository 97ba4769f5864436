// How many CPU cores this process may really use: those it is scheduled on, less what a cgroup's quota takes away (a container with 2 CPUs' worth of
// time on a machine of 64 would otherwise start 64 threads that throttle each other).
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** CPUs' worth of time that one cgroup folder grants; Infinity where it sets no limit. */
function quotaOf(folder: string): number {
  const [quota, period] = read(join(folder, 'cpu.max'))?.split(/\s+/) ?? [read(join(folder, 'cpu.cfs_quota_us')), read(join(folder, 'cpu.cfs_period_us'))];
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
  let least = Infinity;
  for (const line of (read(self) ?? '').split('\n')) {
    const [, controllers, group] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (group === undefined || controllers === undefined || !(controllers === '' || controllers.split(',').includes('cpu'))) continue;
    const base = controllers === '' ? [root] : [join(root, 'cpu'), join(root, controllers)];
    const parts = group.split('/').filter((part) => part !== '' && part !== '..');
    for (let depth = 0; depth <= parts.length; depth++) for (const mount of base) least = Math.min(least, quotaOf(join(mount, ...parts.slice(0, depth))));
  }
  return least;
}

/** Cores to compute on: at least 1. */
export function usableCores(): number {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(cpuQuota())));
}

/** Threads to ask an engine on the CPU for where nobody chose: 0 (the engine takes all cores) unless a quota grants fewer. */
export function defaultThreads(): number {
  const cores = usableCores();
  return cores < availableParallelism() ? cores : 0;
}
