// What a translation is asked for, what decides its images, and what it says at the end.
import type { Dtype } from '../../engine/types.js';
import type { PipelineEvent, SplitOptions } from '../../pipeline/options.js';

/** The paper's settings. */
export const INVERSION_STEPS = 999;
export const STEPS = 50;
export const GUIDANCE = 7.5;
export const FEATURE_FRACTION = 0.8;
export const ATTENTION_FRACTION = 0.5;
/**
 * The part of the schedule in which guidance acts. Of pixel models not the noisiest: there it moves the color of the whole image until
 * nothing else is left (docs/results/translation.md has figures).
 */
export const GUIDANCE_RANGE = { latent: [0, 1], pixel: [0, 0.4] } as const;
/** Images a shard, unless asked otherwise: an image takes some thousand UNet calls. */
export const SHARD_SIZE = 16;

/** What guidance leads away from: the image's own label, or the null condition. */
export type Negative = 'source' | 'null';

/** What a translation is asked for. */
export interface TranslateOptions extends SplitOptions {
  /** a folder of label folders, or a CSV or JSONL file */
  dataset: string;
  /** encoding of its tables and lists; default strict UTF-8 */
  encoding?: string;
  /** of a table: the folder that relative image paths start at; default the table's */
  imageRoot?: string;
  /** a diffusers folder, text or class, latent or pixel */
  model: string;
  /** weights to read where a part has them: 'fp16' for diffusion_pytorch_model.fp16.safetensors */
  variant?: string;
  /** the folder to write: new, empty, or that of the same translation */
  out: string;
  /** target labels; default: all of the dataset. An image is never translated to its own, but for the reconstruction. */
  to?: readonly string[];

  /** default 999 */
  inversionSteps?: number;
  /** sampling steps; default 50. Their timesteps must be among the inversion's: 1000 // steps a multiple of 1000 // inversionSteps */
  inferenceSteps?: number;
  /** default 7.5 */
  guidanceScale?: number;
  /** the part of the schedule in which guidance acts, as fractions [begin, end); default [0, 1], of pixel models [0, 0.4] */
  guidanceRange?: readonly [number, number];
  /** default 'source' */
  negative?: Negative;
  /** fraction of the steps in which features are injected; default 0.8 */
  featureFraction?: number;
  /** fraction of the steps in which self-attention is injected; default 0.5 */
  attentionFraction?: number;
  /** module paths, or their beginnings; default: the paper's places (see defaultSites) */
  featureLayers?: readonly string[];
  attentionLayers?: readonly string[];

  /** one of PRESETS: prompts and size, each overridden by the option of its name */
  preset?: string;
  /** text models: template of a label's prompt; default "{label}" */
  prompt?: string;
  /** text models: with `negative: 'null'`, the prompt guidance leads away from; default "" */
  nullPrompt?: string;
  /** short side in pixels, or 'source'; default: the model's */
  size?: number | 'source';
  /** at most so many images of each label, the first ones */
  limit?: number;
  /** images a shard; default 16 */
  shardSize?: number;
  /** UNet calls a forward pass; default 'auto': sized from memory, then fixed in the manifest */
  batch?: number | 'auto';
  /** default 'fp32' */
  dtype?: Dtype;
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
  limit: number | null;
  batch: number;
  dtype: Dtype;
  /** the kind of device: results of two kinds differ by rounding */
  device: 'cpu' | 'cuda';
  shardSize: number;
}

export type TranslateEvent = PipelineEvent;

export interface TranslateSummary {
  /** absolute */
  out: string;
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
