// k-means against scikit-learn: the same partition up to the order of clusters, and the inertia.
import { DiffmineError } from '../../../util/errors.js';
import { fromFloat32, fromInt64, int64Numbers, toFloat32 } from '../../../engine/tensor.js';
import type { Comparison } from '../compare.js';
import type { Op } from './op.js';
import { number } from '../params.js';

const INERTIA_RELATIVE = 1e-4;
/** more clusters than blobs have no one best answer: scikit-learn's best of 20, and a tenth */
const OVERK_FACTOR = 1.1;

/** Our name -> the reference's name of each cluster, by the first point of each; the comparison then shows any difference. */
function renaming(got: number[], reference: number[], clusters: number): number[] {
  const names = new Array<number>(clusters).fill(-1);
  got.forEach((ours, point) => {
    if ((names[ours] ?? 0) < 0) names[ours] = reference[point] ?? -1;
  });
  return names;
}

function inertiaCheck(got: number, allowed: number, error: number): Comparison {
  return { passed: got <= allowed, error, fraction: got / allowed };
}

export const kmeansOp: Op = {
  async run({ engine, input, reference, params, call }) {
    const running = await engine();
    const points = input('X');
    const k = number(params, 'k');
    const result = await running.kmeans(points, { clusters: k, restarts: 10, seed: 0 }, call);
    const ours = int64Numbers(result.labels);
    const names = renaming(ours, int64Numbers(reference('labels')), k);
    const dimensions = points.shape[1] ?? 0;
    const centers = new Float32Array(k * dimensions);
    const flat = toFloat32(result.centers);
    names.forEach((name, cluster) => {
      if (name < 0 || name >= k) throw new DiffmineError('CHECK_FAILED', `Cluster ${cluster} is empty.`);
      centers.set(flat.subarray(cluster * dimensions, (cluster + 1) * dimensions), name * dimensions);
    });
    const inertia = number(params, 'inertia');
    const judged: Record<string, Comparison> = {
      inertia: inertiaCheck(
        Math.abs(result.inertia - inertia),
        INERTIA_RELATIVE * inertia,
        Math.abs(result.inertia - inertia),
      ),
    };
    if (params['overk'] !== undefined) {
      const more = await running.kmeans(points, { clusters: number(params, 'overk'), restarts: 10, seed: 0 }, call);
      const best = number(params, 'overk_inertia_best_of_20');
      judged['overk_inertia'] = inertiaCheck(more.inertia, OVERK_FACTOR * best, Math.max(0, more.inertia - best));
    }
    return {
      outputs: {
        labels: fromInt64(
          [ours.length],
          ours.map((cluster) => names[cluster] ?? -1),
        ),
        centers: fromFloat32([k, dimensions], centers),
      },
      judged,
    };
  },
};
