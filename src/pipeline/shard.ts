// Runs one shard on this process's engine: takes its lock, and restarts it with half the batch when memory runs out.
import { dirname } from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { Tally, type Counter } from './progress.js';
import type { ShardOutcome } from './schedule.js';
import type { PipelineEvent } from './options.js';
import type { Part, ShardedStage, WorkOnShard } from './stage.js';
import type { Hooks } from '../util/hooks.js';
import { makeFolder } from '../util/paths.js';

/** Which shard, and how it is kept from others. */
export interface Assigned {
  shard: number;
  /** the shard is one of this round; undefined: of the stage's folder */
  round?: number | undefined;
  /** a queue has handed it out: no lock is taken. Two that do it write the same, and one of them is first */
  unlocked?: boolean | undefined;
}

/**
 * Does a shard unless another process is at it. One that another process has finished is counted as done, without its UNet calls.
 *
 * Where memory runs out, what was counted is taken back and the shard starts again with half the batch, down to the stage's smallest; the shard records
 * each restart. All of a shard is done with one batch, so that its results follow from what it records.
 *
 * @throws what the work throws; OUT_OF_MEMORY if the smallest batch does not fit
 */
export async function doShard(
  stage: ShardedStage,
  work: WorkOnShard,
  { shard, round, unlocked = false }: Assigned,
  counter: Counter,
  hooks: Pick<Hooks<PipelineEvent>, 'signal' | 'onLog'>,
): Promise<ShardOutcome> {
  const part = await partOf(stage, round);
  const { folder } = part;
  const lock = unlocked ? undefined : await folder.lockShard(shard);
  if (lock || (unlocked && !(await folder.isDone(shard)))) {
    try {
      if (!lock) await makeFolder(dirname(folder.shardPath(shard)));
      await untilItFits(stage, work, shard, counter, hooks, round);
      return 'done';
    } catch (error) {
      // who was faster may have removed what this one was reading
      if (!unlocked || !(await folder.isDone(shard))) throw error;
    } finally {
      await lock?.release();
    }
  }
  if (!(await folder.isDone(shard))) return 'busy';
  const { done, skipped } = await part.countsOf(shard);
  counter.drop(part.unetCalls(shard));
  counter.uncount(-(done + skipped));
  counter.shard(shard, done, skipped);
  return 'elsewhere';
}

/** The shards of a round, or of the stage's folder. */
export async function partOf(stage: ShardedStage, round: number | undefined): Promise<Part> {
  if (round === undefined) return stage;
  if (!stage.rounds) throw new DiffmineError('INTERNAL', 'The work has no rounds.');
  return stage.rounds.open(round);
}

async function untilItFits(
  { folder, minBatch }: ShardedStage,
  work: WorkOnShard,
  shard: number,
  counter: Counter,
  { signal, onLog }: Pick<Hooks<PipelineEvent>, 'signal' | 'onLog'>,
  round: number | undefined,
): Promise<void> {
  const notes: string[] = [];
  for (let { batch } = folder.manifest.options; ;) {
    const meter = new Tally(counter);
    try {
      const { done, skipped } = await work(shard, { batch, notes, meter, signal }, round);
      counter.shard(shard, done, skipped);
      return;
    } catch (error) {
      if (!(error instanceof DiffmineError && error.code === 'OUT_OF_MEMORY') || batch <= minBatch) throw error;
      const smaller = Math.max(minBatch, Math.floor(batch / 2));
      notes.push(`Out of memory at batch ${batch}: restarted with batch ${smaller}.`);
      onLog?.(`Shard ${shard}: out of memory at batch ${batch}, restarting it with batch ${smaller}.`);
      meter.undo();
      batch = smaller;
    }
  }
}
