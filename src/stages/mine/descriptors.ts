// What a patch looks like, for comparison with windows of other images: the whitened features of its four quarters, so that where things are in it counts.
import type { PixelBox } from '../../engine/types.js';
import type { Whitening } from './whitening.js';

const QUARTERS = 4;

const quartersOf = ({ rowBegin, columnBegin, rowEnd, columnEnd }: PixelBox): PixelBox[] => {
  // a box of one pixel is its own four quarters
  const row = Math.max(rowBegin + 1, (rowBegin + rowEnd) >> 1);
  const column = Math.max(columnBegin + 1, (columnBegin + columnEnd) >> 1);
  const [down, right] = [Math.min(row, rowEnd - 1), Math.min(column, columnEnd - 1)];
  return [
    { rowBegin, columnBegin, rowEnd: row, columnEnd: column },
    { rowBegin, columnBegin: right, rowEnd: row, columnEnd },
    { rowBegin: down, columnBegin, rowEnd, columnEnd: column },
    { rowBegin: down, columnBegin: right, rowEnd, columnEnd },
  ];
};

/** The quarters of boxes, each once, and which four are a box's. */
export class Quarters {
  readonly boxes: PixelBox[] = [];
  private readonly places: number[] = [];

  constructor(boxes: readonly PixelBox[]) {
    const known = new Map<string, number>();
    for (const quarter of boxes.flatMap(quartersOf)) {
      const key = `${quarter.rowBegin} ${quarter.columnBegin} ${quarter.rowEnd} ${quarter.columnEnd}`;
      const place = known.get(key) ?? this.boxes.push(quarter) - 1;
      known.set(key, place);
      this.places.push(place);
    }
  }

  /**
   * @param features F32 [quarters, F]
   * @returns F32 [boxes, 4 directions], rows of unit length
   */
  describe(features: Float32Array, whitening: Whitening): Float32Array {
    const { width } = whitening;
    const projected = new Float32Array(this.boxes.length * width);
    for (let row = 0; row < this.boxes.length; row++) whitening.project(features, row, projected, row * width);
    const out = new Float32Array(this.places.length * width);
    this.places.forEach((place, i) => out.set(projected.subarray(place * width, (place + 1) * width), i * width));
    toUnit(out, QUARTERS * width);
    return out;
  }
}

/** Scales rows of `width` numbers to unit length, in place. */
export function toUnit(values: Float32Array, width: number): void {
  for (let begin = 0; begin < values.length; begin += width) {
    const row = values.subarray(begin, begin + width);
    const norm = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0)) || 1;
    row.forEach((value, f) => (row[f] = value / norm));
  }
}

/** A descriptor's length. */
export const widthOf = (whitening: Whitening): number => QUARTERS * whitening.width;
