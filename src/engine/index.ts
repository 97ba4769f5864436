// The native core for TypeScript: the lazily loaded addon, the classes Engine, Conditions and Trainer, and plain functions.
// Loading takes a quarter of a second and 150 MB, so it happens at the first call. Errors of the addon are plain objects
// from another realm: every call maps them to DiffmineError here, and code above never sees others.
import { asDiffmineError } from '../util/errors.js';
import { Busy } from './busy.js';
import { defaultThreads, withThreads } from './cores.js';
import { loadAddon } from './load.js';
import type {
  Addon,
  BuildInfo,
  CallOptions,
  DeviceInfo,
  ConditionInput,
  DiftInput,
  DiftOptions,
  DiftResult,
  EngineOptions,
  FlowSteps,
  HeatMapOptions,
  KMeansOptions,
  KMeansResult,
  MachineRates,
  ModelSource,
  NativeConditions,
  NativeEngine,
  NativeTrainer,
  Image,
  Dtype,
  PredictionInput,
  SafetensorsHeader,
  SamplerName,
  ScheduleConfig,
  Tensor,
  TextEmbeddings,
  TrainerOptions,
  TrainerTensors,
  TrainingBatch,
  TrainingStep,
  TypicalityInput,
  TypicalityOptions,
  TypicalityResult,
  UNetForwardInput,
  UNetForwardResult,
} from './types.js';

export * from './tensor.js';
export type * from './types.js';
export { foreignEnvironment, loadAddon } from './load.js';
export { addonCandidates, addonPath } from './locate.js';

/** A synchronous call of the addon with its errors mapped. */
function call<T>(use: (addon: Addon) => T): T {
  try {
    return use(loadAddon());
  } catch (thrown) {
    throw asDiffmineError(thrown);
  }
}

/** An asynchronous call of the addon with its errors mapped; never throws. */
async function callAsync<T>(use: (addon: Addon) => Promise<T>): Promise<T> {
  try {
    return await use(loadAddon());
  } catch (thrown) {
    throw asDiffmineError(thrown);
  }
}

/** Conditions prepared for one engine's UNet: text keys and values, or class labels. Freed with the last reference. */
export class Conditions {
  /** @internal Made by Engine.prepareConditions. */
  constructor(
    /** @internal */
    readonly native: NativeConditions,
    /** number of conditions */
    readonly count: number,
  ) {}
}

/**
 * One model on one device, with its own compute thread. Calls run in the order they are made and do not block the event
 * loop. Each takes an AbortSignal, checked between forward passes, and reports progress. Methods reject with a
 * DiffmineError: CANCELLED if aborted, or disposed before the call ends; INVALID_ARGUMENT for wrong arguments, after
 * dispose(), or before loadModel(); OUT_OF_MEMORY and NUMERICS as in docs/reference/errors.md.
 *
 * Images and tensors are copied during the call: their memory may be changed, transferred or resized as soon as it returns.
 */
export class Engine {
  readonly device: string;
  readonly #native: NativeEngine;
  readonly #busy = new Busy();

  /** @throws DEVICE_UNAVAILABLE if the device does not exist or does not support the dtype */
  constructor(options: EngineOptions) {
    this.device = options.device;
    this.#native = call((addon) => addon.createEngine({ ...options, threads: options.threads || defaultThreads() }));
  }

  #call<T>(use: (addon: Addon) => Promise<T>): Promise<T> {
    return this.#busy.during(callAsync(use));
  }

  /** Loads the weights of every component, checked against its config. One model per engine. Stage "load". */
  loadModel(source: ModelSource, options?: CallOptions): Promise<void> {
    return this.#call((addon) => addon.loadModel(this.#native, source, options));
  }

  /** Token ids I64 [M, 77] for each text encoder -> their embeddings. */
  encodeText(ids: readonly Tensor[], options?: CallOptions): Promise<TextEmbeddings> {
    return this.#call((addon) => addon.encodeText(this.#native, ids, options));
  }

  /** T5's token ids I64 [M, tokens] -> embeddings F32 [M, tokens, D]. Reads T5's weights, which the engine does not keep. */
  encodeT5(ids: Tensor, options?: CallOptions): Promise<Tensor> {
    return callAsync((addon) => addon.encodeT5(this.#native, ids, options));
  }

  async prepareConditions(conditions: ConditionInput, options?: CallOptions): Promise<Conditions> {
    const native = await this.#call((addon) => addon.prepareConditions(this.#native, conditions, options));
    return new Conditions(native, ('text' in conditions ? conditions.text : conditions).shape[0] ?? 0);
  }

  /** One forward pass: F32 [inputs * fanOut, C, H, W], and the outputs of the observed modules. */
  unetForward(conditions: Conditions, input: UNetForwardInput, options?: CallOptions): Promise<UNetForwardResult> {
    return this.#call((addon) => addon.unetForward(this.#native, conditions.native, input, options));
  }

  /** The VAE's posterior for images of the same size: F32 [B, latent channels, h, w] each. */
  vaeEncode(images: Image[], options?: CallOptions): Promise<{ mean: Tensor; logvar: Tensor }> {
    return this.#call((addon) => addon.vaeEncode(this.#native, images, options));
  }

  /** Latents F32 [B, C, h, w], already divided by the scaling factor -> images F32 [B, 3, H, W] in about [-1, 1]. */
  vaeDecode(latents: Tensor, options?: CallOptions): Promise<Tensor> {
    return this.#call((addon) => addon.vaeDecode(this.#native, latents, options));
  }

  /** The UNet's input for images, F32 [B, C, h, w]: scaled latents, or pixels (folded if the model folds them). */
  encodeImages(images: Image[], options?: CallOptions): Promise<Tensor> {
    return this.#call((addon) => addon.encodeImages(this.#native, images, options));
  }

  /** Typicality of images of the same size: maps, and patches with scores and standard errors. Stage "score", in UNet calls. */
  scoreTypicality(
    conditions: Conditions,
    input: TypicalityInput,
    settings: TypicalityOptions,
    options?: CallOptions,
  ): Promise<TypicalityResult> {
    return this.#call((addon) => addon.scoreTypicality(this.#native, conditions.native, input, settings, options));
  }

  /** Scores of all patches of `patch` px: maps F32 [..., h, w] upsampled to height x width -> F32 [..., H - patch + 1, W - patch + 1]. */
  patchScores(maps: Tensor, height: number, width: number, patch: number, options?: CallOptions): Promise<Tensor> {
    return this.#call((addon) => addon.patchScores(this.#native, maps, height, width, patch, options));
  }

  /** Selects patches greedily so that they do not touch; scores F32 [R, S]. `ascending` selects the lowest scores. */
  selectPatches(
    scores: Tensor,
    patch: number,
    count: number,
    ascending: boolean,
    options?: CallOptions,
  ): Promise<{ row: number; column: number; score: number }[]> {
    return this.#call((addon) => addon.selectPatches(this.#native, scores, patch, count, ascending, options));
  }

  /** L2-normalized DIFT features of boxes in images of the same size: F32 [boxes, F] per image. Stage "features". */
  dift(conditions: Conditions, input: DiftInput, settings: DiftOptions, options?: CallOptions): Promise<DiftResult> {
    return this.#call((addon) => addon.dift(this.#native, conditions.native, input, settings, options));
  }

  /** k-means clustering of points F32 [n, d]. Stage "cluster". Needs no model. */
  kmeans(points: Tensor, settings: KMeansOptions, options?: CallOptions): Promise<KMeansResult> {
    return this.#call((addon) => addon.kmeans(this.#native, points, settings, options));
  }

  /** Maps F32 [n, h, w] upsampled to pixels and blurred: F32 [n, height, width] (section 5.2 of the paper). */
  heatMaps(maps: Tensor, settings: HeatMapOptions, options?: CallOptions): Promise<Tensor> {
    return this.#call((addon) => addon.heatMaps(this.#native, maps, settings, options));
  }

  /**
   * Creates a trainer with its own UNet: fp32 weights, activations in the engine's dtype (no fp16 on a CPU). It neither needs nor changes
   * the engine's model. `conditions` as for prepareConditions; batches refer to its rows.
   */
  async createTrainer(
    source: Pick<ModelSource, 'unet' | 'schedule'>,
    conditions: ConditionInput,
    settings: TrainerOptions,
    options?: CallOptions,
  ): Promise<Trainer> {
    return new Trainer(
      this.#native,
      await callAsync((addon) => addon.createTrainer(this.#native, source, conditions, settings, options)),
    );
  }

  /**
   * The highest sustained rates of the engine's device: of a matmul (8192^3 on a GPU, 2048^3 on a CPU; in the engine's dtype
   * or another) and of a copy on the device. Each is the median of runs that take `seconds` in all (default 1). Needs no model.
   */
  machineRates(settings: { dtype?: Dtype; seconds?: number } = {}, options?: CallOptions): Promise<MachineRates> {
    return this.#call((addon) => addon.machineRates(this.#native, settings.dtype, settings.seconds, options));
  }

  /** Seconds in which a call was under way: the rest of the time the engine waited for its caller. */
  busySeconds(): number {
    return this.#busy.seconds();
  }

  /** In bytes: the model's weights, memory that can be allocated on the device, the peak since the process began, and memory that the allocator caches (of all engines). */
  memory(): { weights: number; available: number; peak: number; cached: number } {
    return call((addon) => addon.engineMemory(this.#native));
  }

  /** Cancels the running call, rejects queued ones with CANCELLED, frees the model, and resolves when the thread has ended. Idempotent. */
  dispose(): Promise<void> {
    return callAsync((addon) => addon.disposeEngine(this.#native));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * Trains one UNet on its engine's thread, in the order of the calls. Noise and timesteps depend only on seed, step and position in the
 * step's batch. Rejects with NUMERICS if the loss or gradients are not finite: the weights are then those of the previous step.
 */
export class Trainer {
  readonly #engine: NativeEngine;
  readonly #native: NativeTrainer;

  /** @internal Made by Engine.createTrainer. */
  constructor(engine: NativeEngine, native: NativeTrainer) {
    this.#engine = engine;
    this.#native = native;
  }

  /** One training step on the images of all `batches`, which are processed one at a time to save memory. */
  async step(batches: TrainingBatch[], options?: CallOptions): Promise<TrainingStep> {
    const total = batches.reduce((sum, { conditions }) => sum + conditions.length, 0);
    for (const batch of batches) await this.accumulate(batch, total, options);
    return this.update(options);
  }

  /** Adds the gradients of one batch of a step that has `total` images. */
  accumulate(batch: TrainingBatch, total: number, options?: CallOptions): Promise<void> {
    return callAsync((addon) => addon.trainAccumulate(this.#engine, this.#native, batch, total, options));
  }

  /** Ends a step: clips the gradients and updates weights and moving average. */
  update(options?: CallOptions): Promise<TrainingStep> {
    return callAsync((addon) => addon.trainUpdate(this.#engine, this.#native, options));
  }

  /** Mean loss of a batch with the noise and timesteps of `key`, for the weights or their moving average, without training. */
  evaluate(batch: TrainingBatch, key: number | bigint, average = false, options?: CallOptions): Promise<number> {
    return callAsync((addon) => addon.evaluateTrainer(this.#engine, this.#native, batch, key, average, options));
  }

  /** The UNet's output F32 [B, C, h, w], with the weights or their moving average. */
  predict(input: PredictionInput, average = false, options?: CallOptions): Promise<Tensor> {
    return callAsync((addon) => addon.trainPredict(this.#engine, this.#native, input, average, options));
  }

  /** Weights, their moving averages, or the gradients since the last update (absent if there are none), F32 by stored name. */
  tensors(which: TrainerTensors, names: string[], options?: CallOptions): Promise<Record<string, Tensor>> {
    return callAsync((addon) => addon.trainerTensors(this.#engine, this.#native, which, names, options));
  }

  /** The number of the UNet's parameters, and of those that are trained: all, or the LoRA parameters. */
  parameters(options?: CallOptions): Promise<{ all: number; trained: number }> {
    return callAsync((addon) => addon.trainerParameters(this.#engine, this.#native, options));
  }

  /** Writes weights, moments, average and step atomically. Only between steps. */
  save(path: string, options?: CallOptions): Promise<void> {
    return callAsync((addon) => addon.saveTrainer(this.#engine, this.#native, path, options));
  }

  /** Resumes exactly from a file written by save. Returns the number of finished steps; MODEL_INVALID for another model's file. */
  load(path: string, options?: CallOptions): Promise<number> {
    return callAsync((addon) => addon.loadTrainer(this.#engine, this.#native, path, options));
  }

  /** Writes the weights (or their moving average) as diffusers' UNet safetensors file, or LoRA updates as pytorch_lora_weights.safetensors. */
  exportWeights(path: string, average: boolean, dtype: Dtype = 'fp32', options?: CallOptions): Promise<void> {
    return callAsync((addon) => addon.exportTrainer(this.#engine, this.#native, path, average, dtype, options));
  }

  /** Frees weights and moments. Call it before the engine's dispose; no other call is possible afterwards. */
  dispose(): Promise<void> {
    return callAsync((addon) => addon.disposeTrainer(this.#engine, this.#native));
  }
}

/** The LibTorch that the addon was compiled for, and the one that it runs with. */
export function buildInfo(): BuildInfo {
  return call((addon) => addon.buildInfo());
}

/** All usable devices, the CPU first. */
export function devices(): DeviceInfo[] {
  return call((addon) => addon.devices().map(withThreads));
}

/** The schedule's betas and cumulated alphas, F32 [T]. */
export function schedule(config: ScheduleConfig): { betas: Tensor; alphasCumprod: Tensor } {
  return call((addon) => addon.schedule(config));
}

/** Noises x0 with noise, F32 [B, ...], at `timesteps` [B]: the model's input, and the velocity for v-prediction. */
export function addNoise(
  config: ScheduleConfig,
  x0: Tensor,
  noise: Tensor,
  timesteps: number[],
): { noisy: Tensor; velocity: Tensor } {
  return call((addon) => addon.addNoise(config, x0, noise, timesteps));
}

/** The timesteps and noise levels of `steps` Euler steps of a flow. */
export function flowSteps(config: ScheduleConfig, steps: number): FlowSteps {
  return call((addon) => addon.flowSteps(config, steps));
}

/** One Euler step of a flow, from noise level `sigma` to `next`. */
export function flowStep(sigma: number, next: number, sample: Tensor, modelOutput: Tensor): Tensor {
  return call((addon) => addon.flowStep(sigma, next, sample, modelOutput));
}

/** The timesteps of a DDIM schedule of `steps` steps, descending. */
export function ddimTimesteps(config: ScheduleConfig, steps: number): number[] {
  return call((addon) => addon.ddimTimesteps(config, steps));
}

/** One DDIM step (eta = 0) from `t` to the previous level. */
export function ddimStep(
  config: ScheduleConfig,
  steps: number,
  t: number,
  sample: Tensor,
  modelOutput: Tensor,
): { prevSample: Tensor; predX0: Tensor } {
  return call((addon) => addon.ddimStep(config, steps, t, sample, modelOutput));
}

/** One DDIM inversion step to `t`. */
export function ddimInvertStep(
  config: ScheduleConfig,
  steps: number,
  t: number,
  sample: Tensor,
  modelOutput: Tensor,
): Tensor {
  return call((addon) => addon.ddimInvertStep(config, steps, t, sample, modelOutput));
}

/** Standard normal noise F32 [count, ...shape] of the samples from firstSample on: a pure function of seed, sample, stream and position. */
export function drawNoise(
  seed: number | bigint,
  firstSample: number,
  count: number,
  shape: number[],
  stream: number,
): Tensor {
  return call((addon) => addon.drawNoise(seed, firstSample, count, shape, stream));
}

/** Timesteps of `samples` samples in [tBegin, tEnd). */
export function drawTimesteps(
  sampler: SamplerName,
  seed: number | bigint,
  samples: number,
  tBegin: number,
  tEnd: number,
): number[] {
  return call((addon) => addon.drawTimesteps(sampler, seed, samples, tBegin, tEnd));
}

/**
 * The header of a safetensors file: its tensors and metadata.
 *
 * @throws WEIGHTS_INVALID if it is malformed, IO if it cannot be read
 */
export function readSafetensorsHeader(path: string): SafetensorsHeader {
  return call((addon) => addon.readSafetensorsHeader(path));
}

/** Reads the named tensors of a safetensors file, or all. Errors as in readSafetensorsHeader; INVALID_ARGUMENT for a missing name. */
export function readSafetensors(path: string, names?: string[]): Record<string, Tensor> {
  return call((addon) => addon.readSafetensors(path, names));
}

/**
 * Writes a safetensors file under a temporary name, then renames it.
 *
 * @throws IO if it cannot be written; no partial file is left
 */
export function writeSafetensors(
  path: string,
  tensors: Record<string, Tensor>,
  metadata?: Record<string, string>,
): void {
  call((addon) => addon.writeSafetensors(path, tensors, metadata));
}
