// Options of an estimate: all of run, also those that do not matter for it, and its own.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { MINING } from '../../options/scoring.js';
import { DEVICE } from '../../options/shared.js';
import { REPORT } from '../../stages/report/options.js';
import { SCAN } from '../../stages/scan/options.js';
import { TRAIN } from '../../stages/train/options.js';
import { ARCHITECTURES } from './architectures.js';
import { CARD_NAMES } from './machines.js';

/** Commands that are estimated have it; an estimate is one already. */
const DRY_RUN = option(fields.flag().default(false), {
  group: 'Run directory',
  description: 'Accepted and ignored: an estimate writes nothing',
});

export const ESTIMATE = optionsOf('estimate', {
  ...SCAN.partial({ dataset: true, model: true, out: true }).shape,
  ...MINING.shape,
  ...REPORT.omit({ dataset: true, out: true }).shape,
  like: option(fields.oneOf(ARCHITECTURES).optional(), {
    group: 'Estimate',
    description: 'Estimate for this architecture instead of `model`: needs neither weights nor a GPU',
  }),
  images: option(fields.whole(1).optional(), {
    group: 'Estimate',
    description: 'With `like`: number of images, instead of `dataset`',
  }),
  labelCount: option(fields.whole(1, 100_000).optional(), {
    group: 'Estimate',
    description: 'With `images`: number of labels that the images are spread over',
    shown: '10, or as many as `labels` names',
  }),
  device: option(fields.either(fields.oneOf(CARD_NAMES), fields.device()).default('auto'), {
    group: 'Device',
    description: `Device to compute on: auto, cpu, cuda or cuda:N; with \`like\` also a GPU by name: ${CARD_NAMES.join(', ')}`,
  }),
  threads: DEVICE.threads,
  rate: option(fields.aboveZero().optional(), {
    group: 'Estimate',
    description: 'UNet calls per second, from an earlier run',
    shown: 'measured',
  }),
  perHour: option(fields.aboveZero().optional(), {
    group: 'Estimate',
    description: 'Price per hour of the device, in any currency; adds the cost of the scan',
  }),
  calibrate: option(fields.flag().default(true), {
    group: 'Estimate',
    description: 'Without a `rate`: load the model and measure it with a few forward passes',
    negated:
      'Do not load the model to measure the rate: it is the last one measured on this machine or, on a CPU, computed',
  }),
  dryRun: DRY_RUN,
});

export interface EstimateOptions extends z.input<typeof ESTIMATE> {}

export const ESTIMATE_TRAIN = optionsOf('estimate-train', {
  ...TRAIN.partial({ out: true }).shape,
  like: option(fields.oneOf(ARCHITECTURES).optional(), {
    group: 'Estimate',
    description: 'Estimate for this architecture instead of `from` or `new`: needs neither weights nor a GPU',
  }),
  images: option(fields.whole(1).optional(), {
    group: 'Estimate',
    description: 'Number of images to train on, instead of `dataset`',
  }),
  device: ESTIMATE.shape.device,
  rate: option(fields.aboveZero().optional(), {
    group: 'Estimate',
    description: 'Training steps per second, from an earlier training',
    shown: 'measured',
  }),
  perHour: option(fields.aboveZero().optional(), {
    group: 'Estimate',
    description: 'Price per hour of the device, in any currency; adds the cost of the training',
  }),
  calibrate: option(fields.flag().default(true), {
    group: 'Estimate',
    description: 'Without a `rate`: measure the rate with a few training steps',
    negated: 'Do not measure the rate with training steps; the time stays unknown',
  }),
  dryRun: DRY_RUN,
});

export interface EstimateTrainOptions extends z.input<typeof ESTIMATE_TRAIN> {}
