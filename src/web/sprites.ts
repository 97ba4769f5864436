// Source images for the report: decoded once at the size that is needed, then cut into tiles and shrunk to a context image.
import sharp, { type Sharp } from 'sharp';

/** Edge of a patch's tile in a sprite sheet, px. */
export const TILE = 96;
export const SHEET_COLUMNS = 12;
export const SHEET_ROWS = 10;
export const TILES_PER_SHEET = SHEET_COLUMNS * SHEET_ROWS;
/** Long side of a context image at most, px. */
export const CONTEXT = 320;
/** Bytes a tile may take: 12,000 tiles (10 labels x 1000 and their controls) and the data stay below 30 MB. */
const TILE_BYTES = 2150;
const SHEET_QUALITIES = [80, 70, 58, 45, 30, 15] as const;

/** An image that is open but not decoded: upright, in sRGB, with its size in pixels. */
export interface Opened {
  image: Sharp;
  size: { width: number; height: number };
  hasAlpha: boolean;
}

/** Pixels of an image, RGB, upright; `scale` is its pixels per source pixel, across and down. */
export interface Decoded {
  pixels: Buffer;
  width: number;
  height: number;
  sourceWidth: number;
  sourceHeight: number;
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/**
 * Decodes an image upright, in sRGB, no larger than its patches and its context image need (JPEGs are then decoded at a fraction).
 * @param smallestPatch the shorter side of the smallest box to be cut, in source pixels
 */
export async function decode(
  { image: upright, size: source, hasAlpha }: Opened,
  smallestPatch: number,
): Promise<Decoded> {
  const long = Math.max(source.width, source.height);
  const ratio = Math.min(1, Math.max(CONTEXT / long, TILE / Math.max(1, smallestPatch)));
  const width = Math.max(1, Math.round(source.width * ratio));
  const height = Math.max(1, Math.round(source.height * ratio));
  if (hasAlpha && ratio < 1) {
    // resizing would blend by alpha, but scoring saw the colors with the alpha dropped
    const { data, info } = await upright.removeAlpha().raw().toBuffer({ resolveWithObject: true });
    const pixels = await sharp(data, { raw: { width: info.width, height: info.height, channels: 3 } })
      .resize(width, height, { fit: 'fill' })
      .raw()
      .toBuffer();
    return { pixels, width, height, sourceWidth: source.width, sourceHeight: source.height };
  }
  const sized = ratio < 1 ? upright.resize(width, height, { fit: 'fill' }) : upright;
  const pixels = await sized.removeAlpha().raw().toBuffer();
  return { pixels, width, height, sourceWidth: source.width, sourceHeight: source.height };
}

const raw = (image: Decoded): Sharp =>
  sharp(image.pixels, { raw: { width: image.width, height: image.height, channels: 3 } });

/** A box (source pixels) as a TILE x TILE RGB tile. Boxes are clamped to the image. */
export async function cutTile(image: Decoded, box: Box): Promise<Buffer> {
  const across = image.width / image.sourceWidth;
  const down = image.height / image.sourceHeight;
  const left = clamp(Math.round(box.x * across), 0, image.width - 1);
  const top = clamp(Math.round(box.y * down), 0, image.height - 1);
  const width = clamp(Math.round(box.width * across), 1, image.width - left);
  const height = clamp(Math.round(box.height * down), 1, image.height - top);
  return raw(image).extract({ left, top, width, height }).resize(TILE, TILE, { fit: 'fill' }).raw().toBuffer();
}

const clamp = (value: number, low: number, high: number): number => Math.max(low, Math.min(high, value));

/** The context image's size: the source's shape, long side at most CONTEXT. */
export function contextSize(sourceWidth: number, sourceHeight: number): { width: number; height: number } {
  const ratio = Math.min(1, CONTEXT / Math.max(sourceWidth, sourceHeight));
  return { width: Math.max(1, Math.round(sourceWidth * ratio)), height: Math.max(1, Math.round(sourceHeight * ratio)) };
}

export async function encodeContext(image: Decoded): Promise<Buffer> {
  const { width, height } = contextSize(image.sourceWidth, image.sourceHeight);
  return raw(image).resize(width, height, { fit: 'fill' }).webp({ quality: 78, effort: 2 }).toBuffer();
}

/** A painted map (RGB). */
export async function encodeMap(pixels: Buffer, width: number, height: number): Promise<Buffer> {
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .webp({ quality: 75, effort: 2 })
    .toBuffer();
}

/** Gray of a place without a tile: hatched, in stripes this many pixels wide, so that it is not taken for an image. */
const HATCH = { width: 12, light: 150, dark: 120 };

/** A sprite sheet of up to TILES_PER_SHEET tiles; places without a tile stay hatched. */
export class SpriteSheet {
  private readonly pixels: Buffer;
  private readonly rows: number;

  constructor(private readonly tiles: number) {
    this.rows = Math.ceil(tiles / SHEET_COLUMNS);
    const width = TILE * SHEET_COLUMNS;
    this.pixels = Buffer.allocUnsafe(3 * TILE * width * this.rows);
    const period = 2 * HATCH.width;
    const line = Buffer.from(
      Array.from({ length: 3 * (width + period) }, (_, i) =>
        Math.floor(i / 3) % period < HATCH.width ? HATCH.light : HATCH.dark,
      ),
    );
    for (let y = 0; y < TILE * this.rows; y++)
      line.copy(this.pixels, 3 * y * width, 3 * (y % period), 3 * ((y % period) + width));
  }

  /** @param place 0 ... tiles - 1, row by row */
  put(place: number, tile: Buffer): void {
    const left = (place % SHEET_COLUMNS) * TILE;
    const top = Math.floor(place / SHEET_COLUMNS) * TILE;
    for (let y = 0; y < TILE; y++) {
      tile.copy(this.pixels, 3 * ((top + y) * TILE * SHEET_COLUMNS + left), 3 * y * TILE, 3 * (y + 1) * TILE);
    }
  }

  /**
   * WebP at the best quality that keeps within the budget of bytes a tile.
   * @param from where in the list of qualities to begin: sprite sheets of a run are alike, so the next one begins where this one ended
   */
  async encode(from = 0): Promise<{ bytes: Buffer; quality: number }> {
    const image = sharp(this.pixels, { raw: { width: TILE * SHEET_COLUMNS, height: TILE * this.rows, channels: 3 } });
    for (let quality = from; ; quality++) {
      const bytes = await image
        .clone()
        .webp({ quality: SHEET_QUALITIES[quality] as number, effort: 2 })
        .toBuffer();
      if (bytes.length <= TILE_BYTES * this.tiles || quality === SHEET_QUALITIES.length - 1) return { bytes, quality };
    }
  }
}
