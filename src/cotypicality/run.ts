// A run folder of `cotypicality`: its manifest, its shards of sequences, which of them are finished.
//
//     RUN/manifest.json              what this run is; fixed at the start
//     RUN/shards/00000/              a finished shard, all of it at once: shard.json, sequences.parquet, places.parquet, scores.parquet,
//                                    features.safetensors, maps.safetensors, skipped.jsonl
//     RUN/clusters/                  places grouped, replaced as a whole: clusters.json, places.parquet, scores.parquet, clusters.parquet,
//                                    changes.parquet, features.safetensors
//     RUN/report/index.html, RUN/skipped.jsonl, RUN/locks/
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Precision, SamplerName } from '../native/types';
import { writeFolderAtomic } from '../run/atomic';
import type { Json } from '../run/fingerprint';
import type { ManifestModel } from '../run/manifest';
import { beginManifestOf, readManifestOf, ShardedFolder, type Draft, type Kind } from '../run/sharded';

export const COTYPICALITY_FORMAT = 'diffmine-cotypicality-1';

/** Every option that changes the scores, the places and their features. How they are grouped is in clusters/clusters.json. */
export interface CotypicalityRunOptions {
  /** null for class models */
  prompt: string | null;
  nullPrompt: string | null;
  size: number | 'source';
  sizeRule: 'floor' | 'ceil';
  /** pixels of the scored picture */
  patch: number;
  samples: number;
  seed: number;
  /** timesteps [tBegin, tEnd) */
  tBegin: number;
  tEnd: number;
  sampler: SamplerName;
  /** places of each list a sequence */
  places: number;
  /** DIFT */
  timestep: number;
  upBlock: number;
  ensemble: number;
  /** UNet evaluations a forward pass */
  batch: number;
  precision: Precision;
  device: 'cpu' | 'cuda';
  maps: boolean;
  /** sequences a shard */
  shardSize: number;
}

export interface ManifestSequence {
  /** LABEL/NAME in the parallel data set: the sequence's name in every table */
  key: string;
  /** the source picture's path in the data set */
  image: string;
  label: string;
}

export interface CotypicalityManifest {
  format: typeof COTYPICALITY_FORMAT;
  version: string;
  /** ISO 8601 */
  created: string;
  fingerprint: string;
  model: ManifestModel;
  parallel: { path: string; fingerprint: string; sequences: number; /** in order */ labels: string[] };
  options: CotypicalityRunOptions;
  preset: string | null;
  sequences: ManifestSequence[];
  shards: number;
}

export type CotypicalityDraft = Draft<CotypicalityManifest>;

/** shard.json */
export interface ShardRecord {
  id: number;
  /** sequences scored */
  sequences: number;
  skipped: number;
  notes: string[];
}

const COTYPICALITY: Kind<CotypicalityManifest> = {
  format: COTYPICALITY_FORMAT,
  noun: 'co-typicality run',
  maker: '`diffmine cotypicality --out`',
  subjects: ({ model, parallel }) => ({
    model: { words: 'the model', value: model.fingerprint },
    parallel: { words: 'the parallel data set', value: parallel.fingerprint },
    labels: { words: 'the labels', value: parallel.labels as Json, shown: true },
  }),
  items: ({ sequences }) => sequences,
  sound: ({ model, parallel, sequences }) => typeof model?.fingerprint === 'string' && Array.isArray(parallel?.labels) && Array.isArray(sequences),
};

/** A run; what it skipped are sequences: `image` is the sequence's key. */
export class CotypicalityRun extends ShardedFolder<CotypicalityManifest> {
  /**
   * Begins a run in `path`, or goes on with the one that is there if it is the same. Several processes may do so at once.
   *
   * @param anyBatch the draft's batch is a proposal: that of the run that is there stands
   * @throws RUN_MISMATCH where another run, or anything else, is in the folder
   */
  static async begin(path: string, draft: CotypicalityDraft, anyBatch: boolean): Promise<CotypicalityRun> {
    return new CotypicalityRun(resolve(path), await beginManifestOf(COTYPICALITY, path, draft, anyBatch));
  }

  /** The batch of the run that is in a folder, if one is. */
  static async batchOf(path: string): Promise<number | undefined> {
    return (await readManifestOf(COTYPICALITY, path))?.options.batch;
  }

  shardSequences(shard: number): ManifestSequence[] {
    return this.partOf(this.manifest.sequences, shard);
  }

  shardFile(shard: number, name: 'shard.json' | 'sequences.parquet' | 'places.parquet' | 'scores.parquet' | 'features.safetensors' | 'maps.safetensors' | 'skipped.jsonl'): string {
    return join(this.shardPath(shard), name);
  }

  groupFile(name: 'clusters.json' | 'places.parquet' | 'scores.parquet' | 'clusters.parquet' | 'changes.parquet' | 'features.safetensors'): string {
    return join(this.path, 'clusters', name);
  }

  /** Writes a finished shard, all of it at once. */
  async writeShard(shard: number, fill: (folder: string) => Promise<void>): Promise<void> {
    await writeFolderAtomic(this.shardPath(shard), fill);
  }

  async readShard(shard: number): Promise<ShardRecord> {
    return JSON.parse(await readFile(this.shardFile(shard, 'shard.json'), 'utf8')) as ShardRecord;
  }
}
