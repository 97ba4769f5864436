// Options of verify.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { DTYPE_CHOICES } from '../../options/names.js';
import { option, optionsOf } from '../../options/option.js';
import { DEVICE } from '../../options/shared.js';

export const VERIFY = optionsOf('verify', {
  ...DEVICE,
  // of the reference values
  dtype: option(fields.oneOf(DTYPE_CHOICES).default('auto'), {
    group: 'Device',
    description:
      'dtype of the UNet or transformer; auto is fp32; fp16 on a CPU needs hardware support (see diffmine doctor)',
  }),
});

export interface VerifyOptions extends z.input<typeof VERIFY> {
  /** where manifests of reference values are searched */
  folder: string;
}
