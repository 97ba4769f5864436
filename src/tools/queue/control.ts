// retry and cancel: put a run's missing shards in the queue again, or take it off the queue.
import { resolved } from '../../options/check.js';
import { queueAddress } from '../../pipeline/queue/address.js';
import { connect, type Connection } from '../../pipeline/queue/bull.js';
import { readDescriptor, writeDescriptor, type Descriptor } from '../../pipeline/queue/descriptor.js';
import { discardJobs, queuedRun, refill } from '../../pipeline/queue/jobs.js';
import { DiffmineError } from '../../util/errors.js';
import { CONTROL, type ControlOptions } from './options.js';
import type { RunStore } from '../../runs/store/store.js';
import { storedRun, withStore } from './stored.js';

export interface Retried {
  path: string;
  /** nothing is missing */
  complete: boolean;
  /** failed shards that are tried again */
  failed: number;
  /** shards that are in the queue now and are not being worked on */
  queued: number;
}

/**
 * Puts the missing shards of a run in the queue, those that failed too.
 *
 * @throws RUN_INVALID where there is no run, or one that was never on a queue; IO where the queue cannot be reached
 */
export async function retry(options: ControlOptions): Promise<Retried> {
  return withQueue(options, async (connection, store, { cancelled, ...descriptor }) => {
    if (cancelled) await writeDescriptor(store, descriptor);
    const run = queuedRun(store.place, descriptor);
    const failed = await discardJobs(connection, run.id, 'failed');
    const { remaining, missing } = await storedRun(store);
    const complete = missing.length === 0;
    return { path: store.place, complete, failed, queued: await refill(connection, run, remaining) };
  });
}

export interface Cancelled {
  path: string;
  /** nothing is missing */
  complete: boolean;
  /** jobs that were taken off the queue */
  removed: number;
}

/**
 * Takes a run off the queue. Shards that are being worked on are finished; what is finished is kept.
 *
 * @throws as `retry`
 */
export async function cancel(options: ControlOptions): Promise<Cancelled> {
  return withQueue(options, async (connection, store, descriptor) => {
    const complete = (await storedRun(store)).missing.length === 0;
    // first, so that no worker fills the queue again
    if (!complete) await writeDescriptor(store, { ...descriptor, cancelled: true });
    return {
      path: store.place,
      complete,
      removed: await discardJobs(connection, queuedRun(store.place, descriptor).id, 'all'),
    };
  });
}

async function withQueue<T>(
  options: ControlOptions,
  task: (connection: Connection, store: RunStore, descriptor: Descriptor) => Promise<T>,
): Promise<T> {
  const { run, queue } = resolved(CONTROL, options);
  const address = queueAddress(queue);
  return withStore(run, async (store) => {
    await storedRun(store); // or there is none
    const descriptor = await readDescriptor(store.place);
    if (!descriptor)
      throw new DiffmineError('RUN_INVALID', `${store.place} was never on a queue.`, 'Begin it with --queue.');
    const connection = await connect(address);
    try {
      return await task(connection, store, descriptor);
    } finally {
      await connection.close();
    }
  });
}
