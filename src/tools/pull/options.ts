// Options of pull.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { MODEL } from '../../options/shared.js';

export const PULL = optionsOf('pull', {
  variant: MODEL.variant,
  t5: MODEL.t5,
  dryRun: option(fields.flag().default(false), {
    group: 'Output',
    description: 'List the files and their sizes only',
  }),
});

export interface PullOptions extends z.input<typeof PULL> {}
