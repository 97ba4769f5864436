// A run directory of `cotypicality`: its manifest, its shards of sequences, which of them are finished.
//
//     RUN/manifest.json              what this run is; fixed at the start
//     RUN/shards/00000/              a finished shard, all of it at once: shard.json, sequences.parquet, places.parquet, scores.parquet,
//                                    features.safetensors, maps.safetensors, skipped.jsonl
//     RUN/clusters/                  places grouped, replaced as a whole: clusters.json, places.parquet, scores.parquet, clusters.parquet,
//                                    changes.parquet, features.safetensors
//     RUN/report/index.html, RUN/skipped.jsonl, RUN/locks/
import { join } from 'node:path';
import type { Dtype, SamplerName } from '../../engine/types.js';
import { writeFolderAtomic } from '../../runs/atomic.js';
import { MODEL_SHAPE, SIZE_SHAPES, WHERE_SHAPES, type ManifestModel } from '../../runs/manifest.js';
import type { ListRecord, Rows } from '../../runs/list.js';
import { beginFolder, type BeginOptions } from '../../runs/begin.js';
import { readManifestOf, type Draft, type Kind, type ShardRate } from '../../runs/sharded-manifest.js';
import { ShardedFolder } from '../../runs/sharded.js';
import { shardName } from '../../runs/shards.js';
import { flag, list, members, nullable, text, whole } from '../../runs/json-shape.js';
import type { Row } from '../../runs/tables.js';

export const COTYPICALITY_FORMAT = 'diffmine-cotypicality-3';

/** Every option that changes the scores, the places and their features. How they are grouped is in clusters/clusters.json. */
export interface CotypicalityRunOptions {
  /** null for class models */
  prompt: string | null;
  nullPrompt: string | null;
  size: number | 'source';
  sizeRule: 'floor' | 'ceil';
  /** pixels of the scored image */
  patch: number;
  samples: number;
  seed: number;
  /** timesteps [tBegin, tEnd) */
  tBegin: number;
  tEnd: number;
  sampler: SamplerName;
  /** places of each list per sequence */
  places: number;
  diftT: number;
  upBlock: number;
  ensemble: number;
  /** UNet calls per forward pass */
  batch: number;
  dtype: Dtype;
  device: 'cpu' | 'cuda';
  maps: boolean;
  /** sequences a shard */
  shardSize: number;
}

/** A row of index.parquet. */
export interface ListedSequence extends Row {
  /** LABEL/NAME in the parallel dataset: the sequence's name in every table */
  key: string;
  /** the source image's path in the dataset */
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
  index: ListRecord;
  shards: number;
  /** present if shardSize was chosen by a rate */
  shardRate?: ShardRate;
}

export type CotypicalityDraft = Draft<CotypicalityManifest>;

/** shard.json */
export interface ShardRecord {
  id: number;
  /** sequences scored */
  sequences: number;
  skipped: number;
  /** UNet calls per forward pass: the manifest's, or less after running out of memory */
  batch: number;
  notes: string[];
}

const COTYPICALITY: Kind<CotypicalityManifest> = {
  format: COTYPICALITY_FORMAT,
  noun: 'co-typicality run',
  maker: '`diffmine cotypicality --out`',
  subjects: ({ model, parallel }) => ({
    model: { value: model.fingerprint, shown: model.path },
    dataset: { value: parallel.fingerprint, shown: parallel.path },
    label: { value: parallel.labels },
  }),
  columns: () => ({
    own: [
      ['key', 'STRING'],
      ['label', 'STRING'],
      ['image', 'STRING'],
    ],
    deciding: ['image'],
  }),
  shape: members({
    model: MODEL_SHAPE,
    parallel: members({ path: text, fingerprint: text, sequences: whole(0), labels: list(text) }),
    options: members({
      prompt: nullable(text),
      nullPrompt: nullable(text),
      ...SIZE_SHAPES,
      ...WHERE_SHAPES,
      patch: whole(1),
      samples: whole(1),
      seed: whole(0),
      tBegin: whole(0),
      tEnd: whole(0),
      sampler: text,
      places: whole(1),
      diftT: whole(0),
      upBlock: whole(0),
      ensemble: whole(1),
      maps: flag,
    }),
    preset: nullable(text),
  }),
  optionName: {
    tBegin: 't-range, first timestep',
    tEnd: 't-range, end',
    sizeRule: 'rounding of the long side',
  },
};

const SHARD_RECORD = members({
  id: whole(0),
  sequences: whole(0),
  skipped: whole(0),
  batch: whole(1),
  notes: list(text),
});

/** A run; what it skipped are sequences: `image` is the sequence's key. */
export class CotypicalityRun extends ShardedFolder<CotypicalityManifest, ListedSequence> {
  /**
   * Begins a run in `place`, a path or s3://bucket/prefix, or resumes the one that is there if it is the same. Several processes may do so at once.
   *
   * @param sequences in order
   * @throws RUN_MISMATCH if another run, or anything else, is in the folder
   */
  static async begin(
    place: string,
    draft: CotypicalityDraft,
    sequences: Rows,
    options: BeginOptions,
  ): Promise<CotypicalityRun> {
    return new CotypicalityRun(await beginFolder(COTYPICALITY, place, draft, sequences, options));
  }

  /** The options of the run that is in a folder, if one is. */
  static async recorded(path: string): Promise<CotypicalityRunOptions | undefined> {
    return (await readManifestOf(COTYPICALITY, path))?.options;
  }

  shardFile(
    shard: number,
    name:
      | 'shard.json'
      | 'sequences.parquet'
      | 'places.parquet'
      | 'scores.parquet'
      | 'features.safetensors'
      | 'maps.safetensors'
      | 'skipped.jsonl',
  ): string {
    return join(this.shardPath(shard), name);
  }

  groupFile(
    name:
      | 'clusters.json'
      | 'places.parquet'
      | 'scores.parquet'
      | 'clusters.parquet'
      | 'changes.parquet'
      | 'features.safetensors',
  ): string {
    return join(this.path, 'clusters', name);
  }

  /** Writes a finished shard, all of it at once. */
  async writeShard(shard: number, fill: (folder: string) => Promise<void>): Promise<void> {
    await writeFolderAtomic(this.shardPath(shard), fill);
    await this.kept.commit(shardName(shard));
  }

  async readShard(shard: number): Promise<ShardRecord> {
    return this.readShardJson<ShardRecord>(shard, 'shard.json', SHARD_RECORD);
  }
}
