// Decodes an image file to the pixels that are scored: upright, sRGB, 8 bit, three channels, shrunk with Lanczos3, cropped to the model's multiple.
import path from 'node:path';
import sharp, { type Metadata, type Sharp } from 'sharp';
import { DiffmineError } from '../util/errors.js';
import type { Image } from '../engine/types.js';
import { Gate } from './gate.js';
import { imageInput, readImageFile, undecodable } from './open-image.js';
import { isWide, toEightBits } from './range.js';

/** How the long side is rounded when an image is shrunk. */
export type SizeRule = 'floor' | 'ceil';

export interface Size {
  width: number;
  height: number;
}

export interface SizeOptions {
  /** short side in pixels, or 'source' to keep the size of the image */
  size: number | 'source';
  rule: SizeRule;
  /** sides are cropped at right and bottom to multiples of it, in pixels; 1 crops nothing */
  multiple: number;
  /** side of a patch in pixels; images must not be smaller */
  patch: number;
}

/** The size of a scored image: `width` x `height` pixels, the upper left part of the image resized to `resized`. */
export interface ScoredSize extends Size {
  /** a scored pixel is sourceWidth / resized.width source pixels wide */
  resized: Size;
}

export interface ReadImage extends Image, ScoredSize {
  /** of the upright source image */
  sourceWidth: number;
  sourceHeight: number;
}

/** More pixels than this are not decoded. */
const MAX_PIXELS = 268e6;
/** An image may be this many times as long as it is wide. */
const MAX_ASPECT = 16;
/** Decoded bytes under way at once in this process: four ordinary photographs, or one huge image. */
const decoding = new Gate(512 * 2 ** 20);

/** 'error', not sharp's default 'warning': damaged and truncated data fail, stray bytes between JPEG markers do not. Sizes are checked here, with figures. */
const LENIENT = { failOn: 'error', limitInputPixels: false } as const;

/**
 * Reads the size of the upright image in pixels from its header, without decoding it.
 *
 * @throws IMAGE_UNREADABLE with the reason
 */
export async function measureImage(file: string): Promise<Size> {
  try {
    return upright(await sharp(await imageInput(file), LENIENT).metadata());
  } catch (cause) {
    throw await undecodable(file, cause);
  }
}

/**
 * An image as it is scored, before it is shrunk: an upright sRGB pipeline, its size, the file's format, and whether it has alpha, which scoring drops.
 *
 * @throws IMAGE_UNREADABLE with the reason
 */
export async function openImage(
  file: string,
): Promise<{ image: Sharp; size: Size; format: string; hasAlpha: boolean }> {
  try {
    const image = sharp(await imageInput(file), LENIENT);
    const metadata = await image.metadata();
    const size = upright(metadata);
    const { format } = metadata;
    const mapped = isWide(metadata) ? await toEightBits(image, metadata) : undefined;
    if (mapped) return { image: raw(mapped, size), size, format, hasAlpha: false };
    return { image: image.autoOrient().toColourspace('srgb'), size, format, hasAlpha: metadata.hasAlpha };
  } catch (cause) {
    throw await undecodable(file, cause);
  }
}

/**
 * The size at which an image is scored. Images are only shrunk: if the short side is at most `size`, the size is kept.
 * The arithmetic is exactly that of the reference implementation, including rounding.
 *
 * @throws IMAGE_UNREADABLE if the image is too long, too large, or too small for a patch
 */
export function scoredSize(source: Size, options: SizeOptions): ScoredSize {
  return fit(source, options, 'The image');
}

/** @param subject whom an error speaks of */
function fit(source: Size, { size, rule, multiple, patch }: SizeOptions, subject: string): ScoredSize {
  const unfit = (why: string): DiffmineError => {
    const reason = `cannot be used: ${why}.`;
    return new DiffmineError('IMAGE_UNREADABLE', `${subject} ${reason}`, undefined, { reason });
  };
  const { width: w, height: h } = source;
  const text = `${w} x ${h} px`;
  if (w * h > MAX_PIXELS) throw unfit(`it has more than ${MAX_PIXELS / 1e6} million pixels (${text})`);
  if (Math.max(w, h) > MAX_ASPECT * Math.min(w, h))
    throw unfit(`it is more than ${MAX_ASPECT} times as long as wide (${text})`);

  let resized: Size = { width: w, height: h };
  if (size !== 'source' && Math.min(w, h) > size) {
    const long = (a: number, b: number): number =>
      rule === 'ceil' ? Math.ceil(a * (size / b)) : Math.floor((a * size) / b);
    resized = w > h ? { width: long(w, h), height: size } : { width: size, height: long(h, w) };
  }
  const cut = (side: number): number => side - (side % multiple);
  const scored = { width: cut(resized.width), height: cut(resized.height) };
  const short = Math.min(scored.width, scored.height);
  if (short < patch || short === 0) {
    const scoredText =
      scored.width === w && scored.height === h ? text : `${text}, scored at ${scored.width} x ${scored.height}`;
    throw unfit(`a side is smaller than the patch of ${patch} px (${scoredText})`);
  }
  return { ...scored, resized };
}

/**
 * Decodes an image to the pixels that are scored: interleaved RGB, 8 bit. It is decoded at full size and then resized, because shrinking a JPEG
 * while loading is up to 1.75 levels off. Alpha is dropped, not blended. Of an animation, the first frame.
 *
 * @throws IMAGE_UNREADABLE with the reason, which names the file without its folder
 */
export async function readImage(file: string, options: SizeOptions): Promise<ReadImage> {
  const bytes = await readImageFile(file);
  const image = sharp(bytes, LENIENT);
  try {
    const metadata = await image.metadata();
    const source = upright(metadata);
    const target = fit(source, options, `The image '${path.basename(file)}'`);
    // floats of one or three channels beside the RGB of 8 bits that becomes of them
    const bytesPerPixel = isWide(metadata) ? 28 : 4;
    const pixels = await decoding.pass(source.width * source.height * bytesPerPixel, async () =>
      explained(async () => decode(sharp(bytes, LENIENT), metadata, source, target)),
    );
    return { pixels, ...target, sourceWidth: source.width, sourceHeight: source.height };
  } catch (cause) {
    throw await undecodable(file, cause);
  }
}

/** Attempts to learn from libvips what is wrong with an image. */
const ATTEMPTS = 8;

/**
 * What `decode` returns. libvips keeps the text of an error in one place for all its threads, and any of them that ends may clear it: then the reason is
 * unknown, and decoding again tells it.
 */
export async function explained<Result>(decode: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await decode();
    } catch (error) {
      const unknown = error instanceof Error && /^Unknown error\.?$/.test(error.message);
      if (!unknown) throw error;
      if (attempt === ATTEMPTS) throw new Error('its data are damaged or cut off', { cause: error });
    }
  }
}

/** Height x width x 3 bytes of the target. */
async function decode(image: Sharp, metadata: Metadata, source: Size, target: ScoredSize): Promise<Buffer> {
  const mapped = isWide(metadata) ? await toEightBits(image, metadata) : undefined;
  const shrunk = await shrink(mapped ?? (await decodeEightBits(image, source)), source, target.resized);
  const { width, height, resized } = target;
  if (width === resized.width && height === resized.height) return shrunk;
  return raw(shrunk, resized).extract({ left: 0, top: 0, width, height }).raw().toBuffer();
}

async function decodeEightBits(image: Sharp, source: Size): Promise<Buffer> {
  const { data, info } = await image
    .autoOrient()
    .toColourspace('srgb')
    .removeAlpha()
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 3 || info.width !== source.width || info.height !== source.height) {
    throw new Error(
      `decoded to ${info.width} x ${info.height} x ${info.channels} instead of ${source.width} x ${source.height} x 3`,
    );
  }
  return data;
}

/**
 * Lanczos3 to `target`. From a factor of 4 on libvips would first average blocks of pixels, which is up to 1.4 levels off the plain filter
 * (mean over photographs); in steps below 4 it stays under 0.5.
 */
async function shrink(pixels: Buffer, source: Size, target: Size): Promise<Buffer> {
  let [current, size] = [pixels, source];
  while (size.width !== target.width || size.height !== target.height) {
    const last = size.width < 4 * target.width && size.height < 4 * target.height;
    const step = (from: number, to: number): number =>
      last ? to : Math.min(from, Math.max(2 * to, Math.ceil(from / 3.9)));
    const next = { width: step(size.width, target.width), height: step(size.height, target.height) };
    current = await raw(current, size)
      .resize(next.width, next.height, { fit: 'fill', kernel: 'lanczos3' })
      .raw()
      .toBuffer();
    size = next;
  }
  return current;
}

function raw(pixels: Buffer, { width, height }: Size): Sharp {
  return sharp(pixels, { raw: { width, height, channels: 3 }, limitInputPixels: false });
}

/** Photographs of phones in HEIC: the builds of sharp on npm read their size and fail in decoding. @throws Error with the reason as the end of a sentence */
function checkDecoder({ compression }: Metadata): void {
  if (compression === 'hevc' && !sharp.format.heif.input.fileSuffix?.includes('.heic'))
    throw new Error('it is HEIC (HEVC), which this build of sharp does not decode: convert it to JPEG or PNG');
}

function upright(metadata: Metadata): Size {
  checkDecoder(metadata);
  const { autoOrient } = metadata;
  return { width: autoOrient.width, height: autoOrient.height };
}
