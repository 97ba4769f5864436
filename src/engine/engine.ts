// One model on one device: the engine, and the conditions that are prepared for it.
import { Busy } from './busy.js';
import { call, callAsync } from './call.js';
import { defaultThreads } from './cores.js';
import { Trainer } from './trainer.js';
import type {
  Addon,
  CallOptions,
  ConditionInput,
  DiftInput,
  DiftOptions,
  DiftResult,
  Dtype,
  EngineOptions,
  HeatMapOptions,
  Image,
  KMeansOptions,
  KMeansResult,
  MachineRates,
  ModelSource,
  NativeConditions,
  NativeEngine,
  Tensor,
  TextEmbeddings,
  TrainerOptions,
  TypicalityInput,
  TypicalityOptions,
  TypicalityResult,
  UNetForwardInput,
  UNetForwardResult,
} from './types.js';

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

  /** Prepares encoded prompts or class labels for this engine's UNet, once for all its forward passes. */
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
