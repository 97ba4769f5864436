// status: how far a run is, from its folder; what its queue holds of it, where one is given.
import { resolved } from '../../options/check.js';
import { queueAddress, QUEUE_VARIABLE } from '../../pipeline/queue/address.js';
import { connect } from '../../pipeline/queue/bull.js';
import { readDescriptor, type Descriptor } from '../../pipeline/queue/descriptor.js';
import { queuedRun, queueOf, type QueueOfRun } from '../../pipeline/queue/jobs.js';
import { shardsOf } from '../../pipeline/shards.js';
import { DiffmineError } from '../../util/errors.js';
import { STATUS, type StatusOptions } from './options.js';
import { storedRun, withStore, type StoredRound } from './stored.js';

export interface Status {
  path: string;
  complete: boolean;
  shards: { total: number; done: number; missing: number[] };
  /** of a race that is under way */
  round: StoredRound | null;
  /** `diffmine cancel` has taken it off the queue, and shards are missing */
  cancelled: boolean;
  /** null for a run that is on no queue, or without an address */
  queue: ({ address: string } & (QueueOfRun | { unreachable: string })) | null;
}

/** @throws RUN_INVALID where there is no run */
export async function statusOf(options: StatusOptions): Promise<Status> {
  const { run, queue } = resolved(STATUS, options);
  const stored = await withStore(run, storedRun);
  const descriptor = await readDescriptor(stored.place);
  const known = descriptor !== undefined && (queue !== undefined || process.env[QUEUE_VARIABLE] !== undefined);
  return {
    path: stored.place,
    complete: stored.missing.length === 0,
    shards: { total: stored.shards, done: stored.shards - stored.missing.length, missing: stored.missing },
    round: stored.round,
    cancelled: descriptor?.cancelled === true && stored.missing.length > 0,
    queue: known ? await askQueue(queue, stored.place, descriptor) : null,
  };
}

/** The folder says what matters: a queue that is away is only told of. */
async function askQueue(queue: string | undefined, path: string, descriptor: Descriptor): Promise<Status['queue']> {
  const address = queueAddress(queue);
  try {
    const connection = await connect(address);
    try {
      return { address: address.shown, ...(await queueOf(connection, queuedRun(path, descriptor))) };
    } finally {
      await connection.close();
    }
  } catch (error) {
    if (!(error instanceof DiffmineError && error.code === 'IO')) throw error;
    return { address: address.shown, unreachable: error.message };
  }
}

/** Of n parts, those with unfinished shards. */
export function missingParts({ shards: { total, missing } }: Pick<Status, 'shards'>, parts = total): number[] {
  const left = new Set(missing);
  return Array.from({ length: parts }, (_, index) => index).filter((index) =>
    shardsOf({ shards: total }, { index, count: parts }).some((shard) => left.has(shard)),
  );
}
