// Training images as inputs of the UNet: crops of pixels (folded if the model folds them), or of latents that were encoded once and cached on disk.
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { measureImage, readImage, scoredSize, type DatasetImage, type ImageList } from '../../data/index.js';
import { prefetch } from '../../data/prefetch.js';
import { DiffmineError, reasonAlone } from '../../util/errors.js';
import { readSafetensors, writeSafetensors, type Engine } from '../../engine/index.js';
import { toFloat16, toFloat32 } from '../../engine/tensor.js';
import type { Image, Tensor } from '../../engine/types.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { sha256 } from '../../util/sha256.js';
import type { Base } from './base.js';
import type { View } from './order.js';
import { makeFolder } from '../../util/paths.js';

/** A usable training image. */
export interface Usable {
  image: DatasetImage;
  /** size it is shrunk to, in pixels */
  width: number;
  height: number;
}

export interface Skipped {
  image: string;
  label: string;
  reason: string;
}

/** Crops of images. */
export interface Crops {
  /** [C, h, w] of one crop */
  shape: [number, number, number];
  usable: Usable[];
  skipped: Skipped[];
  /** one crop, row-major F32; IMAGE_UNREADABLE if the image can no longer be read */
  load(index: number, view: Pick<View, 'across' | 'down' | 'mirrored'>): Promise<Float32Array>;
}

export interface CropOptions {
  /** of the square crops, in pixels */
  side: number;
  mirrored: boolean;
  /** where latents are kept */
  cache: string;
  signal?: AbortSignal | undefined;
  onProgress?: (done: number, total: number) => void;
  onLog?: ((line: string) => void) | undefined;
}

/** Decoded images held in memory, so that later passes need not decode them: bytes. */
const HELD = 2 * 2 ** 30;
/** Images per cache file. */
const CACHE_FILE = 64;
/** Images of the same size encoded in one forward pass. */
const ENCODED_TOGETHER = 8;
const CACHE_FORMAT = 'diffmine-latents-1';

/** Where a crop of `side` begins in an image of `length`. */
export function cropStart(fraction: number, length: number, side: number): number {
  return Math.min(Math.floor(fraction * (length - side + 1)), length - side);
}

/** Pixels 0 ... 255 of a crop as input of the UNet: [3 fold^2, side / fold, side / fold] in [-1, 1], channels as torch.pixel_unshuffle orders them. */
export function foldedCrop(
  image: Image,
  crop: { x: number; y: number; side: number; mirrored: boolean },
  fold: number,
): Float32Array {
  const { x: left, y: top, side, mirrored } = crop;
  const cells = side / fold;
  const out = new Float32Array(3 * side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const source = ((top + y) * image.width + left + (mirrored ? side - 1 - x : x)) * 3;
      const place = (y % fold) * fold + (x % fold);
      const cell = Math.floor(y / fold) * cells + Math.floor(x / fold);
      for (let c = 0; c < 3; c++)
        out[(c * fold * fold + place) * cells * cells + cell] = (image.pixels[source + c] as number) / 127.5 - 1;
    }
  }
  return out;
}

/** Opens the crops of a dataset for a model; images that cannot be used are listed. */
export async function openCrops(images: ImageList, base: Base, engine: Engine, options: CropOptions): Promise<Crops> {
  const { side } = options;
  if (side % base.multiple !== 0) {
    const near = Math.max(base.multiple, Math.round(side / base.multiple) * base.multiple);
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `This model cannot be trained on crops of ${side} px.`,
      `The side must be a multiple of ${base.multiple}, such as \`size\` ${near}.`,
    );
  }
  return base.kind === 'pixel'
    ? openPixels(images, base.fold, options)
    : openLatents(images, base.vaeFactor, engine, options, base.encoderFingerprint);
}

const sizeOptions = (side: number) => ({ size: side, rule: 'floor', multiple: 1, patch: 1 }) as const;

/** A crop needs both sides; images are never enlarged. */
function checkSide(name: string, { width, height }: { width: number; height: number }, side: number): void {
  if (Math.min(width, height) >= side) return;
  const reason = `is smaller than the crop of ${side} px (${width} x ${height} px).`;
  throw new DiffmineError('IMAGE_UNREADABLE', `The image '${name}' ${reason}`, undefined, { reason });
}

async function openPixels(images: ImageList, fold: number, { side, signal, onProgress }: CropOptions): Promise<Crops> {
  const [usable, skipped]: [Usable[], Skipped[]] = [[], []];
  const measure = async (image: DatasetImage): Promise<Usable> => {
    const { resized } = scoredSize(await measureImage(image.file), sizeOptions(side));
    checkSide(image.path, resized, side);
    return { image, ...resized };
  };
  for await (const { item, value, error } of prefetch(images, measure, () => 100, { signal })) {
    if (value) usable.push(value);
    else skipped.push({ image: item.path, label: item.label, reason: reasonAlone(error) });
    onProgress?.(usable.length + skipped.length, images.length);
  }
  const held = new Map<number, Image>();
  let bytes = 0;
  return {
    shape: [3 * fold * fold, side / fold, side / fold],
    usable,
    skipped,
    async load(index, { across, down, mirrored }) {
      const { image } = usable[index] as Usable;
      let decoded = held.get(index);
      if (!decoded) {
        decoded = await readImage(image.file, sizeOptions(side));
        checkSide(image.path, decoded, side);
        if (!held.has(index) && bytes + decoded.pixels.byteLength <= HELD) {
          held.set(index, decoded);
          bytes += decoded.pixels.byteLength;
        }
      }
      return foldedCrop(
        decoded,
        { x: cropStart(across, decoded.width, side), y: cropStart(down, decoded.height, side), side, mirrored },
        fold,
      );
    },
  };
}

// --- latents

interface LatentRecord {
  image: string;
  label: string;
  /** of the image, in pixels; or why there is none */
  width?: number;
  height?: number;
  skipped?: string;
}

function mirror({ pixels, width, height }: Image): Image {
  const out = new Uint8Array(pixels.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++) out[(y * width + x) * 3 + c] = pixels[(y * width + width - 1 - x) * 3 + c] as number;
  }
  return { pixels: out, width, height };
}

const cacheFile = (folder: string, number: number, extension: string): string =>
  join(folder, `latents-${String(number).padStart(6, '0')}.${extension}`);

/**
 * Whole images (and their mirror images) are encoded to the mean of the VAE's posterior, as in a scan, and crops are cut from the latents.
 * A file of the cache holds the latents of 64 images in F16; it is reused if model, images and size are the same.
 */
async function openLatents(
  images: ImageList,
  factor: number,
  engine: Engine,
  options: CropOptions,
  fingerprint: string,
): Promise<Crops> {
  const { side, cache, signal } = options;
  await makeFolder(cache);
  const records: LatentRecord[] = [];
  const files = Math.ceil(images.length / CACHE_FILE);
  for (let number = 0; number < files; number++) {
    const part = images.slice(number * CACHE_FILE, (number + 1) * CACHE_FILE);
    const key = sha256(
      JSON.stringify([
        CACHE_FORMAT,
        fingerprint,
        side,
        options.mirrored,
        part.map(({ path, label, bytes }) => [path, label, bytes]),
      ]),
    );
    records.push(
      ...((await readRecords(cache, number, key)) ?? (await encode(part, number, key, factor, engine, options))),
    );
    options.onProgress?.(Math.min(images.length, (number + 1) * CACHE_FILE), images.length);
    if (signal?.aborted) throw new DiffmineError('CANCELLED', 'Encoding the images was cancelled.');
  }
  const [usable, skipped, places]: [Usable[], Skipped[], number[]] = [[], [], []];
  records.forEach((record, place) => {
    if (record.skipped !== undefined || record.width === undefined || record.height === undefined) {
      skipped.push({ image: record.image, label: record.label, reason: record.skipped ?? '' });
      return;
    }
    usable.push({ image: images.at(place), width: record.width, height: record.height });
    places.push(place);
  });
  const read = (place: number, mirrored: boolean): Tensor => {
    const name = `${place % CACHE_FILE}${mirrored ? '.mirrored' : ''}`;
    return readSafetensors(cacheFile(cache, Math.floor(place / CACHE_FILE), 'safetensors'), [name])[name] as Tensor;
  };
  const channels = places.length > 0 ? (read(places[0] as number, false).shape[0] as number) : 4;
  const cells = side / factor;
  return {
    shape: [channels, cells, cells],
    usable,
    skipped,
    async load(index, { across, down, mirrored }) {
      const latents = read(places[index] as number, mirrored);
      const [, height, width] = latents.shape as [number, number, number];
      const values = toFloat32(latents);
      const [x, y] = [cropStart(across, width, cells), cropStart(down, height, cells)];
      const out = new Float32Array(channels * cells * cells);
      for (let c = 0; c < channels; c++) {
        for (let row = 0; row < cells; row++) {
          const from = (c * height + y + row) * width + x;
          out.set(values.subarray(from, from + cells), (c * cells + row) * cells);
        }
      }
      return out;
    },
  };
}

async function readRecords(cache: string, number: number, key: string): Promise<LatentRecord[] | undefined> {
  const text = await readFile(cacheFile(cache, number, 'json'), 'utf8').catch(() => undefined);
  if (text === undefined || !existsSync(cacheFile(cache, number, 'safetensors'))) return undefined;
  try {
    const { key: found, images } = JSON.parse(text) as { key: string; images: LatentRecord[] };
    return found === key ? images : undefined;
  } catch {
    return undefined; // damaged: encode again
  }
}

/** Encodes the images of one cache file. Its list is written last, so that a file with a list is complete. */
async function encode(
  part: ImageList,
  number: number,
  key: string,
  factor: number,
  engine: Engine,
  { side, mirrored, cache, signal }: CropOptions,
): Promise<LatentRecord[]> {
  await rm(cacheFile(cache, number, 'json'), { force: true });
  const records: LatentRecord[] = [];
  const tensors: Record<string, Tensor> = {};
  let waiting: { name: string; image: Image }[] = [];
  const flush = async (): Promise<void> => {
    const [first] = waiting;
    if (!first) return;
    const all = await engine.encodeImages(
      waiting.map(({ image }) => image),
      { signal },
    );
    const shape = all.shape.slice(1);
    const bytes = all.data.byteLength / waiting.length;
    waiting.forEach(({ name }, i) => {
      tensors[name] = toFloat16({ dtype: all.dtype, shape, data: all.data.subarray(i * bytes, (i + 1) * bytes) });
    });
    waiting = [];
  };
  const load = async (image: DatasetImage): Promise<Image> => {
    const decoded = await readImage(image.file, { ...sizeOptions(side), multiple: factor });
    checkSide(image.path, decoded, side);
    return decoded;
  };
  for await (const { item, value, error } of prefetch(part, load, ({ pixels }) => pixels.byteLength, { signal })) {
    const name = String(records.length);
    const record = { image: item.path, label: item.label };
    if (!value) {
      records.push({ ...record, skipped: reasonAlone(error) });
      continue;
    }
    records.push({ ...record, width: value.width, height: value.height });
    for (const image of mirrored ? [value, mirror(value)] : [value]) {
      const [first] = waiting;
      if (
        first &&
        (first.image.width !== image.width || first.image.height !== image.height || waiting.length >= ENCODED_TOGETHER)
      )
        await flush();
      waiting.push({ name: image === value ? name : `${name}.mirrored`, image });
    }
  }
  await flush();
  writeSafetensors(cacheFile(cache, number, 'safetensors'), tensors);
  await writeFileAtomic(cacheFile(cache, number, 'json'), `${JSON.stringify({ key, images: records })}\n`);
  return records;
}
