// From a picture file to the pixels that are scored: upright, sRGB, 8 bit, three channels, shrunk with Lanczos3, cut where the model needs it.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import sharp, { type Metadata, type Sharp } from 'sharp';
import { DiffmineError } from '../errors';
import type { Picture } from '../native/types';
import { Gate } from './gate';

/** How the long side is rounded when a picture is shrunk. */
export type SizeRule = 'floor' | 'ceil';

export interface Size {
  width: number;
  height: number;
}

export interface SizeOptions {
  /** short side in pixels, or 'source' to keep the picture's own */
  size: number | 'source';
  rule: SizeRule;
  /** sides are cut at right and bottom to multiples of it (pixels); 1 cuts nothing */
  multiple: number;
  /** side of a patch in pixels: a picture must hold one */
  patch: number;
}

/** What is scored: `width` x `height`, the upper left part of the picture resized to `resized`. */
export interface ScoredSize extends Size {
  /** a scored pixel is sourceWidth / resized.width source pixels wide */
  resized: Size;
}

export interface ReadPicture extends Picture, ScoredSize {
  /** of the upright source picture */
  sourceWidth: number;
  sourceHeight: number;
}

/** More pixels than this are not decoded. */
const MAX_PIXELS = 268e6;
/** A picture may be this many times as long as it is wide. */
const MAX_ASPECT = 16;
/** Decoded bytes under way at once in this process: four ordinary photographs, or one huge picture. */
const decoding = new Gate(512 * 2 ** 20);

/** System errors that are no fault of the picture. */
const EXHAUSTED = new Set(['EMFILE', 'ENFILE', 'ENOMEM']);

/**
 * The size of the upright picture in pixels, from its header: nothing is decoded.
 *
 * @throws IMAGE_UNREADABLE with the reason
 */
export async function measurePicture(file: string): Promise<Size> {
  const image = sharp(file, { limitInputPixels: false });
  return upright(await image.metadata().catch((cause: unknown) => Promise.reject(unreadable(file, cause))));
}

/**
 * The size a picture is scored at. Pictures are only ever shrunk: one whose short side is at most `size` stays as it is.
 * The arithmetic is the reference implementation's, to the last rounding.
 *
 * @throws IMAGE_UNREADABLE where the picture is too long, too large, or too small for a patch
 */
export function scoredSize(source: Size, { size, rule, multiple, patch }: SizeOptions): ScoredSize {
  const { width: w, height: h } = source;
  const text = `${w} x ${h} px`;
  if (w * h > MAX_PIXELS) throw unfit(`it has more than ${MAX_PIXELS / 1e6} million pixels (${text})`);
  if (Math.max(w, h) > MAX_ASPECT * Math.min(w, h)) throw unfit(`it is more than ${MAX_ASPECT} times as long as wide (${text})`);

  let resized: Size = { width: w, height: h };
  if (size !== 'source' && Math.min(w, h) > size) {
    const long = (a: number, b: number): number => (rule === 'ceil' ? Math.ceil(a * (size / b)) : Math.floor((a * size) / b));
    resized = w > h ? { width: long(w, h), height: size } : { width: size, height: long(h, w) };
  }
  const cut = (side: number): number => side - (side % multiple);
  const scored = { width: cut(resized.width), height: cut(resized.height) };
  const short = Math.min(scored.width, scored.height);
  if (short < patch || short === 0) {
    const scoredText = scored.width === w && scored.height === h ? text : `${text}, scored at ${scored.width} x ${scored.height}`;
    throw unfit(`a side is smaller than the patch of ${patch} px (${scoredText})`);
  }
  return { ...scored, resized };
}

/**
 * Decodes a picture to what is scored: interleaved RGB, 8 bit. Decoded in full first and then resized, because shrinking while a JPEG
 * loads is up to 1.75 levels off. Alpha is dropped, not blended. Of an animation, the first frame.
 *
 * @throws IMAGE_UNREADABLE with the reason, which names the file without its folder
 */
export async function readPicture(file: string, options: SizeOptions): Promise<ReadPicture> {
  const bytes = await readFile(file).catch((cause: unknown) => Promise.reject(unreadable(file, cause)));
  if (bytes.length === 0) throw unfit('the file is empty', file);
  // 'error', not sharp's default 'warning': damaged and truncated data fail, stray bytes between JPEG markers do not.
  const image = sharp(bytes, { failOn: 'error', limitInputPixels: MAX_PIXELS });
  try {
    const metadata = await image.metadata();
    const source = upright(metadata);
    const target = scoredSize(source, options);
    const decodedBytes = source.width * source.height * 4 * (metadata.depth === 'uchar' ? 1 : 2);
    const pixels = await decoding.pass(decodedBytes, () => decode(image, source, target));
    return { pixels, ...target, sourceWidth: source.width, sourceHeight: source.height };
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

/** Height x width x 3 bytes of the target. */
async function decode(image: Sharp, source: Size, target: ScoredSize): Promise<Buffer> {
  const { data, info } = await image.autoOrient().toColourspace('srgb').removeAlpha().raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  if (info.channels !== 3 || info.width !== source.width || info.height !== source.height) {
    throw new Error(`decoded to ${info.width} x ${info.height} x ${info.channels} instead of ${source.width} x ${source.height} x 3`);
  }
  const { resized, width, height } = target;
  const resizes = resized.width !== source.width || resized.height !== source.height;
  const cuts = width !== resized.width || height !== resized.height;
  if (!resizes && !cuts) return data;
  let result = sharp(data, { raw: { width: source.width, height: source.height, channels: 3 }, limitInputPixels: false });
  if (resizes) result = result.resize(resized.width, resized.height, { fit: 'fill', kernel: 'lanczos3' });
  if (cuts) result = result.extract({ left: 0, top: 0, width, height });
  return result.raw().toBuffer();
}

function upright({ autoOrient }: Metadata): Size {
  return { width: autoOrient.width, height: autoOrient.height };
}

function unfit(reason: string, file?: string): DiffmineError {
  const message = file === undefined ? `The picture cannot be used: ${reason}.` : `The picture '${path.basename(file)}' cannot be used: ${reason}.`;
  return new DiffmineError('IMAGE_UNREADABLE', message);
}

/** Any failure of reading `file` as IMAGE_UNREADABLE; exhausted resources of the machine stay what they are. */
function unreadable(file: string, cause: unknown): unknown {
  const name = path.basename(file);
  if (cause instanceof DiffmineError) {
    if (cause.code !== 'IMAGE_UNREADABLE') return cause;
    return new DiffmineError('IMAGE_UNREADABLE', cause.message.replace('The picture cannot', () => `The picture '${name}' cannot`), undefined, { cause });
  }
  const { code, message } = cause as { code?: unknown; message?: unknown };
  if (typeof code === 'string' && EXHAUSTED.has(code)) return new DiffmineError('IO', `The picture '${name}' could not be read: ${String(message)}.`, undefined, { cause });
  // Of libvips' lines the first says what was wrong; folders are left out, so that a run's files do not depend on them.
  const line = String(message ?? cause).split('\n')[0]?.trim().replaceAll(file, () => name).replace(/\.$/, '');
  return new DiffmineError('IMAGE_UNREADABLE', `The picture '${name}' cannot be read: ${line}.`, undefined, { cause });
}
