// What a scan is asked for, what it tells on the way, and what it says at the end.
import type { TimestepWeights } from '../../runs/pilot.js';
import type { Dtype, SamplerName } from '../../engine/types.js';
import type { PipelineEvent, SplitOptions } from '../../pipeline/options.js';

/** What a scan is asked for. */
export interface ScanOptions extends SplitOptions {
  /** a folder of label folders, or a CSV or JSONL file */
  dataset: string;
  /** encoding of its tables and lists; default strict UTF-8 */
  encoding?: string;
  /** of a table: the folder that relative image paths start at; default the table's */
  imageRoot?: string;
  /** a diffusers folder */
  model: string;
  /** weights to read where a part has them: 'fp16' for diffusion_pytorch_model.fp16.safetensors */
  variant?: string;
  /** the run folder: new, empty, or that of the same run */
  out: string;

  /** one of PRESETS: prompts, size and patch, each overridden by the option of its name */
  preset?: string;
  /** template of a label's prompt; default "{label}" */
  prompt?: string;
  /** default "" */
  nullPrompt?: string;
  /** short side in pixels, or 'source'; default: the model's */
  size?: number | 'source';
  /** how the long side is rounded; default 'floor' */
  sizeRule?: 'floor' | 'ceil';
  /** pixels; default: an eighth of the short side */
  patch?: number;
  /** default 100 */
  samples?: number;
  /** a non-negative safe integer; default 0 */
  seed?: number;
  /** the part of the schedule timesteps come from, as fractions [begin, end); default [0.1, 0.7] */
  tRange?: readonly [number, number] | 'auto';
  /** weight of a sample by its timestep: 1 / sqrt(noise) or 1 / noise, the noise measured on a few images before the run begins; default 'none' */
  tWeights?: TimestepWeights;
  /** default 'stratified' */
  sampler?: SamplerName;
  /** candidates of each list an image and condition; default 5 */
  perImage?: number;
  /** UNet calls a forward pass; default 'auto': sized from memory, then fixed in the manifest */
  batch?: number | 'auto';
  /** default 'fp32' */
  dtype?: Dtype;
  /** score every image under every label */
  allLabels?: boolean;
  /** 'null', 'others' or a label; default 'null' */
  against?: string;
  /** of 'others': how many other labels each sample is contrasted with, in turn, or 'all' (their mean); default 1 */
  othersPerSample?: number | 'all';
  /** keep mean maps; default true */
  maps?: boolean;
  /** images per shard; default 64, doubled until there are at most 32,768 shards */
  shardSize?: number;
  /** safetensors with noises and timesteps */
  replay?: string;
  /** the dataset's fingerprint is also over the content of every file, which is read for it */
  checksum?: boolean;
  /** random weights of `seed` in place of the UNet's own: a control of what an evaluation finds */
  untrained?: boolean;
  /** on a GPU: the fastest convolutions are found by trial, in every process again; its bytes then depend on how the work was split, by rounding */
  tune?: boolean;
  /**
   * for heat maps in place of patches: a map (F32) of every image under each of its labels ('A|B' has two), of all labels, or of those named; no patches.
   * `patch`, `perImage`, `maps` and `allLabels` then mean nothing
   */
  localize?: 'own' | 'all' | readonly string[];
  /** only these images of the dataset, by path: the run is one of a dataset that has no others */
  only?: readonly string[];
}

export type ScanEvent = PipelineEvent;

export interface ScanSummary {
  run: string;
  /** all shards of the run are finished, not only this part's */
  complete: boolean;
  resumed: boolean;
  labels: string[];
  images: number;
  /** of finished shards */
  scored: number;
  skipped: number;
  /** shards of the run, those finished, those finished by this call */
  shards: { total: number; done: number; here: number };
  /** UNet calls of this call */
  unetCalls: number;
  seconds: number;
  device: string;
  dtype: Dtype;
  batch: number;
  samples: number;
  patch: number;
}
