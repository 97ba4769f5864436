// A data set as a folder of label folders: data/1920/a.jpg, data/1920/more/b.jpg, data/1950/c.png.
import { readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../errors';
import type { Found } from './dataset';
import { ImageListBuilder } from './images';

/**
 * File names taken for pictures. Some of them cannot be decoded here (BMP, HEIC, JPEG 2000, ...): those are tried, skipped and listed with
 * the reason, instead of being left out silently.
 */
const PICTURE = /\.(avif|bmp|gif|heic|heif|j2k|jfif|jp2|jpe|jpeg|jpg|jxl|png|tif|tiff|webp)$/i;

export function isPicture(name: string): boolean {
  return PICTURE.test(name);
}

const LAYOUT = 'A data set has one folder a label, with the pictures in it: data/1920/a.jpg, data/1950/b.jpg. A table (.csv, .jsonl) with the columns image and label does as well.';

/**
 * Every picture below every label folder, nested folders included. Hidden names (.git, .DS_Store) are passed over; other files that are no
 * pictures, and files beside the label folders, are counted. Symbolic links are followed, once each.
 */
export async function readFolder(root: string): Promise<Found> {
  const found: Found = { images: new ImageListBuilder(), ignored: 0, warnings: [] };
  let labels = 0;
  let besides = 0;
  for (const name of await names(root)) {
    const file = path.join(root, name);
    const status = await stat(file).catch(() => undefined);
    if (!status?.isDirectory()) {
      ++found.ignored;
      if (PICTURE.test(name)) ++besides;
      continue;
    }
    ++labels;
    const before = found.images.length;
    await collect(file, name, name, found, new Set([await realpath(file)]));
    if (found.images.length === before) found.warnings.push(`The label folder '${name}' has no pictures.`);
  }
  if (found.images.length === 0) {
    const reason = besides > 0 ? `has ${besides} picture${besides === 1 ? '' : 's'}, but no label folders` : labels > 0 ? 'has label folders, but no pictures in them' : 'has no label folders';
    throw new DiffmineError('DATASET_INVALID', `The folder '${root}' ${reason}.`, LAYOUT);
  }
  return found;
}

/** @param above real paths of the folders above, so that a link to one of them ends there */
async function collect(folder: string, relative: string, label: string, found: Found, above: ReadonlySet<string>): Promise<void> {
  for (const name of await names(folder)) {
    const file = path.join(folder, name);
    const id = `${relative}/${name}`;
    const status = await stat(file).catch(() => undefined);
    if (status?.isDirectory()) {
      const real = await realpath(file);
      if (!above.has(real)) await collect(file, id, label, found, new Set([...above, real]));
    } else if (status?.isFile() && PICTURE.test(name)) {
      found.images.add({ path: id, file, label, bytes: status.size });
    } else {
      ++found.ignored;
    }
  }
}

async function names(folder: string): Promise<string[]> {
  const all = await readdir(folder).catch((cause: unknown) => {
    throw new DiffmineError('DATASET_INVALID', `The folder '${folder}' cannot be read.`, 'Check its permissions.', { cause });
  });
  return all.filter((name) => !name.startsWith('.'));
}
