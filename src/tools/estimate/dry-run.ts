// What scan, run and train would do, for --dry-run: what is left to do, and the estimate of the whole without measuring a rate. Nothing is loaded on a device
// or written.
import path from 'node:path';
import { findDevice } from '../../runs/device.js';
import { parameterCount } from '../../models/parameters.js';
import { transformerParameters } from '../../models/transformer-size.js';
import { partOf } from '../../options/check.js';
import { SCAN, type ScanEvent, type ScanOptions } from '../../stages/scan/options.js';
import { planScan as planOfScan } from '../../stages/scan/scan.js';
import { expectedTime } from '../../stages/train/cost.js';
import { readMetrics } from '../../stages/train/journal.js';
import type { TrainOptions, TrainTime } from '../../stages/train/options.js';
import { openTraining, type Opened } from '../../stages/train/record.js';
import { sourceOf } from '../../data/options.js';
import { imagesOf } from '../../pipeline/resolve.js';
import type { Plan } from '../../pipeline/plan.js';
import { pick } from '../../util/pick.js';
import type { Hooks } from '../../util/hooks.js';
import { estimate, type Estimate } from './estimate.js';
import { ESTIMATE_TRAIN, type EstimateOptions } from './options.js';
import { estimateTraining, type TrainingEstimate } from './train.js';

export interface ScanPlan extends Plan {
  /** of the whole scan */
  estimate: Estimate;
}

export interface TrainPlan {
  dryRun: true;
  /** where it would be written, absolute */
  path: string;
  /** what is done there; null: nothing was begun */
  begun: { step: number; steps: number } | null;
  /** of the steps that are left; null: not known */
  time: TrainTime | null;
  /** of the whole training */
  estimate: TrainingEstimate;
}

/** @throws what `scan` throws before its work begins */
export async function planScan(
  options: ScanOptions & Omit<EstimateOptions, keyof ScanOptions>,
  writes: string[],
  hooks: Hooks<ScanEvent> = {},
): Promise<ScanPlan> {
  const plan = await planOfScan(partOf(SCAN, options) as ScanOptions, writes, { ...hooks, download: false });
  const found = await estimate({ ...options, shard: undefined, calibrate: false }, pick(hooks, 'signal'));
  return { ...plan, estimate: { ...found, shards: plan.shards?.total ?? found.shards } };
}

/** @throws what `train` throws before its work begins */
export async function planTraining(options: TrainOptions, hooks: Hooks = {}): Promise<TrainPlan> {
  const opened = await openTraining(options, { ...pick(hooks, 'signal', 'onLog'), download: false });
  const { record, settings } = opened;
  const known = Object.fromEntries(
    Object.entries(
      pick(
        settings,
        ...([
          'dataset',
          'from',
          'new',
          'variant',
          't5',
          'fold',
          'size',
          'trainBatch',
          'ema',
          'keep',
          'saveDtype',
        ] as const),
        ...(['gradientAccumulationSteps', 'gradientCheckpointing', 'loraRank', 'dtype'] as const),
      ),
    ).filter(([, value]) => value !== null),
  );
  const steps = record && options.epochs === undefined ? { steps: settings.steps } : {};
  const asked = { ...known, ...steps, ...partOf(ESTIMATE_TRAIN, options), calibrate: false };
  const found = await estimateTraining(asked, pick(hooks, 'signal'));
  const time = await timeOf(opened, found, options);
  return {
    dryRun: true,
    path: path.resolve(options.out),
    begun: record ? { step: record.step, steps: found.steps } : null,
    time: time ?? null,
    estimate: found,
  };
}

/** The time of the steps that are left, at a rate that is known or computed. */
async function timeOf(
  { base, settings, record, folder }: Opened,
  { steps, dtype }: TrainingEstimate,
  { device = 'auto', threads }: TrainOptions,
): Promise<TrainTime | undefined> {
  const { labels } = await imagesOf({ ...sourceOf(settings), dataset: settings.dataset });
  const denoiser = base.start(labels, settings.seed);
  const parameters = denoiser.transformer
    ? transformerParameters(denoiser.transformer.config)
    : denoiser.unet
      ? parameterCount(denoiser.unet.config)
      : 0;
  const found = findDevice(device);
  const cost = {
    base,
    denoiser,
    settings,
    parameters,
    device: found.id === 'cpu' ? 'cpu' : found.name,
    dtype,
    threads,
  };
  const losses = readMetrics(path.join(folder, 'metrics.jsonl')).flatMap((one) =>
    'seconds' in one && one.step <= (record?.step ?? 0) ? [one.seconds] : [],
  );
  return expectedTime(cost, steps, { steps: record?.step ?? 0, seconds: losses.at(-1) ?? 0 });
}
