// Whitening of features: the directions in which windows of images vary most, each scaled to unit variance. In features as they are, what all windows of a
// light or a sky have in common outweighs what an element looks like.
import { float32 } from '../../engine/index.js';
import type { Tensor } from '../../engine/types.js';
import { Random } from '../../util/random.js';

/** Rows that mean and covariance are learned from, at most. */
const MOST_ROWS = 4000;
/** Directions that are kept. */
const DIRECTIONS = 64;
/** Added to each variance, as a fraction of their mean. */
const RIDGE = 0.01;
/** Rounds of orthogonal iteration. */
const ROUNDS = 30;

export class Whitening {
  private constructor(
    private readonly mean: Float64Array,
    /** F64 [directions, F] */
    private readonly basis: Float64Array,
    readonly width: number,
  ) {}

  /** @param tensors features [n, F] of windows */
  static learn(tensors: readonly Tensor[]): Whitening {
    const rows = rowsOf(tensors);
    const features = rows[0]?.length ?? 0;
    const { mean, covariance } = momentsOf(rows, features);
    let trace = 0;
    for (let f = 0; f < features; f++) trace += covariance[f * features + f] as number;
    const width = Math.min(DIRECTIONS, features, Math.max(1, rows.length - 1));
    const { vectors, variances } = principal(covariance, features, width);
    const ridge = (RIDGE * trace) / Math.max(1, features) || 1;
    for (let d = 0; d < width; d++) {
      const scale = 1 / Math.sqrt(Math.max(0, variances[d] as number) + ridge);
      for (let f = 0; f < features; f++) vectors[d * features + f] = (vectors[d * features + f] as number) * scale;
    }
    return new Whitening(mean, vectors, width);
  }

  /** Writes row `row` of features into `out` at `at`. */
  project(values: Float32Array, row: number, out: Float32Array, at: number): void {
    const features = this.mean.length;
    const away = new Float64Array(features);
    for (let f = 0; f < features; f++) away[f] = (values[row * features + f] as number) - (this.mean[f] as number);
    for (let d = 0; d < this.width; d++) {
      let sum = 0;
      for (let f = 0; f < features; f++) sum += (this.basis[d * features + f] as number) * (away[f] as number);
      out[at + d] = sum;
    }
  }
}

/** The rows of tensors, thinned evenly. */
export function rowsOf(tensors: readonly Tensor[]): Float32Array[] {
  const total = tensors.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  const step = Math.max(1, Math.ceil(total / MOST_ROWS));
  const rows: Float32Array[] = [];
  let at = 0;
  for (const tensor of tensors) {
    const [count = 0, width = 0] = tensor.shape;
    const values = float32(tensor);
    for (let row = 0; row < count; row++)
      if (at++ % step === 0) rows.push(values.subarray(row * width, (row + 1) * width));
  }
  return rows;
}

/** Mean, and covariance with n columns. */
export function momentsOf(rows: readonly Float32Array[], n: number): { mean: Float64Array; covariance: Float64Array } {
  const mean = new Float64Array(n);
  for (const row of rows) for (let f = 0; f < n; f++) mean[f] = (mean[f] as number) + (row[f] as number) / rows.length;
  const covariance = new Float64Array(n * n);
  const away = new Float64Array(n);
  for (const row of rows) {
    for (let f = 0; f < n; f++) away[f] = (row[f] as number) - (mean[f] as number);
    for (let a = 0; a < n; a++) {
      const value = (away[a] as number) / rows.length;
      for (let b = 0; b < n; b++)
        covariance[a * n + b] = (covariance[a * n + b] as number) + value * (away[b] as number);
    }
  }
  return { mean, covariance };
}

/** The eigenvectors of the `k` largest eigenvalues, [k, n], by orthogonal iteration from fixed random vectors. */
function principal(matrix: Float64Array, n: number, k: number): { vectors: Float64Array; variances: Float64Array } {
  const random = new Random('whitening');
  let vectors = Float64Array.from({ length: k * n }, () => random.normal());
  let next = new Float64Array(k * n);
  for (let round = 0; round < ROUNDS; round++) {
    for (let d = 0; d < k; d++) {
      for (let a = 0; a < n; a++) {
        let sum = 0;
        for (let b = 0; b < n; b++) sum += (matrix[a * n + b] as number) * (vectors[d * n + b] as number);
        next[d * n + a] = sum;
      }
    }
    orthonormalize(next, n, k);
    [vectors, next] = [next, vectors];
  }
  const variances = new Float64Array(k);
  for (let d = 0; d < k; d++) {
    let quadratic = 0;
    for (let a = 0; a < n; a++) {
      let sum = 0;
      for (let b = 0; b < n; b++) sum += (matrix[a * n + b] as number) * (vectors[d * n + b] as number);
      quadratic += sum * (vectors[d * n + a] as number);
    }
    variances[d] = quadratic;
  }
  return { vectors, variances };
}

/** Gram-Schmidt, in place; a row that is in the span of those before becomes zero. */
function orthonormalize(vectors: Float64Array, n: number, k: number): void {
  for (let d = 0; d < k; d++) {
    const own = vectors.subarray(d * n, (d + 1) * n);
    for (let twice = 0; twice < 2; twice++) {
      for (let other = 0; other < d; other++) {
        let dot = 0;
        for (let f = 0; f < n; f++) dot += (own[f] as number) * (vectors[other * n + f] as number);
        for (let f = 0; f < n; f++) own[f] = (own[f] as number) - dot * (vectors[other * n + f] as number);
      }
    }
    const norm = Math.sqrt(own.reduce((sum, value) => sum + value * value, 0));
    for (let f = 0; f < n; f++) own[f] = norm > 1e-150 ? (own[f] as number) / norm : 0;
  }
}
