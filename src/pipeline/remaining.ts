// How far a stage's work is, from what is finished in its folder alone. Whoever asks closes rounds that are finished, and finishes what is complete.
import { join } from 'node:path';
import { removeAllLeftovers } from '../runs/atomic.js';
import type { Hooks } from '../util/hooks.js';
import type { Shards } from '../runs/shards.js';
import type { PipelineEvent } from './options.js';
import type { ShardedStage } from './stage.js';

export interface Remaining {
  /** what is missing are shards of this round; undefined: of the stage's folder */
  round?: number;
  /** shards that are not finished, ascending; empty where all is */
  missing: number[];
}

async function missingOf(folder: Shards): Promise<number[]> {
  const done = new Set(await folder.doneShards());
  return Array.from({ length: folder.count }, (_, shard) => shard).filter((shard) => !done.has(shard));
}

/** The shards that can be worked on now. Several processes may ask at once. */
export async function remainingOf(stage: ShardedStage, hooks: Hooks<PipelineEvent>): Promise<Remaining> {
  const missing = await missingOf(stage.folder);
  if (missing.length === 0) {
    await finishStage(stage, hooks);
    return { missing };
  }
  const { rounds } = stage;
  for (let index = (await rounds?.current()) ?? 0; rounds && index < rounds.count; index += 1) {
    const left = await missingOf((await rounds.open(index)).folder);
    if (left.length > 0) return { round: index, missing: left };
    const decided = await rounds.close(index);
    if (decided !== undefined) hooks.onLog?.(decided);
  }
  return { missing };
}

/** Writes what is written once all shards of the folder are finished: one process at a time. */
export async function finishStage(
  { folder, rounds }: ShardedStage,
  { signal }: Pick<Hooks<PipelineEvent>, 'signal'>,
): Promise<void> {
  const lock = await folder.locks.wait('finish', { signal });
  try {
    await removeAllLeftovers(join(folder.path, 'shards')); // a queue's workers take no locks, under which the next one clears up
    await folder.writeSkipped();
    await rounds?.finish();
  } finally {
    await lock.release();
  }
}
