// Training of a UNet on an engine.
import { callAsync } from './call.js';
import type {
  CallOptions,
  Dtype,
  NativeEngine,
  NativeTrainer,
  PredictionInput,
  Tensor,
  TrainerTensors,
  TrainingBatch,
  TrainingStep,
} from './types.js';

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
