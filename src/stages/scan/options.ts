// Options, events and summary of a scan. The options that other stages have as well are in src/options/scoring.ts and shared.ts.
import type { z } from 'zod';
import type { Dtype } from '../../engine/types.js';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import {
  CHECKSUM,
  CONTRAST,
  MAPS,
  NOISE,
  PATCH,
  PER_IMAGE,
  RACE,
  SIZE,
  TIMESTEPS,
  TOP_PATCHES,
  TUNE,
  UNTRAINED,
} from '../../options/scoring.js';
import {
  BATCH,
  DATASET,
  DEVICE,
  HOLDOUT,
  MODEL,
  OUT,
  PRESET,
  PROMPTS,
  shardSize,
  SPLIT,
} from '../../options/shared.js';
import type { PipelineEvent } from '../../pipeline/options.js';

export const SCAN = optionsOf('scan', {
  ...DATASET,
  ...MODEL,
  preset: PRESET,
  ...PROMPTS,
  labels: option(fields.labels().optional(), {
    group: 'Images',
    description: 'Labels to scan, separated by commas',
    shown: 'all',
  }),
  holdout: HOLDOUT,
  ...SIZE,
  patch: PATCH,
  ...NOISE,
  ...TIMESTEPS,
  ...CONTRAST,
  ...RACE,
  top: option(TOP_PATCHES, {
    group: 'Scoring',
    description: 'With `race`: patches per label to look for',
  }),
  replay: option(fields.path().optional(), {
    group: 'Scoring',
    description: 'Safetensors file with noise and timesteps to use instead of drawing them',
  }),
  untrained: UNTRAINED,
  perImage: PER_IMAGE,
  maps: MAPS,
  shardSize: shardSize('Images'),
  checksum: CHECKSUM,
  ...DEVICE,
  batch: BATCH,
  tune: TUNE,
  workers: SPLIT.workers,
  devices: SPLIT.devices,
  ...OUT,
  shard: SPLIT.shard,
  queue: SPLIT.queue,
});

/** What a scan is asked for. */
export interface ScanOptions extends z.input<typeof SCAN> {}

/** What localization asks of a scan, besides. */
export interface MapOptions {
  /**
   * for heat maps in place of patches: a map (F32) of every image under each of its labels ('A|B' has two), of all labels, or of those named; no patches.
   * `patch`, `perImage`, `maps` and `allLabels` then have no effect
   */
  localize?: 'own' | 'all' | readonly string[] | undefined;
  /** only these images of the dataset, by path: the run is one of a dataset that has no others */
  only?: readonly string[] | undefined;
}

export type ScanEvent = PipelineEvent;

export interface ScanSummary {
  /** of the run, absolute */
  path: string;
  /** all shards of the run are finished, not only this part's */
  complete: boolean;
  resumed: boolean;
  labels: string[];
  images: number;
  /** of finished shards */
  scored: number;
  skipped: number;
  /** shards of the run, those finished, those finished by this call */
  shards: { total: number; done: number; here: number };
  /** UNet calls of this call */
  unetCalls: number;
  seconds: number;
  /** fraction of the time on shards in which engines had nothing to do; absent if none was scored by this command's engines */
  engineWaiting?: number;
  device: string;
  dtype: Dtype;
  batch: number;
  samples: number;
  patch: number;
  /** of a finished race: UNet calls of the whole run, and those that it left out */
  race?: { spent: number; saved: number };
}
