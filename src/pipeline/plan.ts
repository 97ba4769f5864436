// A stage before it begins: begun here, or for --dry-run priced without computing or writing.
import { checkVacant } from '../runs/begin.js';
import { keepListings } from '../runs/listings.js';
import type { Draft, ShardedManifest } from '../runs/sharded-manifest.js';
import type { Engine } from '../engine/index.js';
import type { EngineOptions } from '../engine/types.js';
import { isBucket } from '../util/place.js';
import type { Hooks } from '../util/hooks.js';
import { resolve } from 'node:path';
import { processesOf } from './devices.js';
import { checkNotCancelled } from './pipeline.js';
import type { PipelineEvent, SplitOptions } from './options.js';
import { pingQueue } from './queue/coordinate.js';
import { enginesOf, rateWithoutEngine, shardSizeAt, withShardSize, type Planned } from './shard-size.js';
import { divisionOf, shardsOf } from './shards.js';
import type { ShardedStage } from './stage.js';

/** A sharded stage whose options are resolved, before its folder begins. */
export interface PlannedStage<M extends ShardedManifest, Stage extends ShardedStage<M>> extends Planned<M> {
  /** in sentences: 'scan' */
  noun: string;
  /** one of what a shard holds: 'image' */
  item: string;
  /** `out`, as it was given */
  out: string;
  /** in sentences, what is in such a folder: 'run' */
  folder: string;
  /** two of the run's conditions, for measuring a rate */
  prompts: readonly [string | null, string | null];
  engine?: Pick<EngineOptions, 'tune'>;
  /** UNet calls of items [begin, end); of a race at most */
  unetCalls(begin: number, end: number): number;
  races?: boolean;
  /** UNet calls before the work, to choose timesteps */
  pilotCalls?: number;
  /** bytes of the finished folder, computed; undefined: not known */
  disk?: number;
  /** listings of archives, to keep with the run */
  listings?: readonly string[];
  /** work that decides part of the draft */
  prepare?(): Promise<Draft<M>>;
  /** Begins the folder, or opens the one that is there: then nothing is written. */
  begin(draft: Draft<M>): Promise<Stage>;
}

export interface ShardedOptions extends SplitOptions {
  shardSize?: number | 'auto' | undefined;
}

/** Begins a planned stage, or resumes it. */
export async function beginStage<M extends ShardedManifest, Stage extends ShardedStage<M>>(
  planned: PlannedStage<M, Stage>,
  options: ShardedOptions,
  hooks: Hooks<PipelineEvent>,
): Promise<Stage> {
  checkNotCancelled(hooks, planned.noun);
  const prepared = (await planned.prepare?.()) ?? planned.draft;
  let ready: Engine | undefined;
  // other processes, of this command or of a queue, load the model themselves: it must not take their memory here
  const here = options.queue === undefined && processesOf(options, planned.devices[0], Infinity) === undefined;
  try {
    const draft = await withShardSize(
      { ...planned, draft: prepared },
      options,
      planned.prompts,
      planned.engine ?? {},
      hooks,
      here ? (engine) => (ready = engine) : undefined,
    );
    const stage = await planned.begin(draft);
    await keepListings(stage.folder.store, planned.listings ?? []);
    // another process may have begun the folder, with another dtype
    if (stage.folder.manifest.options.dtype === draft.options.dtype) stage.ready = ready;
    else await ready?.dispose();
    return stage;
  } catch (error) {
    await ready?.dispose();
    throw error;
  }
}

/** What a command would do, for --dry-run. */
export interface Plan {
  dryRun: true;
  /** where it would be written: absolute, or in a bucket */
  path: string;
  /** what is worked on, one of it: 'image' */
  item: string;
  /** of this command's part: all, and those that are done and kept */
  items: { total: number; done: number };
  /** null: the work is not sharded */
  shards: { total: number; done: number } | null;
  /** what `calls` counts, one of it */
  unit: 'UNet call' | 'forward pass';
  /** that are left to do */
  calls: number;
  /** `calls` may be fewer: what is found decides */
  atMost: boolean;
  /** of `calls` per second, and where it is from; null: not known */
  rate: { perSecond: number; from: 'earlier' | 'manifest' | 'computed' } | null;
  /** of `calls` at `rate` */
  seconds: number | null;
  /** bytes of all that is written, computed; null: not known */
  disk: number | null;
  /** null: nothing is computed with a model */
  dtype: string | null;
  batch: number | null;
  device: string | null;
  /** what is reused, in sentences */
  reuses: string[];
  /** what is written, below `path` */
  writes: string[];
}

export const absoluteOut = (out: string): string => (isBucket(out) ? out : resolve(out));

/** The time of calls at a rate; null where it is not known. */
export const secondsAt = (calls: number, rate: Plan['rate']): number | null => (rate ? calls / rate.perSecond : null);

/**
 * What is left of a stage. Nothing is computed, created or locked.
 *
 * @throws what beginning the stage throws, as far as it is known without computing
 */
export async function planOf<M extends ShardedManifest, Stage extends ShardedStage<M>>(
  planned: PlannedStage<M, Stage>,
  options: ShardedOptions,
  writes: string[],
  hooks: Hooks<PipelineEvent>,
): Promise<Plan> {
  const { out, draft, devices, divided, item } = planned;
  if (options.queue !== undefined) await pingQueue(options, hooks);
  const stage = planned.begun ? await planned.begin(draft) : undefined;
  try {
    if (!stage) await checkVacant(out, planned.folder);
    const known = await rateWithoutEngine(planned, options);
    const recorded = stage?.folder.manifest.shardRate;
    const rate: Plan['rate'] =
      known?.from === 'earlier'
        ? { perSecond: known.unetCallsPerSecond, from: 'earlier' }
        : recorded?.from === 'measured'
          ? { perSecond: recorded.unetCallsPerSecond, from: 'manifest' }
          : known
            ? { perSecond: known.unetCallsPerSecond, from: 'computed' }
            : null;
    const { items } = divided;
    const size =
      stage?.folder.manifest.options.shardSize ??
      (options.shardSize === undefined || options.shardSize === 'auto'
        ? shardSizeAt(known?.unetCallsPerSecond, divided, enginesOf(options, devices[0]))
        : options.shardSize);
    const count = Math.ceil(items / size);
    const division = divisionOf(options.shard, process.env, hooks.onLog);
    const own = division.order(count);
    const finished = new Set(await stage?.folder.doneShards());
    await stage?.checkFinished?.(
      shardsOf({ shards: count }, division.part).filter((shard) => finished.has(shard)),
      hooks,
    );
    const range = (shard: number): [number, number] => [shard * size, Math.min(items, (shard + 1) * size)];
    const lengthOf = (shards: readonly number[]): number =>
      shards.reduce((sum, shard) => sum + range(shard)[1] - range(shard)[0], 0);
    const done = own.filter((shard) => finished.has(shard));
    const left = own.filter((shard) => !finished.has(shard));
    const pilot = stage ? 0 : (planned.pilotCalls ?? 0);
    const calls = pilot + left.reduce((sum, shard) => sum + planned.unetCalls(...range(shard)), 0);
    const { dtype, batch } = stage?.folder.manifest.options ?? draft.options;
    return {
      dryRun: true,
      path: absoluteOut(out),
      item,
      items: { total: lengthOf(own), done: lengthOf(done) },
      shards: { total: own.length, done: done.length },
      unit: 'UNet call',
      calls,
      atMost: planned.races === true,
      rate,
      seconds: secondsAt(calls, rate),
      disk: planned.disk ?? null,
      ...{ dtype, batch },
      device: options.queue === undefined ? devices.map(({ id }) => id).join(', ') : 'the workers of the queue',
      reuses: [],
      writes,
    };
  } finally {
    await stage?.folder.store.close();
  }
}
