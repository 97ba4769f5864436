// How what is inspected is read.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { TABLES } from '../../options/shared.js';

export const INSPECT = optionsOf('inspect', {
  ...TABLES,
  variant: option(fields.variant().optional(), {
    group: 'What',
    description: 'Weight variant of a model to read where a component has it',
  }),
  imagesPerLabel: option(fields.whole(0).default(20), {
    group: 'Images',
    description: 'Images per label that are decoded to find confounds and near-duplicates across labels; 0 skips it',
  }),
});

export interface InspectOptions extends z.input<typeof INSPECT> {}
