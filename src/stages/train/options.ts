// What a training is asked for, what it settles on, and what it says on the way.
import { DiffmineError } from '../../util/errors.js';
import type { LearningRateCourse, Dtype } from '../../engine/types.js';
import type { SizeName } from './sizes.js';

export interface TrainOptions {
  /** the training's folder: written, or resumed */
  out: string;
  /** a folder with one folder a label, or a table; a resumed training knows it */
  dataset?: string;
  /** encoding of its tables and lists; default strict UTF-8 */
  encoding?: string;
  /** of a table: the folder that relative image paths start at; default the table's */
  imageRoot?: string;
  /** fine-tune this model, or ... */
  from?: string;
  /** ... make one of this size from scratch */
  new?: SizeName;
  /** with `new`: the model folder whose VAE makes the latents */
  vae?: string;
  /** with `new`: the model folder whose text encoder reads the prompts; without it the model is conditioned on the labels as classes */
  textEncoder?: string;
  /** of the models named: weights to read where a part has them, such as 'fp16' */
  variant?: string;
  /** with `new`: pixels folded into channels, in each direction; default 2 for pixels, 1 for latents */
  fold?: 1 | 2;
  /** of a label, for text models; default "{label}" */
  prompt?: string;
  /** that says nothing of the label; default "" */
  nullPrompt?: string;
  /** side of the square crops in pixels, from images shrunk to it as their short side; default the model's */
  size?: number;
  /** default: of the size; 5000 for fine-tuning */
  steps?: number;
  /** in place of steps */
  epochs?: number;
  /** images a step; default of the size; 8 for fine-tuning */
  trainBatch?: number;
  /** passes that a step's images are split into; default 1 */
  gradientAccumulationSteps?: number;
  /** at its peak; default of the size; 1e-5 for fine-tuning */
  learningRate?: number;
  /** default cosine for `new`, constant for fine-tuning */
  lrSchedule?: LearningRateCourse;
  /** steps; default 100 for `new`, 0 for fine-tuning */
  warmupSteps?: number;
  /** default 0.01 */
  weightDecay?: number;
  /** largest gradient norm, 0: never clipped; default 1 */
  maxGradNorm?: number;
  /** decay of the moving average, 0: none; default 0.999 for `new`, 0 for fine-tuning */
  ema?: number;
  /** probability that an image is shown without its label; default 0.05 */
  drop?: number;
  /** fractions of the schedule that timesteps are drawn from; default [0, 1] */
  trainTRange?: [number, number];
  /** fraction of the timesteps drawn from the whole schedule anyway; default 0 */
  wide?: number;
  /** gamma of the Min-SNR weights, 0: unweighted; default 0 */
  minSnr?: number;
  /** mirror half of the images; default false */
  flips?: boolean;
  /** default 0 */
  seed?: number;
  /** of the activations (weights stay fp32); default fp32 */
  dtype?: Dtype;
  /** recompute activations in the backward pass: less memory, a third more time; default false */
  gradientCheckpointing?: boolean;
  /** rank of low-rank updates of the attention projections, trained in place of the weights; 0: the weights; default 0 */
  loraRank?: number;
  /** default the rank */
  loraAlpha?: number;
  /** fraction of each label's images kept for validation; default 0.05 */
  validation?: number;
  /** steps between checkpoints, each with a validation; default 500 */
  checkpointEvery?: number;
  /** checkpoints kept besides the best; default 2 */
  keep?: number;
  /** steps between grids of samples, 0: none; default a quarter of the steps */
  sampleEvery?: number;
  /** images a label on a grid; default 4 */
  sampleCount?: number;
  /** DDIM steps of a grid; default 25 */
  sampleInferenceSteps?: number;
  /** guidance of a grid; default 3 */
  sampleGuidanceScale?: number;
  /** which weights the model folder gets at the end; default last */
  use?: 'last' | 'best';
  /** precision the model's weights are written in; default fp32 */
  saveDtype?: Dtype;
  /** resume the training in `out` */
  resume?: boolean;
  /** default auto */
  device?: string;
  /** default: all cores */
  threads?: number;
}

/** Every setting, with defaults filled in: what train.json keeps. Paths are absolute. */
export type TrainSettings = Required<
  Omit<
    TrainOptions,
    | 'out'
    | 'resume'
    | 'device'
    | 'threads'
    | 'epochs'
    | 'from'
    | 'new'
    | 'vae'
    | 'textEncoder'
    | 'variant'
    | 'encoding'
    | 'imageRoot'
    | 'fold'
    | 'prompt'
    | 'nullPrompt'
  >
> & {
  from: string | null;
  new: SizeName | null;
  vae: string | null;
  textEncoder: string | null;
  /** absent in records of versions that knew none */
  variant?: string | null;
  encoding?: string | null;
  imageRoot?: string | null;
  fold: 1 | 2 | null;
  prompt: string | null;
  nullPrompt: string | null;
};

/** Settings that a resumed training may change: train.json keeps what they were before, and from which step on they are others. */
export const FREE: readonly (keyof TrainSettings)[] = [
  'dataset',
  'encoding',
  'imageRoot',
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

export type TrainEvent =
  | { type: 'load'; done: number; total: number }
  | { type: 'prepare'; done: number; total: number }
  | {
      type: 'plan';
      folder: string;
      resumed: boolean;
      step: number;
      steps: number;
      images: number;
      validation: number;
      labels: number;
      parameters: number;
      trained: number;
      device: string;
      dtype: Dtype;
    }
  /** `loss`: smoothed; `rate`: steps a second */
  | { type: 'step'; step: number; steps: number; loss: number; rate: number; secondsLeft: number }
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
  seconds: number;
  report: string;
}

/** Refuses settings that make no sense, by name. */
export function checkSettings(s: TrainSettings): void {
  const whole = (name: keyof TrainSettings, min: number): void => {
    if (!Number.isSafeInteger(s[name]) || (s[name] as number) < min)
      throw wrong(name, s[name], `a whole number of at least ${min}`);
  };
  const number = (name: keyof TrainSettings, good: (value: number) => boolean, expected: string): void => {
    if (typeof s[name] !== 'number' || !good(s[name])) throw wrong(name, s[name], expected);
  };
  for (const name of [
    'steps',
    'trainBatch',
    'gradientAccumulationSteps',
    'size',
    'checkpointEvery',
    'keep',
    'sampleCount',
    'sampleInferenceSteps',
  ] as const)
    whole(name, 1);
  for (const name of ['warmupSteps', 'seed', 'loraRank', 'sampleEvery'] as const) whole(name, 0);
  for (const name of ['learningRate', 'sampleGuidanceScale'] as const)
    number(name, (value) => value > 0 && value < Infinity, 'a number above 0');
  for (const name of ['weightDecay', 'maxGradNorm', 'minSnr', 'loraAlpha'] as const)
    number(name, (value) => value >= 0 && value < Infinity, 'a number of at least 0');
  for (const name of ['ema', 'validation'] as const)
    number(name, (value) => value >= 0 && value < 1, 'a number from 0 to below 1');
  for (const name of ['drop', 'wide'] as const)
    number(name, (value) => value >= 0 && value <= 1, 'a number from 0 to 1');
  const [begin, end] = s.trainTRange;
  if (!(begin >= 0 && begin < end && end <= 1))
    throw wrong('trainTRange', s.trainTRange, 'two fractions of the schedule, the first below the second');
  if (s.trainBatch % s.gradientAccumulationSteps !== 0)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `A batch of ${s.trainBatch} images cannot be split into ${s.gradientAccumulationSteps} equal passes.`,
      'Use a --gradient-accumulation-steps that divides the batch.',
    );
  if (s.lrSchedule !== 'constant' && s.warmupSteps >= s.steps)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The warm-up of ${s.warmupSteps} steps is not shorter than the training of ${s.steps} steps.`,
      'Shorten it, or train longer.',
    );
}

function wrong(name: string, value: unknown, expected: string): DiffmineError {
  return new DiffmineError(
    'INVALID_ARGUMENT',
    `The setting ${name} is ${JSON.stringify(value)}; expected ${expected}.`,
  );
}
