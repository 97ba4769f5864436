// Options of sampling.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { BATCH, DEVICE, IMAGE_DTYPE, MODEL, PROMPTS } from '../../options/shared.js';

export const SAMPLE = optionsOf('sample', {
  ...MODEL,
  out: option(fields.path(), { group: 'Output', description: 'Output directory: new, or one to resume' }),
  labels: option(fields.labels().optional(), {
    group: 'Input',
    description: 'Labels to generate images of; of a class model also separated by commas',
    shown: 'all labels of a class model',
  }),
  count: option(fields.whole(1, 1_000_000).default(8), {
    group: 'Input',
    description: 'Images per label',
    alias: 'n',
  }),
  prompt: PROMPTS.prompt,
  nullPrompt: option(fields.text().default(''), {
    group: 'Prompts',
    description: 'Prompt that guidance leads away from',
  }),
  size: option(fields.whole(8, 16384).optional(), {
    group: 'Images',
    description: 'Side of the square images, px',
    shown: "the model's sample size",
  }),
  inferenceSteps: option(fields.whole(1, 100_000).default(50), {
    group: 'Sampling',
    description: 'Sampling steps (DDIM; for flow models Euler)',
  }),
  guidanceScale: option(fields.atLeastZero().optional(), {
    group: 'Sampling',
    description: 'Guidance scale (classifier-free guidance); 1 disables guidance',
    shown: '7.5 for text, 3 for classes',
  }),
  seed: option(fields.whole(0).default(0), {
    group: 'Sampling',
    description: 'Seed of the noise; image i of every label starts from the same noise',
  }),
  ...DEVICE,
  dtype: IMAGE_DTYPE,
  batch: BATCH,
});

export interface SampleOptions extends z.input<typeof SAMPLE> {}
