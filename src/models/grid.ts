// A grid of images: one row per label. No text: fonts differ from machine to machine, and what the rows are stands beside the grid.
import sharp, { type Sharp } from 'sharp';
import { DiffmineError } from '../util/errors.js';
import type { Image } from '../engine/types.js';
import { writeFileAtomic } from '../runs/atomic.js';

export interface GridOptions {
  /** factor of enlargement; default: small images to at most 128 px by a whole factor, large ones down to 256 px */
  scale?: number;
  /** between images and around them, px; default 4 */
  gap?: number;
}

const SMALL = 128;
const LARGE = 256;
/** WebP takes no side above 16383 px; nobody looks at more of any format. */
const LONGEST = 16_000;
const BACKGROUND = 0xf0;

/**
 * Writes rows of images as one PNG or WebP (by the name's ending), atomically; a grid that would be too large is shrunk. Images of the same size
 * look best: each gets a cell of the largest one's size.
 *
 * @returns the grid's size in px
 * @throws INVALID_ARGUMENT without images, or for another ending; IO
 */
export async function writeGrid(
  file: string,
  rows: readonly (readonly Image[])[],
  options: GridOptions = {},
): Promise<{ width: number; height: number }> {
  const format = /\.(png|webp)$/i.exec(file)?.[1]?.toLowerCase();
  if (format === undefined)
    throw new DiffmineError('INVALID_ARGUMENT', `A grid is a .png or a .webp file, not ${JSON.stringify(file)}.`);
  const all = rows.flat();
  if (all.length === 0) throw new DiffmineError('INVALID_ARGUMENT', 'There are no images for a grid.');
  const { gap = 4 } = options;
  const columns = Math.max(...rows.map(({ length }) => length));
  const widest = Math.max(...all.map(({ width }) => width));
  const highest = Math.max(...all.map(({ height }) => height));
  const room =
    Math.min((LONGEST - gap) / columns - gap, ((LONGEST - gap) / rows.length - gap) * (widest / highest)) / widest;
  const scale = Math.max(
    1 / Math.min(widest, highest),
    Math.min(options.scale ?? defaultScale(Math.max(widest, highest)), room >= 1 ? Math.floor(room) : room),
  );
  const scaled = (side: number): number => Math.max(1, Math.floor(side * scale + 1e-6));
  const cell = { width: scaled(widest) + gap, height: scaled(highest) + gap };
  const width = columns * cell.width + gap;
  const height = rows.length * cell.height + gap;

  const grid = Buffer.alloc(3 * width * height, BACKGROUND);
  for (const [i, row] of rows.entries()) {
    for (const [j, image] of row.entries()) {
      const size = { width: scaled(image.width), height: scaled(image.height) };
      const pixels = await raw(image.pixels, image)
        .resize(size.width, size.height, { fit: 'fill', kernel: scale >= 1 ? 'nearest' : 'lanczos3' })
        .raw()
        .toBuffer();
      for (let y = 0; y < size.height; y++) {
        pixels.copy(
          grid,
          3 * ((gap + i * cell.height + y) * width + gap + j * cell.width),
          3 * y * size.width,
          3 * (y + 1) * size.width,
        );
      }
    }
  }
  const canvas = raw(grid, { width, height });
  await writeFileAtomic(file, await (format === 'png' ? canvas.png() : canvas.webp({ quality: 90 })).toBuffer());
  return { width, height };
}

function defaultScale(side: number): number {
  return side > LARGE ? LARGE / side : Math.max(1, Math.floor(SMALL / side));
}

function raw(pixels: Uint8Array, { width, height }: { width: number; height: number }): Sharp {
  return sharp(pixels, { raw: { width, height, channels: 3 }, limitInputPixels: false });
}
