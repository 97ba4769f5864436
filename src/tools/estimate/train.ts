// Predicts the cost of a training: steps, memory, and hours if a rate is known, can be measured, or can be computed.
import { count } from '../../web/html.js';
import { findDevice } from '../../runs/device.js';
import { chooseDtype } from '../../runs/dtype.js';
import { openModel, variantOf } from '../../models/index.js';
import type { Dtype, ModelSource } from '../../engine/types.js';
import { given, type Given } from '../../options/check.js';
import { check, imagesOf } from '../../pipeline/resolve.js';
import { unetShape } from '../../pipeline/batch.js';
import { TRAINING_OF_A_SCAN } from '../../pipeline/computed-rate.js';
import { sourceOf } from '../../data/options.js';
import { SIZES, unetOfSize, type Size } from '../../stages/train/sizes.js';
import type { Hooks } from '../../util/hooks.js';
import { trainingOperations } from '../../models/operations.js';
import { parameterCount } from '../../models/parameters.js';
import { transformerParameters } from '../../models/transformer-size.js';
import { LATENT, timeTrainingApart } from '../bench/training.js';
import { architecture } from './architectures.js';
import { CONTEXT_BYTES, machineOf, type Machine } from './machine.js';
import { ESTIMATE_TRAIN, type EstimateTrainOptions } from './options.js';
import { timeAt, type Time } from './time.js';
import { activationBytes, stateBytes } from './training-memory.js';

export type { EstimateTrainOptions } from './options.js';

export interface TrainingEstimate extends Time {
  /** the model's path, the size, or the architecture */
  model: string;
  /** to train on; null: not known */
  images: number | null;
  steps: number;
  trainBatch: number;
  /** side of the crops, px */
  size: number;
  parameters: number;
  /** of one training step, computed from the model's layers */
  operations: number;
  /** null: none was named */
  device: string | null;
  dtype: Dtype;
  /** bytes, computed. `available`, `fits`: null where no device was named */
  memory: {
    state: number;
    activations: number;
    total: number;
    available: number | null;
    fits: boolean | null;
    /** with one image per forward pass, by dtype, with what CUDA takes */
    least: { fp32: number; half: number };
  };
  /**
   * bytes, computed: `checkpoint` of one, of which the `keep` latest and the best are kept, beside the model folder; `peak` while another is written.
   * null for a LoRA: both are small
   */
  disk: { checkpoint: number; kept: number; model: number; total: number; peak: number } | null;
  notes: string[];
}

type Asked = Given<typeof ESTIMATE_TRAIN>;

/** What is trained, with the defaults of `train` for it. */
interface Subject {
  title: string;
  denoiser: Pick<ModelSource, 'unet' | 'transformer'>;
  /** of the parts that are copied into the model folder: VAE, text encoders */
  copied: number;
  /** px */
  side: number;
  vaeFactor: number;
  fold: number;
  steps: number;
  batch: number;
  average: boolean;
  note?: string;
  /** what `timeTrainingApart` takes; undefined: it cannot be timed here */
  timed?: string;
}

/**
 * Estimates a training. Looks at the dataset and at the model's configuration; loads the model only to measure the rate.
 *
 * @throws INVALID_ARGUMENT; what openModel and the reading of the dataset throw
 */
export async function estimateTraining(asked: EstimateTrainOptions, hooks: Hooks = {}): Promise<TrainingEstimate> {
  const options = given(ESTIMATE_TRAIN, asked);
  const subject = await subjectOf(options);
  const { gradientAccumulationSteps: accumulated = 1, gradientCheckpointing = false, loraRank = 0 } = options;
  checkLora(subject, loraRank);
  const { trainBatch = subject.batch, size = subject.side, holdout = 0.05 } = options;
  check(
    trainBatch % accumulated === 0,
    `A batch of ${count(trainBatch, 'image')} cannot be split into ${accumulated} equal passes.`,
    'Use a `gradientAccumulationSteps` that divides the batch.',
  );
  const images = await imageCount(options);
  const steps = stepsOf(options, subject, images === null ? null : Math.ceil(images * (1 - holdout)), trainBatch);
  const { rows, columns } = unetShape(size, size, subject.vaeFactor, subject.fold);
  const perStep = trainingOperations(
    subject.denoiser,
    { rows, columns },
    { batch: trainBatch, lora: loraRank > 0, checkpointing: gradientCheckpointing },
  );
  const machine = machineOfTraining(options);
  const parameters = parametersOf(subject.denoiser);
  const ema = options.ema === undefined ? subject.average : options.ema > 0;
  const state = stateBytes(parameters, { lora: loraRank > 0, average: ema });
  const activationsOf = (batch: number, dtype: Dtype): number =>
    activationBytes(subject.denoiser, rows, columns, batch, dtype);
  const activations = activationsOf(trainBatch / accumulated, machine.dtype);
  const total = state + activations;
  const least = (dtype: Dtype): number => state + activationsOf(1, dtype) + CONTEXT_BYTES;
  const notes = [
    subject.note,
    gradientCheckpointing
      ? 'With `gradientCheckpointing` activations take less than this; how much was not computed.'
      : undefined,
    loraRank > 0 ? 'LoRA: gradients, moments and checkpoints of the updates are left out; they are small.' : undefined,
  ].filter((note) => note !== undefined);
  return {
    model: subject.title,
    images,
    steps,
    trainBatch,
    size,
    parameters,
    operations: perStep,
    device: machine.device,
    dtype: machine.dtype,
    memory: {
      state,
      activations,
      total,
      available: machine.available,
      fits: machine.available === null ? null : total <= machine.available,
      least: { fp32: least('fp32'), half: least('fp16') },
    },
    disk: loraRank > 0 ? null : diskOf(options, parameters, subject.copied, ema),
    ...(await rateOf(options, subject, machine, { steps, perStep, trainBatch, accumulated, rows }, hooks)),
    notes,
  };
}

async function subjectOf({ like, from, new: size, fold, variant, t5 }: Asked): Promise<Subject> {
  check(
    [like, from, size].filter((one) => one !== undefined).length === 1,
    'What is trained is not known.',
    'Give one of `from`, `new` and `like`.',
  );
  if (size !== undefined) {
    const { kind, side, steps, batch, fold: usual }: Size = SIZES[size];
    const latent = kind === 'latent';
    const folded = latent ? 1 : (fold ?? usual);
    return {
      title: `the size ${size}`,
      denoiser: { unet: { config: unetOfSize(size, latent ? LATENT : { classes: 3, fold: folded }), files: [] } },
      copied: 0,
      side,
      vaeFactor: latent ? LATENT.factor : 1,
      fold: folded,
      steps,
      batch,
      average: true,
      timed: size,
    };
  }
  const tuned = { steps: 5000, batch: 8, average: false };
  if (like !== undefined) {
    const { title, source, parameters, sampleSize, vaeFactor, fold, note } = architecture(like);
    return {
      title,
      denoiser: source,
      copied: parameters - parametersOf(source),
      side: sampleSize,
      vaeFactor,
      fold,
      ...tuned,
      ...(note === undefined ? {} : { note }),
    };
  }
  const model = await openModel(from ?? '', variantOf({ variant, t5 }));
  return {
    title: model.path,
    denoiser: model.source,
    copied: model.summary().parameters - parametersOf(model.source),
    side: model.sampleSize,
    vaeFactor: model.vaeFactor,
    fold: model.fold,
    ...tuned,
    // a few steps of a LoRA are not timed
    ...(model.source.unet && { timed: model.path }),
  };
}

/** A checkpoint holds the weights, two moments and the moving average in fp32. The new one is written before an old one is removed. */
function diskOf(
  { keep, saveDtype }: Asked,
  parameters: number,
  copied: number,
  average: boolean,
): TrainingEstimate['disk'] {
  const kept = (keep ?? 2) + 1;
  const checkpoint = 4 * parameters * (average ? 4 : 3);
  const model = (parameters + copied) * ((saveDtype ?? 'fp32') === 'fp32' ? 4 : 2);
  const total = kept * checkpoint + model;
  return { checkpoint, kept, model, total, peak: Math.max(total, (kept + 1) * checkpoint) };
}

/** As `train` refuses it. */
function checkLora({ title, denoiser }: Subject, loraRank: number): void {
  check(
    !denoiser.transformer || loraRank > 0,
    `'${title}' has a transformer, of which only a LoRA is trained.`,
    'Give `loraRank`.',
  );
}

function parametersOf({ unet, transformer }: Subject['denoiser']): number {
  return transformer ? transformerParameters(transformer.config) : unet ? parameterCount(unet.config) : 0;
}

async function imageCount(asked: Asked): Promise<number | null> {
  const { dataset, images } = asked;
  check(
    dataset === undefined || images === undefined,
    '`images` and `dataset` contradict each other.',
    'Give one of them.',
  );
  return dataset === undefined ? (images ?? null) : (await imagesOf({ dataset, ...sourceOf(asked) })).images.length;
}

function stepsOf({ steps, epochs }: Asked, subject: Subject, images: number | null, batch: number): number {
  check(
    steps === undefined || epochs === undefined,
    '`steps` and `epochs` both set the length of the training.',
    'Give one of them.',
  );
  if (epochs === undefined) return steps ?? subject.steps;
  check(images !== null, '`epochs` needs the number of images.', 'Give `images`, or a dataset.');
  return Math.max(1, Math.ceil((epochs * (images ?? 0)) / batch));
}

/** As `train` chooses; this machine's device, unless a GPU is named or an architecture is estimated. */
function machineOfTraining(asked: Asked): Machine {
  const task = asked.new === undefined ? 'fine-tuning' : 'training';
  const machine = machineOf(asked, asked.dtype ?? 'auto', task);
  if (asked.like !== undefined || machine.device !== null) return machine;
  const device = findDevice(asked.device ?? 'auto');
  return {
    device: device.id,
    dtype: chooseDtype(asked.dtype ?? 'auto', device, { task }),
    available: device.memoryFree,
  };
}

async function rateOf(
  options: Asked,
  { timed }: Subject,
  { device, dtype, speed, speedFrom }: Machine,
  {
    steps,
    perStep,
    trainBatch,
    accumulated,
    rows,
  }: Record<'steps' | 'perStep' | 'trainBatch' | 'accumulated' | 'rows', number>,
  { signal, onLog }: Hooks,
): Promise<Time> {
  const { rate, calibrate = true, perHour, gradientCheckpointing: checkpointing, threads, variant } = options;
  if (rate !== undefined) return timeAt(steps, { rate, rateFrom: 'given' }, perHour);
  if (timed !== undefined && calibrate && !speed && device !== null) {
    const task = {
      what: timed,
      variant,
      device,
      dtype,
      batch: trainBatch / accumulated,
      checkpointing,
      threads,
      repeats: 1,
    };
    const { measured, skipped, input } = await timeTrainingApart(task, signal);
    if (!measured) onLog?.(`The rate was not measured: ${skipped ?? ''}.`);
    else {
      // timed at the size's own side, or a model's at a small one
      const scale = (input[1] / rows) ** 2;
      return timeAt(steps, { rate: (measured.stepsPerSecond * scale) / accumulated, rateFrom: 'measured' }, perHour);
    }
  }
  if (!speed) return {};
  const [low, high] = speed;
  return timeAt(
    steps,
    {
      rate: (TRAINING_OF_A_SCAN * high) / perStep,
      rateAtLeast: (TRAINING_OF_A_SCAN * low) / perStep,
      rateFrom: 'computed',
      ...(speedFrom === undefined ? {} : { computedFrom: `half the rate of a scan: ${speedFrom}` }),
    },
    perHour,
  );
}
