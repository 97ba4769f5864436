// The image that boxes and masks were drawn on: the upright image, a resized copy of it, or the stored image before EXIF rotation.
// Annotation tools that ignore EXIF draw on the stored image; swapped width and height show this.
import { DiffmineError } from '../../util/errors.js';
import type { Size } from '../read-image.js';
import type { Box } from './geometry.js';

/** Transforms from the stored to the upright image, by EXIF orientation: swap x and y, then mirror horizontally and vertically. */
const TURNS: Record<number, [swap: boolean, across: boolean, down: boolean]> = {
  1: [false, false, false],
  2: [false, true, false],
  3: [false, true, true],
  4: [false, false, true],
  5: [true, false, false],
  6: [true, true, false],
  7: [true, true, true],
  8: [true, false, true],
};

const turnOf = (orientation: number): [swap: boolean, across: boolean, down: boolean] =>
  TURNS[orientation] ?? [false, false, false];

/** Whether an EXIF orientation swaps width and height: 5 to 8 do. */
export const swapsSides = (orientation: number): boolean => turnOf(orientation)[0];

export const swapped = ({ width, height }: Size): Size => ({ width: height, height: width });

/** Converts a box from the stored to the upright image. @param stored size of the stored image */
export function turnBox<B extends Box>(box: B, stored: Size, orientation: number): B {
  const [swap, across, down] = turnOf(orientation);
  const size = swap ? swapped(stored) : stored;
  const [x, y, width, height] = swap ? [box.y, box.x, box.height, box.width] : [box.x, box.y, box.width, box.height];
  return { ...box, x: across ? size.width - x - width : x, y: down ? size.height - y - height : y, width, height };
}

export interface MaskPixels extends Size {
  /** 1 inside, [height * width] */
  inside: Uint8Array;
}

/** Converts a mask from the stored to the upright image. */
export function turnMask(mask: MaskPixels, orientation: number): MaskPixels {
  const [swap, across, down] = turnOf(orientation);
  if (!swap && !across && !down) return mask;
  const { width, height } = swap ? swapped(mask) : mask;
  const inside = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [u, v] = [across ? width - 1 - x : x, down ? height - 1 - y : y];
      inside[y * width + x] = mask.inside[swap ? u * mask.width + v : v * mask.width + u] as number;
    }
  }
  return { width, height, inside };
}

/** Tolerance for resized copies: the height may differ by this fraction (and one pixel, for rounding) from the height that the width implies. */
const TOLERANCE = 0.02;

/** Difference in pixels between the proportions of `frame` and `size`; undefined if it is not a resized copy. */
function misses(frame: Size, size: Size): number | undefined {
  const off = Math.abs((frame.width * size.height) / size.width - frame.height);
  return off <= 1 + TOLERANCE * frame.height ? off : undefined;
}

/** Whether a frame has the orientation of the upright or of the stored image. `square`: of both. */
export type Reading = 'upright' | 'stored' | 'square';

/**
 * Whether a frame (or mask) is a copy of the upright or of the stored image, by the closer proportions: 101 x 100 is the stored frame of an upright 100 x 101.
 *
 * @param upright the size of the upright image
 * @param orientation EXIF orientation
 * @returns undefined if it is neither the upright image nor the stored one, nor a resized copy of them
 */
export function readFrame(frame: Size, upright: Size, orientation: number): Reading | undefined {
  const asUpright = misses(frame, upright);
  const asStored = swapsSides(orientation) ? misses(frame, swapped(upright)) : undefined;
  if (asUpright !== undefined && asUpright === asStored) return 'square';
  if (asStored !== undefined && (asUpright === undefined || asStored < asUpright)) return 'stored';
  return asUpright === undefined ? undefined : 'upright';
}

/** Whether a box lies inside an image, with a tolerance of one pixel. */
export const fits = ({ x, y, width, height }: Box, size: Size): boolean =>
  x >= -1 && y >= -1 && x + width <= size.width + 1 && y + height <= size.height + 1;

/** The error for a frame that does not fit its image. @param what the beginning of the sentence, such as "The boxes belong to an image of" */
export function otherFrame(what: string, frame: Size, upright: Size, image?: string): DiffmineError {
  const turned = misses(frame, swapped(upright)) !== undefined;
  return new DiffmineError(
    'DATASET_INVALID',
    `${what} ${frame.width} x ${frame.height} px, the image${image === undefined ? '' : ` ${image}`} has ${upright.width} x ${upright.height}.`,
    turned
      ? 'The sides are swapped, but the image has no EXIF orientation that explains this, or cannot be read. Boxes and masks must refer to the upright image.'
      : 'Boxes and masks must refer to the whole image, or to a resized copy with the same proportions.',
  );
}
