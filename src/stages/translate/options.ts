// Options, settings and summary of a translation.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { PRESET_NAMES } from '../../options/names.js';
import { option, optionsOf } from '../../options/option.js';
import { NOISE, SIZE } from '../../options/scoring.js';
import { BATCH, DATASET, DEVICE, IMAGE_DTYPE, MODEL, PROMPTS, shardSize, SPLIT } from '../../options/shared.js';
import type { Dtype } from '../../engine/types.js';
import type { PipelineEvent } from '../../pipeline/options.js';

/**
 * The part of the schedule in which guidance acts. Of pixel models not the noisiest: there it moves the color of the whole image until
 * nothing else is left (docs/results/translation.md has figures).
 */
export const GUIDANCE_RANGE = { latent: [0, 1], pixel: [0, 0.4] } as const;

/** What guidance leads away from: the image's own label, or the null condition. */
export type Negative = 'source' | 'null';

/** The defaults are the paper's. */
export const TRANSLATE = optionsOf('translate', {
  ...DATASET,
  ...MODEL,
  out: option(fields.path(), { group: 'Run directory', description: 'Output directory: new, or one to resume' }),
  to: option(fields.labels().optional(), {
    group: 'Input',
    description: 'Target labels, separated by commas',
    shown: 'all labels of the dataset',
  }),
  inversionSteps: option(fields.whole(1, 100_000).default(999), {
    group: 'Sampling',
    description: 'DDIM inversion steps, from the image to noise',
  }),
  inferenceSteps: option(fields.whole(1, 100_000).default(50), {
    group: 'Sampling',
    description: 'DDIM sampling steps, at timesteps of the inversion',
  }),
  guidanceScale: option(fields.atLeastZero().default(7.5), {
    group: 'Sampling',
    description: 'Guidance scale (classifier-free guidance) of the target label; 1 disables guidance',
  }),
  guidanceRange: option(fields.range().optional(), {
    group: 'Sampling',
    description: 'Range of timesteps with guidance, as fractions of the noise schedule',
    shown: `${GUIDANCE_RANGE.latent.join(',')}; for pixel models ${GUIDANCE_RANGE.pixel.join(',')}`,
  }),
  negative: option(fields.oneOf(['source', 'null']).default('source'), {
    group: 'Sampling',
    description: "What guidance leads away from: source (the image's label) or null (the unconditional prompt)",
  }),
  featureFraction: option(fields.upToOne().default(0.8), {
    group: 'Sampling',
    description: 'Fraction of the steps that keep the features of the source image',
  }),
  attentionFraction: option(fields.upToOne().default(0.5), {
    group: 'Sampling',
    description: 'Fraction of the steps that keep the self-attention of the source image',
  }),
  featureLayers: option(fields.list(fields.text(), 'module paths').optional(), {
    group: 'Sampling',
    description: 'Resnet blocks whose features are kept, separated by commas; up_blocks.1 means the whole block',
    shown: "the paper's",
  }),
  attentionLayers: option(fields.list(fields.text(), 'module paths').optional(), {
    group: 'Sampling',
    description: 'Self-attention layers to keep, separated by commas',
    shown: "the paper's",
  }),
  preset: option(fields.oneOf(PRESET_NAMES).optional(), {
    group: 'Prompts',
    description: "Prompts and image size of one of the paper's datasets",
  }),
  prompt: PROMPTS.prompt,
  nullPrompt: option(fields.text().default(''), {
    group: 'Prompts',
    description: 'With `negative` null: prompt that guidance leads away from',
  }),
  size: SIZE.size,
  imagesPerLabel: option(fields.whole(1).optional(), {
    group: 'Images',
    description: 'Translate only this many images of each label, the first ones',
    shown: 'all',
  }),
  shardSize: shardSize('Images'),
  ...SPLIT,
  ...DEVICE,
  dtype: IMAGE_DTYPE,
  batch: BATCH,
});

/** What a translation is asked for. */
export interface TranslateOptions extends z.input<typeof TRANSLATE> {}

/** How a translation is measured. */
export const MEASUREMENT = optionsOf('evaluateTranslation', {
  model: option(fields.path().optional(), {
    group: 'Input',
    description: 'Where the model is now, if it has moved',
    shown: "the translation's",
  }),
  variant: option(fields.variant().optional(), {
    group: 'Input',
    description: 'Weight variant to read, such as fp16 or non_ema, for components that have it',
    shown: "the translation's",
  }),
  boxes: option(fields.path().optional(), {
    group: 'Scoring',
    description: 'Boxes of known elements, to measure where the changes are',
  }),
  samples: option(fields.whole(1, 1_000_000).default(16), {
    group: 'Scoring',
    description: 'Noise and timestep samples per image',
  }),
  tRange: NOISE.tRange,
  device: DEVICE.device,
  threads: DEVICE.threads,
});

export interface QualityOptions extends z.input<typeof MEASUREMENT> {
  /** a parallel dataset that `translate` wrote */
  parallel: string;
}

/** Every option that changes images, as the manifest keeps it. */
export interface TranslateSettings {
  inversionSteps: number;
  inferenceSteps: number;
  guidanceScale: number;
  /** timesteps [guidanceBegin, guidanceEnd) in which it acts */
  guidanceBegin: number;
  guidanceEnd: number;
  negative: Negative;
  featureFraction: number;
  attentionFraction: number;
  /** module paths */
  featureLayers: string[];
  attentionLayers: string[];
  /** the prompt's template; null for class models */
  prompt: string | null;
  nullPrompt: string | null;
  size: number | 'source';
  sizeRule: 'floor' | 'ceil';
  /** at most so many images of each label; null for all */
  imagesPerLabel: number | null;
  batch: number;
  dtype: Dtype;
  /** the kind of device: results of two kinds differ by rounding */
  device: 'cpu' | 'cuda';
  shardSize: number;
}

export type TranslateEvent = PipelineEvent;

export interface TranslateSummary {
  /** of the parallel dataset, absolute */
  path: string;
  page: string;
  complete: boolean;
  resumed: boolean;
  /** target labels */
  labels: string[];
  images: number;
  /** of finished shards */
  translated: number;
  skipped: number;
  /** images made of others, reconstructions not counted */
  translations: number;
  /** mean of the reconstructions that differ from their sources, dB; null where there is none */
  psnr: number | null;
  shards: { total: number; done: number; here: number };
  /** UNet calls of this call */
  unetCalls: number;
  seconds: number;
  device: string;
  dtype: Dtype;
  batch: number;
}

/** How well a translation went (quality.ts): plain numbers, quality.json. */
export interface Quality {
  /** images and translations looked at */
  images: number;
  translations: number;
  /** mean PSNR of the reconstructions that differ from their sources, dB; null where there is none */
  psnr: number | null;
  /** correlation of the self-similarities of features, source against translation; `control`: against the next image in its place */
  structure: { mean: number; control: number | null };
  /** of the model's own judgement: the loss under the source's label less that under the target's */
  label: {
    /** fraction of translations that it is above 0 for: which look more like the target than like what they come from */
    preferred: number;
    /** its mean over translations, and over their sources */
    translated: number;
    source: number;
  };
  /** with boxes: by what the source has at a place */
  places?: Record<'own' | 'others' | 'rest', PlaceQuality>;
  /** of the scoring */
  samples: number;
}

export interface PlaceQuality {
  /** pixels of all translations */
  pixels: number;
  /** means over these pixels: as Quality.label, and the change of 8-bit values against the reconstruction */
  source: number | null;
  translated: number | null;
  change: number | null;
  /** fraction of (translation, box) that look more like the target, in translations and in their sources; null for `rest` */
  preferred: number | null;
  preferredBefore: number | null;
  boxes: number;
}
