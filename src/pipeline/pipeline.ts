// Runs a stage's shards (stage.ts), in this process or in workers (workers.ts), until all of this part are finished, here or by others.
import { DiffmineError } from '../util/errors.js';
import { Engine } from '../engine/index.js';
import { processesOf } from './devices.js';
import { Meter, type Counter } from './progress.js';
import { schedule, waitingFor, type Slots } from './schedule.js';
import { doShard } from './shard.js';
import { shardsOf } from './shards.js';
import type { PipelineEvent, SplitOptions } from './options.js';
import type { OpenStage, PipelineSummary, ShardCounts, ShardedStage } from './stage.js';
import { startWorkers } from './workers.js';
import type { Hooks } from '../util/hooks.js';

/**
 * Does the unfinished shards of a stage that belong to this call. Several calls can work on one folder at once: each shard is done by one of them,
 * and all return when none is left.
 *
 * @returns the summary, and the stage that `open` made
 * @throws what `open` and the stage's work throw; CANCELLED after hooks.signal (finished shards are kept)
 */
export async function runPipeline<Options extends SplitOptions, Stage extends ShardedStage>(
  open: OpenStage<Options, Stage>,
  options: Options,
  hooks: Hooks<PipelineEvent> = {},
): Promise<PipelineSummary & { stage: Stage }> {
  const stage = await open(options, hooks);
  const { folder } = stage;
  const { manifest } = folder;
  const part = shardsOf(manifest, options.shard);
  const doneBefore = new Set(await folder.doneShards());
  const todo = part.filter((shard) => !doneBefore.has(shard));
  const finished = part.filter((shard) => doneBefore.has(shard));
  const resumed = doneBefore.size > 0;
  await stage.checkFinished?.(finished, hooks);

  const unetCalls = todo.reduce((sum, shard) => sum + stage.unetCalls(shard), 0);
  const items = { done: folder.shardLength(...finished), total: folder.shardLength(...part) };
  const shards = { done: finished.length, total: part.length };
  const device = stage.devices.map(({ id }) => id).join(', ');
  hooks.onProgress?.({
    type: 'plan',
    path: folder.path,
    resumed,
    shards: shards.total,
    shardsDone: shards.done,
    images: items.total,
    imagesDone: items.done,
    unetCalls,
    batch: manifest.options.batch,
    device,
  });

  const meter = new Meter(hooks, unetCalls, items, shards);
  const here =
    todo.length > 0 ? await meter.interruptible(stage.item, async () => work(stage, options, todo, meter, hooks)) : 0;
  meter.finish();

  const done = await folder.doneShards();
  const complete = done.length === manifest.shards;
  if (complete) await folder.writeSkipped();
  const counts: ShardCounts = { done: 0, skipped: 0 };
  // one after the other: there may be more shards than files can be open
  for (const shard of done) {
    const found = await stage.countsOf(shard);
    counts.done += found.done;
    counts.skipped += found.skipped;
  }
  return {
    stage,
    complete,
    resumed,
    ...counts,
    shards: { total: manifest.shards, done: done.length, here },
    unetCalls: meter.done,
    device,
  };
}

/** @returns how many shards were finished here */
async function work(
  stage: ShardedStage,
  options: SplitOptions,
  todo: readonly number[],
  meter: Counter,
  hooks: Hooks<PipelineEvent>,
): Promise<number> {
  const processes = processesOf(options, stage.devices[0], todo.length);
  const { slots, close } = processes
    ? await startWorkers(stage.module, options, processes, meter, hooks)
    : await startHere(stage, options.threads, meter, hooks);
  const onWaiting = async (shards: number[]): Promise<void> => hooks.onLog?.(await waitingFor(stage.folder, shards));
  try {
    return await schedule(todo, slots, { signal: hooks.signal, onWaiting });
  } finally {
    await close();
  }
}

/** An engine of this process, as one slot. */
export async function startHere(
  stage: ShardedStage,
  threads: number | undefined,
  counter: Counter,
  hooks: Hooks<PipelineEvent>,
): Promise<Slots> {
  const engine = new Engine({
    device: stage.devices[0].id,
    dtype: stage.folder.manifest.options.dtype,
    threads: threads ?? 0,
    ...stage.engine,
  });
  try {
    const call = { signal: hooks.signal };
    await engine.loadModel(stage.model.source, {
      ...call,
      onProgress: (event) =>
        event.type === 'load' && hooks.onProgress?.({ type: 'load', done: event.done, total: event.total }),
    });
    const workOn = await stage.prepare(engine, call);
    return {
      slots: [async (shard) => doShard(stage, workOn, shard, counter, hooks)],
      close: async () => engine.dispose(),
    };
  } catch (error) {
    await engine.dispose();
    throw error;
  }
}

/** @throws CANCELLED if the work was cancelled before it began: nothing is written then */
export function checkNotCancelled({ signal }: { signal?: AbortSignal | undefined }, what: string): void {
  if (signal?.aborted) throw new DiffmineError('CANCELLED', `The ${what} was cancelled before it began.`);
}
