// An opened model, wherever it came from: what everything else needs to know of it. No weights are loaded.
import path from 'node:path';
import type { ModelPart, ModelSource } from '../engine/types.js';
import { architectureOf, type Architecture } from './denoiser.js';
import type { LoadedPart } from './fit.js';
import type { HubSource } from './locate.js';
import { variantOf, type OpenOptions } from './options.js';
import type { T5Tokenizer } from './t5-tokenizer.js';
import type { Tokenizer } from './tokenizer.js';
import { countParameters, dtypesOf } from './weights.js';

export interface ModelFolder {
  /** absolute; of a checkpoint, the file */
  path: string;
  /** of a model of the Hugging Face hub, whose folder is in the cache */
  hub?: HubSource;
  /** the weight variant that was requested */
  variant?: string | undefined;
  /** how it was opened, with absolute paths: what a run records */
  opened?: OpenOptions;
  /** latent: the UNet denoises a VAE's latents; pixel: the image itself */
  kind: 'latent' | 'pixel';
  /** text: prompts; class: labels the model was trained with */
  conditioning: 'text' | 'class';
  /** what Engine.loadModel takes */
  source: ModelSource;
  /** class models: names in the order of ids, without the null class, which is the last id */
  labels?: string[];
  /** class models whose classes have several names: all of each */
  classNames?: string[][];
  /** text models: one for each text encoder */
  tokenizers?: Tokenizer[];
  /** Stable Diffusion 3 with its T5 */
  t5Tokenizer?: T5Tokenizer;
  /** the condition of no prompt is zeros, not the encoded empty prompt (SDXL) */
  zeroNull: boolean;
  /** default short side in pixels */
  sampleSize: number;
  /** where that size comes from: 'default' if neither the UNet nor the VAE has one */
  sampleSizeOf: 'unet' | 'vae' | 'default';
  /** pixels per latent cell, in each direction; 1 without a VAE */
  vaeFactor: number;
  /** pixels folded into channels, in each direction; 1 without folding */
  fold: number;
  /** images are cropped to multiples of it, in pixels; 1 crops nothing */
  sizeMultiple: number;
  /** timestep spacing of the model's scheduler ("leading", ...) */
  timestepSpacing: string;
  /** sha256 over configs, headers, sizes and sampled bytes of the weights; independent of the folder's path */
  fingerprint: string;
  /** summary for `inspect`; plain JSON */
  summary(): ModelSummary;
}

export interface ModelSummary {
  path: string;
  hub?: HubSource;
  variant?: string | undefined;
  kind: 'latent' | 'pixel';
  conditioning: 'text' | 'class';
  architecture: Architecture;
  prediction: string;
  trainTimesteps: number;
  betaSchedule: string;
  sampleSize: number;
  vaeFactor: number;
  fold: number;
  sizeMultiple: number;
  labels?: string[];
  parts: Record<string, { parameters: number; dtypes: string[]; bytes: number; files: string[] }>;
  /** of the parts that stay in memory: T5's are read when they are used */
  parameters: number;
  /** of a LoRA: its base model */
  lora?: { base: string; scale: number };
  /** added to the weights when they are loaded */
  loras?: { file: string; scale: number }[];
  fingerprint: string;
}

/** The side of the UNet's input if the configuration has none. */
const DEFAULT_CELLS = 64;

/** The default short side: what the UNet was trained on, or the VAE, or else 64 cells as Stable Diffusion 1.x. */
export function sampleSizeOf(
  ofUNet: number | undefined,
  ofVae: number | undefined,
  perCell: number,
): Pick<ModelFolder, 'sampleSize' | 'sampleSizeOf'> {
  if (ofUNet !== undefined) return { sampleSize: ofUNet * perCell, sampleSizeOf: 'unet' };
  if (ofVae !== undefined)
    return { sampleSize: Math.max(1, Math.floor(ofVae / perCell)) * perCell, sampleSizeOf: 'vae' };
  return { sampleSize: DEFAULT_CELLS * perCell, sampleSizeOf: 'default' };
}

/** The same model with random weights in its denoiser (of `seed`), text encoder and VAE as they are: a control whose denoiser has learned no labels. */
export function untrained(model: ModelFolder, seed: number): ModelFolder {
  const { unet, transformer, ...others } = model.source;
  const random = { files: [], synthetic: seed };
  return {
    ...model,
    source: {
      ...others,
      ...(unet && { unet: { config: unet.config, ...random } }),
      ...(transformer && { transformer: { config: transformer.config, ...random } }),
    },
  };
}

/** What the engine takes of a part. */
export function strip<Config>({ config, files, tensors }: LoadedPart<Config>): ModelPart<Config> {
  return { config, files, ...(tensors && { tensors }) };
}

/** @param parts by name, those that the model has */
export function summarize(
  model: Omit<ModelFolder, 'summary'>,
  parts: Record<string, LoadedPart<unknown> | undefined>,
): ModelSummary {
  const { schedule } = model.source;
  const shown = Object.entries(parts).flatMap(([name, loaded]) => {
    if (!loaded) return [];
    const { weights } = loaded;
    return [
      [
        name,
        {
          parameters: countParameters(weights),
          dtypes: dtypesOf(weights),
          bytes: weights.bytes.reduce((a, b) => a + b, 0),
          files: weights.files.map((file) => path.basename(file)),
        },
      ] as const,
    ];
  });
  return {
    path: model.path,
    ...variantOf(model),
    kind: model.kind,
    conditioning: model.conditioning,
    architecture: architectureOf(model.source),
    prediction: schedule.prediction,
    trainTimesteps: schedule.trainTimesteps,
    betaSchedule: schedule.betaSchedule,
    sampleSize: model.sampleSize,
    vaeFactor: model.vaeFactor,
    fold: model.fold,
    sizeMultiple: model.sizeMultiple,
    ...(model.labels && { labels: model.labels }),
    parts: Object.fromEntries(shown),
    parameters: parametersOf(Object.fromEntries(shown)),
    fingerprint: model.fingerprint,
  };
}

/** Of the parts that stay in memory. */
export const parametersOf = (parts: ModelSummary['parts']): number =>
  Object.entries(parts).reduce((sum, [name, { parameters }]) => sum + (name === 't5' ? 0 : parameters), 0);

/** The model's own size, in pixels; said where the model does not give it. */
export function defaultSize(
  { path: folder, sampleSize, sampleSizeOf: of }: Pick<ModelFolder, 'path' | 'sampleSize' | 'sampleSizeOf'>,
  onLog?: (sentence: string) => void,
): number {
  if (of !== 'unet')
    onLog?.(
      `The UNet of '${folder}' gives no sample_size: the size is ${sampleSize} px${of === 'vae' ? ", the VAE's" : ''} (\`size\` sets another).`,
    );
  return sampleSize;
}
