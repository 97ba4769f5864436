// Training steps per second of a model size, or of the UNet of the benchmark's model. Each is timed in a separate process, so that its peak memory is
// its own, and one that runs out of memory does not affect the others.
import { unetOf } from '../../models/denoiser.js';
import { fork } from 'node:child_process';
import { join } from 'node:path';

import { asDiffmineError, DiffmineError, type ErrorCode } from '../../util/errors.js';
import { openModel, variantOf } from '../../models/index.js';
import { devices, Engine } from '../../engine/index.js';
import { fromInt64 } from '../../engine/tensor.js';
import type { ModelSource, Optimization, Dtype, TrainerOptions, TrainingBatch } from '../../engine/types.js';
import { PIXEL_SCHEDULE, SIZES, unetOfSize, type Size, type SizeName } from '../../stages/train/sizes.js';
import { noise, spread, type Spread } from './figures.js';
import { parameterCount } from '../../models/parameters.js';
import { syntheticModel } from './synthetic.js';

/** Steps before the clock: the first compiles and allocates, the last tells how long one is. */
const WARM_UP = 2;
/** A time is that of steps for half a second together, but of no more than this many. */
const TIMED = { seconds: 0.5, steps: 50 } as const;
/** Of Stable Diffusion 1.x, for a new model of latents. */
export const LATENT = { textWidth: 768, latentChannels: 4, factor: 8 } as const;

export interface TrainingTask {
  /** a size of src/stages/train/sizes.ts, 'synthetic:sd15', or a model folder */
  what: string;
  /** of a model folder: weights to read where a part has them */
  variant?: string | undefined;
  device: string;
  dtype: Dtype;
  /** images per step; default the size's; of a model 1 on a CPU, 8 on a GPU */
  batch?: number | undefined;
  checkpointing?: boolean | undefined;
  /** times taken, of one or more steps each */
  repeats: number;
  threads?: number | undefined;
  /** optimizations of the engine that are disabled */
  disable?: Optimization[] | undefined;
}

export interface TrainingBench {
  what: string;
  dtype: Dtype;
  batch: number;
  /** of one image as the UNet denoises it: channels, height, width */
  input: [number, number, number];
  checkpointing: boolean;
  parameters: number;
  /** bytes of weights, gradients, two moments and (of a new model) the moving average, all fp32; activations come on top */
  stateBytes: number;
  /** absent if it was skipped */
  measured?: {
    /** of one step */
    seconds: Spread;
    /** that were timed, warm-up not counted */
    steps: number;
    stepsPerSecond: number;
    imagesPerSecond: number;
    /** bytes of the process on a CPU, of its allocator on a GPU */
    peakMemory: number;
  };
  /** why it was not measured */
  skipped?: string;
}

/** What is trained, with the defaults of `diffmine train` for it. */
interface Subject {
  source: Pick<ModelSource, 'unet' | 'schedule'>;
  batch: number;
  side: number;
  options: TrainerOptions;
}

async function subjectOf({ what, variant, device }: TrainingTask): Promise<Subject> {
  const gpu = device.startsWith('cuda');
  if (Object.hasOwn(SIZES, what)) {
    const size: Size = SIZES[what as SizeName];
    const latent = size.kind === 'latent';
    const config = unetOfSize(what as SizeName, latent ? LATENT : { classes: 3 });
    const source = {
      unet: { config, files: [], initial: 1 },
      schedule: latent ? syntheticModel('synthetic:sd15').schedule : PIXEL_SCHEDULE,
    };
    return {
      source,
      batch: size.batch,
      side: size.side / (latent ? LATENT.factor : size.fold),
      options: { learningRate: size.learningRate, emaDecay: 0.999 },
    };
  }
  const { schedule, ...denoiser } = what.startsWith('synthetic:')
    ? syntheticModel(what)
    : (await openModel(what, variantOf({ variant }))).source;
  const unet = unetOf(denoiser, 'Training');
  const { synthetic, ...part } = unet; // made for forward passes: a training starts with others
  return {
    source: { unet: synthetic === undefined ? part : { ...part, initial: synthetic }, schedule },
    batch: gpu ? 8 : 1,
    side: gpu ? 64 : 32,
    options: { learningRate: 1e-5 },
  };
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

/** What a task comes to, before anything is allocated. */
async function plan(
  task: TrainingTask,
): Promise<{ subject: Subject; facts: Omit<TrainingBench, 'measured' | 'skipped'> }> {
  const subject = await subjectOf(task);
  const { config } = unetOf(subject.source, 'Training');
  const parameters = parameterCount(config);
  const facts = {
    what: task.what,
    dtype: task.dtype,
    batch: task.batch ?? subject.batch,
    input: [config.inChannels, subject.side, subject.side] as TrainingBench['input'],
    checkpointing: task.checkpointing ?? false,
    parameters,
    stateBytes: 4 * parameters * (subject.options.emaDecay === undefined ? 4 : 5),
  };
  return { subject, facts };
}

/**
 * Times training steps in this process, as `diffmine train` makes them but for the reading of images.
 *
 * @param available bytes free on the device; default what it says
 * @returns skipped where weights, gradients and moments do not fit
 */
export async function timeTraining(task: TrainingTask, available = memoryFree(task.device)): Promise<TrainingBench> {
  const { subject, facts } = await plan(task);
  const { dtype, checkpointing, batch, input, stateBytes } = facts;
  const { config } = unetOf(subject.source, 'Training');
  if (dtype === 'fp16' && task.device === 'cpu')
    return { ...facts, skipped: 'on a CPU gradients in fp16 take hundreds of times as long as in fp32' };
  if (stateBytes > available) {
    return {
      ...facts,
      skipped: `weights, gradients and moments need ${gigabytes(stateBytes)} in fp32, without activations, and ${gigabytes(available)} are free`,
    };
  }
  const engine = new Engine({
    device: task.device,
    dtype,
    threads: task.threads ?? 0,
    disable: task.disable ?? [],
  });
  try {
    const classes = config.numClassEmbeds;
    const conditions =
      classes > 0 ? fromInt64([classes], [...Array(classes).keys()]) : noise([2, 77, config.crossAttentionDim]);
    const trainer = await engine.createTrainer(subject.source, conditions, {
      ...subject.options,
      maxGradientNorm: 1,
      checkpointing,
    });
    try {
      const rows = conditions.shape[0] ?? 1;
      const images: TrainingBatch = {
        x0: noise([batch, ...input]),
        conditions: Array.from({ length: batch }, (_, i) => i % rows),
      };
      const run = async (steps: number): Promise<number> => {
        const start = process.hrtime.bigint();
        for (let done = 0; done < steps;) if (!(await trainer.step([images])).skipped) done++;
        return Number(process.hrtime.bigint() - start) / 1e9 / steps;
      };
      let warm = 0;
      for (let i = 0; i < WARM_UP; i++) warm = await run(1);
      const each = Math.min(TIMED.steps, Math.max(1, Math.ceil(TIMED.seconds / warm)));
      const times: number[] = [];
      while (times.length < task.repeats) times.push(await run(each));
      const seconds = spread(times);
      return {
        ...facts,
        measured: {
          seconds,
          steps: each * times.length,
          stepsPerSecond: 1 / seconds.median,
          imagesPerSecond: batch / seconds.median,
          peakMemory: engine.memory().peak,
        },
      };
    } finally {
      await trainer.dispose();
    }
  } catch (thrown) {
    const error = asDiffmineError(thrown);
    if (error.code !== 'OUT_OF_MEMORY') throw error;
    return { ...facts, skipped: `out of memory (${error.message})` };
  } finally {
    await engine.dispose();
  }
}

function memoryFree(device: string): number {
  return devices().find(({ id }) => id === (device === 'cuda' ? 'cuda:0' : device))?.memoryFree ?? Infinity;
}

export type FromTraining =
  { type: 'done'; bench: TrainingBench } | { type: 'failed'; code: ErrorCode; message: string; hint?: string };

/** timeTraining in a process of its own. Rejects with what it throws there, and with CANCELLED; skipped, too, where the system killed the process. */
export async function timeTrainingApart(task: TrainingTask, signal?: AbortSignal): Promise<TrainingBench> {
  const { facts } = await plan(task);
  const child = fork(join(import.meta.dirname, 'training-process.js'), {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const stop = (): void => void child.kill('SIGKILL'); // it has nothing to leave behind
  const ended = new Promise<string>((resolve) => {
    child.once('exit', (code, by) => resolve(by ?? `code ${String(code)}`));
    child.once('error', ({ message }) => resolve(message));
  });
  signal?.addEventListener('abort', stop);
  try {
    if (signal?.aborted) stop();
    else child.send(task);
    const answer = await Promise.race([new Promise<FromTraining>((resolve) => child.once('message', resolve)), ended]);
    if (signal?.aborted) throw new DiffmineError('CANCELLED', 'The benchmark was cancelled.');
    if (answer === 'SIGKILL')
      return { ...facts, skipped: 'the system killed its process, most likely because memory ran out' };
    if (typeof answer === 'string')
      throw new DiffmineError('INTERNAL', `The process that trains ${task.what} ended (${answer}).`);
    if (answer.type === 'failed') throw new DiffmineError(answer.code, answer.message, answer.hint);
    return answer.bench;
  } finally {
    signal?.removeEventListener('abort', stop);
    stop();
    await ended; // its memory is free for the next
  }
}
