// Types of the addon's interface (binding/): what is passed between JavaScript and the core, with the core's names.
// Other TypeScript code uses src/engine/index.ts, which wraps this in classes.
import type { Hooks } from '../util/hooks.js';

export type { Progress } from '../util/hooks.js';

export type DType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'U8' | 'BOOL';

/** A dense row-major tensor. `data` has the bytes, little-endian: element count x element size. */
export interface Tensor {
  dtype: DType;
  shape: number[];
  data: Uint8Array;
}

export type Dtype = 'fp32' | 'bf16' | 'fp16';

export interface DeviceInfo {
  /** 'cpu', 'cuda:0' */
  id: string;
  name: string;
  /** bytes */
  memoryTotal: number;
  memoryFree: number;
  /** '9.0'; empty on a CPU */
  computeCapability: string;
  /** default number of OpenMP threads of an engine; 0 on a GPU */
  threads: number;
  /** ATen's, such as 'AVX512'; empty on a GPU */
  cpuCapability: string;
  /** dtypes that engines support on this device; fp16 on a CPU only if oneDNN supports it */
  dtypes: Dtype[];
  /** of these, what the hardware multiplies in; others are emulated and slow */
  nativeDtypes: Dtype[];
}

export interface BuildInfo {
  /** the LibTorch that the addon was compiled for, and the one it runs with: '2.13.0' */
  libtorchCompiled: string;
  libtorchLoaded: string;
  cuda: boolean;
  /** optimizations that an engine can `disable` */
  optimizations: Optimization[];
}

/** Options of every asynchronous call. Progress is of type "load", "encode", "score", "features" or "cluster". */
export type CallOptions = Pick<Hooks, 'signal' | 'onProgress'>;

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

/** An optimization of the engine. Optimizations change results only by rounding; cpp/core/engine_options.h describes them. */
export type Optimization =
  | 'graphs'
  | 'prepacked-weights'
  | 'winograd'
  | 'group-norm'
  | 'geglu'
  | 'shared-prefix'
  | 'cached-keys'
  | 'block-attention'
  | 'cudnn-attention'
  | 'cpu-caching-allocator'
  | 'pinned-uploads'
  | 'encode-tf32'
  | 'encode-ahead';

export interface EngineOptions {
  /** 'cpu', 'cuda', 'cuda:1' */
  device: string;
  dtype: Dtype;
  /** number of OpenMP threads; 0: OMP_NUM_THREADS, else one per usable core */
  threads?: number;
  /**
   * CUDA: turn on cuDNN's benchmark mode, which measures the convolution algorithms for each new shape and picks the fastest. Another process may pick
   * another one, with different rounding; without it, convolutions are deterministic. Default false. No effect on a CPU
   */
  tune?: boolean;
  /** seconds that an idle engine on a CPU keeps the memory of freed activations; default 10 */
  idleSeconds?: number;
  /** optimizations to disable, to measure their effect */
  disable?: Optimization[];
}

/** Sustained rates of a device, to which measured speeds are compared. */
export interface MachineRates {
  /** operations (2 x multiply-adds) per second of a large matmul */
  matmul: number;
  /** bytes per second, read and written, of a copy larger than any cache */
  copy: number;
  /** number of the engine's OpenMP threads */
  threads: number;
}

/** Interleaved RGB, 8 bit: height x width x 3 bytes, as sharp's raw output. */
export interface Image {
  pixels: Uint8Array;
  width: number;
  height: number;
}

export type SamplerName = 'stratified' | 'reference';

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
  /** [B]: F32 [boxes, F] */
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

export type LearningRateCourse = 'constant' | 'linear' | 'cosine';

/** Mirrors cpp/training/trainer.h TrainerOptions. */
export interface TrainerOptions {
  /** seed of noise and timesteps; a safe integer or bigint below 2^64; default 0 */
  seed?: number | bigint;
  /** peak learning rate */
  learningRate: number;
  /** default 'constant' */
  lrSchedule?: LearningRateCourse;
  /** warm-up steps; default 0 */
  warmup?: number;
  /** step at which 'linear' and 'cosine' reach zero */
  totalSteps?: number;
  /** AdamW: default 0.9, 0.999, 1e-8, 0.01 */
  beta1?: number;
  beta2?: number;
  epsilon?: number;
  weightDecay?: number;
  /** maximum global gradient norm; absent: no clipping */
  maxGradientNorm?: number;
  /** decay of the moving average; absent: none */
  emaDecay?: number;
  /** gamma of the Min-SNR weights; absent: unweighted */
  minSnr?: number;
  /** timesteps [begin, end); default all of the schedule */
  tBegin?: number;
  tEnd?: number;
  /** fraction of timesteps drawn from the whole schedule instead; default 0 */
  wideFraction?: number;
  /** pixels of a cell of x0 in each direction, for models that are conditioned on the image's size; default 1 */
  cell?: number;
  /** gradient checkpointing: less memory, more time; the same gradients */
  checkpointing?: boolean;
  /** train only LoRA updates alpha / rank B A of the attention projections; weights and averages are then those of A and B */
  lora?: { rank: number; alpha: number };
}

/** One batch of a training step: B images as inputs of the UNet. */
export interface TrainingBatch {
  /** F32 [B, C, h, w]: latents, or pixels (folded where the model folds) */
  x0: Tensor;
  /** [B] rows of the trainer's conditions */
  conditions: number[];
  /** replay: noise F32 [B, C, h, w] and timesteps [B] to use instead of drawing them */
  noise?: Tensor;
  timesteps?: number[];
}

/** Inputs of a prediction with the UNet in training. */
export interface PredictionInput {
  /** F32 [B, C, h, w] in the UNet's layout */
  x: Tensor;
  /** [B] */
  timesteps: number[];
  /** [B] rows of the trainer's conditions */
  conditions: number[];
}

export interface TrainingStep {
  /** finished steps, including this one */
  step: number;
  /** mean over the step's batch */
  loss: number;
  /** norm over all parameters, before clipping */
  gradientNorm: number;
  learningRate: number;
  /** fp16: gradients overflowed, and only the loss scale was changed */
  skipped: boolean;
}

/** gradients: those accumulated since the last update */
export type TrainerTensors = 'weights' | 'averages' | 'gradients';

/** Opaque native handles. */
export interface NativeEngine {
  readonly __engine: unique symbol;
}
export interface NativeConditions {
  readonly __conditions: unique symbol;
}
export interface NativeTrainer {
  readonly __trainer: unique symbol;
}

/**
 * The addon's exports. Functions that take an engine run on its compute thread, in the order called, and return promises.
 * Every error has `code`, `message`, `hint`.
 */
export interface Addon {
  buildInfo(): BuildInfo;
  devices(): Omit<DeviceInfo, 'threads'>[];

  // engine
  createEngine(options: EngineOptions & { threads: number }): NativeEngine;
  /** Cancels what runs, rejects what waits, joins the thread, frees the model. Idempotent. */
  disposeEngine(engine: NativeEngine): Promise<void>;
  engineMemory(engine: NativeEngine): { weights: number; available: number; peak: number; cached: number };
  /** medians of runs that take `seconds` for each rate; needs no model */
  machineRates(
    engine: NativeEngine,
    dtype: Dtype | undefined,
    seconds: number | undefined,
    call?: CallOptions,
  ): Promise<MachineRates>;
  loadModel(engine: NativeEngine, source: ModelSource, call?: CallOptions): Promise<void>;

  // text encoder
  /** I64 [M, 77] for each text encoder */
  encodeText(engine: NativeEngine, ids: readonly Tensor[], call?: CallOptions): Promise<TextEmbeddings>;

  // unet
  prepareConditions(engine: NativeEngine, conditions: ConditionInput, call?: CallOptions): Promise<NativeConditions>;
  unetForward(
    engine: NativeEngine,
    conditions: NativeConditions,
    input: UNetForwardInput,
    call?: CallOptions,
  ): Promise<UNetForwardResult>;

  // vae; images of the same size
  vaeEncode(engine: NativeEngine, images: Image[], call?: CallOptions): Promise<{ mean: Tensor; logvar: Tensor }>;
  vaeDecode(engine: NativeEngine, latents: Tensor, call?: CallOptions): Promise<Tensor>;
  /** what the UNet denoises: latents, or pixels (folded) */
  encodeImages(engine: NativeEngine, images: Image[], call?: CallOptions): Promise<Tensor>;

  // schedule (no engine: small and synchronous)
  schedule(config: ScheduleConfig): { betas: Tensor; alphasCumprod: Tensor };
  addNoise(config: ScheduleConfig, x0: Tensor, noise: Tensor, timesteps: number[]): { noisy: Tensor; velocity: Tensor };
  flowSteps(config: ScheduleConfig, steps: number): FlowSteps;
  flowStep(sigma: number, next: number, sample: Tensor, modelOutput: Tensor): Tensor;
  ddimTimesteps(config: ScheduleConfig, steps: number): number[];
  ddimStep(
    config: ScheduleConfig,
    steps: number,
    t: number,
    sample: Tensor,
    modelOutput: Tensor,
  ): { prevSample: Tensor; predX0: Tensor };
  ddimInvertStep(config: ScheduleConfig, steps: number, t: number, sample: Tensor, modelOutput: Tensor): Tensor;

  // noise (synchronous)
  drawNoise(seed: number | bigint, firstSample: number, count: number, shape: number[], stream: number): Tensor;
  drawTimesteps(sampler: SamplerName, seed: number | bigint, samples: number, tBegin: number, tEnd: number): number[];

  // typicality and patches
  scoreTypicality(
    engine: NativeEngine,
    conditions: NativeConditions,
    input: TypicalityInput,
    options: TypicalityOptions,
    call?: CallOptions,
  ): Promise<TypicalityResult>;
  /** maps F32 [..., h, w] -> scores F32 [..., H-k+1, W-k+1] */
  patchScores(
    engine: NativeEngine,
    maps: Tensor,
    height: number,
    width: number,
    patch: number,
    call?: CallOptions,
  ): Promise<Tensor>;
  /** scores F32 [R, S] */
  selectPatches(
    engine: NativeEngine,
    scores: Tensor,
    patch: number,
    count: number,
    ascending: boolean,
    call?: CallOptions,
  ): Promise<{ row: number; column: number; score: number }[]>;

  // features and clustering
  dift(
    engine: NativeEngine,
    conditions: NativeConditions,
    input: DiftInput,
    options: DiftOptions,
    call?: CallOptions,
  ): Promise<DiftResult>;
  kmeans(engine: NativeEngine, points: Tensor, options: KMeansOptions, call?: CallOptions): Promise<KMeansResult>;

  // localization
  /** maps F32 [n, h, w] -> F32 [n, height, width]: upsampled bilinearly, then blurred with reflected borders */
  heatMaps(engine: NativeEngine, maps: Tensor, options: HeatMapOptions, call?: CallOptions): Promise<Tensor>;

  // training: a UNet of its own, beside the engine's model
  /** conditions as prepareConditions takes them */
  createTrainer(
    engine: NativeEngine,
    source: Pick<ModelSource, 'unet' | 'schedule'>,
    conditions: ConditionInput,
    options: TrainerOptions,
    call?: CallOptions,
  ): Promise<NativeTrainer>;
  /** adds the gradients of a part of a step's `total` images */
  trainAccumulate(
    engine: NativeEngine,
    trainer: NativeTrainer,
    batch: TrainingBatch,
    total: number,
    call?: CallOptions,
  ): Promise<void>;
  trainUpdate(engine: NativeEngine, trainer: NativeTrainer, call?: CallOptions): Promise<TrainingStep>;
  /** mean loss with the noise of `key`, without training; of the moving average where asked for */
  evaluateTrainer(
    engine: NativeEngine,
    trainer: NativeTrainer,
    batch: TrainingBatch,
    key: number | bigint,
    average: boolean,
    call?: CallOptions,
  ): Promise<number>;
  /** the UNet's output F32 [B, C, h, w] */
  trainPredict(
    engine: NativeEngine,
    trainer: NativeTrainer,
    input: PredictionInput,
    average: boolean,
    call?: CallOptions,
  ): Promise<Tensor>;
  /** numbers of the UNet's weights, and of what is trained: those, or low-rank updates */
  trainerParameters(
    engine: NativeEngine,
    trainer: NativeTrainer,
    call?: CallOptions,
  ): Promise<{ all: number; trained: number }>;
  /** F32, by stored names; tensors without a gradient are absent */
  trainerTensors(
    engine: NativeEngine,
    trainer: NativeTrainer,
    which: TrainerTensors,
    names: string[],
    call?: CallOptions,
  ): Promise<Record<string, Tensor>>;
  saveTrainer(engine: NativeEngine, trainer: NativeTrainer, path: string, call?: CallOptions): Promise<void>;
  /** the number of steps done */
  loadTrainer(engine: NativeEngine, trainer: NativeTrainer, path: string, call?: CallOptions): Promise<number>;
  exportTrainer(
    engine: NativeEngine,
    trainer: NativeTrainer,
    path: string,
    average: boolean,
    dtype: Dtype,
    call?: CallOptions,
  ): Promise<void>;
  disposeTrainer(engine: NativeEngine, trainer: NativeTrainer, call?: CallOptions): Promise<void>;

  // safetensors (synchronous: headers and small files; weights go through loadModel)
  readSafetensorsHeader(path: string): SafetensorsHeader;
  /** the named tensors, or all */
  readSafetensors(path: string, names?: string[]): Record<string, Tensor>;
  writeSafetensors(path: string, tensors: Record<string, Tensor>, metadata?: Record<string, string>): void;
}
