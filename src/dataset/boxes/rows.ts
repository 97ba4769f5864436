// What a row of any file of boxes becomes, and how the readers complain.
import path from 'node:path';
import { DiffmineError } from '../../errors';
import type { Size } from '../pictures';
import type { Box } from './geometry';
import type { Naming } from './table';

/** A box of a file, in pixels of the upright source picture (or of its `frame`). */
export interface TruthBox extends Box {
  /** the picture, as the file names it; forward slashes */
  image: string;
  /** of the picture, where the file says it: the same file may stand under two labels */
  label?: string;
  /** what it is typical of; undefined: of its picture's label */
  typicalOf?: string;
  kind?: string;
  slot?: string;
  /** the size of the picture the coordinates refer to, where the file says it: copies of a data set are often smaller */
  frame?: Size;
}

export interface BoxFile {
  boxes: TruthBox[];
  naming: Naming;
}

/** A number of at least `least`; `where` begins the sentence of the error. */
export function coordinate(value: unknown, least: number, where: string, name: string): number {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number === 'number' && Number.isFinite(number) && number >= least) return number;
  throw new DiffmineError('DATASET_INVALID', `${where}: '${name}' is ${JSON.stringify(value ?? '')}.`, 'Boxes are in pixels of the source picture.');
}

/** A picture's name with forward slashes, without './'. */
export function pictureName(name: string): string {
  return path.posix.normalize(name.replaceAll('\\', '/'));
}

/** A box in pixels of the source picture: one of a copy in another size (`frame`) is scaled. */
export function inSource(box: TruthBox, source: Size): TruthBox {
  const { frame } = box;
  if (!frame || (frame.width === source.width && frame.height === source.height)) return box;
  const [across, down] = [source.width / frame.width, source.height / frame.height];
  return { ...box, x: box.x * across, y: box.y * down, width: box.width * across, height: box.height * down, frame: source };
}
