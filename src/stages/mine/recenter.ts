// Patches moved to where their map is strongest: a patch is found where its own mean is highest, which a neighboring element or noise pulls off center.
import { iou } from '../../data/boxes/geometry.js';
import { readMaps } from '../../runs/maps.js';
import { imageKey, type Run } from '../../runs/run.js';
import type { ImageRow, PatchRow } from '../../runs/columns.js';
import { readTable } from '../../runs/tables.js';
import { groupBy } from '../../util/group.js';
import type { TypicalityMap } from '../../web/heatmap.js';

/** Deviation of the Gaussian that maps are smoothed with, as a fraction of the patch. */
const SIGMA = 1 / 4;
/** Taps reach this many deviations. */
const REACH = 3;
/** A patch that would cover more of a better one of its image stays where it is. */
const MOST_OVERLAP = 0.5;

/**
 * The patches of one condition with their boxes moved, in the same order; scores and ranks stay those of the place that was scored.
 *
 * @param patches best first
 * @param sign 1: to the highest place, -1: to the lowest
 */
export async function recenter(run: Run, patches: readonly PatchRow[], sign: 1 | -1): Promise<PatchRow[]> {
  const moved = [...patches];
  const keyOf = ({ image, label }: PatchRow): string => imageKey({ path: image, label });
  const places = await run.placesOf(patches.map(({ image: path, label }) => ({ path, label })));
  const shardOf = (patch: PatchRow): number =>
    Math.floor((places.get(keyOf(patch)) ?? 0) / run.manifest.options.shardSize);
  const axes = new Map<string, Axis>();
  const axis = (pixels: number, cells: number, patch: number): Axis => {
    const name = `${pixels} ${cells} ${patch}`;
    const made = axes.get(name) ?? new Axis(pixels, cells, SIGMA * patch);
    axes.set(name, made);
    return made;
  };
  for (const members of groupBy([...patches.entries()], ([, patch]) => String(shardOf(patch)))) {
    const [, { condition }] = members[0] as [number, PatchRow];
    const shard = shardOf(members[0]?.[1] as PatchRow);
    const maps = readMaps(run, shard, condition, [...new Set(members.map(([, { image }]) => image))]);
    const sizes = new Map(
      (await readTable<ImageRow>(run.shardFile(shard, 'images.parquet'), ['image', 'label', 'width', 'height'])).map(
        ({ image: path, label, width, height }) => [imageKey({ path, label }), { width, height }],
      ),
    );
    for (const own of groupBy(members, ([, patch]) => keyOf(patch))) {
      const [, first] = own[0] as [number, PatchRow];
      const [map, size] = [maps.get(first.image), sizes.get(keyOf(first))];
      if (!map || !size) continue;
      const rows = axis(size.height, map.height, first.patch);
      const columns = axis(size.width, map.width, first.patch);
      const placed: PatchRow[] = [];
      for (const [index, patch] of own) {
        const to = moveTo(patch, peak(map, rows, columns, patch, sign), size);
        const kept = placed.some((other) => iou(to, other) > MOST_OVERLAP);
        placed.push(kept ? patch : to);
        moved[index] = kept ? patch : to;
      }
    }
  }
  return moved;
}

/** One axis of a map, brought to pixels (bilinear, align_corners = false) and smoothed: a matrix [pixels, cells]. */
class Axis {
  private readonly matrix: Float64Array;

  constructor(
    readonly pixels: number,
    readonly cells: number,
    sigma: number,
  ) {
    this.matrix = new Float64Array(pixels * cells);
    const reach = Math.ceil(REACH * sigma);
    for (let at = 0; at < pixels; at++) {
      const [first, last] = [Math.max(0, at - reach), Math.min(pixels - 1, at + reach)];
      const weights = Array.from({ length: last - first + 1 }, (_, i) =>
        sigma > 0 ? Math.exp(-0.5 * ((first + i - at) / sigma) ** 2) : 1,
      );
      const sum = weights.reduce((total, weight) => total + weight, 0);
      weights.forEach((weight, i) => {
        const cell = Math.max(0, Math.min(cells - 1, ((first + i + 0.5) * cells) / pixels - 0.5));
        const low = Math.floor(cell);
        this.add(at, low, (weight / sum) * (1 - (cell - low)));
        this.add(at, Math.min(cells - 1, low + 1), (weight / sum) * (cell - low));
      });
    }
  }

  private add(pixel: number, cell: number, weight: number): void {
    this.matrix[pixel * this.cells + cell] = (this.matrix[pixel * this.cells + cell] as number) + weight;
  }

  weight(pixel: number, cell: number): number {
    return this.matrix[pixel * this.cells + cell] as number;
  }
}

/** The pixel of the smoothed map that is highest (sign 1) within half a patch of the patch's center; the first of ties. */
function peak(
  map: TypicalityMap,
  rows: Axis,
  columns: Axis,
  { row, column, patch }: PatchRow,
  sign: 1 | -1,
): { y: number; x: number } {
  const range = (begin: number, pixels: number): [number, number] => [
    Math.max(0, begin),
    Math.min(pixels, begin + patch),
  ];
  const [top, bottom] = range(row, rows.pixels);
  const [left, right] = range(column, columns.pixels);
  let best = { value: -Infinity, y: top, x: left };
  const line = new Float64Array(map.width);
  for (let y = top; y < bottom; y++) {
    line.fill(0);
    for (let r = 0; r < map.height; r++) {
      const weight = rows.weight(y, r);
      if (weight === 0) continue;
      for (let c = 0; c < map.width; c++)
        line[c] = (line[c] as number) + weight * (map.values[r * map.width + c] as number);
    }
    for (let x = left; x < right; x++) {
      let value = 0;
      for (let c = 0; c < map.width; c++) value += columns.weight(x, c) * (line[c] as number);
      if (sign * value > best.value) best = { value: sign * value, y, x };
    }
  }
  return best;
}

/** The patch with its center on that pixel, inside the image. */
function moveTo(
  patch: PatchRow,
  { y, x }: { y: number; x: number },
  { width, height }: { width: number; height: number },
): PatchRow {
  const side = patch.patch;
  const begin = (center: number, pixels: number): number =>
    Math.max(0, Math.min(pixels - side, Math.floor(center + 1 - side / 2)));
  const [row, column] = [begin(y, height), begin(x, width)];
  return {
    ...patch,
    row,
    column,
    x: patch.x + ((column - patch.column) * patch.width) / side,
    y: patch.y + ((row - patch.row) * patch.height) / side,
  };
}
