// Options of a benchmark.
import type { Dtype } from '../../engine/types.js';
import * as fields from '../../options/fields.js';
import { DTYPE_CHOICES, DTYPES } from '../../options/names.js';
import { option, optionsOf } from '../../options/option.js';
import { DEVICE, MODEL } from '../../options/shared.js';
import { SIZE_NAMES } from '../../stages/train/sizes.js';
import { COMPILE_MODES } from './modes.js';
import { OPTIMIZATIONS, type BenchOptimization } from './optimizations.js';

export interface CellOptions {
  device: string;
  dtypes: Dtype[];
  /** sides of the UNet's input */
  latents: number[];
  /** UNet calls per forward pass */
  batches: number[];
  /** measured rounds */
  repeats: number;
  threads?: number | undefined;
  /** optimizations that are disabled in all measurements */
  disable?: BenchOptimization[] | undefined;
  /** optimizations to measure one by one; those that do not apply to the device and dtype are skipped */
  ablate?: BenchOptimization[] | undefined;
  /** also time scoring calls and the other stages; default true */
  stages?: boolean | undefined;
}

/** Of the command: the API takes them by what is timed (BenchOptions). */
export const BENCH = optionsOf('bench', {
  out: option(fields.path().optional(), { group: 'Output', description: 'JSON file to write the report to' }),
  model: option(fields.path().default('synthetic:sd15'), {
    group: 'Input',
    description:
      'Model folder, or synthetic:NAME with sd15, sdxl, sd3, dit, demo or tiny (random weights, no download)',
  }),
  variant: MODEL.variant,
  latents: option(fields.list(fields.whole(1, 1024)).optional(), {
    group: 'Input',
    description: 'Sides of the UNet input to time, in latent cells, separated by commas',
    shown: '32,64',
  }),
  size: option(fields.list(fields.whole(8, 16384)).optional(), {
    group: 'Input',
    description: 'Sides of the image to time, px, separated by commas; instead of `latents`',
  }),
  batch: option(fields.list(fields.wordOr('auto', fields.whole(2, 65536))).default(['auto']), {
    group: 'Input',
    description: 'UNet inputs per forward pass, separated by commas; auto is 2, on a GPU 64',
  }),
  dtype: option(fields.list(fields.oneOf(DTYPE_CHOICES)).default(['auto']), {
    group: 'Input',
    description: 'dtypes to time, separated by commas; auto is fp32 and bf16, on a GPU fp16',
  }),
  repeats: option(fields.whole(1, 10_000).default(5), {
    group: 'Input',
    description: 'Rounds measured; each times the machine rates, a forward pass, a scoring call and diffusers',
  }),
  unet: option(fields.flag().default(true), {
    group: 'Input',
    description: 'Time UNet calls',
    negated: 'Do not time UNet calls',
  }),
  stages: option(fields.flag().default(true), {
    group: 'Input',
    description: 'Time the stages: scoring calls, features and clustering',
    negated: 'Skip the stages: no scoring calls, features or clustering',
  }),
  training: option(fields.list(fields.oneOf([...SIZE_NAMES, 'model'])).optional(), {
    group: 'Input',
    description: 'Trainings to time, separated by commas: sizes from train --list-sizes, or model for `model`',
  }),
  trainBatch: option(fields.whole(1, 65536).optional(), {
    group: 'Input',
    description: 'Images per training step',
    shown: 'set by the size; for `model` 1, on a GPU 8',
  }),
  gradientCheckpointing: option(fields.flag().default(false), {
    group: 'Input',
    description: 'Recompute activations in the backward pass: takes less memory and more time',
  }),
  pipelineModel: option(fields.path().optional(), {
    group: 'Input',
    description: 'Model folder for timing the whole pipeline',
  }),
  pipelineData: option(fields.path().optional(), {
    group: 'Input',
    description: 'Dataset for timing the whole pipeline',
  }),
  pipelineSamples: option(fields.whole(1, 1_000_000).default(10), {
    group: 'Input',
    description: 'Noise and timestep samples per image of the pipeline',
  }),
  diffusers: option(fields.path().optional(), {
    group: 'Comparison',
    description: 'Python with torch and diffusers to compare with, timed in turn',
  }),
  diffusersCompile: option(fields.oneOf(COMPILE_MODES).optional(), {
    group: 'Comparison',
    description: 'Also time diffusers compiled, in this mode of torch.compile',
  }),
  reference: option(fields.flag().default(false), {
    group: 'Comparison',
    description:
      "Also time the reference implementation's whole loop with `diffusers`, on the images of `pipelineData`",
  }),
  referenceDtype: option(fields.oneOf(DTYPES).optional(), {
    group: 'Comparison',
    description: 'dtype of the reference implementation',
    shown: 'that of `dtype`',
  }),
  top: option(fields.whole(1, 999_999).default(1000), {
    group: 'Comparison',
    description: 'With `reference`: patches per label in each ranking',
  }),
  ablate: option(fields.list(fields.oneOf(['all', ...OPTIMIZATIONS])).optional(), {
    group: 'Comparison',
    description:
      'Optimizations to measure, separated by commas, each against an engine that has it disabled; all measures every one that applies to the device',
  }),
  compare: option(fields.path().optional(), {
    group: 'Comparison',
    description: 'Earlier report to compare with; exit code 1 if utilization fell by more than `tolerance`',
  }),
  tolerance: option(fields.portion().default(0.05), {
    group: 'Comparison',
    description: 'Allowed loss of utilization, as 5% or 0.05',
  }),
  summary: option(fields.path().optional(), {
    group: 'Output',
    description: 'File for Markdown tables; auto appends to the GitHub job summary (GITHUB_STEP_SUMMARY)',
  }),
  device: DEVICE.device,
  threads: DEVICE.threads,
  disable: option(fields.list(fields.oneOf(OPTIMIZATIONS)).optional(), {
    group: 'Device',
    description:
      'Optimizations to disable in everything but the whole pipeline, separated by commas; names as for `ablate`',
  }),
});
