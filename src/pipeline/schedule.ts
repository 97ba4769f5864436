// Assigns shards: slots (this process's engine, or workers) take them in order; shards locked by other processes are retried later.
import { setTimeout as sleep } from 'node:timers/promises';
import { asDiffmineError, DiffmineError } from '../util/errors.js';
import { nameOf } from '../runs/locks.js';
import { count } from '../web/html.js';
import type { Shards } from '../runs/shards.js';
import type { Hooks } from '../util/hooks.js';

/** How long to wait before looking again at shards that other processes work on, ms. */
const POLL = 300;

/** Result of trying a shard: done by this slot, already finished by another process, or being worked on by one. */
export type ShardOutcome = 'done' | 'elsewhere' | 'busy';
/** @param round the shard is one of this round */
export type Slot = (shard: number, round?: number) => Promise<ShardOutcome>;

/** Of an engine, in bytes (Engine.memory). */
export interface EngineMemory {
  weights: number;
  available: number;
  peak: number;
  cached: number;
}

/** What does shards, until it is closed. */
export interface Slots {
  slots: Slot[];
  close: () => Promise<void>;
}

/** Thrown by a slot that can no longer work: the other slots do its shard and the following ones. */
export class SlotLost extends Error {
  /**
   * @param reason the error to throw if no slot is left
   * @param atWork its process died at its work, which may be the cause
   */
  constructor(
    readonly reason: DiffmineError,
    readonly atWork = false,
  ) {
    super(reason.message);
  }
}

/**
 * Runs until every shard is finished, by a slot or by another process. Returns how many the slots did. After the first error no slot gets
 * another shard, and the error is thrown when all have stopped. A SlotLost is an error only for the last slot.
 *
 * @param options.onWaiting told once, when only shards of other processes are left
 * @param options.leave asked from then on: whether to leave those shards to the others
 */
export async function schedule(
  shards: readonly number[],
  slots: readonly Slot[],
  options: {
    signal?: AbortSignal | undefined;
    onWaiting?: (shards: number[]) => Promise<void>;
    leave?: ((shards: readonly number[]) => Promise<boolean>) | undefined;
    round?: number | undefined;
  } = {},
): Promise<number> {
  const { signal, onWaiting, leave, round } = options;
  let queue = [...shards];
  let busy: number[] = [];
  let done = 0;
  let told = false;
  let failed = false;
  let left = slots.length;
  let working = 0;
  let wake = (): void => undefined;
  let resolved = new Promise<void>((resolve) => (wake = resolve));

  /** One shard; false where the slot is lost. */
  const work = async (slot: Slot, shard: number): Promise<boolean> => {
    working += 1;
    try {
      const outcome = await slot(shard, round);
      if (outcome === 'busy') busy.push(shard);
      if (outcome === 'done') done += 1;
      return true;
    } catch (error) {
      if (!(error instanceof SlotLost)) throw error;
      left -= 1;
      if (left === 0) throw error.reason;
      queue.unshift(shard);
      return false;
    } finally {
      working -= 1;
      wake();
      resolved = new Promise((resolve) => (wake = resolve));
    }
  };
  const serve = async (slot: Slot): Promise<void> => {
    while (!failed) {
      if (signal?.aborted) throw cancelled();
      const shard = queue.shift();
      if (shard !== undefined) {
        if (!(await work(slot, shard))) return;
        continue;
      }
      if (busy.length === 0) {
        if (working === 0) return;
        await resolved; // one that is at work may yet be lost, and its shard come back
        continue;
      }
      if (!told) {
        told = true;
        await onWaiting?.([...busy]);
      }
      const asked = busy;
      if (await leave?.(asked)) {
        busy = busy.filter((one) => !asked.includes(one));
        continue;
      }
      await sleep(POLL, undefined, { signal }).catch(() => undefined);
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
  // the cause, not the cancellations that it caused
  const errors = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []));
  const first = errors.find((error) => !(error instanceof DiffmineError && error.code === 'CANCELLED')) ?? errors[0];
  if (first !== undefined) throw asDiffmineError(first);
  return done;
}

/** Whom a schedule waits for, told once. */
export async function waitingFor(folder: Shards, shards: readonly number[]): Promise<string> {
  const holder = nameOf(await folder.locks.holder(folder.lockName(shards[0] ?? 0)));
  return `Waiting for ${shards.length === 1 ? 'a shard' : `${shards.length} shards`} that ${holder} works on.`;
}

/**
 * For `schedule`: leaves shards when each of their holders was seen to be alive since it was first asked. A holder that died before that is waited for until its
 * lock is free.
 */
export function whenHeld(folder: Shards, onLog?: Hooks['onLog']): (shards: readonly number[]) => Promise<boolean> {
  const before = new Map<number, number>();
  let told = false;
  return async (shards) => {
    let alive = true;
    for (const shard of shards) {
      const sign = await folder.locks.lastSign(folder.lockName(shard));
      if (sign === undefined) return false; // it can be taken, or is finished
      const first = before.get(shard);
      if (first === undefined) before.set(shard, sign);
      alive &&= sign === Infinity || (first !== undefined && sign > first);
    }
    if (alive && !told) onLog?.(`Leaving ${count(shards.length, 'shard')} to the processes that work on them.`);
    told ||= alive;
    return alive;
  };
}

/**
 * Returns when all shards are finished: this process has done its own, others do the rest.
 *
 * @param onWaiting told once, with how many are left
 * @throws CANCELLED
 */
export async function untilComplete(
  folder: Shards,
  options: { signal?: AbortSignal | undefined; onWaiting?: (left: number) => void } = {},
): Promise<void> {
  const { signal, onWaiting } = options;
  for (let told = false; ;) {
    const left = folder.count - (await folder.doneShards()).length;
    if (left === 0) return;
    if (signal?.aborted) throw cancelled();
    if (!told) onWaiting?.(left);
    told = true;
    await sleep(POLL, undefined, signal ? { signal } : {}).catch(() => undefined);
  }
}

function cancelled(): DiffmineError {
  return new DiffmineError(
    'CANCELLED',
    'The work was cancelled.',
    'Finished shards are kept. Run the same command to resume.',
  );
}
