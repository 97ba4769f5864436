// Reads images of a run again, with the size they were scored at.
import { existsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { bucketRoot, imageFile, nameOfText, readImage, rootOf } from '../data/index.js';
import { isBucket } from '../util/place.js';
import { DiffmineError } from '../util/errors.js';
import type { Run } from './run.js';

/** What image paths start at, as a name (data/names.ts): the folder asked for, or the dataset's (of a table, its image root or the folder it lies in). */
export function imageRoot(run: Run, asked: string | undefined): string {
  const given = asked ?? run.manifest.dataset.imageRoot ?? run.manifest.dataset.path;
  if (isBucket(given)) return bucketRoot(given);
  const path = resolve(given);
  const isThere = existsSync(path);
  if (asked !== undefined && !isThere && rootOf(path, 'pattern') === path)
    throw new DiffmineError('INVALID_ARGUMENT', `There is no image folder ${path}.`);
  return nameOfText(rootOf(path, !isThere ? 'pattern' : statSync(path).isFile() ? 'file' : 'folder'));
}

/**
 * An image's pixels as they were scored: interleaved RGB, image.width x image.height.
 *
 * @throws IMAGE_UNREADABLE if it cannot be read, or is another one by now
 */
export async function readScored(
  run: Run,
  root: string,
  { image, width, height }: { image: string; width: number; height: number },
): Promise<Uint8Array> {
  const { size, sizeRule } = run.manifest.options;
  const read = await readImage(imageFile(root, image), { size, rule: sizeRule, multiple: 1, patch: 1 });
  if (read.width < width || read.height < height) {
    const reason = `has changed: it is ${read.width} x ${read.height} px, but was scored at ${width} x ${height}.`;
    throw new DiffmineError('IMAGE_UNREADABLE', `The image '${image}' ${reason}`, undefined, { reason });
  }
  if (read.width === width) return read.pixels.subarray(0, 3 * width * height);
  // cut at right and bottom to the multiple that the model needed
  const pixels = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++)
    pixels.set(read.pixels.subarray(3 * y * read.width, 3 * (y * read.width + width)), 3 * y * width);
  return pixels;
}
