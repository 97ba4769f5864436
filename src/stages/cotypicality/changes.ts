// What changes most between two labels. f_a and f_b are the features of a place in the images of labels a and b, both of length 1. The distance
//
//     d_ab(i) = |f_a(i) - f_b(i)|,   0 ... 2
//
// of a place i includes what changes everywhere with the prompt. It is therefore divided by its mean over random places of the same sequences:
//
//     change_ab(i) = d_ab(i) / mean over random places r of d_ab(r)
//
// A place with change 1 changes as much as a random place; a cluster's change is the mean over its places.
import { setImmediate } from 'node:timers/promises';
import { DiffmineError } from '../../util/errors.js';
import type { ChangeRow } from './schema.js';

/** Features of places: [C] labels of `count` rows of `width` numbers. */
export interface PlaceFeatures {
  count: number;
  width: number;
  labels: Float32Array[];
}

/** d_ab of every place. */
export function distances({ count, width, labels }: PlaceFeatures, a: number, b: number): Float64Array {
  const [one, other] = [labels[a] as Float32Array, labels[b] as Float32Array];
  const found = new Float64Array(count);
  for (let place = 0; place < count; place += 1) {
    let sum = 0;
    for (let i = place * width; i < (place + 1) * width; i += 1)
      sum += ((one[i] as number) - (other[i] as number)) ** 2;
    found[place] = Math.sqrt(sum);
  }
  return found;
}

const mean = (values: Iterable<number>): number => {
  let [sum, count] = [0, 0];
  for (const value of values) [sum, count] = [sum + value, count + 1];
  return count === 0 ? NaN : sum / count;
};

/**
 * The change of every cluster, and (cluster null) of all top places, for every pair a < b in order. Without random places (none fits beside another in
 * tiny images), or where nothing changes at them, distances are divided by their own mean.
 *
 * @throws CANCELLED
 */
export async function changesOf(
  top: PlaceFeatures,
  random: PlaceFeatures,
  assignment: readonly number[],
  clusters: number,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<ChangeRow[]> {
  const members = Array.from({ length: clusters }, (): number[] => []);
  assignment.forEach((cluster, place) => members[cluster]?.push(place));
  const rows: ChangeRow[] = [];
  for (let a = 0; a < names.length; a += 1) {
    for (let b = a + 1; b < names.length; b += 1) {
      // 200 labels have 20,000 pairs: locks are kept alive, and Ctrl-C heard, between them
      await setImmediate();
      if (signal?.aborted) throw new DiffmineError('CANCELLED', 'Grouping was cancelled.');
      const found = distances(top, a, b);
      const everywhere = mean(distances(random, a, b));
      const unit = everywhere > 0 ? everywhere : mean(found) || 1;
      const row = (cluster: number | null, of: readonly number[]): ChangeRow => {
        const distance = mean(of.map((place) => found[place] as number));
        return {
          label_a: names[a] as string,
          label_b: names[b] as string,
          cluster,
          places: of.length,
          distance,
          change: distance / unit,
        };
      };
      rows.push(row(null, [...found.keys()]), ...members.map((of, cluster) => row(cluster, of)));
    }
  }
  return rows;
}
