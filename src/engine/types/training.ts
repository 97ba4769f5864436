// What a training of the core takes and gives.
import type { Tensor } from './device.js';

export type LearningRateSchedule = 'constant' | 'linear' | 'cosine';

/** Mirrors cpp/training/trainer.h TrainerOptions. */
export interface TrainerOptions {
  /** seed of noise and timesteps; a safe integer or bigint below 2^64; default 0 */
  seed?: number | bigint;
  /** peak learning rate */
  learningRate: number;
  /** default 'constant' */
  lrSchedule?: LearningRateSchedule;
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
