// Reads annotations of any supported format as boxes or masks, and converts them to pixels of the scored image.
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { BOX_FORMATS } from '../../options/names.js';
import { head } from '../ignored.js';
import type { Size } from '../read-image.js';
import { cocoBoxes } from './coco.js';
import { csvBoxes, isNihHeader, nihBoxes, readCsv } from './csv.js';
import { otherFrame, readFrame, swapsSides, turnMask, type MaskPixels } from './frame.js';
import { fillBetween, type Box, type Edges } from './geometry.js';
import { maskName, readMask, readMasks } from './masks.js';
import type { Drawn } from './outline.js';
import { inSource, type BoxFile, type Marked, type TruthBox } from './rows.js';
import { ImageTable } from './table.js';

export { BOX_FORMATS };
/** `auto`: a folder holds masks, a .json is COCO's, a .csv or .tsv is NIH's or the project's own by its header. */
export type BoxFormat = (typeof BOX_FORMATS)[number];

/** Size of the scored image, as readImage returns it: width x height is the upper left part of `resized`. */
export interface ScoredImage extends Size {
  sourceWidth: number;
  sourceHeight: number;
  /** default: width x height, not cropped */
  resized?: Size;
  /** EXIF orientation of the source image; default 1 */
  orientation?: number;
}

const FORMATS =
  'Give a CSV or TSV (image, x, y, w, h), the BBox_List_2017.csv of ChestX-ray14, a COCO .json, or a folder of mask PNGs.';

const YOLO = 'labels of YOLO (fractions of the image)';

/** Annotations of YOLO, Pascal VOC or CVAT, in a file or a folder. */
async function otherFormat(location: string, isFolder: boolean): Promise<string | undefined> {
  const names = isFolder ? await readdir(location).catch(() => []) : [];
  const files = isFolder ? names.map((name) => path.join(location, name)) : [location];
  if (files.some((file) => /\.png$/i.test(file))) return undefined;
  if (files.some((file) => /\.xml$/i.test(file))) return 'boxes of Pascal VOC or CVAT';
  if (files.some((file) => /\.ya?ml$/i.test(file))) return YOLO;
  for (const file of files.filter((one) => /\.txt$/i.test(one)).slice(0, 10))
    if (/^\s*\d+(?:\s+[\d.]+){4}/.test(await head(file))) return YOLO;
  return undefined;
}

async function formatOf(location: string, wanted: BoxFormat): Promise<Exclude<BoxFormat, 'auto' | 'nih'>> {
  const status = await stat(location).catch(() => undefined);
  if (!status)
    throw new DiffmineError(
      'DATASET_INVALID',
      `The boxes '${location}' cannot be read: there is no such file or folder.`,
      FORMATS,
    );
  if (status.isDirectory() !== (wanted === 'masks') && wanted !== 'auto') {
    throw new DiffmineError(
      'DATASET_INVALID',
      `'${location}' is ${status.isDirectory() ? 'a folder' : 'a file'}; ${wanted} ${wanted === 'masks' ? 'are a folder of PNGs' : 'is a file'}.`,
      FORMATS,
    );
  }
  if (wanted !== 'auto') return wanted === 'nih' ? 'csv' : wanted;
  const other = await otherFormat(location, status.isDirectory());
  if (other !== undefined)
    throw new DiffmineError('DATASET_INVALID', `'${location}' looks like ${other}, which are not read.`, FORMATS);
  if (status.isDirectory()) return 'masks';
  const extension = path.extname(location).toLowerCase();
  if (extension === '.json') return 'coco';
  if (extension === '.csv' || extension === '.tsv') return 'csv';
  throw new DiffmineError(
    'DATASET_INVALID',
    `The format of '${location}' cannot be recognized from its name.`,
    `${FORMATS} Or give its format (localize: \`boxFormat\`).`,
  );
}

/**
 * Reads boxes in the order of their file.
 *
 * @param options.typicalColumn of a CSV: column with the label that a box is typical of; default `city`, else `label`, else the label of its image
 * @throws DATASET_INVALID if the file cannot be read or an entry cannot be used (it is named); INVALID_ARGUMENT for masks, or a missing typical column
 */
export async function readBoxes(
  location: string,
  options: { format?: BoxFormat; typicalColumn?: string } = {},
): Promise<BoxFile> {
  const { format: wanted = 'auto', typicalColumn } = options;
  const format = await formatOf(location, wanted);
  if (format === 'masks')
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `'${location}' is a folder, as masks are; boxes are needed here.`,
      FORMATS,
    );
  const noColumns = (): void => {
    if (typicalColumn !== undefined)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `'${location}' has no columns to choose from: its boxes are typical of their finding or category.`,
      );
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
 * Reads boxes or masks by image. The table's `get` takes the image's path in the dataset, and also finds images that the file names without folders
 * (NIH, COCO) or without extension (masks). `assign` does this for a whole dataset, and refuses names that match several images.
 * The label of a box is what it is typical of (a CSV's `city` column, a finding, a category), else the label in its row.
 *
 * @throws as readBoxes; DATASET_INVALID for a folder without masks
 */
export async function readMarks(location: string, format: BoxFormat = 'auto'): Promise<ImageTable<Marked>> {
  if ((await formatOf(location, format)) === 'masks') return readMasks(location);
  const file = await readBoxes(location, { format });
  if (file.boxes.length === 0)
    throw new DiffmineError('DATASET_INVALID', `${path.basename(location)} has no boxes.`, FORMATS);
  return tableOf(file, markOf);
}

/** Groups the boxes of a file by image. */
export function tableOf<T>({ boxes, naming }: BoxFile, item: (box: TruthBox) => T): ImageTable<T> {
  const table = new ImageTable<T>(naming);
  for (const box of boxes) table.add(box.image, item(box));
  return table;
}

function markOf({ label, typicalOf, x, y, width, height, frame, outline }: TruthBox): Marked {
  const shown = typicalOf ?? label;
  return {
    ...(shown === undefined ? {} : { label: shown }),
    ...(typicalOf !== undefined && label !== undefined ? { imageLabel: label } : {}),
    ...(outline ? { mask: outline } : { box: { x, y, width, height }, ...(frame ? { frame } : {}) }),
  };
}

/** Converts a box in source pixels to edges in pixels of the scored image. */
export function scoredEdges({ x, y, width, height }: Box, image: ScoredImage): Edges {
  const { sourceWidth, sourceHeight, resized = image } = image;
  const [across, down] = [
    (value: number): number => (value * resized.width) / sourceWidth,
    (value: number): number => (value * resized.height) / sourceHeight,
  ];
  return { left: across(x), top: down(y), right: across(x + width), bottom: down(y + height) };
}

/**
 * A mask of the scored pixels inside the boxes or masks of `label`: 1 inside, [height * width]. Boxes are scaled like the image, truncated to whole
 * pixels (right and bottom edges exclusive) and clipped; masks are sampled at the nearest pixel. Boxes and masks without a label count for all labels.
 *
 * @throws DATASET_INVALID for a mask that cannot be decoded, or if the proportions differ from the image's
 */
export async function maskOf(marks: readonly Marked[], label: string, image: ScoredImage): Promise<Uint8Array> {
  const { width, height, sourceWidth, sourceHeight, resized = { width, height }, orientation = 1 } = image;
  const mask = new Uint8Array(width * height);
  for (const mark of marks) {
    if (mark.label !== undefined && mark.label !== label) continue;
    if (mark.box) {
      const box = inSource(
        { ...mark.box, ...(mark.frame ? { frame: mark.frame } : {}) },
        { width: sourceWidth, height: sourceHeight },
        orientation,
      );
      fillBetween(mask, width, height, scoredEdges(box, image));
    }
    if (mark.mask !== undefined) {
      const drawn = await uprightMask(mark.mask, mark.turn, image);
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

async function uprightMask(
  file: string | Drawn,
  turn: number | undefined,
  { sourceWidth, sourceHeight, orientation = 1 }: ScoredImage,
): Promise<MaskPixels> {
  const [drawn, upright] = [await readMask(file), { width: sourceWidth, height: sourceHeight }];
  const reading = readFrame(drawn, upright, turn ?? orientation);
  // its orientation was determined earlier: if it is not the stored image's mask, the file has changed since
  const fits =
    turn !== undefined && swapsSides(turn) ? reading === 'stored' || reading === 'square' : reading !== undefined;
  if (!fits) throw otherFrame(`The mask ${maskName(file)} has`, drawn, upright);
  return turnMask(drawn, turn ?? (reading === 'stored' ? orientation : 1));
}
