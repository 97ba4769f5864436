// The interface between a stage and the pipeline. A stage defines its shards and how to do one (ShardedStage). The pipeline (pipeline.ts) does everything
// else: choosing shards, locks, worker processes and devices, progress, cancellation, resuming, running out of memory, and the summary.
import type { ModelFolder } from '../models/index.js';
import type { CallOptions, DeviceInfo, EngineOptions } from '../engine/types.js';
import type { Engine } from '../engine/index.js';
import type { ShardedFolder, ShardedManifest } from '../runs/sharded.js';
import type { PipelineEvent, SplitOptions } from './options.js';
import type { Counter } from './progress.js';
import type { Hooks } from '../util/hooks.js';

/** How many items of a finished shard were done and skipped. */
export interface ShardCounts {
  done: number;
  skipped: number;
}

/** Context of one attempt at a shard. */
export interface ShardContext {
  /** UNet calls per forward pass: the manifest's, or less after running out of memory */
  batch: number;
  /** notes to record in the shard */
  notes: readonly string[];
  /** counts UNet calls and items; the counts are taken back if the shard is repeated */
  meter: Pick<Counter, 'add' | 'drop' | 'image'>;
  signal?: AbortSignal | undefined;
}

/** Does a shard and writes it atomically, while its lock is held. Throws OUT_OF_MEMORY to be called again with a smaller batch. */
export type WorkOnShard = (shard: number, context: ShardContext) => Promise<ShardCounts>;

/** Sharded work with its options resolved and its folder begun. */
export interface ShardedStage<M extends ShardedManifest = ShardedManifest> {
  /** URL of the module whose export `open` (OpenStage) makes the same stage from the same options in a worker process */
  module: string;
  /** one of what a shard holds: 'image' */
  item: string;
  folder: ShardedFolder<M>;
  model: ModelFolder;
  /** all devices; each worker gets one */
  devices: readonly [DeviceInfo, ...DeviceInfo[]];
  /** other options of each engine */
  engine?: Pick<EngineOptions, 'tune'>;
  /** smallest batch that a shard can be done with */
  minBatch: number;
  /** UNet calls of a shard, if nothing is skipped */
  unetCalls(shard: number): number;
  /** checks that finished shards still belong to today's input. @throws RUN_MISMATCH */
  checkFinished?(shards: readonly number[], hooks: Hooks<PipelineEvent>): Promise<void>;
  /** prepares an engine that has loaded the model */
  prepare(engine: Engine, call: CallOptions): Promise<WorkOnShard>;
  /** reads a finished shard */
  countsOf(shard: number): Promise<ShardCounts>;
}

/** Resolves options and begins or resumes the folder. Called with the same options in every process that shares the work. */
export type OpenStage<Options extends SplitOptions, Stage extends ShardedStage> = (
  options: Options,
  hooks: Hooks<PipelineEvent>,
) => Promise<Stage>;

/** Result of the work. */
export interface PipelineSummary {
  /** all shards are finished, not only this part's */
  complete: boolean;
  resumed: boolean;
  /** items of finished shards */
  done: number;
  skipped: number;
  /** shards of the folder, those finished, those finished by this call */
  shards: { total: number; done: number; here: number };
  /** UNet calls of this call */
  unetCalls: number;
  /** names of the devices, separated by commas */
  device: string;
}
