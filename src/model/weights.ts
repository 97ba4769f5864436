// Which safetensors files hold a part's weights, what their headers say, and a fingerprint of them.
import type { Hash } from 'node:crypto';
import { open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../errors';
import { readSafetensorsHeader } from '../native';
import type { SafetensorsHeader } from '../native/types';
import { isObject, readJsonObject } from './json';

/** Of diffusers' parts and of transformers'. */
const NAMES = ['diffusion_pytorch_model', 'model'];

const CONVERT = 'Convert it once, where Python with diffusers is at hand: from diffusers import DiffusionPipeline; DiffusionPipeline.from_pretrained("MODEL").save_pretrained("MODEL-safetensors", safe_serialization=True)';

/** A fingerprint reads this many bytes at this many places of each file. */
const SAMPLE_BYTES = 64 * 1024;
const SAMPLE_PLACES = 16;

/** The weights of one part of a model. */
export interface Weights {
  /** absolute; several when sharded */
  files: string[];
  /** of each file */
  headers: SafetensorsHeader[];
  /** size of each file */
  bytes: number[];
}

/**
 * The weights in `folder`: plain .safetensors before .fp16.safetensors, one file before shards.
 *
 * @throws MODEL_INVALID when there are none, or only .bin files; WEIGHTS_INVALID for a damaged header
 */
export async function findWeights(folder: string): Promise<Weights> {
  const files = await weightFiles(folder);
  const bytes: number[] = [];
  for (const file of files) bytes.push(await sizeOf(file));
  return { files, bytes, headers: files.map((file) => readSafetensorsHeader(file)) };
}

async function weightFiles(folder: string): Promise<string[]> {
  const present = new Set(await readdir(folder).catch(() => [] as string[]));
  for (const variant of ['', '.fp16']) {
    for (const name of NAMES) {
      const single = `${name}${variant}.safetensors`;
      if (present.has(single)) return [path.join(folder, single)];
      // diffusers writes the variant last (model.safetensors.index.fp16.json), transformers first.
      const index = [`${name}${variant}.safetensors.index.json`, `${name}.safetensors.index${variant}.json`].find((file) => present.has(file));
      if (index !== undefined) return shards(folder, index, present);
    }
  }
  const pickle = [...present].find((name) => /\.(bin|ckpt|pt|pth)$/.test(name));
  if (pickle !== undefined) {
    throw new DiffmineError('MODEL_INVALID', `'${folder}' has its weights as '${pickle}' only; diffmine reads safetensors (pickle files can run code).`, CONVERT);
  }
  throw new DiffmineError('MODEL_INVALID', `'${folder}' has no weights: neither ${NAMES.map((name) => `${name}.safetensors`).join(' nor ')}.`, 'Give a complete diffusers model folder.');
}

async function shards(folder: string, index: string, present: ReadonlySet<string>): Promise<string[]> {
  const file = path.join(folder, index);
  const { weight_map: map } = await readJsonObject(file);
  const names = isObject(map) ? [...new Set(Object.values(map))].sort() : [];
  if (names.length === 0 || !names.every((name) => typeof name === 'string')) throw new DiffmineError('MODEL_INVALID', `'${file}' has no weight_map of tensors to files.`);
  const absent = (names as string[]).find((name) => name !== path.basename(name) || !present.has(name));
  if (absent !== undefined) throw new DiffmineError('MODEL_INVALID', `'${file}' names the shard '${absent}', which is not beside it.`, 'Download the missing file.');
  return (names as string[]).map((name) => path.join(folder, name));
}

async function sizeOf(file: string): Promise<number> {
  const { size } = await stat(file).catch((cause: unknown) => {
    throw new DiffmineError('MODEL_INVALID', `'${file}' cannot be read.`, 'It may be a link to a file that is gone: download the model again.', { cause });
  });
  if (size < 1024 && (await sample(file, 0, size)).toString('latin1').startsWith('version https://git-lfs')) {
    throw new DiffmineError('MODEL_INVALID', `'${file}' is a Git LFS pointer, not the weights.`, 'Run `git lfs pull` in the model folder.');
  }
  return size;
}

/** Adds names, sizes, headers and sampled bytes: other weights of the same shapes differ in it, and a 3 GB file costs a megabyte of reading. */
export async function hashWeights(hash: Hash, part: string, weights: Weights): Promise<void> {
  for (const [i, file] of weights.files.entries()) {
    const size = weights.bytes[i] as number;
    const tensors = Object.entries(weights.headers[i]?.tensors ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
    hash.update(JSON.stringify([part, path.basename(file), size, tensors]));
    const step = Math.max(0, size - SAMPLE_BYTES) / (SAMPLE_PLACES - 1);
    for (let place = 0; place < SAMPLE_PLACES; ++place) hash.update(await sample(file, Math.floor(place * step), SAMPLE_BYTES));
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
  return headers.flatMap(({ tensors }) => Object.entries(tensors).flatMap(([name, tensor]) => (name.endsWith('position_ids') ? [] : [tensor])));
}

export function countParameters(weights: Weights): number {
  return parameters(weights).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

/** ['F16', 'F32'] */
export function dtypesOf(weights: Weights): string[] {
  return [...new Set(parameters(weights).map(({ dtype }) => dtype))].sort();
}
