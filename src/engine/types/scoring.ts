// What is computed with a model: typicality, features, heat maps, clusters, single forward passes.
import type { DType, Tensor } from './device.js';

/** Interleaved RGB, 8 bit: height x width x 3 bytes, as sharp's raw output. */
export interface Image {
  pixels: Uint8Array;
  width: number;
  height: number;
}

export type SamplerName = 'stratified' | 'reference';

/** Of an error d: d^2; |d|; or 0.2 (sqrt(d^2 + 0.01) - 0.1), which is d^2 for small and 0.2 |d| for large errors. */
export type LossName = 'squared' | 'absolute' | 'huber';

/** Mirrors TypicalityOptions. */
export interface TypicalityOptions {
  /** N */
  samples: number;
  /** a safe integer or bigint below 2^64 */
  seed: number | bigint;
  /** timesteps [begin, end) */
  tBegin: number;

  tEnd: number;
  sampler: SamplerName;
  /** default squared, as in the paper */
  loss?: LossName;
  /** pixels */
  patch: number;
  /** patches of each list */
  perImage: number;
  /** UNet calls per forward pass */
  batch: number;
  keepMaps?: boolean;
  keepScores?: boolean;
  keepLosses?: boolean;
  /** the samples [begin, end) of the N that this call denoises; results are over [0, end), those before `begin` taken from `earlier`. Default all */
  sampleRange?: readonly [number, number];
  /** [N], mean 1: the loss difference of sample n is multiplied by its own before every sum; default ones */
  sampleWeights?: readonly number[];
  /** return this call's loss differences, for `earlier` of a later call */
  keepDifferences?: boolean;
  /** time the stages; this synchronizes the device after each, so the call takes longer */
  timeStages?: boolean;
}

/** Mirrors TypicalityInput: B images of the same size (or their latents), each under K conditions, M outputs an image. */
export interface TypicalityInput {
  images?: Image[];
  /** instead of images: [B, C, h, w] F32, with the pixel size maps are upsampled to */
  latents?: Tensor;
  height?: number;
  width?: number;
  /** [B][K] rows of the prepared conditions, or [B][N][K] where they change with the sample */
  conditions: readonly (readonly number[])[] | readonly (readonly (readonly number[])[])[];
  /** [B][M] which of the K conditions each output scores */
  subjects: number[][];
  /** [B][M][K] contrast weights: 0 at the subject, summing to 1 */
  weights: number[][][];
  /** [B] keys of the random control patches */
  keys: (number | bigint)[];
  /** replay: [N,C,h,w] or [B,N,C,h,w] F32 */
  noises?: Tensor;
  /** replay: [N] or [B,N] I64; F32 of a flow */
  timesteps?: Tensor;
  /** F32 [B, begin, M, h', w']: differences of the samples before sampleRange, put together; needed where it begins above 0 */
  earlier?: Tensor;
}

export interface ScoredPatch {
  row: number;
  column: number;
  score: number;
  /** null for one sample */
  standardError: number | null;
}

export interface TypicalityOutput {
  /** F32 [h', w'], when keepMaps */
  map?: Tensor;
  /** typicality of the whole image */
  mean: number;
  top: ScoredPatch[];
  bottom: ScoredPatch[];
  random: ScoredPatch[];
  /** F32 [H-k+1, W-k+1], when keepScores */
  scores?: Tensor;
  standardErrors?: Tensor;
}

export interface TypicalityResult {
  /** [B][M] */
  outputs: TypicalityOutput[][];
  /** F32 [B, end - begin, K, h', w'], when keepLosses */
  losses?: Tensor;
  /** F32 [B, end - begin, M, h', w'], when keepDifferences: weighted loss differences */
  differences?: Tensor;
  timesteps: number[];
  /** seconds by stage, when timeStages: encode (images to latents), noise, unet, score, select */
  stages?: Record<string, number>;
}

export interface DiftOptions {
  timestep: number;
  upBlock: number;
  ensemble: number;
  seed: number | bigint;
  batch: number;
}

export interface PixelBox {
  rowBegin: number;
  columnBegin: number;
  rowEnd: number;
  columnEnd: number;
}

export interface DiftInput {
  images?: Image[];
  latents?: Tensor;
  height?: number;
  width?: number;
  /** [B] rows of the prepared conditions */
  conditions: number[];
  /** [B] boxes of each image */
  boxes: PixelBox[][];
  noises?: Tensor;
  keepFeatures?: boolean;
}

export interface DiftResult {
  /** one for each image, F32 `[boxes, F]` */
  patches: Tensor[];
  /** F32 [B, F, fh, fw], when keepFeatures */
  features?: Tensor;
}

/** Mirrors cpp/localization/heat_map.h; kernel and sigma go together, without them nothing is blurred. */
export interface HeatMapOptions {
  /** pixels */
  height: number;
  width: number;
  /** taps of the Gaussian, odd */
  kernel?: number;
  /** pixels */
  sigma?: number;
}

export interface KMeansOptions {
  clusters: number;
  restarts: number;
  seed: number | bigint;
  iterations?: number;
  tolerance?: number;
}

export interface KMeansResult {
  /** I64 [n] */
  labels: Tensor;
  /** F32 [k, d] */
  centers: Tensor;
  /** F32 [n] distance of each point to its center */
  distances: Tensor;
  inertia: number;
  iterations: number;
}

export interface UNetForwardInput {
  /** F32 [P, C, H, W] in the UNet's layout (folded where the model folds) */
  x: Tensor;
  /** [P] */
  timesteps: number[];
  /** [P * fanOut] rows of the prepared conditions */
  conditionIndex: number[];
  fanOut?: number;
  /** pixels of the images, for models that are conditioned on it; default: those of x */
  height?: number;
  width?: number;
  /** module paths whose outputs to return ("conv_in", "up_blocks.1", ...) */
  observe?: string[];
  /** without fanOut: at each module path the output of row r becomes that of row source[r] ([P]; source[r] = r leaves it) */
  inject?: { paths: string[]; source: number[] };
}

export interface UNetForwardResult {
  sample: Tensor;
  observed: Record<string, Tensor>;
}

export interface SafetensorsHeader {
  tensors: Record<string, { dtype: DType; shape: number[]; bytes: number }>;
  metadata: Record<string, string>;
}
