// How an image looks, without a model: a perceptual hash that near-duplicates share, and the simple properties that may tell labels apart by themselves.
import { openImage } from './read-image.js';

/** Side that images are shrunk to before they are measured, so that focus and noise are compared at one scale. */
const MEASURED = 256;
/** The grid of gray levels that the hash compares: 16 rows of 17 give 256 comparisons. */
const [ROWS, COLUMNS] = [16, 17];
/** Steps between neighbors of more levels are strong: compression and noise do not turn them. */
const STRONG = 4;
/** Near-duplicates differ in at most this fraction of the strong steps (other scale, JPEG quality, light: below 0.05; other images: about 0.5). */
const HASH_DISTANCE = 0.1;
/** And the gray levels of their grids correlate at least this much: two faces in one pose share many steps. */
const CORRELATION = 0.95;
/** Grids whose levels deviate less are flat: they have no correlation to speak of, and are alike where their levels are. */
const FLAT = 1.5;

export interface Appearance {
  /** of the upright source image */
  width: number;
  height: number;
  /** of the file, such as `jpeg` */
  format: string;
  /** mean and standard deviation of luma, 0 to 1 */
  brightness: number;
  contrast: number;
  /** standard deviation of luma's Laplacian at a long side of at most 256 px, 0 to 1: low in blurred images */
  sharpness: number;
  /** dHash, 256 bits: whether a cell of the grid is brighter than its right neighbor; and whether that step is strong */
  hash: Uint32Array;
  strong: Uint32Array;
  /** [16 x 17] mean luma of the grid's cells, 0 to 255 */
  grid: Float32Array;
}

/**
 * Measures an image's file; decodes it once.
 *
 * @throws IMAGE_UNREADABLE with the reason
 */
export async function appearanceOf(file: string): Promise<Appearance> {
  const { image, size, format } = await openImage(file);
  const { data, info } = await image
    .removeAlpha()
    .resize(MEASURED, MEASURED, { fit: 'inside', withoutEnlargement: true })
    .greyscale()
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  const luma = { values: data, width: info.width, height: info.height, step: info.channels };
  const { mean, deviation } = moments(data, info.channels);
  const grid = gridOf(luma);
  return {
    ...size,
    format,
    brightness: mean / 255,
    contrast: deviation / 255,
    sharpness: sharpnessOf(luma) / 255,
    hash: bitsOf(grid, (step) => step > 0),
    strong: bitsOf(grid, (step) => Math.abs(step) > STRONG),
    grid,
  };
}

/** Whether two images are the same but for scale, compression or a little light. */
export function areNearDuplicates(a: Appearance, b: Appearance): boolean {
  return hashDistance(a, b) <= HASH_DISTANCE && correlates(a.grid, b.grid);
}

/** The fraction of the steps that are strong in either image whose bits differ. */
export function hashDistance(a: Appearance, b: Appearance): number {
  let [strong, differ] = [0, 0];
  for (let i = 0; i < a.hash.length; i++) {
    const either = (a.strong[i] as number) | (b.strong[i] as number);
    strong += ones(either);
    differ += ones(either & ((a.hash[i] as number) ^ (b.hash[i] as number)));
  }
  return strong > 0 ? differ / strong : 0;
}

/** How many of a word's 32 bits are set. */
function ones(word: number): number {
  word -= (word >>> 1) & 0x55555555;
  word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
  return Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

function correlates(a: Float32Array, b: Float32Array): boolean {
  const [x, y] = [moments(a), moments(b)];
  if (x.deviation < FLAT || y.deviation < FLAT)
    return Math.max(x.deviation, y.deviation) < FLAT && Math.abs(x.mean - y.mean) < FLAT;
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += ((a[i] as number) - x.mean) * ((b[i] as number) - y.mean);
  return sum / a.length >= CORRELATION * x.deviation * y.deviation;
}

/** @param step every which value counts */
function moments(values: ArrayLike<number>, step = 1): { mean: number; deviation: number } {
  let [sum, squares, count] = [0, 0, 0];
  for (let i = 0; i < values.length; i += step) {
    const value = values[i] as number;
    sum += value;
    squares += value * value;
    count += 1;
  }
  const mean = sum / count;
  return { mean, deviation: Math.sqrt(Math.max(0, squares / count - mean * mean)) };
}

interface Luma {
  values: Uint8Array;
  width: number;
  height: number;
  /** bytes a pixel */
  step: number;
}

/** Mean luma of 16 x 17 cells; a cell narrower than a pixel takes the pixel it lies in. */
function gridOf({ values, width, height, step }: Luma): Float32Array {
  const bounds = (cells: number, pixels: number): [number, number][] =>
    Array.from({ length: cells }, (_, i) => {
      const first = Math.min(pixels - 1, Math.floor((i * pixels) / cells));
      return [first, Math.max(first + 1, Math.floor(((i + 1) * pixels) / cells))];
    });
  const grid = new Float32Array(ROWS * COLUMNS);
  bounds(ROWS, height).forEach(([top, bottom], row) => {
    bounds(COLUMNS, width).forEach(([left, right], column) => {
      let sum = 0;
      for (let y = top; y < bottom; y++)
        for (let x = left; x < right; x++) sum += values[(y * width + x) * step] as number;
      grid[row * COLUMNS + column] = sum / ((bottom - top) * (right - left));
    });
  });
  return grid;
}

/** A bit for every cell and its right neighbor, by the step down from one to the other. */
function bitsOf(grid: Float32Array, isSet: (step: number) => boolean): Uint32Array {
  const bits = new Uint32Array((ROWS * (COLUMNS - 1)) / 32);
  for (let row = 0; row < ROWS; row++) {
    for (let column = 0; column < COLUMNS - 1; column++) {
      const bit = row * (COLUMNS - 1) + column;
      const cell = row * COLUMNS + column;
      if (isSet((grid[cell] as number) - (grid[cell + 1] as number)))
        bits[bit >>> 5] = ((bits[bit >>> 5] as number) | (1 << (bit & 31))) >>> 0;
    }
  }
  return bits;
}

/** Standard deviation of the Laplacian (four neighbors), in levels; 0 for an image without an inside. */
function sharpnessOf({ values, width, height, step }: Luma): number {
  if (width < 3 || height < 3) return 0;
  const laplacian = new Float32Array((width - 2) * (height - 2));
  const at = (x: number, y: number): number => values[(y * width + x) * step] as number;
  for (let y = 1; y < height - 1; y++)
    for (let x = 1; x < width - 1; x++)
      laplacian[(y - 1) * (width - 2) + x - 1] =
        at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) - 4 * at(x, y);
  return moments(laplacian).deviation;
}
