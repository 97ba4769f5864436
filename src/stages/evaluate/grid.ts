// Draws a grid of images beside their maps, with the boxes. It has no text, because fonts differ between machines.
import sharp, { type OverlayOptions } from 'sharp';
import type { Box } from '../../data/boxes/index.js';
import { evenly } from '../../util/evenly.js';
import { commonScale, paint, warm } from '../../web/heatmap.js';
import { readScored } from '../../runs/scored.js';
import type { Run } from '../../runs/run.js';
import { mapsOf, type MapEvidence } from './evidence.js';
import { scored, typical, typicalOfOthers, type Image } from './images.js';
import { boxMean, upsample, type PixelMap } from '../../metrics/maps.js';
import type { EvaluateEvent, MapGrid } from './options.js';
import type { Hooks } from '../../util/hooks.js';

type Rgb = readonly [number, number, number];

/** Side of an image on the grid, px: small ones are enlarged by a whole factor, large ones shrunk. */
const TILE = 256;
const GAP = 4;
/** Around a cell, half of what lies between two. */
const MARGIN = 6;
const CELL = { width: 2 * TILE + GAP + 2 * MARGIN, height: TILE + 2 * MARGIN };
/** WebP's limit is 16,383 px a side. */
const MOST_ROWS = Math.floor(16_000 / CELL.height);
const MOST_COLUMNS = Math.floor(16_000 / CELL.width);
const COLORS: { own: Rgb; others: Rgb } = { own: [255, 221, 45], others: [64, 214, 255] };
const EDGE: Rgb = [16, 16, 16];
const css = (color: Rgb): string => `rgb(${color.join(' ')})`;

/**
 * The grid: of each label `perLabel` images, evenly spaced through its list, whatever they show. Each with the boxes of what is typical of the label
 * and of others, beside it the image in gray under its smoothed map, in colors whose scale is the label's.
 *
 * @param root the folder of the source images
 * @returns undefined if there are no maps
 * @throws IMAGE_UNREADABLE for an image that is not there any more
 */
export async function drawGrid(
  run: Run,
  root: string,
  evidence: readonly MapEvidence[],
  { smooth, perLabel }: { smooth: number; perLabel: number },
  hooks: Hooks<EvaluateEvent>,
): Promise<{ grid: MapGrid; pixels: Buffer; width: number; height: number } | undefined> {
  const shown = evenly(
    evidence.filter(({ strengths, own }) => strengths.length > 0 && own.length > 0),
    MOST_ROWS,
  )
    .map((one) => ({
      ...one,
      scale: commonScale(one.strengths),
      maps: [...mapsOf(run, one.label, evenly(one.own, Math.min(perLabel, MOST_COLUMNS)))],
    }))
    .filter(({ maps }) => maps.length > 0);
  if (shown.length === 0) return undefined;
  const columns = Math.max(...shown.map(({ maps }) => maps.length));
  const [width, height] = [columns * CELL.width, shown.length * CELL.height];
  const tiles: OverlayOptions[] = [];
  for (const [row, { label, scale, maps }] of shown.entries()) {
    hooks.onProgress?.({ type: 'draw', done: row, total: shown.length });
    for (const [column, { image, map }] of maps.entries()) {
      const place = { left: column * CELL.width + MARGIN, top: row * CELL.height + MARGIN };
      for (const [side, input] of (await pairOf(run, root, label, image, map, { smooth, scale })).entries()) {
        tiles.push({
          input: input.pixels,
          raw: { width: input.width, height: input.height, channels: 3 },
          ...centered(input, place.left + side * (TILE + GAP), place.top),
        });
      }
    }
  }
  const pixels = await sharp({ create: { width, height, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } } })
    .composite(tiles)
    .raw()
    .toBuffer();
  const rows = shown.map(({ label, scale, maps }) => ({
    label,
    scale,
    images: maps.map(({ image }) => ({
      image: image.image,
      own: typical(image, label).length,
      others: typicalOfOthers(image, label).length,
    })),
  }));
  return {
    grid: { cell: CELL, columns, colors: { own: css(COLORS.own), others: css(COLORS.others) }, rows },
    pixels,
    width,
    height,
  };
}

interface Tile {
  pixels: Buffer;
  width: number;
  height: number;
}

const centered = ({ width, height }: Tile, left: number, top: number): { left: number; top: number } => ({
  left: left + Math.floor((TILE - width) / 2),
  top: top + Math.floor((TILE - height) / 2),
});

/** The image and its map, with boxes. */
async function pairOf(
  run: Run,
  root: string,
  label: string,
  image: Image,
  map: PixelMap,
  { smooth, scale }: { smooth: number; scale: number },
): Promise<Tile[]> {
  const source = await readScored(run, root, image);
  const long = Math.max(image.width, image.height);
  const factor = long <= TILE ? Math.floor(TILE / long) : TILE / long;
  const [width, height] = [
    Math.max(1, Math.round(image.width * factor)),
    Math.max(1, Math.round(image.height * factor)),
  ];
  const plain = await sharp(source, { raw: { width: image.width, height: image.height, channels: 3 } })
    .resize(width, height, { fit: 'fill', kernel: factor > 1 ? 'nearest' : 'lanczos3' })
    .raw()
    .toBuffer();
  const smoothed = boxMean(upsample(map, image.width, image.height), smooth);
  const heat = warm(
    plain,
    paint(smoothed, scale, width, height, { width: width / image.width, height: height / image.height }),
  );
  const [across, down] = [width / image.width, height / image.height];
  const tiles = [plain, heat].map((pixels): Tile => ({ pixels, width, height }));
  for (const tile of tiles) {
    for (const [boxes, color] of [
      [typicalOfOthers(image, label), COLORS.others],
      [typical(image, label), COLORS.own],
    ] as const) {
      for (const box of scored(image, boxes))
        outline(
          tile,
          { x: box.x * across, y: box.y * down, width: box.width * across, height: box.height * down },
          color,
        );
    }
  }
  return tiles;
}

/** Draws a box's edge around it, 2 px between thin dark lines that set it off from any ground. */
function outline({ pixels, width, height }: Tile, box: Box, color: Rgb): void {
  const [left, top, right, bottom] = [
    Math.trunc(box.x),
    Math.trunc(box.y),
    Math.trunc(box.x + box.width),
    Math.trunc(box.y + box.height),
  ];
  const ring = (reach: number, paint: Rgb): void => {
    const put = (x: number, y: number): void => {
      if (x >= 0 && y >= 0 && x < width && y < height) pixels.set(paint, 3 * (y * width + x));
    };
    for (let x = left - reach; x < right + reach; x++) for (const y of [top - reach, bottom + reach - 1]) put(x, y);
    for (let y = top - reach; y < bottom + reach; y++) for (const x of [left - reach, right + reach - 1]) put(x, y);
  };
  ring(0, EDGE);
  ring(1, color);
  ring(2, color);
  ring(3, EDGE);
}
