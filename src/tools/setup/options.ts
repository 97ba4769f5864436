// Options of setup.
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';

export const SETUP = optionsOf('setup', {
  cuda: option(fields.flag().optional(), { group: 'Set-up', description: 'Use LibTorch with CUDA, for NVIDIA GPUs' }),
  noCuda: option(fields.flag().optional(), {
    group: 'Set-up',
    description: 'Use LibTorch without CUDA, for CPUs only',
    shown: 'as in the last set-up; at first without CUDA',
  }),
  build: option(fields.flag().optional(), {
    group: 'Set-up',
    description: 'Compile the addon, even if a prebuilt one fits',
    shown: 'as in the last set-up; at first only if no prebuilt one fits',
  }),
  libtorch: option(fields.path().optional(), {
    group: 'Set-up',
    description: 'LibTorch folder to use, like the variable LIBTORCH',
    shown: 'found or downloaded',
  }),
});
