// Cores that may really be used, of systems made of files: quotas of cgroups, both versions, and where a process is scheduled.
import { join } from 'node:path';
import { availableParallelism } from 'node:os';
import { cpuQuota, defaultThreads, scheduledCores, usableCores } from '../../src/engine/cores.js';
import { temporaryFolder, writeFiles } from '../helpers/folders.js';

const folder = temporaryFolder();
let count = 0;
function quota(files: Record<string, string>, self: string): number {
  const root = join(folder, String((count += 1)));
  writeFiles(root, {
    ...Object.fromEntries(Object.entries(files).map(([name, text]) => [`cgroup/${name}`, text])),
    self,
  });
  return cpuQuota(join(root, 'cgroup'), join(root, 'self'));
}

test.each([
  ['no limit', { 'cpu.max': 'max 100000\n' }, '0::/\n', Infinity],
  ['a container of one and a half CPUs', { 'cpu.max': '150000 100000\n' }, '0::/\n', 1.5],
  [
    'a service, its slice stricter',
    { 'a.slice/cpu.max': '200000 100000', 'a.slice/b.service/cpu.max': '400000 100000' },
    '0::/a.slice/b.service\n',
    2,
  ],
  ['a group that is not mounted here', { 'cpu.max': '300000 100000' }, '0::/elsewhere/in/the/host\n', 3],
  [
    'version 1',
    { 'cpu/cpu.cfs_quota_us': '250000\n', 'cpu/cpu.cfs_period_us': '100000\n' },
    '4:memory:/x\n1:cpu:/\n',
    2.5,
  ],
  [
    'version 1, mounted together',
    { 'cpu,cpuacct/g/cpu.cfs_quota_us': '100000', 'cpu,cpuacct/g/cpu.cfs_period_us': '100000' },
    '3:cpu,cpuacct:/g\n',
    1,
  ],
  [
    'version 1 without a limit',
    { 'cpu/cpu.cfs_quota_us': '-1', 'cpu/cpu.cfs_period_us': '100000' },
    '1:cpu:/\n',
    Infinity,
  ],
  ['no cgroups at all', {}, '', Infinity],
])('%s', (_, files, self, expected) => {
  expect(quota(files, self)).toBe(expected);
});

test('never none, never more than there are', () => {
  expect(usableCores()).toBeGreaterThanOrEqual(1);
  expect(usableCores()).toBeLessThanOrEqual(availableParallelism());
});

/** A machine of cores, each with its hardware threads, and where a process on it may run. */
function scheduled(cores: readonly (readonly number[])[], allowed: string): number | undefined {
  const root = join(folder, String((count += 1)));
  const siblings = cores.flatMap((core) =>
    core.map((cpu) => [`cpus/cpu${cpu}/topology/thread_siblings_list`, `${core.join(',')}\n`]),
  );
  writeFiles(root, {
    ...(Object.fromEntries(siblings) as Record<string, string>),
    status: `Name:\tnode\nCpus_allowed:\tf\nCpus_allowed_list:\t${allowed}\nMems_allowed_list:\t0\n`,
  });
  return scheduledCores(join(root, 'cpus'), join(root, 'status'));
}

test.each([
  ['two cores', [[0], [1]], '0-1', 2],
  ['two hardware threads of one core', [[0, 1]], '0-1', 1],
  [
    'four cores of two, half of them allowed',
    [
      [0, 4],
      [1, 5],
      [2, 6],
      [3, 7],
    ],
    '0-1,4-5',
    2,
  ],
  [
    'one thread of each',
    [
      [0, 4],
      [1, 5],
      [2, 6],
      [3, 7],
    ],
    '4-7',
    4,
  ],
  [
    'a single one',
    [
      [0, 4],
      [1, 5],
    ],
    '5',
    1,
  ],
  ['a system that tells nothing of its cores', [], '0-1', undefined],
])('scheduled on %s', (_, cores, allowed, expected) => {
  expect(scheduled(cores, allowed)).toBe(expected);
});

test('a system that does not tell where a process may run', () => {
  expect(scheduledCores('/nowhere', '/nowhere')).toBeUndefined();
});

test.each([
  [{}, usableCores()],
  [{ OMP_NUM_THREADS: '3' }, 3],
  [{ OMP_NUM_THREADS: '5,2' }, 5],
  [{ OMP_NUM_THREADS: 'all' }, usableCores()],
  [{ OMP_NUM_THREADS: '0' }, usableCores()],
])('threads where nobody chose: %p', (environment, expected) => {
  expect(defaultThreads(environment)).toBe(expected);
});
