// Options of status, retry and cancel.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { QUEUE } from '../../pipeline/queue/options.js';

const QUEUED_RUN = {
  run: option(fields.path(), {
    group: 'Input',
    description: 'Output directory of scan, localize, translate or cotypicality',
  }),
  queue: QUEUE,
};

export const STATUS = optionsOf('status', {
  ...QUEUED_RUN,
  missing: option(fields.oneOf(['slurm']).optional(), {
    group: 'Output',
    description: 'Print only the parts with unfinished shards, as sbatch --array takes them: 0,3-5',
  }),
  parts: option(fields.whole(1).optional(), {
    group: 'Output',
    description: 'With `missing`: number of parts that the run is divided into, the n of --shard i/n',
    shown: 'one per shard',
  }),
});

export interface StatusOptions extends z.input<typeof STATUS> {}

export const CONTROL = optionsOf('retry', QUEUED_RUN);

export interface ControlOptions extends z.input<typeof CONTROL> {}
