// Options, settings and events of a training.
import { count } from '../../web/html.js';
import type { Learned } from '../../models/training.js';
import type { z } from 'zod';
import { SOURCE_KEYS, type DatasetSource } from '../../data/options.js';
import type { Dtype } from '../../engine/types.js';
import * as fields from '../../options/fields.js';
import { DTYPE_CHOICES, DTYPES } from '../../options/names.js';
import { option, optionsOf } from '../../options/option.js';
import { DATASET_DESCRIPTION, DEVICE, PROMPTS, TABLES } from '../../options/shared.js';
import { DiffmineError } from '../../util/errors.js';
import { SIZE_NAMES } from './sizes.js';

/** What a training begins with, a resumed one knows. */
const SUBJECT = {
  from: option(fields.path().optional(), {
    group: 'Input',
    description:
      'Fine-tune the UNet of this model: a folder, or owner/name[@revision][:variant] of the Hugging Face hub',
  }),
  new: option(fields.oneOf(SIZE_NAMES).optional(), {
    group: 'Input',
    description: 'Train a model of this size from scratch',
  }),
  vae: option(fields.path().optional(), {
    group: 'Input',
    description: 'With `new`: model folder whose VAE encodes the images',
  }),
  textEncoder: option(fields.path().optional(), {
    group: 'Input',
    description: 'With `new`: model folder whose text encoder reads the prompts',
    shown: 'none: labels are classes',
  }),
  variant: option(fields.variant().optional(), {
    group: 'Input',
    description: 'Weight variant to read from `from`, `vae` and `textEncoder`, for components that have it',
  }),
  t5: option(fields.flag().default(true), {
    group: 'Input',
    description: 'With `from`: use T5, the third text encoder of Stable Diffusion 3, if the model has it',
    negated: 'With `from`: leave out T5, the third text encoder of Stable Diffusion 3',
  }),
  fold: option(fields.numbered([1, 2]).optional(), {
    group: 'Input',
    description:
      'With `new`: the UNet sees blocks of n x n pixels as channels (pixel unshuffle); larger is faster and coarser',
    shown: '2 for pixels, 1 for latents',
  }),
};

const IMAGES = {
  drop: option(fields.upToOne().default(0.05), {
    group: 'Prompts',
    description: 'Probability of training an image with the unconditional prompt (label dropout)',
  }),
  size: option(fields.whole(8, 16384).optional(), {
    group: 'Images',
    description: 'Side of the random crops, px',
    shown: "the model's",
  }),
  flips: option(fields.flag().default(false), {
    group: 'Images',
    description: 'Flip half of the images horizontally',
  }),
  holdout: option(fields.belowOne().optional(), {
    group: 'Images',
    description:
      'Fraction of the images to keep out of the training (by a hash of their names); run and scan then mine these',
    shown: '0.05, for validation only',
  }),
};

const STEPS = {
  steps: option(fields.whole(1).optional(), {
    group: 'Training',
    description: 'Training steps',
    shown: '5000; with `new`, set by the size',
  }),
  epochs: option(fields.aboveZero().optional(), {
    group: 'Training',
    description: 'Epochs over the training images, instead of `steps`',
  }),
  trainBatch: option(fields.whole(1, 65536).optional(), {
    group: 'Training',
    description: 'Images per training step',
    shown: '8; with `new`, set by the size',
  }),
  gradientAccumulationSteps: option(fields.whole(1, 65536).default(1), {
    group: 'Training',
    description: 'Forward and backward passes per training step',
  }),
};

const OPTIMIZER = {
  learningRate: option(fields.aboveZero().optional(), {
    group: 'Training',
    description: 'Peak learning rate',
    shown: '1e-5; with `new`, set by the size',
  }),
  lrSchedule: option(fields.oneOf(['constant', 'linear', 'cosine']).optional(), {
    group: 'Training',
    description: 'Learning-rate schedule after the warm-up',
    shown: 'cosine; constant with `from`',
  }),
  warmupSteps: option(fields.whole(0).optional(), {
    group: 'Training',
    description: 'Steps of linear warm-up',
    shown: '100; 0 with `from`',
  }),
  weightDecay: option(fields.atLeastZero().default(0.01), {
    group: 'Training',
    description: 'Weight decay of AdamW',
  }),
  maxGradNorm: option(fields.atLeastZero().default(1), {
    group: 'Training',
    description: 'Maximum gradient norm; 0 disables clipping',
  }),
  ema: option(fields.belowOne().optional(), {
    group: 'Training',
    description: 'Decay of the exponential moving average of the weights; 0 disables it',
    shown: '0.999; 0 with `from`',
  }),
  trainTRange: option(fields.range().default([0, 1]), {
    group: 'Training',
    description: 'Range of timesteps to sample, as fractions of the noise schedule',
  }),
  wide: option(fields.upToOne().default(0), {
    group: 'Training',
    description: 'Fraction of the timesteps that are sampled from the whole schedule instead of `trainTRange`',
  }),
  minSnr: option(fields.atLeastZero().default(0), {
    group: 'Training',
    description: 'Gamma of Min-SNR loss weighting; 0 disables it',
  }),
  loraRank: option(fields.whole(0, 65536).default(0), {
    group: 'Training',
    description: 'Rank of the LoRA updates of the attention projections; 0 trains all weights',
  }),
  loraAlpha: option(fields.aboveZero().optional(), {
    group: 'Training',
    description: 'LoRA alpha: the updates are scaled by alpha / rank',
    shown: 'the rank',
  }),
  gradientCheckpointing: option(fields.flag().default(false), {
    group: 'Device',
    description: 'Recompute activations in the backward pass: takes less memory and more time',
  }),
  seed: option(fields.whole(0).default(0), {
    group: 'Training',
    description: 'Seed of image order, crops, noise and initial weights',
  }),
};

const WRITTEN = {
  checkpointEvery: option(fields.whole(1).default(500), {
    group: 'Run directory',
    description: 'Steps between checkpoints',
  }),
  keep: option(fields.whole(1).default(2), {
    group: 'Run directory',
    description: 'Number of latest checkpoints to keep; the best is always kept',
  }),
  use: option(fields.oneOf(['last', 'best']).default('last'), {
    group: 'Run directory',
    description:
      'Weights to write to the model folder: those of the last step, or those with the lowest validation loss',
  }),
  saveDtype: option(fields.oneOf(DTYPES).default('fp32'), {
    group: 'Run directory',
    description: 'dtype of the saved model',
  }),
  sampleEvery: option(fields.whole(0).optional(), {
    group: 'Output',
    description: 'Steps between image grids; 0 disables them',
    shown: 'a quarter of the steps',
  }),
  sampleCount: option(fields.whole(1, 64).default(4), {
    group: 'Output',
    description: 'Images per label in an image grid',
  }),
  sampleInferenceSteps: option(fields.whole(1, 1000).default(25), {
    group: 'Output',
    description: 'DDIM sampling steps of an image grid',
  }),
  sampleGuidanceScale: option(fields.aboveZero().default(3), {
    group: 'Output',
    description: 'Guidance scale of an image grid',
    shown: '3; without label dropout 1',
  }),
};

export const TRAIN = optionsOf('train', {
  dataset: option(fields.path().optional(), { group: 'Input', description: DATASET_DESCRIPTION }),
  ...TABLES,
  out: option(fields.path(), {
    group: 'Run directory',
    description: 'Output directory, which becomes the model folder: new, or one to resume',
  }),
  ...SUBJECT,
  ...PROMPTS,
  ...IMAGES,
  ...STEPS,
  ...OPTIMIZER,
  ...WRITTEN,
  ...DEVICE,
  dtype: option(fields.oneOf(DTYPE_CHOICES).default('auto'), {
    group: 'Device',
    description:
      'dtype of the activations; auto is bf16 for --new on a CPU that multiplies in bf16, fp32 elsewhere; weights stay in fp32',
  }),
});

export interface TrainOptions extends z.input<typeof TRAIN> {}

type Subject = 'from' | 'new' | 'vae' | 'textEncoder' | 'fold' | Added;
/** Absent where they are not given. */
type Added = 'variant' | 't5' | keyof DatasetSource;
type Orders = 'out' | 'device' | 'threads' | 'epochs';
type Unset = 'prompt' | 'nullPrompt' | 'holdout';
/** All keys, none undefined. */
type Definite<T> = { [K in keyof T]-?: Exclude<T[K], undefined> };
type Output = Definite<z.output<typeof TRAIN>>;

/** Every setting, with defaults filled in: what train.json keeps. Paths are absolute. */
export type TrainSettings = Omit<Output, Subject | Orders | Unset | 'dtype'> & { dtype: Dtype } & {
  [Key in Exclude<Subject, Added> | Unset]: Output[Key] | null;
} & { [Key in Added]?: Output[Key] | null };

/** Settings that a resumed training may change: train.json keeps what they were before, and from which step on they are others. */
export const FREE: readonly (keyof TrainSettings)[] = [
  'dataset',
  ...SOURCE_KEYS,
  'steps',
  'learningRate',
  'lrSchedule',
  'warmupSteps',
  'maxGradNorm',
  'checkpointEvery',
  'keep',
  'sampleEvery',
  'sampleCount',
  'sampleInferenceSteps',
  'sampleGuidanceScale',
  'use',
  'saveDtype',
];

/** `from`: these steps as this training went before, as an earlier one like it went, or computed from counted operations. */
export interface TrainTime {
  seconds: number;
  from: 'itself' | 'earlier' | 'computed';
}

export type TrainEvent =
  /** a model is being fetched from the Hugging Face hub: megabytes */
  | { type: 'download'; done: number; total: number }
  | { type: 'load'; done: number; total: number }
  | { type: 'prepare'; done: number; total: number }
  /** what it has learned, at the end */
  | { type: 'measure'; done: number; total: number }
  | {
      type: 'plan';
      path: string;
      resumed: boolean;
      step: number;
      steps: number;
      images: number;
      heldOut: number;
      labels: number;
      parameters: number;
      trained: number;
      device: string;
      dtype: Dtype;
      /** of the steps that are left; absent where nothing is known */
      time?: TrainTime;
    }
  /** `loss`: smoothed; `rate`: steps per second */
  | { type: 'step'; step: number; steps: number; loss: number; rate: number; secondsLeft: number }
  /** what runs before the next step */
  | { type: 'busy'; step: number; steps: number; doing: string }
  | { type: 'checkpoint'; step: number; validation: number | null; best: boolean }
  | { type: 'grid'; step: number; path: string };

export interface TrainSummary {
  /** the training's folder, which is also the model's */
  path: string;
  steps: number;
  /** of the last steps, smoothed */
  loss: number | null;
  validation: { step: number; loss: number }[];
  best: { step: number; loss: number } | null;
  /** that the model folder's weights are of */
  step: number;
  images: number;
  skipped: number;
  /** images of each label */
  labels: { label: string; training: number; heldOut: number }[];
  seconds: number;
  /** its train-report.html */
  page: string;
  /** what the model has learned of its labels; null if no image was held out */
  learned: Learned | null;
  settings: TrainSettings;
}

/** Refuses settings that make no sense together. */
export function checkSettings(s: TrainSettings): void {
  if (s.trainBatch % s.gradientAccumulationSteps !== 0)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `A batch of ${count(s.trainBatch, 'image')} cannot be split into ${s.gradientAccumulationSteps} equal passes.`,
      'Use a `gradientAccumulationSteps` that divides the batch.',
    );
  if (s.lrSchedule !== 'constant' && s.warmupSteps >= s.steps)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The warm-up of ${count(s.warmupSteps, 'step')} is not shorter than the training of ${count(s.steps, 'step')}.`,
      'Shorten it, or train longer.',
    );
}
