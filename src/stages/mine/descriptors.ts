// What a patch looks like, for comparison with windows of other images: the whitened features of its four quarters, so that where things are in it counts.
// The quarters are whitened together: windows of a street have ground below a wall, and a match must not be made of that.
import { fromFloat32, float32 } from '../../engine/tensor.js';
import type { PixelBox, Tensor } from '../../engine/types.js';
import { cholesky, forward } from './cholesky.js';
import { momentsOf, rowsOf, Whitening } from './whitening.js';

const QUARTERS = 4;
/** Added to the covariance's diagonal, as a fraction of its mean. */
const RIDGE = 0.01;

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
   * @returns F32 [boxes, 4 directions]
   */
  joined(features: Float32Array, whitening: Whitening): Float32Array {
    const { width } = whitening;
    const projected = new Float32Array(this.boxes.length * width);
    for (let row = 0; row < this.boxes.length; row++) whitening.project(features, row, projected, row * width);
    const out = new Float32Array(this.places.length * width);
    this.places.forEach((place, i) => out.set(projected.subarray(place * width, (place + 1) * width), i * width));
    return out;
  }
}

/** Makes descriptors: learned from windows, whatever they show. */
export class Descriptors {
  private constructor(
    private readonly whitening: Whitening,
    private readonly mean: Float64Array,
    /** Cholesky factor of the covariance of joined quarters, lower triangle */
    private readonly lower: Float64Array,
  ) {}

  /** @param windows of some images: their quarters, and F32 [quarters, F] */
  static learn(windows: readonly { quarters: Quarters; features: Tensor }[]): Descriptors {
    const whitening = Whitening.learn(windows.map(({ features }) => features));
    const width = QUARTERS * whitening.width;
    const rows = rowsOf(
      windows.map(({ quarters, features }) => {
        const joined = quarters.joined(float32(features), whitening);
        return fromFloat32([joined.length / width, width], joined);
      }),
    );
    const { mean, covariance } = momentsOf(rows, width);
    let trace = 0;
    for (let f = 0; f < width; f++) trace += covariance[f * width + f] as number;
    const ridge = (RIDGE * trace) / width || 1;
    for (let f = 0; f < width; f++) covariance[f * width + f] = (covariance[f * width + f] as number) + ridge;
    cholesky(covariance, width);
    return new Descriptors(whitening, mean, covariance);
  }

  /** A descriptor's length. */
  get width(): number {
    return this.mean.length;
  }

  /**
   * @param features F32 [quarters, F]
   * @returns F32 [boxes, width], rows of unit length
   */
  describe({ quarters, features }: { quarters: Quarters; features: Tensor }): Float32Array {
    const out = quarters.joined(float32(features), this.whitening);
    const { width, mean } = this;
    const row = new Float64Array(width);
    for (let begin = 0; begin < out.length; begin += width) {
      for (let f = 0; f < width; f++) row[f] = (out[begin + f] as number) - (mean[f] as number);
      forward(this.lower, row);
      out.set(row, begin);
    }
    toUnit(out, width);
    return out;
  }
}

/** Scales rows of `width` numbers to unit length, in place. */
export function toUnit(values: Float32Array, width: number): void {
  for (let begin = 0; begin < values.length; begin += width) {
    let squares = 0;
    for (let f = begin; f < begin + width; f++) squares += (values[f] as number) ** 2;
    const norm = Math.sqrt(squares) || 1;
    for (let f = begin; f < begin + width; f++) values[f] = (values[f] as number) / norm;
  }
}
