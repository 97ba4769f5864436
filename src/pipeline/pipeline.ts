// Runs a stage's shards (stage.ts), in this process, in workers (worker-pool.ts) or by those on a queue (queue/), until all of this part are finished, here or by others.
import { together } from '../util/together.js';
import { DiffmineError } from '../util/errors.js';
import { Engine } from '../engine/index.js';
import { count } from '../web/html.js';
import { processesOf } from './devices.js';
import { Meter, type Counter } from './progress.js';
import { knownRate, rateKey, rememberRate } from './remembered-rates.js';
import {
  schedule,
  untilComplete,
  waitingFor,
  whenHeld,
  type EngineMemory,
  type ShardOutcome,
  type Slots,
} from './schedule.js';
import { doShard, type Assigned } from './shard.js';
import type { Connection } from './queue/bull.js';
import { engage, reachQueue, type Fleet } from './queue/coordinate.js';
import { divisionOf, shardsOf, type Division } from './shards.js';
import { finishStage } from './remaining.js';
import type { PipelineEvent, SplitOptions } from './options.js';
import type { OpenStage, Part, PipelineSummary, Round, Rounds, ShardCounts, ShardedStage } from './stage.js';
import { startWorkers } from './worker-pool.js';
import type { Hooks } from '../util/hooks.js';

/** Seconds that a rate is measured over, at least, to be remembered. */
const MEASURED = 5;

/**
 * Does the unfinished shards of a stage that belong to this call. Several calls can work on one folder at once: each shard is done by one of them,
 * and all return when none is left.
 *
 * @returns the summary, and the stage that `open` made: whoever calls closes its store
 * @throws what `open` and the stage's work throw; CANCELLED after hooks.signal (finished shards are kept)
 */
export async function runPipeline<Options extends SplitOptions, Stage extends ShardedStage>(
  open: OpenStage<Options, Stage>,
  options: Options,
  hooks: Hooks<PipelineEvent> = {},
): Promise<PipelineSummary & { stage: Stage }> {
  const queue = options.queue === undefined ? undefined : await reachQueue(options, hooks);
  try {
    const division = divisionOf(options.shard, process.env, hooks.onLog);
    const stage = await open(options, hooks);
    try {
      return await run(stage, division, queue, options, hooks);
    } catch (error) {
      await stage.folder.store.close();
      throw error;
    } finally {
      await stage.ready?.dispose();
    }
  } finally {
    await queue?.close(hooks.signal?.aborted);
  }
}

async function run<Stage extends ShardedStage>(
  stage: Stage,
  division: Division,
  queue: Connection | undefined,
  options: SplitOptions,
  hooks: Hooks<PipelineEvent>,
): Promise<PipelineSummary & { stage: Stage }> {
  const { folder, rounds } = stage;
  const { manifest } = folder;
  const part = division.order(manifest.shards);
  const doneBefore = new Set(await folder.doneShards());
  const todo = part.filter((shard) => !doneBefore.has(shard));
  const finished = part.filter((shard) => doneBefore.has(shard));
  const resumed = doneBefore.size > 0 || (rounds !== undefined && (await rounds.begun()));
  await stage.checkFinished?.(
    shardsOf(manifest, division.part).filter((shard) => doneBefore.has(shard)),
    hooks,
  );

  const unetCalls = rounds && todo.length > 0 ? await ahead(rounds, division) : callsOf(stage, todo);
  const items = { done: folder.shardLength(...finished), total: folder.shardLength(...part) };
  const shards = { done: finished.length, total: part.length };
  const device = queue ? 'the workers of the queue' : stage.devices.map(({ id }) => id).join(', ');
  const { model, devices } = stage;
  const key = rateKey({ format: manifest.format, options: manifest.options, model, devices }, options);
  const rate = queue ? undefined : await knownRate(key);
  hooks.onProgress?.({
    type: 'plan',
    path: folder.place,
    resumed,
    shards: shards.total,
    shardsDone: shards.done,
    images: items.total,
    imagesDone: items.done,
    unetCalls,
    atMost: rounds !== undefined && unetCalls > 0,
    ...(rate === undefined ? {} : { rate }),
    batch: manifest.options.batch,
    device,
  });

  const meter = new Meter(hooks, unetCalls, items, shards);
  let here = 0;
  try {
    if (todo.length > 0) here = await work(stage, options, { division, queue, todo }, meter, hooks);
  } finally {
    const measured = meter.rateAfter(MEASURED);
    if (measured !== undefined && !queue) await rememberRate(key, measured);
  }
  meter.finish();

  const done = await folder.doneShards();
  const complete = done.length === manifest.shards;
  if (complete) await finishStage(stage, hooks);
  const counts: ShardCounts = { done: 0, skipped: 0 };
  await together(done, async (shard) => {
    const found = await stage.countsOf(shard);
    counts.done += found.done;
    counts.skipped += found.skipped;
  });
  const { engineWaiting } = meter;
  return {
    stage,
    complete,
    resumed,
    ...counts,
    shards: { total: manifest.shards, done: done.length, here },
    unetCalls: meter.done,
    ...(engineWaiting === undefined ? {} : { engineWaiting }),
    device,
  };
}

const callsOf = (part: Part, shards: readonly number[]): number =>
  shards.reduce((sum, shard) => sum + part.unetCalls(shard), 0);

/** This call's shards of a round that are not finished, and the fraction of the round's images that are this call's. */
async function todoOf(round: Round, division: Division): Promise<{ own: number[]; todo: number[]; share: number }> {
  const own = division.order(round.folder.count);
  const done = new Set(await round.folder.doneShards());
  const all = Array.from({ length: round.folder.count }, (_, id) => id);
  const share = round.folder.shardLength(...own) / Math.max(1, round.folder.shardLength(...all));
  return { own, todo: own.filter((id) => !done.has(id)), share };
}

/** UNet calls of the rounds that are left to this call, if all that is in the current one continues. */
async function ahead(rounds: Rounds, division: Division): Promise<number> {
  const index = await rounds.current();
  if (index >= rounds.count) return 0;
  const round = await rounds.open(index);
  const { todo, share } = await todoOf(round, division);
  return callsOf(round, todo) + Math.round(share * round.unetCallsAfter);
}

/** @returns how many shards of the stage's folder were finished here */
async function work(
  stage: ShardedStage,
  options: SplitOptions,
  { division, queue, todo }: { division: Division; queue: Connection | undefined; todo: readonly number[] },
  meter: Meter,
  hooks: Hooks<PipelineEvent>,
): Promise<number> {
  let started: Slots | undefined;
  let fleet: Fleet | undefined;
  const runShards = async (part: Part, shards: readonly number[], round?: number): Promise<number> => {
    if (shards.length === 0) return 0;
    if (queue) {
      fleet ??= await engage(queue, stage, options, meter, hooks);
      return fleet.finish(part, round);
    }
    started ??= await start(stage, options, todo.length, meter, hooks);
    return schedule(shards, started.slots, {
      signal: hooks.signal,
      // rounds end together
      ...(round !== undefined ? { round } : division.auto ? { leave: whenHeld(part.folder, hooks.onLog) } : {}),
      onWaiting: async (busy) => hooks.onLog?.(await waitingFor(part.folder, busy)),
    });
  };
  try {
    for (let index = (await stage.rounds?.current()) ?? 0; index < (stage.rounds?.count ?? 0); index += 1)
      await doRound(stage.rounds as Rounds, index, { division, meter, hooks, run: runShards });
    return await meter.interruptible(stage.item, async () => runShards(stage, todo));
  } finally {
    await started?.close();
  }
}

/** One round: this call's shards, then those of others are waited for, then it is closed. */
async function doRound(
  rounds: Rounds,
  index: number,
  context: {
    division: Division;
    meter: Meter;
    hooks: Hooks<PipelineEvent>;
    run: (part: Part, shards: readonly number[], round: number) => Promise<number>;
  },
): Promise<void> {
  const { division, meter, hooks, run } = context;
  const round = await rounds.open(index);
  const { own, todo, share } = await todoOf(round, division);
  const left = new Set(todo);
  const finished = own.filter((shard) => !left.has(shard));
  meter.enter(round.name, {
    unetCalls: callsOf(round, todo) + Math.round(share * round.unetCallsAfter),
    items: { done: round.folder.shardLength(...finished), total: round.folder.shardLength(...own) },
    shards: { done: finished.length, total: own.length },
  });
  await meter.interruptible('image', async () => {
    await run(round, todo, index);
    await untilComplete(round.folder, {
      signal: hooks.signal,
      onWaiting: (left) =>
        hooks.onLog?.(`Waiting for ${count(left, 'shard')} of ${round.name} that other parts of the work do.`),
    });
  });
  const decided = await rounds.close(index);
  if (decided !== undefined) hooks.onLog?.(decided);
  meter.leave();
}

async function start(
  stage: ShardedStage,
  options: SplitOptions,
  shards: number,
  meter: Counter,
  hooks: Hooks<PipelineEvent>,
): Promise<Slots> {
  const processes = processesOf(options, stage.devices[0], shards);
  return processes
    ? startWorkers(stage.module, options, processes, meter, hooks)
    : startHere(stage, options.threads, meter, hooks);
}

/** An engine of this process, as one slot. */
async function startHere(
  stage: ShardedStage,
  threads: number | undefined,
  counter: Counter,
  hooks: Hooks<PipelineEvent>,
): Promise<Slots> {
  const { shard: doShard, close } = await startEngine(stage, threads, hooks);
  return { slots: [async (shard, round) => doShard({ shard, round }, counter, hooks)], close };
}

/** An engine of this process that has loaded a stage's model. */
export interface StartedEngine {
  shard: (assigned: Assigned, counter: Counter, hooks: Hooks<PipelineEvent>) => Promise<ShardOutcome>;
  memory: () => EngineMemory;
  close: () => Promise<void>;
}

export async function startEngine(
  stage: ShardedStage,
  threads: number | undefined,
  hooks: Hooks<PipelineEvent>,
): Promise<StartedEngine> {
  const { ready } = stage;
  stage.ready = undefined;
  const engine =
    ready ??
    new Engine({
      device: stage.devices[0].id,
      dtype: stage.folder.manifest.options.dtype,
      threads: threads ?? 0,
      ...stage.engine,
    });
  try {
    const call = { signal: hooks.signal };
    if (!ready)
      await engine.loadModel(stage.model.source, {
        ...call,
        onProgress: (event) =>
          event.type === 'load' && hooks.onProgress?.({ type: 'load', done: event.done, total: event.total }),
      });
    const workOn = await stage.prepare(engine, call);
    return {
      shard: async (assigned, counter, hooks) => {
        const [begun, busy] = [performance.now(), engine.busySeconds()];
        const outcome = await doShard(stage, workOn, assigned, counter, hooks);
        const seconds = (performance.now() - begun) / 1000;
        if (outcome === 'done') counter.time(seconds, Math.max(0, seconds - (engine.busySeconds() - busy)));
        return outcome;
      },
      memory: () => engine.memory(),
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
