// Who does which shard: slots (this process's engine, or workers) take the shards in order; what other processes hold is looked at again later.
import { setTimeout as sleep } from 'node:timers/promises';
import { asDiffmineError, DiffmineError } from '../errors';

/** How long to wait before looking again at shards that other processes work on, ms. */
const POLL = 300;

/** What became of a shard: scored by this slot, found finished by another process, or just being worked on by one. */
export type ShardOutcome = 'scored' | 'elsewhere' | 'busy';
export type Slot = (shard: number) => Promise<ShardOutcome>;

/**
 * Runs until every shard is finished, by a slot or by another process. Returns how many the slots scored. The first error ends all: no slot is given
 * a further shard, and it is thrown when none is at work any more.
 *
 * @param onWaiting told once, when only shards of other processes are left
 */
export async function schedule(shards: readonly number[], slots: readonly Slot[], options: { signal?: AbortSignal; onWaiting?: (shards: number[]) => Promise<void> } = {}): Promise<number> {
  const { signal, onWaiting } = options;
  let queue = [...shards];
  let busy: number[] = [];
  let scored = 0;
  let told = false;
  let failed = false;

  const serve = async (slot: Slot): Promise<void> => {
    while (!failed) {
      if (signal?.aborted) throw new DiffmineError('CANCELLED', 'The scan was cancelled.', 'Run the same command again to go on: finished shards are kept.');
      const shard = queue.shift();
      if (shard !== undefined) {
        const outcome = await slot(shard);
        if (outcome === 'busy') busy.push(shard);
        if (outcome === 'scored') scored += 1;
        continue;
      }
      if (busy.length === 0) return;
      if (!told) {
        told = true;
        await onWaiting?.([...busy]);
      }
      await sleep(POLL, undefined, signal ? { signal } : {}).catch(() => undefined);
      queue = [...queue, ...busy];
      busy = [];
    }
  };
  const ends = await Promise.allSettled(
    slots.map(async (slot) =>
      serve(slot).catch((error: unknown) => {
        failed = true;
        throw error;
      }),
    ),
  );
  // the cause, not the cancelling that followed from it
  const errors = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []));
  const first = errors.find((error) => !(error instanceof DiffmineError && error.code === 'CANCELLED')) ?? errors[0];
  if (first !== undefined) throw asDiffmineError(first);
  return scored;
}
