// What single images are scored with.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { NOISE, PATCH, PER_IMAGE, SIZE } from '../../options/scoring.js';
import { DEVICE, MODEL, PRESET, PROMPTS } from '../../options/shared.js';

export const SCORER = optionsOf('Scorer.open', {
  ...MODEL,
  preset: PRESET,
  ...PROMPTS,
  ...SIZE,
  patch: PATCH,
  ...NOISE,
  perImage: PER_IMAGE,
  ...DEVICE,
  batch: option(fields.whole(2, 65536).default(8), { group: 'Device', description: 'UNet inputs per forward pass' }),
});

/** Options of a scan that decide the numbers of one image, with the same defaults; `batch` is 8 by default. */
export interface ScorerOptions extends z.input<typeof SCORER> {}
