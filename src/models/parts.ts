// The components that a model_index.json lists.
import type { JsonObject } from './json.js';

/** Parts of a pipeline that change nothing here. */
export const IGNORED: ReadonlySet<string> = new Set(['safety_checker', 'feature_extractor', 'image_encoder']);

/** The optional T5 of Stable Diffusion 3. */
export const T5_PARTS = ['text_encoder_3', 'tokenizer_3'] as const;

/** The components that are read, of any model. */
export const KNOWN: ReadonlySet<string> = new Set([
  'unet',
  'transformer',
  'vae',
  'text_encoder',
  'tokenizer',
  'text_encoder_2',
  'tokenizer_2',
  ...T5_PARTS,
  'scheduler',
]);

/** An entry of model_index.json that names a class: ["diffusers", "AutoencoderKL"]; [null, null] is a part left out. */
export function isComponent(value: unknown): value is [string, string] {
  return Array.isArray(value) && value.length === 2 && typeof value[1] === 'string';
}

/** The components that are read, in the order of the file. */
export const componentsOf = (index: JsonObject): string[] =>
  Object.entries(index).flatMap(([name, value]) => (isComponent(value) && !IGNORED.has(name) ? [name] : []));
