// Model parts as the core takes them: configurations, weights, conditions.
import type { Tensor } from './device.js';

/** Mirrors cpp/models/unet.h UNetConfig. src/models makes it from unet/config.json. */
export interface UNetConfig {
  inChannels: number;
  outChannels: number;
  blockOutChannels: number[];
  downBlockTypes: string[];
  upBlockTypes: string[];
  midBlockType: string;
  layersPerBlock: number;
  /** per block: the NUMBER of heads in cross-attention blocks, the head SIZE in Attn* blocks */
  attentionHeadDim: number[];
  transformerLayers: number[];
  crossAttentionDim: number;
  normNumGroups: number;
  normEps: number;
  useLinearProjection: boolean;
  upcastAttention: boolean;
  scaleShift: boolean;
  numClassEmbeds: number;
  /** SDXL: widths of the pooled text and of each of six time ids, which are embedded beside the timestep */
  addedEmbedding?: { pooled: number; size: number };
  flipSinToCos: boolean;
  freqShift: number;
  pixelFold: number;
}

/** Mirrors cpp/models/dit.h DiTConfig. src/models makes it from transformer/config.json. */
export interface DiTConfig {
  kind: 'dit';
  inChannels: number;
  /** inChannels, or twice as many where the variance is learned */
  outChannels: number;
  numLayers: number;
  numAttentionHeads: number;
  attentionHeadDim: number;
  patchSize: number;
  /** cells of the latents it was trained on */
  sampleSize: number;
  /** without the null class */
  numClasses: number;
  attentionBias: boolean;
  activation: 'gelu-approximate' | 'gelu' | 'geglu';
  normEps: number;
  normElementwiseAffine: boolean;
}

/** Mirrors cpp/models/sd3.h Sd3Config. */
export interface Sd3Config {
  kind: 'sd3';
  inChannels: number;
  outChannels: number;
  numLayers: number;
  numAttentionHeads: number;
  attentionHeadDim: number;
  jointAttentionDim: number;
  pooledProjectionDim: number;
  patchSize: number;
  sampleSize: number;
  /** patches of the largest image, in each direction */
  posEmbedMaxSize: number;
  dualAttentionLayers: number[];
  qkNorm: boolean;
}

export type TransformerConfig = DiTConfig | Sd3Config;

export interface VaeConfig {
  inChannels: number;
  outChannels: number;
  latentChannels: number;
  blockOutChannels: number[];
  layersPerBlock: number;
  normNumGroups: number;
  scalingFactor: number;
  /** subtracted from latents before they are scaled */
  shiftFactor: number;
  useQuantConv: boolean;
  usePostQuantConv: boolean;
  midBlockAddAttention: boolean;
}

export interface TextEncoderConfig {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  maxPositionEmbeddings: number;
  layerNormEps: number;
  hiddenAct: 'quick_gelu' | 'gelu';
  /** the embeddings are what enters the last layer; default: the last state after the final LayerNorm */
  penultimate?: boolean;
  /** of one embedding for the whole prompt: its width, and the token whose state it is made of */
  projection?: { dim: number; eosTokenId: number };
}

/** Mirrors cpp/models/t5.h. */
export interface T5Config {
  vocabSize: number;
  dModel: number;
  dKv: number;
  dFf: number;
  numLayers: number;
  numHeads: number;
  /** of the relative positions */
  numBuckets: number;
  maxDistance: number;
  layerNormEps: number;
}

export interface ScheduleConfig {
  /** none for flows, which have no betas */
  betaSchedule: 'scaled_linear' | 'linear' | 'squaredcos_cap_v2' | 'none';
  trainTimesteps: number;
  betaStart: number;
  betaEnd: number;
  /** flow: noise - x0 of x_t = (1 - t / T) x0 + t / T noise */
  prediction: 'epsilon' | 'v_prediction' | 'flow';
  /** of flows: above 1, sampling takes more of its steps at high noise */
  shift?: number;
  setAlphaToOne: boolean;
  stepsOffset: number;
  clipSample: boolean;
  clipSampleRange: number;
}

/** Mirrors cpp/weights/renamed.h: a tensor of a part under the name and in the shape that a file has it. */
export interface RenamedTensor {
  name: string;
  stored: string;
  /** of a stored tensor that holds several: its rows [begin, end) */
  rows?: readonly [number, number];

  /** of a matrix */
  transposed?: boolean;
  /** to be read in, if the stored one is another of as many elements */
  shape?: number[];
}

/** Mirrors LowRankUpdate of cpp/weights/lora.h: scale x up x down is added to a weight. */
export interface LowRankUpdate {
  weight: string;
  file: string;
  down: string;
  up: string;
  scale: number;
  /** of an `up` that is of several weights: its rows [begin, end) that are of this one */
  rows?: readonly [number, number];
}

/** The Euler steps of a flow. */
export interface FlowSteps {
  /** descending; one for each step */
  timesteps: number[];
  /** timestep / T of each step, then 0 */
  sigmas: number[];
}

/** A component of a model: its config and its safetensors files (several if sharded). */
export interface ModelPart<Config> {
  config: Config;
  files: string[];
  /** instead of files: random weights with this seed (benchmarks) */
  synthetic?: number | bigint;
  /** instead of files: initial weights for training from scratch */
  initial?: number | bigint;
  /** LoRA updates merged into the denoiser's weights on loading: a pytorch_lora_weights.safetensors of diffusers, and its scale */
  lora?: { file: string; scale: number };
  /** instead of `lora`: updates by the names of the weights */
  updates?: LowRankUpdate[];
  /** where the files have other names: all tensors of the part; default: as the files have them */
  tensors?: RenamedTensor[];
}

/** Mirrors cpp/models/model.h. */
export interface ModelSource {
  /** exactly one of unet and transformer */
  unet?: ModelPart<UNetConfig>;
  transformer?: ModelPart<TransformerConfig>;
  vae?: ModelPart<VaeConfig>;
  /** embeddings of several are put side by side */
  textEncoders?: ModelPart<TextEncoderConfig>[];
  /** Stable Diffusion 3's third one, whose embeddings follow those of the others; its weights are read when it is used */
  t5?: ModelPart<T5Config>;
  schedule: ScheduleConfig;
}

/** What text encoders make of M prompts. */
export interface TextEmbeddings {
  /** F32 [M, tokens, D] */
  text: Tensor;
  /** F32 [M, P], if an encoder has a projection */
  pooled?: Tensor;
}

/** M conditions: class labels I64 [M], embeddings F32 [M, tokens, D], or those with what a model takes beside them. */
export type ConditionInput =
  | Tensor
  | (TextEmbeddings & {
      /** F32 [M, 6], SDXL: original height and width, top and left of the crop, target height and width; default: those of the image, seen whole */
      timeIds?: Tensor;
    });
