// --shard auto: rank and size in the environments that schedulers make.
import { rankOf, type Environment } from '../../src/pipeline/task-number.js';
import type { AutoPart } from '../../src/options/fields.js';
import { startingAt } from '../../src/pipeline/shards.js';

const array = (id: number, min: number, max: number, count: number, step = 1): Environment => ({
  SLURM_ARRAY_JOB_ID: '7',
  SLURM_ARRAY_TASK_ID: String(id),
  SLURM_ARRAY_TASK_MIN: String(min),
  SLURM_ARRAY_TASK_MAX: String(max),
  SLURM_ARRAY_TASK_COUNT: String(count),
  SLURM_ARRAY_TASK_STEP: String(step),
  SLURM_PROCID: '0', // as in every batch script
});
const step = (process: number, tasks: number): Environment => ({
  SLURM_STEP_ID: '0',
  SLURM_PROCID: String(process),
  SLURM_STEP_NUM_TASKS: String(tasks),
});

test.each<[name: string, env: Environment, auto: AutoPart, expected: [number, number, string] | undefined]>([
  ['no scheduler', {}, 'auto', undefined],
  ['no scheduler, a number', {}, 'auto/32', undefined],
  ['--array=0-31', array(3, 0, 31, 32), 'auto', [3, 32, 'Slurm array']],
  ['--array=1-32', array(32, 1, 32, 32), 'auto', [31, 32, 'Slurm array']],
  ['--array=3,7,9', array(3, 3, 9, 3), 'auto', [0, 7, 'Slurm array']],
  ['--array=3,7,9: the last', array(9, 3, 9, 3), 'auto', [6, 7, 'Slurm array']],
  ['--array=3,7 of 32', array(7, 3, 7, 2), 'auto/32', [7, 32, 'Slurm array']],
  ['--array=1-32, the number given', array(32, 1, 32, 32), 'auto/32', [0, 32, 'Slurm array']],
  ['--array=1-9:4', array(9, 1, 9, 3, 4), 'auto', [2, 3, 'Slurm array']],
  ['--array=1-9:4, the number given', array(9, 1, 9, 3, 4), 'auto/3', [2, 3, 'Slurm array']],
  ['--array=5', array(5, 5, 5, 1), 'auto', [0, 1, 'Slurm array']],
  ['the batch script: PROCID 0 without a step', { SLURM_PROCID: '0', SLURM_NTASKS: '4' }, 'auto', undefined],
  ['srun -n4', step(3, 4), 'auto', [3, 4, 'Slurm srun']],
  ['srun -n1', step(0, 1), 'auto', undefined],
  ['srun -n1 torchrun', { ...step(0, 1), RANK: '1', WORLD_SIZE: '8' }, 'auto', [1, 8, 'torchrun']],
  ['array and srun -n4', { ...array(3, 1, 8, 8), ...step(1, 4) }, 'auto', [9, 32, 'Slurm array and srun']],
  ['array and srun -n1', { ...array(3, 0, 7, 8), ...step(0, 1) }, 'auto', [3, 8, 'Slurm array']],
  [
    'array and srun, the number given',
    { ...array(3, 3, 3, 1), ...step(1, 4) },
    'auto/32',
    [13, 32, 'Slurm array and srun'],
  ],
  ['Kubernetes', { JOB_COMPLETION_INDEX: '3' }, 'auto/32', [3, 32, 'Kubernetes Job']],
  ['AWS Batch', { AWS_BATCH_JOB_ARRAY_INDEX: '3', AWS_BATCH_JOB_ARRAY_SIZE: '32' }, 'auto', [3, 32, 'AWS Batch array']],
  ['AWS Batch outside arrays', { AWS_BATCH_JOB_ID: 'x' }, 'auto', undefined],
  [
    'SGE',
    { SGE_TASK_ID: '1', SGE_TASK_FIRST: '1', SGE_TASK_LAST: '32', SGE_TASK_STEPSIZE: '1' },
    'auto',
    [0, 32, 'SGE array'],
  ],
  [
    'SGE -t 2-10:4',
    { SGE_TASK_ID: '10', SGE_TASK_FIRST: '2', SGE_TASK_LAST: '10', SGE_TASK_STEPSIZE: '4' },
    'auto',
    [2, 3, 'SGE array'],
  ],
  ['SGE, the number given', { SGE_TASK_ID: '32' }, 'auto/32', [31, 32, 'SGE array']],
  [
    'SGE outside arrays',
    { SGE_TASK_ID: 'undefined', SGE_TASK_FIRST: 'undefined', SGE_TASK_LAST: 'undefined' },
    'auto',
    undefined,
  ],
  ['PBS', { PBS_ARRAY_INDEX: '3' }, 'auto/32', [3, 32, 'PBS array']],
  ['LSF', { LSB_JOBINDEX: '1', LSB_JOBINDEX_END: '32' }, 'auto', [0, 32, 'LSF array']],
  ['LSF, the number given', { LSB_JOBINDEX: '32' }, 'auto/32', [31, 32, 'LSF array']],
  ['LSF outside arrays', { LSB_JOBINDEX: '0', LSB_JOBINDEX_END: '0' }, 'auto', undefined],
  ['torchrun', { RANK: '3', WORLD_SIZE: '32' }, 'auto', [3, 32, 'torchrun']],
  ['torchrun in an array', { ...array(5, 0, 7, 8), RANK: '0', WORLD_SIZE: '1' }, 'auto', [5, 8, 'Slurm array']],
  ['fewer parts than tasks', { JOB_COMPLETION_INDEX: '35' }, 'auto/32', [3, 32, 'Kubernetes Job']],
  [
    'not a number',
    { JOB_COMPLETION_INDEX: '', PBS_ARRAY_INDEX: '-1', RANK: '1e3', WORLD_SIZE: '2' },
    'auto',
    undefined,
  ],
])('%s', (_name, env, auto, expected) => {
  const rank = rankOf(auto, env);
  expect(rank && [rank.index, rank.count, rank.scheduler]).toEqual(expected);
});

test.each<[name: string, env: Environment]>([
  ['JOB_COMPLETION_INDEX', { JOB_COMPLETION_INDEX: '3' }],
  ['PBS_ARRAY_INDEX', { PBS_ARRAY_INDEX: '3' }],
  ['SLURM_ARRAY_TASK_ID', { SLURM_ARRAY_TASK_ID: '3', SLURM_ARRAY_TASK_COUNT: '3' }],
  ['AWS_BATCH_JOB_ARRAY_INDEX', { AWS_BATCH_JOB_ARRAY_INDEX: '3' }],
  ['SGE_TASK_ID', { SGE_TASK_ID: '3', SGE_TASK_LAST: 'undefined' }],
  ['LSB_JOBINDEX', { LSB_JOBINDEX: '3' }],
  ['RANK', { RANK: '3', WORLD_SIZE: '3' }],
])('%s without the number of tasks is an error that says how to give it', (name, env) => {
  expect(() => rankOf('auto', env)).toThrow(
    expect.objectContaining({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(`${name} is 3`) as string,
      hint: 'Give their number: `shard` auto/32 for 32 tasks.',
      option: 'shard',
    }),
  );
});

test('tasks of one submission begin at different parts', () => {
  const submissions: [number[], number][] = [
    [[3, 7, 9], 1],
    [[1, 5, 9], 4],
    [[0, 1, 2, 3], 1],
    [[2, 4, 7], 1],
  ];
  for (const [ids, step] of submissions) {
    const parts = ids.map((id) => rankOf('auto', array(id, Math.min(...ids), Math.max(...ids), ids.length, step)));
    expect(new Set(parts.map((part) => part?.index)).size).toBe(ids.length);
    expect(parts.every((part) => part && part.index < part.count)).toBe(true);
  }
});

test('a call begins with its part, then takes the other parts from their ends', () => {
  expect(startingAt(8, { index: 1, count: 3 })).toEqual([1, 4, 7, 5, 2, 6, 3, 0]);
  expect(startingAt(2, { index: 5, count: 8 })).toEqual([0, 1]);
  for (const [shards, count] of [
    [0, 3],
    [1, 1],
    [10, 4],
    [5, 9],
  ] as const)
    for (let index = 0; index < count; index += 1)
      expect(startingAt(shards, { index, count }).sort((a, b) => a - b)).toEqual(
        Array.from({ length: shards }, (_, i) => i),
      );
});
