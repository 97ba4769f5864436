// What scan, run and train would do, for --dry-run: the estimate without measuring a rate, and what is in the output folder. Nothing is loaded on a device or written.
import path from 'node:path';
import { partOf } from '../../options/check.js';
import type { ScanEvent, ScanOptions } from '../../stages/scan/options.js';
import type { TrainOptions } from '../../stages/train/options.js';
import { readRecord } from '../../stages/train/record.js';
import { isAuto } from '../../pipeline/batch.js';
import { check } from '../../pipeline/resolve.js';
import { readManifest } from '../../runs/manifest.js';
import { isBucket } from '../../util/place.js';
import type { Hooks } from '../../util/hooks.js';
import { inspect } from '../inspect/inspect.js';
import { estimate, type Estimate } from './estimate.js';
import { ESTIMATE_TRAIN, type EstimateOptions } from './options.js';
import { estimateTraining, type TrainingEstimate } from './train.js';

interface Planned<Begun> {
  dryRun: true;
  /** where it would be written: absolute, or in a bucket */
  path: string;
  /** what is finished there; null: nothing was begun */
  begun: Begun | null;
}

export interface ScanPlan extends Planned<{ shards: number }> {
  estimate: Estimate;
}

export interface TrainPlan extends Planned<{ step: number; steps: number }> {
  /** null: a training that was begun, resumed without its options */
  estimate: TrainingEstimate | null;
}

const placeOf = (out: string): string => (isBucket(out) ? out : path.resolve(out));

/** @throws as `estimate` for options that `scan` would refuse; RUN_INVALID for a damaged run */
export async function planScan(
  options: ScanOptions & Omit<EstimateOptions, keyof ScanOptions>,
  hooks: Hooks<ScanEvent> = {},
): Promise<ScanPlan> {
  const { out } = options;
  const manifest = await readManifest(out);
  // a run that has begun keeps its shards
  const size = manifest && isAuto(options.shardSize) ? { shardSize: manifest.options.shardSize } : {};
  const found = await estimate({ ...options, ...size, calibrate: false }, hooks);
  const there = manifest ? await inspect(out, {}, hooks) : undefined;
  return {
    dryRun: true,
    path: placeOf(out),
    begun: there?.kind === 'run' ? { shards: there.shards.done } : null,
    estimate: found,
  };
}

/** @throws as `estimateTraining` for options that `train` would refuse */
export async function planTraining(options: TrainOptions, hooks: Hooks = {}): Promise<TrainPlan> {
  const { out } = options;
  const record = await readRecord(out);
  check(
    record !== undefined || options.dataset !== undefined,
    'No dataset was given.',
    'Give a folder with one folder of images per label, or a table.',
  );
  const known = [options.from, options.new].some((one) => one !== undefined);
  return {
    dryRun: true,
    path: placeOf(out),
    begun: record ? { step: record.step, steps: record.settings.steps } : null,
    estimate:
      record && !known ? null : await estimateTraining({ ...partOf(ESTIMATE_TRAIN, options), calibrate: false }, hooks),
  };
}
