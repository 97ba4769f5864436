// The native core as TypeScript sees it: the lazily loaded addon, the classes Engine and Conditions, and plain functions.
// Loading takes a quarter of a second and 150 MB, so nothing is loaded before the first call. Errors of the addon are of its
// own realm and of no class: every call maps them to DiffmineError here, and nothing above sees another.
import { createRequire } from 'node:module';

import { asDiffmineError, DiffmineError } from '../util/errors.js';
import { defaultThreads, withThreads } from './cores.js';
import { addonCandidates, addonPath } from './locate.js';
import type {
  Addon,
  BuildInfo,
  CallOptions,
  DeviceInfo,
  DiftInput,
  DiftOptions,
  DiftResult,
  EngineOptions,
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
export { addonCandidates, addonPath } from './locate.js';

const mend = 'Run `npx diffmine setup`.';

let loaded: Addon | undefined;

/**
 * The addon, loaded at the first call.
 *
 * @throws SETUP when it is not built, does not load, or runs with another LibTorch than it was compiled for
 */
export function loadAddon(): Addon {
  return (loaded ??= load());
}

let spinCountIsOurs = false;

/** The environment for programs that are compared with: without what was set here for our own threads. */
export function foreignEnvironment(): NodeJS.ProcessEnv {
  const copy = { ...process.env };
  if (spinCountIsOurs) delete copy.GOMP_SPINCOUNT;
  return copy;
}

function load(): Addon {
  const file = addonPath();
  if (!file) {
    throw new DiffmineError(
      'SETUP',
      `The native addon is not built (looked for ${addonCandidates().join(', ')}).`,
      mend,
    );
  }
  // libgomp reads its environment when it is loaded. By default its threads spin for milliseconds at every barrier, so that on a machine
  // with other work (decoding, a second process) a scan of small images took ten times as long; see docs/explanation/performance.md.
  if (process.env.OMP_WAIT_POLICY === undefined && process.env.GOMP_SPINCOUNT === undefined) {
    process.env.GOMP_SPINCOUNT = '1000';
    spinCountIsOurs = true;
  }
  let addon: Addon;
  try {
    addon = createRequire(import.meta.url)(file) as Addon;
  } catch (thrown) {
    const { message } = asDiffmineError(thrown);
    const [first = ''] = message.split('\n');
    throw new DiffmineError(
      'SETUP',
      `The native addon ${file} cannot be loaded: ${loadFailure(first)}`,
      `${mend} It finds a LibTorch and builds the addon for it.`,
      { cause: thrown },
    );
  }
  const { libtorchCompiled, libtorchLoaded } = addon.buildInfo();
  const release = (version: string): string => version.split('.').slice(0, 2).join('.');
  if (libtorchLoaded && release(libtorchLoaded) !== release(libtorchCompiled)) {
    throw new DiffmineError(
      'SETUP',
      `The native addon was compiled for LibTorch ${libtorchCompiled} but finds ${libtorchLoaded}.`,
      `${mend} It builds the addon again.`,
    );
  }
  return addon;
}

/** What a loader's message means. */
function loadFailure(message: string): string {
  if (/lib(torch|c10|gomp)\S*: cannot open|Library not loaded.*lib(torch|c10)/.test(message))
    return `LibTorch is no longer where it was (${message}).`;
  if (/undefined symbol|Symbol not found/.test(message)) return `it was compiled for another LibTorch (${message}).`;
  if (/ELF header|mach-o|wrong architecture|incompatible architecture/i.test(message))
    return `it was built for another system or is damaged (${message}).`;
  return message.endsWith('.') ? message : `${message}.`;
}

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

/** Conditions made ready for one engine's UNet: text keys and values, or class labels. Freed with the last reference. */
export class Conditions {
  /** @internal Made by Engine.prepareConditions. */
  constructor(
    /** @internal */
    readonly native: NativeConditions,
    /** how many there are */
    readonly count: number,
  ) {}
}

/**
 * One model on one device with a compute thread of its own. Calls run in the order they are made and never block the event
 * loop; each takes an AbortSignal, honoured between forward passes, and reports progress. Every method rejects with a
 * DiffmineError: CANCELLED when aborted or disposed meanwhile, INVALID_ARGUMENT for wrong arguments, after dispose(), or
 * before loadModel(); OUT_OF_MEMORY and NUMERICS as docs/reference/errors.md says.
 *
 * Images and tensors are copied when the call is made: their memory may be written to, transferred or resized as soon as it returns.
 */
export class Engine {
  readonly device: string;
  readonly #native: NativeEngine;

  /** @throws DEVICE_UNAVAILABLE when the device is not there or cannot do the precision */
  constructor(options: EngineOptions) {
    this.device = options.device;
    this.#native = call((addon) => addon.createEngine({ ...options, threads: options.threads || defaultThreads() }));
  }

  /** Reads the weights of every part (checked against its config) into the engine; one model an engine. Stage "load". */
  loadModel(source: ModelSource, options?: CallOptions): Promise<void> {
    return callAsync((addon) => addon.loadModel(this.#native, source, options));
  }

  /** Token ids I64 [M, 77] -> the text encoder's last hidden state F32 [M, 77, D]. */
  encodeText(ids: Tensor, options?: CallOptions): Promise<Tensor> {
    return callAsync((addon) => addon.encodeText(this.#native, ids, options));
  }

  /** Embeddings F32 [M, tokens, D], or class labels I64 [M]. */
  async prepareConditions(conditions: Tensor, options?: CallOptions): Promise<Conditions> {
    const native = await callAsync((addon) => addon.prepareConditions(this.#native, conditions, options));
    return new Conditions(native, conditions.shape[0] ?? 0);
  }

  /** One forward pass: F32 [inputs * fanOut, C, H, W], and the outputs of the modules observed. */
  unetForward(conditions: Conditions, input: UNetForwardInput, options?: CallOptions): Promise<UNetForwardResult> {
    return callAsync((addon) => addon.unetForward(this.#native, conditions.native, input, options));
  }

  /** The VAE's posterior of images of one size: F32 [B, latent channels, h, w] each. */
  vaeEncode(images: Image[], options?: CallOptions): Promise<{ mean: Tensor; logvar: Tensor }> {
    return callAsync((addon) => addon.vaeEncode(this.#native, images, options));
  }

  /** Latents F32 [B, C, h, w], already divided by the scaling factor -> images F32 [B, 3, H, W] in about [-1, 1]. */
  vaeDecode(latents: Tensor, options?: CallOptions): Promise<Tensor> {
    return callAsync((addon) => addon.vaeDecode(this.#native, latents, options));
  }

  /** What the UNet denoises, F32 [B, C, h, w]: scaled latents, or pixels (folded where the model folds). */
  encodeImages(images: Image[], options?: CallOptions): Promise<Tensor> {
    return callAsync((addon) => addon.encodeImages(this.#native, images, options));
  }

  /** Typicality of images of one size: maps, patches with scores and standard errors. Stage "score", in UNet calls. */
  scoreTypicality(
    conditions: Conditions,
    input: TypicalityInput,
    settings: TypicalityOptions,
    options?: CallOptions,
  ): Promise<TypicalityResult> {
    return callAsync((addon) => addon.scoreTypicality(this.#native, conditions.native, input, settings, options));
  }

  /** Scores of all patches of `patch` px: maps F32 [..., h, w] upsampled to height x width -> F32 [..., H - patch + 1, W - patch + 1]. */
  patchScores(maps: Tensor, height: number, width: number, patch: number, options?: CallOptions): Promise<Tensor> {
    return callAsync((addon) => addon.patchScores(this.#native, maps, height, width, patch, options));
  }

  /** Greedy choice of patches that do not touch; scores F32 [R, S]. `ascending` takes the least. */
  selectPatches(
    scores: Tensor,
    patch: number,
    count: number,
    ascending: boolean,
    options?: CallOptions,
  ): Promise<{ row: number; column: number; score: number }[]> {
    return callAsync((addon) => addon.selectPatches(this.#native, scores, patch, count, ascending, options));
  }

  /** DIFT features of boxes of images of one size, L2-normalised: a tensor F32 [boxes, F] each. Stage "features". */
  dift(conditions: Conditions, input: DiftInput, settings: DiftOptions, options?: CallOptions): Promise<DiftResult> {
    return callAsync((addon) => addon.dift(this.#native, conditions.native, input, settings, options));
  }

  /** k-means of points F32 [n, d]. Stage "cluster". Needs no model. */
  kmeans(points: Tensor, settings: KMeansOptions, options?: CallOptions): Promise<KMeansResult> {
    return callAsync((addon) => addon.kmeans(this.#native, points, settings, options));
  }

  /** Maps F32 [n, h, w] brought to pixels and smoothed: F32 [n, height, width] (paper section 5.2). */
  heatMaps(maps: Tensor, settings: HeatMapOptions, options?: CallOptions): Promise<Tensor> {
    return callAsync((addon) => addon.heatMaps(this.#native, maps, settings, options));
  }

  /**
   * Training of a UNet that is read for it: fp32 weights, activations in the engine's precision (not fp16). Neither loadModel nor the
   * engine's model is needed or touched. `conditions` as prepareConditions takes them; batches name rows of it.
   */
  async createTrainer(
    source: Pick<ModelSource, 'unet' | 'schedule'>,
    conditions: Tensor,
    settings: TrainerOptions,
    options?: CallOptions,
  ): Promise<Trainer> {
    return new Trainer(
      this.#native,
      await callAsync((addon) => addon.createTrainer(this.#native, source, conditions, settings, options)),
    );
  }

  /**
   * What the engine's device does at best, in its precision or another: the largest sustained matrix product (8192^3 on a GPU, 2048^3 on a
   * CPU) and device copy, each the median of runs of `seconds` together (default 1). Needs no model.
   */
  machineRates(settings: { dtype?: Dtype; seconds?: number } = {}, options?: CallOptions): Promise<MachineRates> {
    return callAsync((addon) => addon.machineRates(this.#native, settings.dtype, settings.seconds, options));
  }

  /** Bytes: of the model's weights, a new allocation may use on the device, the peak since the process began, and what the allocator keeps for later (of all engines). */
  memory(): { weights: number; available: number; peak: number; cached: number } {
    return call((addon) => addon.engineMemory(this.#native));
  }

  /** Cancels what runs, rejects what waits with CANCELLED, frees the model, and resolves when the thread has ended. Idempotent. */
  dispose(): Promise<void> {
    return callAsync((addon) => addon.disposeEngine(this.#native));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * Training steps of one UNet, on its engine's thread and in the order called. Noise and timesteps depend on (seed, step, place in the
 * step's batch) alone. Rejects with NUMERICS where loss or gradients are not finite: the weights are then those of the step before.
 */
export class Trainer {
  readonly #engine: NativeEngine;
  readonly #native: NativeTrainer;

  /** @internal Made by Engine.createTrainer. */
  constructor(engine: NativeEngine, native: NativeTrainer) {
    this.#engine = engine;
    this.#native = native;
  }

  /** One step over the images of all `batches` together: a batch at a time fits into memory. */
  async step(batches: TrainingBatch[], options?: CallOptions): Promise<TrainingStep> {
    const total = batches.reduce((sum, { conditions }) => sum + conditions.length, 0);
    for (const batch of batches) await this.accumulate(batch, total, options);
    return this.update(options);
  }

  /** Adds the gradients of one part of a step's `total` images. */
  accumulate(batch: TrainingBatch, total: number, options?: CallOptions): Promise<void> {
    return callAsync((addon) => addon.trainAccumulate(this.#engine, this.#native, batch, total, options));
  }

  /** Ends a step: clips, and updates weights and moving average. */
  update(options?: CallOptions): Promise<TrainingStep> {
    return callAsync((addon) => addon.trainUpdate(this.#engine, this.#native, options));
  }

  /** Mean loss of a batch with the noise and timesteps of `key`, of the weights or their moving average; nothing is trained. */
  evaluate(batch: TrainingBatch, key: number | bigint, average = false, options?: CallOptions): Promise<number> {
    return callAsync((addon) => addon.evaluateTrainer(this.#engine, this.#native, batch, key, average, options));
  }

  /** The UNet's output F32 [B, C, h, w], of the weights or their moving average. */
  predict(input: PredictionInput, average = false, options?: CallOptions): Promise<Tensor> {
    return callAsync((addon) => addon.trainPredict(this.#engine, this.#native, input, average, options));
  }

  /** Weights, their moving averages, or the gradients since the last update (absent where there are none), F32 by stored name. */
  tensors(which: TrainerTensors, names: string[], options?: CallOptions): Promise<Record<string, Tensor>> {
    return callAsync((addon) => addon.trainerTensors(this.#engine, this.#native, which, names, options));
  }

  /** How many numbers the UNet's weights are, and how many are trained: those, or low-rank updates. */
  parameters(options?: CallOptions): Promise<{ all: number; trained: number }> {
    return callAsync((addon) => addon.trainerParameters(this.#engine, this.#native, options));
  }

  /** Writes weights, moments, average and step, between steps; atomic. */
  save(path: string, options?: CallOptions): Promise<void> {
    return callAsync((addon) => addon.saveTrainer(this.#engine, this.#native, path, options));
  }

  /** Goes on from what save wrote, exactly: the number of steps done. MODEL_INVALID for another model's. */
  load(path: string, options?: CallOptions): Promise<number> {
    return callAsync((addon) => addon.loadTrainer(this.#engine, this.#native, path, options));
  }

  /** The weights (or their moving average) as a UNet's safetensors file, as diffusers names them; of low-rank updates pytorch_lora_weights.safetensors. */
  exportWeights(path: string, average: boolean, dtype: Dtype = 'fp32', options?: CallOptions): Promise<void> {
    return callAsync((addon) => addon.exportTrainer(this.#engine, this.#native, path, average, dtype, options));
  }

  /** Frees weights and moments; nothing can be called afterwards. Before the engine's dispose. */
  dispose(): Promise<void> {
    return callAsync((addon) => addon.disposeTrainer(this.#engine, this.#native));
  }
}

/** Which LibTorch the addon was compiled for and runs with. */
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

/** x0 and noise F32 [B, ...] at `timesteps` [B]: what the model sees, and the velocity it may be trained to predict. */
export function addNoise(
  config: ScheduleConfig,
  x0: Tensor,
  noise: Tensor,
  timesteps: number[],
): { noisy: Tensor; velocity: Tensor } {
  return call((addon) => addon.addNoise(config, x0, noise, timesteps));
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

/** Standard normal noise F32 [count, ...shape] of samples firstSample, ...: a pure function of seed, sample, stream and place. */
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
 * What a safetensors file holds.
 *
 * @throws WEIGHTS_INVALID when it is malformed, IO when it cannot be read
 */
export function readSafetensorsHeader(path: string): SafetensorsHeader {
  return call((addon) => addon.readSafetensorsHeader(path));
}

/** The named tensors of a safetensors file, or all; errors as readSafetensorsHeader, INVALID_ARGUMENT for a name it lacks. */
export function readSafetensors(path: string, names?: string[]): Record<string, Tensor> {
  return call((addon) => addon.readSafetensors(path, names));
}

/**
 * Writes a safetensors file: to a temporary name beside it, then renamed.
 *
 * @throws IO when it cannot be written; nothing is left behind
 */
export function writeSafetensors(
  path: string,
  tensors: Record<string, Tensor>,
  metadata?: Record<string, string>,
): void {
  call((addon) => addon.writeSafetensors(path, tensors, metadata));
}
