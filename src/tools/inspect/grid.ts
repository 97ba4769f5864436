// An image grid of a dataset: a row of images for each label.
import { dirname, resolve } from 'node:path';
import { openImage, type ImageList } from '../../data/index.js';
import type { Image } from '../../engine/types.js';
import { writeGrid } from '../../models/grid.js';
import { asDiffmineError, DiffmineError } from '../../util/errors.js';
import { evenly } from '../../util/evenly.js';
import { makeFolder } from '../../util/paths.js';

export interface ImageGrid {
  path: string;
  /** of the rows, from the top */
  labels: string[];
}

/** Images per label, and labels, at most. */
const COLUMNS = 12;
const ROWS = 40;
/** Long side of an image, px. */
const SIDE = 128;

/** Writes images of each label, spread evenly, as a .png or .webp. Those that cannot be read are left out. */
export async function writeImageGrid(file: string, images: ImageList): Promise<ImageGrid> {
  const labels = [...images.countByLabel().keys()].slice(0, ROWS);
  const places = new Map(labels.map((label): [string, number[]] => [label, []]));
  for (let i = 0; i < images.length; i++) places.get(images.label(i))?.push(i);
  const shown: string[] = [];
  const rows: Image[][] = [];
  for (const [label, own] of places) {
    const row: Image[] = [];
    for (const index of evenly(own, COLUMNS)) {
      const image = await small(images.at(index).file);
      if (image) row.push(image);
    }
    if (row.length === 0) continue;
    shown.push(label);
    rows.push(row);
  }
  if (rows.length === 0) throw new DiffmineError('IMAGE_UNREADABLE', 'No image for the image grid could be read.');
  await makeFolder(dirname(resolve(file)));
  await writeGrid(file, rows, { scale: 1 });
  return { path: file, labels: shown };
}

async function small(file: string): Promise<Image | undefined> {
  try {
    const { image } = await openImage(file);
    const { data, info } = await image
      .removeAlpha()
      .resize(SIDE, SIDE, { fit: 'inside' })
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { pixels: data, width: info.width, height: info.height };
  } catch (thrown) {
    const { code } = asDiffmineError(thrown);
    if (code === 'IO' || code === 'CANCELLED') throw thrown;
    return undefined;
  }
}
