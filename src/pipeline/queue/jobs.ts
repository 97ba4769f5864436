// The shards of runs as jobs of a queue. The queue only hands them out: what is finished, the runs' folders say.
import { asDiffmineError, EXIT_CODES, type DiffmineError, type ErrorCode } from '../../util/errors.js';
import { shardName } from '../../runs/shards.js';
import type { Connection, Job } from './bull.js';
import type { ShardJob } from './job.js';
import { runId, type Descriptor } from './descriptor.js';
import type { Remaining } from '../remaining.js';

/** Times that a shard is tried, with what may pass on its own between; a worker that dies is not counted. */
const ATTEMPTS = 4;
/** ms before the second attempt; doubled before each further one. */
const BACKOFF = 5000;
/** Jobs per request. */
const CHUNK = 1000;

/** A shard that has failed for good. */
export interface FailedShard {
  shard: number;
  /** from 0 */
  round?: number;
  code: ErrorCode;
  message: string;
  attempts: number;
}

/** A run in the queue. */
export interface QueuedRun {
  run: string;
  id: string;
  version: string;
}

export function queuedRun(run: string, descriptor: Descriptor): QueuedRun {
  return { run, id: runId(descriptor, run), version: descriptor.version };
}

const jobId = (id: string, shard: number, round?: number): string =>
  `${id}-${round === undefined ? '' : `r${String(round + 1).padStart(2, '0')}-`}${shardName(shard)}`;

/** Puts shards in the queue; one that is there in any state stays as it is. */
export async function enqueue(
  { queue }: Connection,
  { run, id, version }: QueuedRun,
  { round, missing }: Remaining,
): Promise<void> {
  for (let begin = 0; begin < missing.length; begin += CHUNK) {
    await queue.addBulk(
      missing.slice(begin, begin + CHUNK).map((shard) => ({
        name: 'shard',
        data: { run, id, shard, ...(round === undefined ? {} : { round }), version },
        opts: {
          jobId: jobId(id, shard, round),
          attempts: ATTEMPTS,
          backoff: { type: 'exponential', delay: BACKOFF },
          removeOnComplete: true,
          stackTraceLimit: 0,
        },
      })),
    );
  }
}

/** Puts shards in the queue that are neither being worked on nor failed there. Returns how many were left to put. */
export async function refill(connection: Connection, run: QueuedRun, remaining: Remaining): Promise<number> {
  const there = new Set(await connection.queue.getRanges(['active', 'failed', 'delayed'], 0, -1));
  const missing = remaining.missing.filter((shard) => !there.has(jobId(run.id, shard, remaining.round)));
  await enqueue(connection, run, { ...remaining, missing });
  return missing.length;
}

const WAITING = ['waiting', 'prioritized'] as const;

/** Jobs in the queue, of all runs. */
export interface Depth {
  waiting: number;
  active: number;
  delayed: number;
  failed: number;
}

export async function depthOf({ queue }: Connection): Promise<Depth> {
  const counts = await queue.getJobCounts(...WAITING, 'active', 'delayed', 'failed');
  const sum = (...names: string[]): number => names.reduce((total, name) => total + (counts[name] ?? 0), 0);
  return {
    waiting: sum(...WAITING),
    active: sum('active'),
    delayed: sum('delayed'),
    failed: sum('failed'),
  };
}

/** What the queue holds of a run. */
export interface QueueOfRun {
  waiting: number;
  /** to be tried again, or refused by a worker */
  delayed: number;
  active: { shard: number; round?: number }[];
  failed: FailedShard[];
  /** sentences of workers that could not take a shard */
  refused: string[];
}

export async function queueOf({ queue }: Connection, { id }: Pick<QueuedRun, 'id'>): Promise<QueueOfRun> {
  const own = (jobs: (Job | undefined)[]): Job[] => jobs.filter((job): job is Job => job?.data.id === id);
  const waiting = (await queue.getRanges([...WAITING], 0, -1)).filter((one) => one.startsWith(`${id}-`));
  const [active, failed, delayed] = await Promise.all([
    queue.getJobs(['active']),
    queue.getJobs(['failed']),
    queue.getJobs(['delayed']),
  ]);
  const late = own(delayed);
  return {
    waiting: waiting.length,
    delayed: late.length,
    active: own(active).map(({ data }) => placeOf(data)),
    failed: own(failed)
      .map(failedShard)
      .sort((a, b) => (a.round ?? 0) - (b.round ?? 0) || a.shard - b.shard),
    refused: [...new Set(late.flatMap(({ data: { refused } }) => (refused ? [`${refused.by}: ${refused.why}`] : [])))],
  };
}

const placeOf = ({ shard, round }: ShardJob): { shard: number; round?: number } => ({
  shard,
  ...(round === undefined ? {} : { round }),
});

/** Removes what the queue holds of a run: all of it, or what has failed. What is being worked on stays. Returns how many jobs. */
export async function discardJobs({ queue }: Connection, id: string, which: 'all' | 'failed'): Promise<number> {
  const names = which === 'failed' ? (['failed'] as const) : ([...WAITING, 'delayed', 'failed'] as const);
  const ids = (await queue.getRanges([...names], 0, -1)).filter((one) => one.startsWith(`${id}-`));
  for (let begin = 0; begin < ids.length; begin += CHUNK)
    await Promise.all(ids.slice(begin, begin + CHUNK).map(async (one) => queue.remove(one)));
  return ids.length;
}

/** How a failure is kept in the queue: its code, then what is said. */
export function reasonOf(thrown: unknown): string {
  const { code, message, hint } = asDiffmineError(thrown);
  return `[${code}] ${message}${hint === undefined ? '' : ` ${hint}`}`;
}

function failedShard({ data, failedReason, attemptsMade }: Job): FailedShard {
  const found = /^\[(\w+)\] (.*)$/s.exec(failedReason);
  const code = found?.[1] !== undefined && found[1] in EXIT_CODES ? (found[1] as ErrorCode) : 'INTERNAL';
  return { ...placeOf(data), code, message: found?.[2] ?? failedReason, attempts: attemptsMade };
}

/** Errors that another attempt, or another worker, may not meet: devices, memory, disks, networks. */
const PASSING: readonly ErrorCode[] = ['DEVICE_UNAVAILABLE', 'OUT_OF_MEMORY', 'IO', 'INTERNAL', 'SETUP'];

export const mayPass = ({ code }: DiffmineError): boolean => PASSING.includes(code);
