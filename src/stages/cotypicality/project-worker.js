// A thread that projects one label's features: UMAP and PCA of thousands of places take minutes, and must not hold up the event loop.
import { PCA } from 'ml-pca';
import { UMAP } from 'umap-js';
import { parentPort, workerData } from 'node:worker_threads';

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

function umap(rows, { dimensions, neighbors, seed }) {
  return new UMAP({ nComponents: dimensions, nNeighbors: neighbors, random: uniform(seed) }).fit(rows);
}

function pca(rows, { dimensions }) {
  // of the smaller of the two square matrices: the covariance of the features, or (by SVD) that of the places
  const method = rows.length > rows[0].length ? 'covarianceMatrix' : 'SVD';
  return new PCA(rows, { method }).predict(rows, { nComponents: dimensions }).to2DArray();
}

const { values, width, how } = workerData;
const rows = Array.from({ length: values.length / width }, (_, i) =>
  Array.from(values.subarray(i * width, (i + 1) * width)),
);
const projected = Float32Array.from((how.projection === 'umap' ? umap : pca)(rows, how).flat());
parentPort.postMessage(projected, [projected.buffer]);
