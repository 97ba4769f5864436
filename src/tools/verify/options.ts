// What the check of reference values is asked for.
import type { z } from 'zod';
import { optionsOf } from '../../options/option.js';
import { DEVICE } from '../../options/shared.js';

export const VERIFY = optionsOf('verify', DEVICE);

export interface VerifyOptions extends z.input<typeof VERIFY> {
  /** where manifests of reference values are searched */
  folder: string;
}
