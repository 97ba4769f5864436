// Finds the safetensors files of a component's weights, reads their headers, and computes their fingerprint.
import type { Hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { readSafetensorsHeader } from '../engine/index.js';
import type { SafetensorsHeader } from '../engine/types.js';
import { isObject, readJsonObject } from './json.js';
import { conversion, isPickle } from './pickle.js';

/** Of diffusers' parts and of transformers'. */
const NAMES = ['diffusion_pytorch_model', 'model'];

/** A fingerprint reads this many bytes at this many places of each file. */
const SAMPLE_BYTES = 64 * 1024;
const SAMPLE_PLACES = 16;

/** The weights of one part of a model. */
export interface Weights {
  /** absolute; several when sharded */
  files: string[];
  /** which were read: 'fp16', 'non_ema', ...; '' for those without a variant */
  variant: string;
  /** all that are there */
  variants: string[];
  /** of each file */
  headers: SafetensorsHeader[];
  /** size of each file */
  bytes: number[];
}

/**
 * The weights in `folder`: of `variant` if it has them; else plain .safetensors before .fp16.safetensors, one file before shards.
 *
 * @throws MODEL_INVALID if there are none, only other variants, or only .bin files; WEIGHTS_INVALID for a damaged header
 */
export async function findWeights(folder: string, variant?: string): Promise<Weights> {
  const present = new Set(await readdir(folder).catch(() => [] as string[]));
  const found = candidates(present);
  const chosen = [variant, '', 'fp16']
    .map((wanted) => found.find((one) => one.variant === wanted))
    .find((one) => one !== undefined);
  if (!chosen) throw noWeights(folder, [...present].sort(), found);
  const files = chosen.index ? await shards(folder, chosen.file, present) : [path.join(folder, chosen.file)];
  const bytes: number[] = [];
  for (const file of files) bytes.push(await sizeOf(file));
  return {
    files,
    variant: chosen.variant,
    variants: [...new Set(found.map((one) => one.variant))],
    bytes,
    headers: files.map((file) => readSafetensorsHeader(file)),
  };
}

/** A file of weights, or the index of several. */
export interface Candidate {
  /** '' for those without one */
  variant: string;
  file: string;
  index: boolean;
}

export const SHARD = /-\d{5}-of-\d{5}(\.[\w-]+)?\.safetensors$/;

/** The weights among a folder's files: of each variant in the order in which they are read. */
export function candidates(present: Iterable<string>): Candidate[] {
  const found: (Candidate & { order: number })[] = [];
  for (const file of present) {
    if (SHARD.test(file)) continue;
    // diffusers and transformers write the variant last (model.safetensors.index.fp16.json), older ones first.
    const parts = /^(\w+?)(?:\.([\w-]+))?\.safetensors(\.index(?:\.([\w-]+))?\.json)?$/.exec(file);
    const order = NAMES.indexOf(parts?.[1] ?? '');
    if (parts && order >= 0)
      found.push({ file, variant: parts[2] ?? parts[4] ?? '', index: parts[3] !== undefined, order });
  }
  return found.sort((a, b) => a.order - b.order || Number(a.index) - Number(b.index) || (a.file < b.file ? -1 : 1));
}

/** A part is converted with its model, a VAE of its own alone. */
function conversionOf(folder: string, pickle: readonly string[]): string {
  const whole = path.dirname(folder);
  const [, variant] = /\.([\w-]+)\.bin$/.exec(pickle[0] ?? '') ?? [];
  const options = variant === undefined ? {} : { variant };
  return existsSync(path.join(whole, 'model_index.json'))
    ? conversion(whole, `${path.basename(whole)}-safetensors`, options)
    : conversion(folder, `${path.basename(folder)}-safetensors`, { loader: 'AutoencoderKL', ...options });
}

/** What is there instead of weights, and what to do about it. */
function noWeights(folder: string, present: readonly string[], found: readonly Candidate[]): DiffmineError {
  const invalid = (what: string, hint: string): DiffmineError =>
    new DiffmineError('MODEL_INVALID', `'${folder}' ${what}.`, hint);
  const quoted = (names: readonly string[]): string =>
    `${names
      .slice(0, 8)
      .map((name) => `'${name}'`)
      .join(', ')}${names.length > 8 ? ` and ${names.length - 8} more` : ''}`;
  if (found.length > 0) {
    const variants = [...new Set(found.map(({ variant }) => variant))];
    const choice = variants.map((variant) => `\`variant\` ${variant}`).join(' or ');
    return invalid(
      `has its weights only as ${variants.length === 1 ? 'a variant' : 'variants'}: ${quoted(found.map(({ file }) => file))}`,
      `Choose with ${choice} (in the API: the option variant).`,
    );
  }
  const sharded = present.filter((name) => SHARD.test(name));
  if (sharded.length > 0)
    return invalid(
      `has sharded weights (${quoted(sharded)}), but no index file`,
      'Download the file that ends in .safetensors.index.json.',
    );
  const pickle = present.filter((name) => isPickle(name));
  if (pickle.length > 0)
    return invalid(
      `has its weights as ${quoted(pickle)} only; diffmine reads safetensors (pickle files can run code)`,
      conversionOf(folder, pickle),
    );
  const others = present.filter((name) => name.endsWith('.safetensors'));
  if (others.length > 0)
    return invalid(
      `has no weights with a name that diffusers uses, only ${quoted(others)}`,
      `Rename the right one to ${NAMES.map((name) => `${name}.safetensors`).join(' or ')}.`,
    );
  return invalid(
    `has no weights: neither ${NAMES.map((name) => `${name}.safetensors`).join(' nor ')}`,
    'Give a complete diffusers model folder.',
  );
}

async function shards(folder: string, index: string, present: ReadonlySet<string>): Promise<string[]> {
  const file = path.join(folder, index);
  const { weight_map: map } = await readJsonObject(file);
  const names = isObject(map) ? [...new Set(Object.values(map))] : [];
  if (names.length === 0 || !names.every((name) => typeof name === 'string'))
    throw new DiffmineError('MODEL_INVALID', `'${file}' has no weight_map of tensors to files.`);
  names.sort();
  const absent = names.find((name) => name !== path.basename(name) || !present.has(name));
  if (absent !== undefined)
    throw new DiffmineError(
      'MODEL_INVALID',
      `'${file}' names the shard '${absent}', which is missing.`,
      'Download the missing file.',
    );
  return names.map((name) => path.join(folder, name));
}

async function sizeOf(file: string): Promise<number> {
  const { size } = await stat(file).catch((cause: unknown) => {
    throw new DiffmineError(
      'MODEL_INVALID',
      `'${file}' cannot be read.`,
      'It may be a dangling link: download the model again.',
      { cause },
    );
  });
  if (size < 1024 && (await sample(file, 0, size)).toString('latin1').startsWith('version https://git-lfs')) {
    throw new DiffmineError(
      'MODEL_INVALID',
      `'${file}' is a Git LFS pointer, not the weights.`,
      'Run `git lfs pull` in the model folder.',
    );
  }
  return size;
}

/** Adds names, sizes, headers and sampled bytes: other weights of the same shapes differ in it, and a 3 GB file costs a megabyte of reading. */
export async function hashWeights(
  hash: Hash,
  part: string,
  weights: Pick<Weights, 'files' | 'headers' | 'bytes'>,
): Promise<void> {
  for (const [i, file] of weights.files.entries()) {
    const size = weights.bytes[i] as number;
    const tensors = Object.entries(weights.headers[i]?.tensors ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
    hash.update(JSON.stringify([part, path.basename(file), size, tensors]));
    const step = Math.max(0, size - SAMPLE_BYTES) / (SAMPLE_PLACES - 1);
    for (let place = 0; place < SAMPLE_PLACES; ++place)
      hash.update(await sample(file, Math.floor(place * step), SAMPLE_BYTES));
  }
}

async function sample(file: string, position: number, length: number): Promise<Buffer> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, position);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** Shape of a tensor under any of its names, or undefined. */
export function shapeOf(weights: Weights, ...names: string[]): number[] | undefined {
  for (const { tensors } of weights.headers) for (const name of names) if (tensors[name]) return tensors[name].shape;
  return undefined;
}

/** The tensors that are parameters: old text encoders also carry their position ids. */
function parameters({ headers }: Weights): { dtype: string; shape: number[] }[] {
  return headers.flatMap(({ tensors }) =>
    Object.entries(tensors).flatMap(([name, tensor]) => (name.endsWith('position_ids') ? [] : [tensor])),
  );
}

export function countParameters(weights: Weights): number {
  return parameters(weights).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

/** ['F16', 'F32'] */
export function dtypesOf(weights: Weights): string[] {
  return [...new Set(parameters(weights).map(({ dtype }) => dtype))].sort();
}
