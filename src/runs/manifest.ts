// manifest.json: what a run is. Written once, at the start; everything that decides the results is in it (docs/reference/formats/run.md).
import type { z } from 'zod';
import { PILOT_SHAPE, type Pilot } from './pilot.js';
import type { DatasetSource, Ignored, LayoutName } from '../data/index.js';
import type { Dtype } from '../engine/types.js';
import { CONTRAST, MAPS, NOISE, SIZE, TIMESTEPS } from '../options/scoring.js';
import { imageListColumns } from './images.js';
import type { ListRecord } from './list.js';
import { fingerprintOfDraft, readManifestOf, type Draft, type Kind, type ShardRate } from './sharded-manifest.js';
import {
  either,
  flag,
  list,
  members,
  nullable,
  number,
  oneOf,
  optional,
  text,
  valueOf,
  whole,
  type Shape,
} from './json-shape.js';

export const RUN_FORMAT = 'diffmine-run-3';
export { MANIFEST } from './sharded-manifest.js';

/** Options that a run records as they were given, with the values that the options of a scan have. */
const RECORDED = { ...SIZE, ...NOISE, ...TIMESTEPS, ...CONTRAST, maps: MAPS };
type Recorded = z.output<z.ZodObject<typeof RECORDED>>;

/** All options that change results. Others (workers, --shard, progress) are not recorded. */
export interface RunOptions {
  /** prompt template with {label}; null for class models */
  prompt: string | null;
  nullPrompt: string | null;
  /** short side of the scored image in pixels; 'source' keeps the size of the image */
  size: number | 'source';
  sizeRule: Recorded['sizeRule'];
  /** pixels of the scored image */
  patch: number;
  samples: Recorded['samples'];
  seed: Recorded['seed'];
  /** timesteps [tBegin, tEnd) */
  tBegin: number;
  tEnd: number;
  sampler: Recorded['sampler'];
  /** present if samples are weighted by timestep, with the noise of `pilot` */
  tWeights?: Exclude<Recorded['tWeights'], 'none'>;
  /** present if it is not the squared one */
  loss?: Exclude<Recorded['loss'], 'squared'>;
  /** candidates of each list per image and condition */
  perImage: number;
  /** UNet inputs per forward pass */
  batch: number;
  dtype: Dtype;
  /** the kind of device: results of two kinds differ by rounding */
  device: 'cpu' | 'cuda';
  allLabels: Recorded['allLabels'];
  /** 'null', 'others' or a label: what a label's loss is compared with */
  against: string;
  /** of 'others': the other labels each sample is contrasted with, in turn; 'all': their mean */
  othersPerSample?: Recorded['othersPerSample'];
  maps: Recorded['maps'];
  /** images per shard */
  shardSize: number;
  /** sha256 of the replay file */
  replay: string | null;
  /** present if only the images of these labels were scanned */
  labels?: string[];
  /** present if only held-out images were scanned: their fraction (data/holdout.ts) */
  holdout?: number;
  /** present if the UNet's weights were random, drawn with `seed`: a control */
  untrained?: true;
  /** present if the dataset's fingerprint includes the content of every file */
  checksum?: true;
  /** present if cuDNN's benchmark mode was on: results of different processes may differ in rounding */
  tune?: true;
  /** present in runs of localize: the labels that images are mapped under (own, all, or a list); `patch` and `perImage` are then 0, maps F32 */
  localize?: 'own' | 'all' | string[];
  /** present if images that cannot reach the top K get fewer samples */
  race?: RaceOptions;
}

/** What a race is run with: in the manifest. */
export interface RaceOptions {
  /** patches of a label that are to be found: K */
  top: number;
  /** 'risk': images leave that are unlikely to reach the top K; 'half': the worse half leaves */
  rule: 'risk' | 'half';
  /** fraction of a label's top K that may be missed */
  risk: number;
  /** samples after each round, ascending; the last one is all */
  ends: number[];
  /** fraction of a large label's images, chosen at random, that get all samples whatever they score */
  controls: number;
}

export interface ManifestModel {
  path: string;
  /** present for a model of the Hugging Face hub: owner/name, and the commit */
  hub?: { id: string; revision: string };
  /** as they were given, with absolute paths: the weight variant, and of the options of a model those that decide what it is */
  variant?: string | undefined;
  /** false where the T5 of Stable Diffusion 3 was left out, else absent */
  t5?: boolean | undefined;
  prediction?: 'epsilon' | 'v_prediction' | undefined;
  tokenizer?: string | undefined;
  vae?: string | undefined;
  lora?: readonly string[] | undefined;
  fingerprint: string;
  kind: 'latent' | 'pixel';
  conditioning: 'text' | 'class';
  vaeFactor: number;
  fold: number;
  /** where features are taken from unless `mine` is told otherwise: the block and the timestep */
  features: { upBlock: number; diftT: number };
}

export interface ManifestDataset extends DatasetSource {
  path: string;
  fingerprint: string;
  /** images of the run */
  images: number;
  /** ignored entries; a folder counts once */
  ignored: number;
  /** the same by reason; absent in runs of versions that did not know it */
  ignoredBy?: Ignored;
  labels: string[];
  /** other columns of the dataset's table, copied to the images table */
  columns: string[];
  /** the known layout it was read as; absent: label folders, or a table */
  layout?: LayoutName;
}

export interface Manifest {
  format: typeof RUN_FORMAT;
  version: string;
  /** ISO 8601 */
  created: string;
  fingerprint: string;
  model: ManifestModel;
  dataset: ManifestDataset;
  options: RunOptions;
  /** the preset that options were taken from, if any */
  preset: string | null;
  /** path of the replay file */
  replayFile: string | null;
  /** present if --t-range auto or --t-weights measured one */
  pilot?: Pilot;
  /** labels that images are scored under, in order: all except that of --against LABEL */
  conditions: string[];
  index: ListRecord;
  shards: number;
  /** present if shardSize was chosen by a rate */
  shardRate?: ShardRate;
}

export type ManifestDraft = Draft<Manifest>;

export const MODEL_SHAPE: Shape = members({
  path: text,
  hub: optional(members({ id: text, revision: text })),
  variant: optional(text),
  t5: optional(flag),
  prediction: optional(oneOf('epsilon', 'v_prediction')),
  tokenizer: optional(text),
  vae: optional(text),
  lora: optional(list(text)),
  fingerprint: text,
  kind: oneOf('latent', 'pixel'),
  conditioning: oneOf('text', 'class'),
  vaeFactor: whole(1),
  fold: whole(1),
  features: members({ upBlock: whole(0), diftT: whole(0) }),
});
/** What all options of scans have: those of a run, or of another kind of work. */
export const SIZE_SHAPES = { size: either(oneOf('source'), whole(1)), sizeRule: valueOf(SIZE.sizeRule) } as const;
export const WHERE_SHAPES = { device: oneOf('cpu', 'cuda') } as const;

const RACE_OPTIONS = members({
  top: whole(1),
  rule: oneOf('risk', 'half'),
  risk: number,
  ends: list(whole(1)),
  controls: number,
});

/** What a scan's folder is among the sharded ones. */
export const RUN: Kind<Manifest> = {
  format: RUN_FORMAT,
  noun: 'run',
  maker: '`diffmine scan --out`',
  subjects: ({ model, dataset }) => ({
    model: { value: model.fingerprint, shown: model.path },
    dataset: { value: dataset.fingerprint, shown: dataset.path },
  }),
  columns: ({ dataset, options }) => imageListColumns(dataset.columns, options.checksum === true),
  shape: members({
    model: MODEL_SHAPE,
    dataset: members({
      path: text,
      fingerprint: text,
      images: whole(0),
      ignored: whole(0),
      labels: list(text),
      columns: list(text),
      layout: optional(text),
      encoding: optional(text),
      imageRoot: optional(text),
      imageColumn: optional(text),
      labelColumn: optional(text),
      labelFrom: optional(text),
      bin: optional(text),
      map: optional(text),
      limit: optional(whole(1)),
      sample: optional(whole(1)),
      sampleSeed: optional(whole(0)),
    }),
    options: members({
      prompt: nullable(text),
      nullPrompt: nullable(text),
      ...SIZE_SHAPES,
      ...WHERE_SHAPES,
      patch: whole(0),
      samples: valueOf(RECORDED.samples),
      seed: valueOf(RECORDED.seed),
      tBegin: whole(0),
      tEnd: whole(0),
      sampler: valueOf(RECORDED.sampler),
      tWeights: optional(valueOf(RECORDED.tWeights)),
      loss: optional(valueOf(RECORDED.loss)),
      perImage: whole(0),
      allLabels: valueOf(RECORDED.allLabels),
      against: text,
      othersPerSample: optional(valueOf(RECORDED.othersPerSample)),
      maps: valueOf(RECORDED.maps),
      replay: nullable(text),
      labels: optional(list(text)),
      holdout: optional(number),
      untrained: optional(oneOf(true)),
      checksum: optional(oneOf(true)),
      tune: optional(oneOf(true)),
      localize: optional(either(oneOf('own', 'all'), list(text))),
      race: optional(RACE_OPTIONS),
    }),
    preset: nullable(text),
    replayFile: nullable(text),
    pilot: optional(PILOT_SHAPE),
    conditions: list(text),
  }),
  optionName: {
    tBegin: 't-range, first timestep',
    tEnd: 't-range, end',
    sizeRule: 'rounding of the long side',
    localize: 'labels mapped by localize',
    untrained: 'untrained weights',
  },
};

/** The fingerprint of what decides results: model, data and options, wherever they lie. */
export function runFingerprint(draft: ManifestDraft): string {
  return fingerprintOfDraft(RUN, draft);
}

/**
 * Reads and checks a run's manifest.
 *
 * @returns undefined if the folder has none
 * @throws RUN_INVALID for one that is damaged or of another format
 */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  return readManifestOf(RUN, folder);
}
