// The images of a run as they were scored, read again from where they lie.
import { imageFile, readImage } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';
import type { Run } from '../../runs/run.js';

/**
 * An image's pixels as they were scored: interleaved RGB, image.width x image.height.
 *
 * @throws IMAGE_UNREADABLE where it cannot be read, or is another one by now
 */
export async function readScored(
  run: Run,
  root: string,
  { image, width, height }: { image: string; width: number; height: number },
): Promise<Uint8Array> {
  const { size, sizeRule } = run.manifest.options;
  const read = await readImage(imageFile(root, image), { size, rule: sizeRule, multiple: 1, patch: 1 });
  if (read.width < width || read.height < height) {
    throw new DiffmineError(
      'IMAGE_UNREADABLE',
      `The image '${image}' has changed: it is ${read.width} x ${read.height} px, but was scored at ${width} x ${height}.`,
    );
  }
  if (read.width === width) return read.pixels.subarray(0, 3 * width * height);
  // cut at right and bottom to the multiple that the model needed
  const pixels = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++)
    pixels.set(read.pixels.subarray(3 * y * read.width, 3 * (y * read.width + width)), 3 * y * width);
  return pixels;
}
