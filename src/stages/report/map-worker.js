// A thread that lays out patches by their features: UMAP in two dimensions, and the nearest patches of each. It takes seconds to minutes.
import { PCA } from 'ml-pca';
import { UMAP } from 'umap-js';
import { parentPort, workerData } from 'node:worker_threads';

/** Patches that UMAP is fitted on; further ones are placed among the nearest of these. */
const FITTED = 3000;
/** Dimensions that distances are taken in. */
const DIMENSIONS = 32;
/** Patches that a further one is placed among. */
const AMONG = 5;

const { values, width, near, seed } = workerData;
const count = values.length / width;

/** Seeded uniform numbers in [0, 1) (mulberry32). */
function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const evenly = (n, most) =>
  Array.from({ length: Math.min(n, most) }, (_, i) => Math.floor(((i + 0.5) * n) / Math.min(n, most)));

/** The features in their principal components, [count, dimensions]. */
function reduced() {
  const row = (i) => Array.from(values.subarray(i * width, (i + 1) * width));
  const dimensions = Math.min(DIMENSIONS, width, count - 1);
  if (dimensions < 2) return { points: Float32Array.from(values), dimensions: width };
  const some = evenly(count, FITTED).map(row);
  const pca = new PCA(some, { method: some.length > width ? 'covarianceMatrix' : 'SVD' });
  const points = new Float32Array(count * dimensions);
  for (let begin = 0; begin < count; begin += 1000) {
    const rows = Array.from({ length: Math.min(1000, count - begin) }, (_, i) => row(begin + i));
    points.set(pca.predict(rows, { nComponents: dimensions }).to2DArray().flat(), begin * dimensions);
  }
  return { points, dimensions };
}

const { points, dimensions } = reduced();
const distance = (a, b) => {
  let sum = 0;
  for (let d = 0; d < dimensions; d++) sum += (points[a * dimensions + d] - points[b * dimensions + d]) ** 2;
  return sum;
};

/** The `k` of `among` that are nearest to point `i`, without itself. */
function nearest(i, among, k) {
  const found = [];
  for (const other of among) {
    if (other === i) continue;
    const away = distance(i, other);
    if (found.length === k && away >= found[k - 1].away) continue;
    let place = found.length === k ? k - 1 : found.length;
    for (; place > 0 && found[place - 1].away > away; place--) found[place] = found[place - 1];
    found[place] = { other, away };
  }
  return found;
}

const layout = new Float32Array(2 * count);
const fitted = evenly(count, FITTED);
if (count > 5) {
  const random = uniform(seed);
  const rows = fitted.map((i) => Array.from(points.subarray(i * dimensions, (i + 1) * dimensions)));
  const umap = new UMAP({ nComponents: 2, nNeighbors: Math.min(15, rows.length - 1), minDist: 0.15, random });
  umap.fit(rows).forEach(([x, y], place) => layout.set([x, y], 2 * fitted[place]));
  const known = new Set(fitted);
  for (let i = 0; i < count; i++) {
    if (known.has(i)) continue;
    const around = nearest(i, fitted, AMONG);
    const weights = around.map(({ away }) => 1 / (away + 1e-9));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (const axis of [0, 1]) {
      const mean = around.reduce((sum, { other }, n) => sum + weights[n] * layout[2 * other + axis], 0) / total;
      layout[2 * i + axis] = mean + 0.1 * (random() - 0.5);
    }
  }
} else for (let i = 0; i < count; i++) layout.set([points[i * dimensions], points[i * dimensions + 1] ?? 0], 2 * i);

const all = Array.from({ length: count }, (_, i) => i);
const neighbors = new Uint32Array(count * near).fill(2 ** 32 - 1);
for (const i of all) nearest(i, all, near).forEach(({ other }, place) => (neighbors[i * near + place] = other));
parentPort.postMessage({ layout, neighbors }, [layout.buffer, neighbors.buffer]);
