// --shard-size auto: decides, before a run begins, how many items a shard holds, so that it takes about a minute. An interruption repeats a shard, and every shard
// costs files and requests. A run that exists keeps its size.
import { DiffmineError } from '../util/errors.js';
import type { Hooks } from '../util/hooks.js';
import type { Engine } from '../engine/index.js';
import type { DeviceInfo, EngineOptions } from '../engine/types.js';
import type { ModelFolder } from '../models/index.js';
import type { Draft, ShardedManifest, ShardRate } from '../runs/sharded-manifest.js';
import { isAuto, type Shape } from './batch.js';
import { rateOfCpu } from './computed-rate.js';
import { processesOf } from './devices.js';
import { measureRate } from './measured-rate.js';
import type { PipelineEvent, SplitOptions } from './options.js';
import { knownRate, rateKey, rememberRate } from './remembered-rates.js';
import { defaultShardSize, divisionOf, MAX_SHARDS } from './shards.js';

/** Seconds that a shard takes. */
const SECONDS = 60;
/** Items of a shard, at most: its maps and tables are in memory until it is written. */
const LARGEST = 4096;
/** Shards of each engine, at least, so that engines end at about the same time. */
const EACH = 4;
/** Engines of a queue, whose number is not known. */
const OF_A_QUEUE = 16;

/** Work that is to be divided. */
export interface Divided {
  items: number;
  /** UNet calls of an item; of a race those of its longest round, since the shards of no round are larger */
  unetCallsPerItem: number;
}

/** Engines that share the work of a command. */
export interface Engines {
  /** of this command */
  here: number;
  /** of all commands that share the run, as far as is known */
  everywhere: number;
}

/** @param rate UNet calls per second of the engines of this command together; undefined: unknown */
export function shardSizeAt(
  rate: number | undefined,
  { items, unetCallsPerItem }: Divided,
  { here, everywhere }: Engines,
): number {
  if (rate === undefined || unetCallsPerItem === 0) return defaultShardSize(items);
  const inTime = (SECONDS * rate) / here / unetCallsPerItem;
  const shared = everywhere > 1 ? items / (EACH * everywhere) : Infinity;
  const wanted = Math.min(inTime, shared, LARGEST);
  // a power of two: the same for rates that differ by chance
  let size = 2 ** Math.max(0, Math.round(Math.log2(wanted)));
  while (items > size * MAX_SHARDS) size *= 2;
  return size;
}

/** The size that was asked for, or that the run has; until it is decided, one for a rate that is not known. */
export function sizeInHand(
  asked: number | 'auto',
  existing: { options: { shardSize: number } } | undefined,
  items: number,
): number {
  return asked === 'auto' ? (existing?.options.shardSize ?? defaultShardSize(items)) : asked;
}

/** @throws as divisionOf */
export function enginesOf(options: SplitOptions, device: DeviceInfo): Engines {
  if (options.queue !== undefined) return { here: 1, everywhere: OF_A_QUEUE };
  const here = processesOf(options, device, Infinity)?.length ?? 1;
  return { here, everywhere: here * divisionOf(options.shard, process.env).part.count };
}

/** A stage whose options are resolved, before its folder begins. */
export interface Planned<M extends ShardedManifest> {
  format: M['format'];
  draft: Draft<M>;
  model: ModelFolder;
  devices: readonly [DeviceInfo, ...DeviceInfo[]];
  /** the folder was there: the draft has its size */
  begun: boolean;
  divided: Divided;
  /** of the largest item */
  shape: () => Promise<Shape>;
}

const keyOf = <M extends ShardedManifest>({ format, draft, model, devices }: Planned<M>, split: SplitOptions): string =>
  rateKey({ format, options: draft.options, model, devices }, split);

const rounded = (rate: number): number => Number(rate.toPrecision(4));

/** The rate that is known without an engine: of an earlier command, or of a CPU computed from counted operations. */
export async function rateWithoutEngine<M extends ShardedManifest>(
  planned: Planned<M>,
  split: SplitOptions,
): Promise<ShardRate | undefined> {
  const known = await knownRate(keyOf(planned, split));
  if (known !== undefined) return { unetCallsPerSecond: known, from: 'earlier' };
  const { model, devices, draft } = planned;
  if (devices[0].id !== 'cpu') return undefined;
  const computed = rateOfCpu(model, await planned.shape(), draft.options.dtype, split.threads);
  return { unetCallsPerSecond: rounded(computed), from: 'computed' };
}

/**
 * Measures a rate, and remembers it.
 *
 * @param prompts two of the run's conditions
 */
export async function measuredRate<M extends ShardedManifest>(
  planned: Planned<M>,
  split: SplitOptions,
  prompts: readonly [string | null, string | null],
  engine: Pick<EngineOptions, 'tune'>,
  { signal, onProgress }: Hooks<PipelineEvent>,
  keep?: (engine: Engine) => void,
): Promise<ShardRate> {
  const { draft, model, devices, shape } = planned;
  const [device] = devices;
  const { dtype, batch } = draft.options;
  const each = await measureRate(
    { model, shape: await shape(), prompts, dtype, batch },
    { device: device.id, threads: split.threads ?? 0, ...engine },
    {
      signal,
      onProgress: (event) =>
        event.type === 'load' && onProgress?.({ type: 'load', done: event.done, total: event.total }),
    },
    keep,
  );
  const unetCallsPerSecond = rounded(each * devicesOf(split, device));
  await rememberRate(keyOf(planned, split), unetCallsPerSecond);
  return { unetCallsPerSecond, from: 'measured' };
}

/** Devices that compute side by side: CPU processes share the cores that one was timed on; every further GPU adds its own. */
function devicesOf(options: SplitOptions, device: DeviceInfo): number {
  return device.id === 'cpu' ? 1 : new Set(processesOf(options, device, Infinity) ?? [device.id]).size;
}

/**
 * The draft of a run that begins, with its shard size decided. Loads the model to measure a rate where no earlier command has, except for a run on a queue,
 * which is computed elsewhere.
 *
 * @param prompts two of the run's conditions
 * @param keep takes over the engine that a rate was measured with
 */
export async function withShardSize<M extends ShardedManifest>(
  planned: Planned<M>,
  options: SplitOptions & { shardSize?: number | 'auto' | undefined },
  prompts: readonly [string | null, string | null],
  engine: Pick<EngineOptions, 'tune'>,
  hooks: Hooks<PipelineEvent>,
  keep?: (engine: Engine) => void,
): Promise<Draft<M>> {
  const { draft, devices, begun, divided } = planned;
  if (!isAuto(options.shardSize) || begun) return draft;
  const known = await rateWithoutEngine(planned, options);
  const rate =
    known?.from === 'earlier' || options.queue !== undefined
      ? known
      : await measuredRate(planned, options, prompts, engine, hooks, keep).catch((error: unknown) => {
          // the work itself takes a smaller batch then, or names the image
          if (error instanceof DiffmineError && ['OUT_OF_MEMORY', 'NUMERICS'].includes(error.code)) return known;
          throw error;
        });
  const shardSize = shardSizeAt(rate?.unetCallsPerSecond, divided, enginesOf(options, devices[0]));
  return { ...draft, options: { ...draft.options, shardSize }, ...(rate ? { shardRate: rate } : {}) };
}
