// How long a training will take, told before its first step.
import type { Dtype, ModelSource } from '../../engine/types.js';
import { trainingOperations } from '../../models/operations.js';
import { unetShape } from '../../pipeline/batch.js';
import { trainingRateOfCpu } from '../../pipeline/computed-rate.js';
import { knownRate, rememberRate } from '../../pipeline/remembered-rates.js';
import type { Base } from './base.js';
import type { TrainSettings, TrainTime } from './options.js';

/** Steps that a rate is worth remembering after: the first ones compile and allocate. */
const WARM = 20;

/** What the rate of a training depends on, but for other work on the machine. */
export interface TrainCost {
  base: Pick<Base, 'vaeFactor' | 'fold'>;
  denoiser: Pick<ModelSource, 'unet' | 'transformer'>;
  settings: Pick<
    TrainSettings,
    'size' | 'trainBatch' | 'gradientAccumulationSteps' | 'gradientCheckpointing' | 'loraRank'
  >;
  /** of the whole denoiser */
  parameters: number;
  /** by name */
  device: string;
  dtype: Dtype;
  threads: number | undefined;
}

function keyOf({ base, settings, parameters, device, dtype, threads }: TrainCost): string {
  const { size, trainBatch, gradientAccumulationSteps, gradientCheckpointing, loraRank } = settings;
  const { vaeFactor, fold } = base;
  return JSON.stringify([
    ...['train', parameters, vaeFactor, fold, device, dtype, threads ?? null],
    ...[size, trainBatch, gradientAccumulationSteps, gradientCheckpointing, loraRank > 0],
  ]);
}

/**
 * @param before steps of this training that are done, and the seconds that they took
 * @returns undefined where nothing is known, as of a GPU that no training ran on
 */
export async function expectedTime(
  cost: TrainCost,
  steps: number,
  before: { steps: number; seconds: number },
): Promise<TrainTime | undefined> {
  const left = steps - before.steps;
  if (before.steps >= WARM) return { seconds: (left * before.seconds) / before.steps, from: 'itself' };
  const known = await knownRate(keyOf(cost));
  if (known !== undefined) return { seconds: left / known, from: 'earlier' };
  if (cost.device !== 'cpu') return undefined;
  const { base, denoiser, settings, dtype, threads } = cost;
  const perStep = trainingOperations(denoiser, unetShape(settings.size, settings.size, base.vaeFactor, base.fold), {
    batch: settings.trainBatch,
    lora: settings.loraRank > 0,
    checkpointing: settings.gradientCheckpointing,
  });
  return { seconds: left / trainingRateOfCpu(perStep, dtype, threads), from: 'computed' };
}

/** Remembers the rate for the next training like this one. */
export async function rememberTraining(cost: TrainCost, done: { steps: number; seconds: number }): Promise<void> {
  if (done.steps >= WARM) await rememberRate(keyOf(cost), done.steps / done.seconds);
}
