// What is known to be in pictures, from any of the files such data comes in, as boxes or masks, and as pixels of the scored picture.
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../../errors';
import type { Size } from '../pictures';
import { cocoBoxes } from './coco';
import { csvBoxes, isNihHeader, nihBoxes, readCsv } from './csv';
import { fillBetween, type Box } from './geometry';
import { readMask, readMasks } from './masks';
import type { BoxFile } from './rows';
import { PictureTable } from './table';

export const BOX_FORMATS = ['auto', 'csv', 'nih', 'coco', 'masks'] as const;
/** `auto`: a folder holds masks, a .json is COCO's, a .csv is NIH's or the project's own by its header. */
export type BoxFormat = (typeof BOX_FORMATS)[number];

/** Something that is in a picture: a box or a mask. */
export interface Marked {
  /** what it shows; undefined: whatever the picture's label is */
  label?: string;
  /** pixels of the upright source picture, or of `frame` */
  box?: Box;
  /** the size of the picture that the box refers to, where the file says it: copies of a data set are often smaller */
  frame?: Size;
  /** absolute; a PNG of the source picture's proportions, non-zero where something is */
  mask?: string;
}

/** The scored picture (readPicture gives all of it): `resized` is the whole picture that width x height are the upper left part of. */
export interface ScoredPicture extends Size {
  sourceWidth: number;
  sourceHeight: number;
  /** default: width x height, nothing was cut */
  resized?: Size;
}

const FORMATS = 'Give a CSV (image, x, y, w, h), the BBox_List_2017.csv of ChestX-ray14, a COCO .json, or a folder of mask PNGs.';

async function formatOf(location: string, wanted: BoxFormat): Promise<Exclude<BoxFormat, 'auto' | 'nih'>> {
  const status = await stat(location).catch(() => undefined);
  if (!status) throw new DiffmineError('DATASET_INVALID', `The boxes '${location}' cannot be read: nothing is there.`, FORMATS);
  if (status.isDirectory() !== (wanted === 'masks') && wanted !== 'auto') {
    throw new DiffmineError('DATASET_INVALID', `'${location}' is ${status.isDirectory() ? 'a folder' : 'no folder'}; ${wanted} ${wanted === 'masks' ? 'are a folder of PNGs' : 'is a file'}.`, FORMATS);
  }
  if (wanted !== 'auto') return wanted === 'nih' ? 'csv' : wanted;
  if (status.isDirectory()) return 'masks';
  const extension = path.extname(location).toLowerCase();
  if (extension === '.json') return 'coco';
  if (extension === '.csv') return 'csv';
  throw new DiffmineError('DATASET_INVALID', `What '${location}' holds cannot be told from its name.`, `${FORMATS} Or name the format.`);
}

/**
 * Boxes as their file lists them, in order.
 *
 * @param options.typicalColumn of a CSV: the column with the label a box is typical of; default `city` where there is one, else a box counts for its picture's label
 * @throws DATASET_INVALID where the file cannot be read or an entry cannot be used (it is named); INVALID_ARGUMENT for masks, or a typical column that is not there
 */
export async function readBoxes(location: string, options: { format?: BoxFormat; typicalColumn?: string } = {}): Promise<BoxFile> {
  const { format: wanted = 'auto', typicalColumn } = options;
  const format = await formatOf(location, wanted);
  if (format === 'masks') throw new DiffmineError('INVALID_ARGUMENT', `'${location}' holds masks; boxes are wanted here.`, FORMATS);
  const noColumns = (): void => {
    if (typicalColumn !== undefined) throw new DiffmineError('INVALID_ARGUMENT', `'${location}' has no columns to choose from: its boxes are typical of what they show.`);
  };
  if (format === 'coco') {
    noColumns();
    return cocoBoxes(location);
  }
  const file = await readCsv(location);
  if (wanted !== 'nih' && (wanted === 'csv' || !isNihHeader(file.header))) return csvBoxes(file, typicalColumn);
  noColumns();
  return nihBoxes(file);
}

/**
 * Boxes or masks by picture. The map's `get` takes the picture's path in the data set and finds what the file says of it, also where the file names
 * pictures without their folders (NIH's, COCO's) or without their extension (masks). A box's label is what it is typical of (a CSV's `city` column,
 * a finding, a category), else the label of its row.
 *
 * @throws as readBoxes; DATASET_INVALID for a folder without masks
 */
export async function readMarks(location: string, format: BoxFormat = 'auto'): Promise<Map<string, Marked[]>> {
  if ((await formatOf(location, format)) === 'masks') return readMasks(location);
  const { boxes, naming } = await readBoxes(location, { format });
  const table = new PictureTable<Marked>(naming);
  for (const { image, label, typicalOf, x, y, width, height, frame } of boxes) {
    const shown = typicalOf ?? label;
    table.add(image, { box: { x, y, width, height }, ...(shown === undefined ? {} : { label: shown }), ...(frame ? { frame } : {}) });
  }
  return table;
}

/** Of a copy in another size: its height may be off by this share (and a pixel, for rounding) from what its width asks for. */
const TOLERANCE = 0.02;

/** Refuses a frame or mask of other proportions than the source picture. */
function checkProportions(what: string, size: Size, { sourceWidth, sourceHeight }: ScoredPicture): void {
  if (Math.abs((size.width * sourceHeight) / sourceWidth - size.height) <= 1 + TOLERANCE * size.height) return;
  throw new DiffmineError(
    'DATASET_INVALID', `${what} ${size.width} x ${size.height} px, the picture has ${sourceWidth} x ${sourceHeight}.`, 'Boxes and masks refer to the whole, upright picture; a copy in another size must keep its proportions.',
  );
}

/**
 * The scored pixels where `label` is marked: 1 inside, [height * width]. Boxes are scaled as the picture is, corners truncated after adding, the far ones
 * exclusive, cut at the picture; masks are read at the nearest pixel. Marks without a label count for every label.
 *
 * @throws DATASET_INVALID for a mask that cannot be decoded, or marks of a picture of other proportions
 */
export async function maskOf(marks: readonly Marked[], label: string, picture: ScoredPicture): Promise<Uint8Array> {
  const { width, height, sourceWidth, sourceHeight, resized = { width, height } } = picture;
  const mask = new Uint8Array(width * height);
  for (const mark of marks) {
    if (mark.label !== undefined && mark.label !== label) continue;
    if (mark.box) {
      if (mark.frame) checkProportions('The boxes are of a picture of', mark.frame, picture);
      const frame = mark.frame ?? { width: sourceWidth, height: sourceHeight };
      const [across, down] = [(x: number): number => (x * resized.width) / frame.width, (y: number): number => (y * resized.height) / frame.height];
      const { x, y, width: w, height: h } = mark.box;
      fillBetween(mask, width, height, { left: across(x), top: down(y), right: across(x + w), bottom: down(y + h) });
    }
    if (mark.mask !== undefined) {
      const drawn = await readMask(mark.mask);
      checkProportions(`The mask '${mark.mask}' has`, drawn, picture);
      for (let y = 0; y < height; y++) {
        const row = Math.min(drawn.height - 1, Math.floor(((y + 0.5) * drawn.height) / resized.height));
        for (let x = 0; x < width; x++) {
          const column = Math.min(drawn.width - 1, Math.floor(((x + 0.5) * drawn.width) / resized.width));
          if (drawn.inside[row * drawn.width + column]) mask[y * width + x] = 1;
        }
      }
    }
  }
  return mask;
}
