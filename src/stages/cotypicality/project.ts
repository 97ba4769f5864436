// Reduces each label's features of all places to a few dimensions, so that all labels have equal weight in the clustering. UMAP by umap-js (seeded),
// PCA by ml-pca, one thread per label.
import { count as counted } from '../../web/html.js';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { DiffmineError } from '../../util/errors.js';
import type { PlaceFeatures } from './changes.js';
import type { GroupSettings, Projection } from './options.js';
import type { Hooks } from '../../util/hooks.js';

/** Fewer places than this have no neighborhoods that UMAP could keep. */
const FEWEST = 5;
/** Threads at once: each holds a label's features several times over. */
const MOST_THREADS = 4;

export interface ProjectionPlan {
  projection: Projection;
  /** a label */
  dimensions: number;
  neighbors: number;
  notes: string[];
}

/** The projection that is possible for the number of places and dimensions; `notes` says how it differs from the requested one. */
export function planProjection(
  count: number,
  width: number,
  asked: Pick<GroupSettings, 'projection' | 'dimensions' | 'neighbors'>,
): ProjectionPlan {
  const whole = (note?: string): ProjectionPlan => ({
    projection: 'none',
    dimensions: width,
    neighbors: asked.neighbors,
    notes: note === undefined ? [] : [note],
  });
  if (asked.projection === 'none') return whole();
  const name = asked.projection === 'umap' ? 'UMAP' : 'PCA';
  if (width <= asked.dimensions)
    return whole(
      `Features of ${width} dimensions are clustered without projection: they have no more than ${asked.dimensions} dimensions.`,
    );
  if (count < FEWEST)
    return whole(
      `${counted(count, 'place')} ${count === 1 ? 'is' : 'are'} too few for ${name}: their features are clustered without projection.`,
    );
  const notes: string[] = [];
  // n points span n - 1 dimensions, and have n - 1 neighbors
  const dimensions = Math.min(asked.dimensions, count - 1);
  if (dimensions < asked.dimensions)
    notes.push(`${count} places: ${name} projects to ${dimensions} dimensions, not ${asked.dimensions}.`);
  const neighbors = Math.min(asked.neighbors, count - 1);
  if (asked.projection === 'umap' && neighbors < asked.neighbors)
    notes.push(`${count} places: UMAP uses ${neighbors} neighbors, not ${asked.neighbors}.`);
  return { projection: asked.projection, dimensions, neighbors, notes };
}

async function inThread(values: Float32Array, width: number, how: object, signal?: AbortSignal): Promise<Float32Array> {
  const worker = new Worker(join(import.meta.dirname, 'project-worker.js'), { workerData: { values, width, how } });
  const abort = (): void => void worker.terminate();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    return await new Promise<Float32Array>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', (cause) =>
        reject(
          new DiffmineError(
            'INTERNAL',
            `Projecting features failed: ${cause.message}.`,
            'Try `projection` pca or none.',
            { cause },
          ),
        ),
      );
      worker.once('exit', () => reject(new DiffmineError('CANCELLED', 'Projecting features was cancelled.')));
      if (signal?.aborted) abort();
    });
  } finally {
    signal?.removeEventListener('abort', abort);
    await worker.terminate();
  }
}

/**
 * Projects label by label, and puts the labels' projections of a place one after the other.
 *
 * @returns [count, C x dimensions] rows
 * @throws CANCELLED
 */
export async function project(
  features: PlaceFeatures,
  plan: ProjectionPlan,
  seed: number,
  hooks: Pick<Hooks, 'signal'> & { onLabel?: () => void } = {},
): Promise<{ values: Float32Array; width: number }> {
  const { count, width, labels } = features;
  const parts = new Array<Float32Array>(labels.length);
  let next = 0;
  const serve = async (): Promise<void> => {
    for (let label = next++; label < labels.length; label = next++) {
      const own = labels[label] as Float32Array;
      const how = {
        projection: plan.projection,
        dimensions: plan.dimensions,
        neighbors: plan.neighbors,
        seed: (seed + Math.imul(label, 0x9e3779b1)) >>> 0,
      };
      parts[label] = plan.projection === 'none' || count === 0 ? own : await inThread(own, width, how, hooks.signal);
      hooks.onLabel?.();
    }
  };
  await Promise.all(Array.from({ length: Math.min(MOST_THREADS, availableParallelism(), labels.length) }, serve));
  const each = count === 0 ? 0 : (parts[0] as Float32Array).length / count;
  const values = new Float32Array(count * labels.length * each);
  parts.forEach((part, label) => {
    for (let place = 0; place < count; place += 1)
      values.set(part.subarray(place * each, (place + 1) * each), (place * labels.length + label) * each);
  });
  return { values, width: labels.length * each };
}
