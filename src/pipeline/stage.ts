// The interface between a stage and the pipeline. A stage defines its shards and how to do one (ShardedStage). The pipeline (pipeline.ts) does everything
// else: choosing shards, locks, worker processes and devices, progress, cancellation, resuming, running out of memory, and the summary.
import type { ModelFolder } from '../models/index.js';
import type { CallOptions, DeviceInfo, EngineOptions } from '../engine/types.js';
import type { Engine } from '../engine/index.js';
import type { ShardedFolder } from '../runs/sharded.js';
import type { ShardedManifest } from '../runs/sharded-manifest.js';
import type { Shards } from '../runs/shards.js';
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

/**
 * Does a shard and writes it atomically, while its lock is held. Throws OUT_OF_MEMORY to be called again with a smaller batch.
 *
 * @param round of this round of the stage; undefined: of the stage's folder
 */
export type WorkOnShard = (shard: number, context: ShardContext, round?: number) => Promise<ShardCounts>;

/** Shards in any order, several at a time. */
export interface Part {
  folder: Shards;
  /** UNet calls of a shard, if nothing is skipped */
  unetCalls(shard: number): number;
  /** reads a finished shard */
  countsOf(shard: number): Promise<ShardCounts>;
}

/** Shards that all processes finish, each its own, before any begins the next round. */
export interface Round extends Part {
  /** in sentences: 'round 2 of 5' */
  name: string;
  /** UNet calls after this round, if all that is in it continues */
  unetCallsAfter: number;
}

/**
 * Work that is done in rounds before the shards of the stage's folder. Between two rounds it is decided what continues: from all that the finished round
 * found, so that whoever decides comes to the same, however the work was split.
 */
export interface Rounds {
  count: number;
  /** whether some of the work has been done */
  begun(): Promise<boolean>;
  /** the first round that is not closed; `count` where all are */
  current(): Promise<number>;
  /** a round, from 0; those before it are closed */
  open(round: number): Promise<Round>;
  /** Decides and writes what follows from a finished round, unless another process has. Returns a sentence that says what was decided. */
  close(round: number): Promise<string | undefined>;
  /** The stage's folder is complete: writes what is to be kept of the rounds and removes the rest. */
  finish(): Promise<void>;
}

/** Sharded work with its options resolved and its folder begun. */
export interface ShardedStage<M extends ShardedManifest = ShardedManifest> extends Part {
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
  /** an engine of this process that has loaded the model already, to measure a rate: taken by the work, or disposed */
  ready?: Engine | undefined;
  /** smallest batch that a shard can be done with */
  minBatch: number;
  /** work before the shards of `folder` */
  rounds?: Rounds;
  /** checks that finished shards still belong to today's input. @throws RUN_MISMATCH */
  checkFinished?(shards: readonly number[], hooks: Hooks<PipelineEvent>): Promise<void>;
  /** prepares an engine that has loaded the model */
  prepare(engine: Engine, call: CallOptions): Promise<WorkOnShard>;
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
  /** fraction of the time on shards in which this call's engines had nothing to do: images were read, or results written */
  engineWaiting?: number;
  /** names of the devices, separated by commas */
  device: string;
}
