// What an estimate is asked for.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { SCAN } from '../../stages/scan/options.js';

export const ESTIMATE = optionsOf('estimate', {
  ...SCAN.omit({ out: true, shard: true }).shape,
  rate: option(fields.aboveZero().optional(), {
    group: 'Scoring',
    description: 'UNet calls per second, from an earlier run',
    shown: 'measured',
  }),
  calibrate: option(fields.flag().default(true), {
    group: 'Scoring',
    description: 'Without a `rate`: load the model and measure it with a few forward passes',
    negated: 'Do not load the model to measure the rate; omits the hours',
  }),
});

export interface EstimateOptions extends z.input<typeof ESTIMATE> {}
