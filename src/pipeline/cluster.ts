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

/**
 * @param typicalities of the patches, in the features' order
 * @param options.clusters at most as many as there are patches; the engine makes fewer where points coincide
 */
export async function cluster(
  engine: Engine,
  features: Features,
  typicalities: readonly number[],
  options: { clusters: number; restarts: number; seed: number },
  call?: CallOptions,
): Promise<Clustering> {
  const count = typicalities.length;
  const { width } = features;
  if (count === 0) return { clusters: [], assignment: [], distances: [], centers: new Float32Array(0), inertia: 0 };
  const result = await engine.kmeans(
    fromFloat32([count, width], features.values),
    { ...options, clusters: Math.min(options.clusters, count) },
    call,
  );
  const labels = int64Numbers(result.labels);
  const distances = [...float32(result.distances)];
  const raw = float32(result.centers);
  const made = result.centers.shape[0] ?? 0;
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
    inertia: result.inertia,
  };
}
