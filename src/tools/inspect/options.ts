// Options of inspect.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { MODEL, TABLES } from '../../options/shared.js';

export const INSPECT = optionsOf('inspect', {
  ...TABLES,
  variant: MODEL.variant,
  t5: MODEL.t5,
  vae: MODEL.vae,
  lora: MODEL.lora,
  prediction: MODEL.prediction,
  tokenizer: MODEL.tokenizer,
  imagesPerLabel: option(fields.whole(0).default(20), {
    group: 'Images',
    description:
      'Images per label that are decoded to check whether brightness, size or format alone tell labels apart, and to find near-duplicates under different labels; 0 skips it',
  }),
  imageGrid: option(fields.path().optional(), {
    group: 'Output',
    description: 'For a dataset: .png or .webp file to write, with a row of images for each label',
  }),
});

export interface InspectOptions extends z.input<typeof INSPECT> {}
