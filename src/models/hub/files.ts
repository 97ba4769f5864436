// Which files of a repository are needed: those that openModel reads, with the weights of one variant. Names decide, so that a cached snapshot and the
// list of files that the hub sends are looked at in the same way.
import type { JsonObject } from '../json.js';
import { componentsOf, T5_PARTS } from '../parts.js';
import { candidates, SHARD } from '../weights.js';

/** Of a component, beside its weights. */
const SETTINGS = new Set([
  'config.json',
  'scheduler_config.json',
  'vocab.json',
  'merges.txt',
  'tokenizer.json',
  'spiece.model',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
]);
export const INDEX = 'model_index.json';
/** Of the repository itself: the index, and what `diffmine train` recorded. */
const ROOT = [INDEX, 'train.json'];

export interface Selection {
  /** sorted */
  files: string[];
  /** weights that would be read first and are not among the names */
  lacking: string[];
  /** whether there are weights for all components, and all of their shards */
  complete: boolean;
  /** whether any component has weights of the variant */
  matched: boolean;
}

/** What of a model is needed. */
export interface Wanted {
  variant?: string | undefined;
  /** false leaves out the T5 of Stable Diffusion 3 */
  t5?: boolean | undefined;
}

/**
 * @param names all files, with slashes between folders
 * @param index model_index.json; undefined for a repository that is a component itself, such as a VAE
 */
export function neededFiles(
  names: readonly string[],
  index: JsonObject | undefined,
  { variant = '', t5 = true }: Wanted = {},
): Selection {
  const leftOut: readonly string[] = t5 ? [] : T5_PARTS;
  const parts = index ? componentsOf(index).filter((part) => !leftOut.includes(part)) : [''];
  const selected: Selection = {
    files: names.filter((name) => ROOT.includes(name)),
    lacking: [],
    complete: true,
    matched: false,
  };
  for (const part of parts) {
    const prefix = part === '' ? '' : `${part}/`;
    const inside = names.flatMap((name) =>
      name.startsWith(prefix) && !name.slice(prefix.length).includes('/') ? [name.slice(prefix.length)] : [],
    );
    const settings = inside.filter((name) => SETTINGS.has(name));
    const add = (more: readonly string[]): void => void selected.files.push(...more.map((name) => prefix + name));
    add(settings);
    if (settings.length === 0) selected.complete = false;
    // tokenizers and schedulers have no weights
    if (!settings.includes('config.json')) continue;
    const found = candidates(inside);
    const chosen = [variant, '', 'fp16']
      .map((wanted) => found.find((one) => one.variant === wanted))
      .find((one) => one !== undefined);
    if (chosen?.variant === variant) selected.matched = true;
    else selected.lacking.push(prefix + weightsName(part, variant));
    if (!chosen) {
      selected.complete = false;
      continue;
    }
    add([chosen.file]);
    if (!chosen.index) continue;
    const shards = inside.filter((name) => SHARD.test(name) && isShardOf(name, chosen.file, chosen.variant));
    add(shards);
    const total = Number(/-of-(\d{5})/.exec(shards[0] ?? '')?.[1]);
    if (shards.length !== total) selected.complete = false;
  }
  selected.files.sort();
  return selected;
}

/** The name that a component's weights have first of all. */
const weightsName = (part: string, variant: string): string =>
  `${part.startsWith('text_encoder') ? 'model' : 'diffusion_pytorch_model'}${variant === '' ? '' : `.${variant}`}.safetensors`;

/** 'model.fp16-00001-of-00002.safetensors' is a shard of 'model.safetensors.index.fp16.json', as is 'model-00001-of-00002.fp16.safetensors'. */
function isShardOf(name: string, index: string, variant: string): boolean {
  const [stem = ''] = index.split('.');
  const [, of, before = '', after = ''] =
    /^(\w+)(?:\.([\w-]+?))?-\d{5}-of-\d{5}(?:\.([\w-]+))?\.safetensors$/.exec(name) ?? [];
  return of === stem && (before || after) === variant;
}
