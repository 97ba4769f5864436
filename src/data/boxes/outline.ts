// COCO's segmentations as masks: polygons, or run-length encoded. Drawn when they are needed, as a file may have many thousands.
import { DiffmineError } from '../../util/errors.js';
import type { Size } from '../read-image.js';
import { maskOfRuns, runsFit, runsOfText } from './rle.js';

/** A mask that is drawn on demand. */
export interface Drawn extends Size {
  /** for messages: where it is from */
  name: string;
  /** 1 inside, [height * width] */
  draw(): Uint8Array;
}

/** Larger images are not read. */
const MOST_PIXELS = 268e6;

const HINT =
  'A segmentation is a list of polygons [[x1, y1, x2, y2, ...]], or {"size": [height, width], "counts": ...} with runs as numbers or as COCO text.';

/**
 * @param frame the size of the image, which polygons need
 * @returns undefined for an empty segmentation, which tools write beside boxes
 * @throws DATASET_INVALID if it is neither of polygons nor of runs
 */
export function outlineOf(segmentation: unknown, frame: Size | undefined, name: string): Drawn | undefined {
  if (segmentation === undefined || segmentation === null) return undefined;
  const invalid = (what: string): DiffmineError => new DiffmineError('DATASET_INVALID', `${name}: ${what}.`, HINT);
  if (!Array.isArray(segmentation)) {
    const { size, counts } = segmentation as { size?: unknown; counts?: unknown };
    if (!Array.isArray(size) || size.length !== 2 || !size.every((side) => Number.isInteger(side) && side > 0))
      throw invalid(`the size of its segmentation is ${JSON.stringify(size ?? null)}`);
    const [height, width] = size as [number, number];
    if (width * height > MOST_PIXELS) throw invalid(`its segmentation has ${width} x ${height} px, which is too many`);
    const runs = typeof counts === 'string' ? runsOfText(counts) : (counts as number[]);
    if (!Array.isArray(runs)) throw invalid('the counts of its segmentation are neither numbers nor COCO text');
    if (!runsFit(runs, { width, height }))
      throw invalid(`the counts of its segmentation do not add up to ${width} x ${height} px`);
    return { name, width, height, draw: () => maskOfRuns(runs, { width, height }) };
  }
  const wrong = (segmentation as unknown[]).find(
    (polygon) => !Array.isArray(polygon) || polygon.length % 2 !== 0 || !polygon.every(Number.isFinite),
  );
  if (wrong !== undefined) throw invalid(`its segmentation has the polygon ${JSON.stringify(wrong).slice(0, 80)}`);
  // points and lines have no inside
  const polygons = (segmentation as number[][]).filter(({ length }) => length >= 6);
  if (polygons.length === 0) return undefined;
  if (!frame) throw invalid('its polygons need the width and height of their image in images');
  const { width, height } = frame;
  if (!Number.isInteger(width) || !Number.isInteger(height) || width * height > MOST_PIXELS)
    throw invalid(`its image is ${width} x ${height} px: not whole pixels, or too many`);
  return { name, width, height, draw: () => fillPolygons(polygons, frame) };
}

/** The union of polygons [x1, y1, x2, y2, ...]: pixels whose centers lie inside, by the even-odd rule. */
function fillPolygons(polygons: readonly (readonly number[])[], { width, height }: Size): Uint8Array {
  const inside = new Uint8Array(width * height);
  for (const points of polygons) {
    const corners = points.length / 2;
    const at = (i: number): [number, number] => [
      points[2 * (i % corners)] as number,
      points[2 * (i % corners) + 1] as number,
    ];
    for (let row = 0; row < height; row++) {
      const y = row + 0.5;
      const crossings: number[] = [];
      for (let i = 0; i < corners; i++) {
        const [[x0, y0], [x1, y1]] = [at(i), at(i + 1)];
        if (y0 <= y !== y1 <= y) crossings.push(x0 + ((y - y0) * (x1 - x0)) / (y1 - y0));
      }
      crossings.sort((a, b) => a - b);
      for (let i = 0; i + 1 < crossings.length; i += 2) {
        const first = Math.max(0, Math.ceil((crossings[i] as number) - 0.5));
        const end = Math.min(width, Math.ceil((crossings[i + 1] as number) - 0.5));
        if (end > first) inside.fill(1, row * width + first, row * width + end);
      }
    }
  }
  return inside;
}
