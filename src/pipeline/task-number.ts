// --shard auto: which task of how many this process is, as the scheduler says in the environment. It only decides where the work begins (shards.ts,
// startingAt): a wrong or repeated rank costs time, never results.
import { DiffmineError } from '../util/errors.js';
import type { AutoPart, Part } from '../options/fields.js';

/** A part, and who says so, in words: 'Slurm array'. */
export interface Rank extends Part {
  scheduler: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** What a scheduler says of a task. */
interface Task {
  scheduler: string;
  /** the variable that numbers the task, for messages */
  variable: string;
  /** the task's number: it does not depend on which other tasks were submitted with it */
  number: number;
  /** its place among the tasks; undefined where the scheduler does not say how many there are */
  part: Part | undefined;
}

type Finder = (env: Environment) => Task | undefined;

/** The first that finds something counts. */
const FINDERS: readonly Finder[] = [
  slurm,
  (env) => indexed(env, 'Kubernetes Job', 'JOB_COMPLETION_INDEX'),
  (env) => indexed(env, 'AWS Batch array', 'AWS_BATCH_JOB_ARRAY_INDEX', 'AWS_BATCH_JOB_ARRAY_SIZE'),
  sge,
  (env) => indexed(env, 'PBS array', 'PBS_ARRAY_INDEX'),
  lsf,
  // often left over in a shell or an image
  (env) => indexed(env, 'torchrun', 'RANK', 'WORLD_SIZE'),
];

/**
 * The part that this process begins with.
 *
 * @returns undefined where no scheduler says anything
 * @throws INVALID_ARGUMENT for a task without a number of tasks
 */
export function rankOf(auto: AutoPart, env: Environment): Rank | undefined {
  for (const find of FINDERS) {
    const task = find(env);
    if (!task) continue;
    const { scheduler, variable, number, part } = task;
    if (auto !== 'auto') {
      const count = Number(auto.slice('auto/'.length));
      return { scheduler, index: number % count, count };
    }
    if (part) return { scheduler, ...part };
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${variable} is ${env[variable] ?? ''}, but the environment does not say how many tasks there are (${scheduler}).`,
      'Give their number: `shard` auto/32 for 32 tasks.',
      { option: 'shard' },
    );
  }
  return undefined;
}

/** A whole number of at least 0; undefined for anything else, such as SGE's "undefined". */
function whole(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}

function positive(value: string | undefined): number | undefined {
  const number = whole(value);
  return number === 0 ? undefined : number;
}

const partOf = (index: number, count: number | undefined): Part | undefined =>
  count !== undefined && index < count ? { index, count } : undefined;

/** Tasks are numbered from 0. */
function indexed(env: Environment, scheduler: string, variable: string, size = ''): Task | undefined {
  const number = whole(env[variable]);
  if (number === undefined) return undefined;
  return { scheduler, variable, number, part: partOf(number, positive(env[size])) };
}

/** Tasks first, first + step, ..., last. If they were listed one by one (3,7,9), some numbers in between belong to no task: those parts are left to others. */
function ranged(id: number, first: number | undefined, last: number | undefined, step: number): Part | undefined {
  if (first === undefined || last === undefined || id < first || id > last) return undefined;
  const by = (id - first) % step === 0 ? step : 1;
  return { index: (id - first) / by, count: Math.floor((last - first) / by) + 1 };
}

/** An array, the tasks of srun, or both: each task of the array is then several. */
function slurm(env: Environment): Task | undefined {
  const id = whole(env['SLURM_ARRAY_TASK_ID']);
  // the batch script has SLURM_PROCID 0 as well, but is no step
  const tasks = env['SLURM_STEP_ID'] === undefined ? 1 : (positive(env['SLURM_STEP_NUM_TASKS']) ?? 1);
  const process = whole(env['SLURM_PROCID']);
  const step = tasks > 1 && process !== undefined ? { index: process, count: tasks } : undefined;
  if (id === undefined)
    return step && { scheduler: 'Slurm srun', variable: 'SLURM_PROCID', number: step.index, part: step };
  const by = positive(env['SLURM_ARRAY_TASK_STEP']) ?? 1;
  const number = Math.floor(id / by);
  const part = ranged(id, whole(env['SLURM_ARRAY_TASK_MIN']), whole(env['SLURM_ARRAY_TASK_MAX']), by);
  const variable = 'SLURM_ARRAY_TASK_ID';
  if (!step) return { scheduler: 'Slurm array', variable, number, part };
  return {
    scheduler: 'Slurm array and srun',
    variable,
    number: number * step.count + step.index,
    part: part && { index: part.index * step.count + step.index, count: part.count * step.count },
  };
}

/** Tasks are numbered from 1. */
function sge(env: Environment): Task | undefined {
  const id = positive(env['SGE_TASK_ID']);
  if (id === undefined) return undefined;
  const step = positive(env['SGE_TASK_STEPSIZE']) ?? 1;
  return {
    scheduler: 'SGE array',
    variable: 'SGE_TASK_ID',
    number: Math.floor((id - 1) / step),
    part: ranged(id, whole(env['SGE_TASK_FIRST']), whole(env['SGE_TASK_LAST']), step),
  };
}

/** Tasks are numbered from 1; 0 is a job without an array. */
function lsf(env: Environment): Task | undefined {
  const id = positive(env['LSB_JOBINDEX']);
  if (id === undefined) return undefined;
  return {
    scheduler: 'LSF array',
    variable: 'LSB_JOBINDEX',
    number: id - 1,
    part: partOf(id - 1, positive(env['LSB_JOBINDEX_END'])),
  };
}
