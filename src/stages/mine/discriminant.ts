// Linear discriminants of clusters against windows of images in general (LDA with one covariance for all): a center alone is matched by whatever has its
// color or its sky, as most of what features say is common to all windows.
import { float32 } from '../../engine/index.js';
import type { Tensor } from '../../engine/types.js';
import { cholesky, solve } from './cholesky.js';

/** Windows that mean and covariance are learned from, at most. */
const MOST_WINDOWS = 4000;
/** Added to the covariance's diagonal, as a fraction of its mean. */
const RIDGE = 0.01;

/**
 * One direction per center: w = (S + r I)^-1 (center - mean), mean and covariance S of the windows. w . f is large where f is like the center and unlike windows
 * in general.
 *
 * @param windows features [n, F] of images, whatever their labels
 * @param centers F32 [clusters, F]
 * @returns F64 [clusters, F]
 */
export function discriminants(windows: readonly Tensor[], centers: Float32Array, width: number): Float64Array {
  const total = windows.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  const step = Math.max(1, Math.ceil(total / MOST_WINDOWS));
  const rows: Float32Array[] = [];
  let at = 0;
  for (const tensor of windows) {
    const values = float32(tensor);
    for (let row = 0; row < (tensor.shape[0] ?? 0); row++)
      if (at++ % step === 0) rows.push(values.subarray(row * width, (row + 1) * width));
  }
  const mean = new Float64Array(width);
  for (const row of rows) row.forEach((value, f) => (mean[f] = (mean[f] as number) + value / rows.length));
  /** lower triangle */
  const covariance = new Float64Array(width * width);
  const away = new Float64Array(width);
  for (const row of rows) {
    for (let f = 0; f < width; f++) away[f] = (row[f] as number) - (mean[f] as number);
    for (let a = 0; a < width; a++) {
      const value = (away[a] as number) / rows.length;
      for (let b = 0; b <= a; b++)
        covariance[a * width + b] = (covariance[a * width + b] as number) + value * (away[b] as number);
    }
  }
  let trace = 0;
  for (let f = 0; f < width; f++) trace += covariance[f * width + f] as number;
  // where all windows are equal there is nothing to whiten
  const ridge = (RIDGE * trace) / width || 1;
  for (let f = 0; f < width; f++) covariance[f * width + f] = (covariance[f * width + f] as number) + ridge;
  cholesky(covariance, width);
  const directions = new Float64Array(centers.length);
  for (let begin = 0; begin < centers.length; begin += width) {
    const direction = directions.subarray(begin, begin + width);
    for (let f = 0; f < width; f++) direction[f] = (centers[begin + f] as number) - (mean[f] as number);
    solve(covariance, direction);
  }
  return directions;
}
