// The addon's functions, with the core's names.
import type { BuildInfo, CallOptions, DeviceInfo, Dtype, EngineOptions, MachineRates, Tensor } from './device.js';
import type { ConditionInput, FlowSteps, ModelSource, ScheduleConfig, TextEmbeddings } from './models.js';
import type {
  DiftInput,
  DiftOptions,
  DiftResult,
  HeatMapOptions,
  Image,
  KMeansOptions,
  KMeansResult,
  SafetensorsHeader,
  SamplerName,
  TypicalityInput,
  TypicalityOptions,
  TypicalityResult,
  UNetForwardInput,
  UNetForwardResult,
} from './scoring.js';
import type { PredictionInput, TrainerOptions, TrainerTensors, TrainingBatch, TrainingStep } from './training.js';

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
  /** I64 [M, tokens] -> F32 [M, tokens, D] */
  encodeT5(engine: NativeEngine, ids: Tensor, call?: CallOptions): Promise<Tensor>;

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
