// Clusters the features of one condition with k-means, in display order.
import { float32, fromFloat32, int64Numbers, type Engine } from '../engine/index.js';
import type { CallOptions } from '../engine/types.js';

/** Features of one condition's patches, L2-normalized: rows in the patches' order, `width` numbers each. */
export interface Features {
  values: Float32Array;
  width: number;
}

export interface Cluster {
  size: number;
  medianTypicality: number;
  /** sum of its members' squared distances to the center */
  inertia: number;
}

export interface Clustering {
  /** in display order: by descending median typicality */
  clusters: Cluster[];
  /** [patches] index into `clusters` */
  assignment: number[];
  /** [patches] to the own center */
  distances: number[];
  /** F32 [clusters, width] */
  centers: Float32Array;
  inertia: number;
}

/** The mean of the two middle values for an even number of them. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? NaN) + upper) / 2;
}

/** Patches of a cluster, on average, and how many clusters there are at most, where their number is to be chosen. */
const CLUSTERED = { patches: 25, most: 32 };

export function clustersFor(wanted: number | 'auto', patches: number): number {
  return wanted === 'auto' ? Math.max(1, Math.min(CLUSTERED.most, Math.round(patches / CLUSTERED.patches))) : wanted;
}

/**
 * @param typicalities of the patches, in the features' order
 * @param options.learnFrom patches that k-means learns from, at least one; the others go to the nearest center. Default: all
 * @param options.clusters at most as many as there are patches; the engine makes fewer where points coincide
 */
export async function cluster(
  engine: Engine,
  features: Features,
  typicalities: readonly number[],
  options: { clusters: number; restarts: number; seed: number; learnFrom?: readonly number[] },
  call?: CallOptions,
): Promise<Clustering> {
  const count = typicalities.length;
  const { width } = features;
  if (count === 0) return { clusters: [], assignment: [], distances: [], centers: new Float32Array(0), inertia: 0 };
  const all = Array.from({ length: count }, (_, index) => index);
  const learned = options.learnFrom ?? all;
  const points = new Float32Array(learned.length * width);
  learned.forEach((index, i) => points.set(features.values.subarray(index * width, (index + 1) * width), i * width));
  const result = await engine.kmeans(
    fromFloat32([learned.length, width], points),
    { clusters: Math.min(options.clusters, learned.length), restarts: options.restarts, seed: options.seed },
    call,
  );
  const raw = float32(result.centers);
  const made = result.centers.shape[0] ?? 0;
  const [found, away] = [int64Numbers(result.labels), float32(result.distances)];
  const labels = new Array<number>(count).fill(-1);
  const distances = new Array<number>(count).fill(0);
  learned.forEach((index, i) => {
    labels[index] = found[i] ?? 0;
    distances[index] = away[i] ?? 0;
  });
  for (const index of all) {
    if (labels[index] !== -1) continue;
    const point = features.values.subarray(index * width, (index + 1) * width);
    const nearest = nearestCenter(point, raw, made);
    labels[index] = nearest.label;
    distances[index] = nearest.distance;
  }
  const members = Array.from({ length: made }, (_, label) =>
    labels.flatMap((other, index) => (other === label ? [index] : [])),
  );
  const order = members
    .map((indices, label) => ({
      label,
      indices,
      medianTypicality: median(indices.map((index) => typicalities[index] ?? 0)),
    }))
    .filter(({ indices }) => indices.length > 0)
    .sort((a, b) => b.medianTypicality - a.medianTypicality || (a.indices[0] ?? 0) - (b.indices[0] ?? 0));
  const place = new Map(order.map(({ label }, index) => [label, index]));
  const centers = new Float32Array(order.length * width);
  order.forEach(({ label }, index) => centers.set(raw.subarray(label * width, (label + 1) * width), index * width));
  return {
    clusters: order.map(({ indices, medianTypicality }) => ({
      size: indices.length,
      medianTypicality,
      inertia: indices.reduce((sum, index) => sum + (distances[index] ?? 0) ** 2, 0),
    })),
    assignment: labels.map((label) => place.get(label) ?? 0),
    distances,
    centers,
    inertia: learned === all ? result.inertia : distances.reduce((sum, distance) => sum + distance ** 2, 0),
  };
}

function nearestCenter(point: Float32Array, centers: Float32Array, count: number): { label: number; distance: number } {
  const width = point.length;
  let nearest = { label: 0, distance: Infinity };
  for (let label = 0; label < count; label++) {
    let squares = 0;
    for (let f = 0; f < width; f++) squares += ((point[f] as number) - (centers[label * width + f] as number)) ** 2;
    if (squares < nearest.distance) nearest = { label, distance: squares };
  }
  return { ...nearest, distance: Math.sqrt(nearest.distance) };
}
