// One box as read from any format, and the errors that readers throw.
import path from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { sharesLabel } from '../labels.js';
import type { Size } from '../read-image.js';
import { otherFrame, readFrame, turnBox } from './frame.js';
import type { Box } from './geometry.js';
import type { Drawn } from './outline.js';
import type { Naming } from './table.js';

/** A box as its file gives it, in pixels of the upright source image (or of its `frame`). */
export interface TruthBox extends Box {
  /** the image, as the file names it; forward slashes */
  image: string;
  /** label that the box is typical of; if `typicalOf` is set, the label of the image, because a file may be listed under two labels */
  label?: string;
  /** label that it is typical of, from a separate column; without both, it is typical of its image's label */
  typicalOf?: string;
  kind?: string;
  slot?: string;
  /** the size of the image the coordinates refer to, where the file says it: copies of a dataset are often smaller */
  frame?: Size;
  /** its outline, of which the box is the bounds */
  outline?: Drawn;
}

export interface BoxFile {
  boxes: TruthBox[];
  naming: Naming;
}

/** The label that a box is typical of, in an image with this label. The same in every command and for every format. */
export const labelOf = (box: Pick<TruthBox, 'label' | 'typicalOf'>, imageLabel: string): string =>
  box.typicalOf ?? box.label ?? imageLabel;

/** Whether a box belongs to the image under this label: the file of boxes may name one of several labels of the image. */
export const isOfImage = ({ label, typicalOf }: Pick<TruthBox, 'label' | 'typicalOf'>, imageLabel: string): boolean =>
  typicalOf === undefined || label === undefined || sharesLabel(label, imageLabel);

/** Formats a value for an error message: JSON has no NaN or Infinity. */
export const shown = (value: unknown): string =>
  typeof value === 'number' || value === undefined ? String(value) : JSON.stringify(value).slice(0, 80);

/** Checks for a number of at least `min`; `where` is the beginning of the error message. */
export function coordinate(value: unknown, min: number, where: string, name: string): number {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number === 'number' && Number.isFinite(number) && number >= min) return number;
  throw new DiffmineError(
    'DATASET_INVALID',
    `${where}: '${name}' is ${shown(value ?? '')}.`,
    'Boxes are in pixels of the source image: finite numbers, widths and heights of at least 0.',
  );
}

/** An image's name with forward slashes, without './'. */
export function imageName(name: string): string {
  return path.posix.normalize(name.replaceAll('\\', '/'));
}

/**
 * Converts a box to pixels of the upright source image: scales boxes of resized copies, and rotates boxes of the stored image by the EXIF orientation.
 *
 * @throws DATASET_INVALID if its frame does not fit the image
 */
export function inSource<B extends Box & { frame?: Size; image?: string }>(box: B, source: Size, orientation = 1): B {
  const { frame } = box;
  if (!frame) return box;
  const reading = readFrame(frame, source, orientation);
  if (reading === undefined) throw otherFrame('The boxes belong to an image of', frame, source, box.image);
  return scaleInto(box, frame, source, reading === 'stored' ? orientation : 1);
}

/** @param orientation by which the frame is turned; 1: it is upright */
export function scaleInto<B extends Box & { frame?: Size }>(box: B, frame: Size, source: Size, orientation: number): B {
  const stored = { width: frame.width, height: frame.height };
  const upright = turnBox({ x: 0, y: 0, ...stored }, stored, orientation);
  const [across, down] = [source.width / upright.width, source.height / upright.height];
  const turned = turnBox(box, stored, orientation);
  return {
    ...turned,
    x: turned.x * across,
    y: turned.y * down,
    width: turned.width * across,
    height: turned.height * down,
    frame: source,
  };
}

/** What a reader of text throws, for files that are read as UTF-8 alone: there is no option to name their encoding. @param hint where the reader has none */
export async function utf8<T>(reading: Promise<T>, hint: string): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if (!(error instanceof DiffmineError)) throw error;
    throw new DiffmineError(
      error.code,
      error.message,
      error.hint?.includes('`encoding`') ? 'Save it as UTF-8.' : (error.hint ?? hint),
      { cause: error },
    );
  }
}

/** An annotation of an image: a box or a mask. */
export interface Marked {
  /** label that it is typical of; undefined: the image's label */
  label?: string;
  /** the label of the image, where its file says so beside `label`: the same file may stand under two labels */
  imageLabel?: string;
  /** pixels of the upright source image, or of `frame` */
  box?: Box;
  /** the size of the image that the box refers to, where the file says it: copies of a dataset are often smaller */
  frame?: Size;
  /** a PNG of the source image's proportions, non-zero where something is (absolute path), or an outline */
  mask?: string | Drawn;
  /** the EXIF orientation by which the mask is turned; undefined: what its size and the image's orientation say */
  turn?: number;
}
