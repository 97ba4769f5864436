// How what is inspected is read.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { TABLES } from '../../options/shared.js';

export const INSPECT = optionsOf('inspect', {
  ...TABLES,
  variant: option(fields.variant().optional(), {
    group: 'What',
    description: 'Weight variant of a model to read, such as fp16 or non_ema, for components that have it',
  }),
  imagesPerLabel: option(fields.whole(0).default(20), {
    group: 'Images',
    description:
      'Images per label that are decoded to check whether brightness, size or format alone tell labels apart, and to find near-duplicates under different labels; 0 skips it',
  }),
});

export interface InspectOptions extends z.input<typeof INSPECT> {}
