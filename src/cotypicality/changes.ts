// What changes most between two labels. Where a sequence shows label a its features are f_a, and f_b where it shows b, both of length 1; the distance
//
//     d_ab(i) = |f_a(i) - f_b(i)|,   0 ... 2
//
// of a place i also holds what changes everywhere with the prompt. It is therefore divided by its mean over random places of the same sequences:
//
//     change_ab(i) = d_ab(i) / mean over random places r of d_ab(r)
//
// 1 is how much any place changes between a and b; a cluster's change is the mean over its places.
import type { ChangeRow } from './schema';

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
    for (let i = place * width; i < (place + 1) * width; i += 1) sum += ((one[i] as number) - (other[i] as number)) ** 2;
    found[place] = Math.sqrt(sum);
  }
  return found;
}

const mean = (values: Iterable<number>): number => {
  let [sum, count] = [0, 0];
  for (const value of values) [sum, count] = [sum + value, count + 1];
  return count === 0 ? NaN : sum / count;
};

/** change_ab of every top place, for every pair a < b in order. */
export interface Changes {
  pairs: { a: number; b: number; distance: number; places: Float64Array }[];
  rows: ChangeRow[];
}

/** Without random places (none fits beside another in tiny pictures), or where nothing changes at them, distances are divided by their own mean. */
export function changesOf(top: PlaceFeatures, random: PlaceFeatures, assignment: readonly number[], clusters: number, names: readonly string[]): Changes {
  const members = Array.from({ length: clusters }, (_, cluster) => assignment.flatMap((other, place) => (other === cluster ? [place] : [])));
  const pairs: Changes['pairs'] = [];
  const rows: ChangeRow[] = [];
  for (let a = 0; a < names.length; a += 1) {
    for (let b = a + 1; b < names.length; b += 1) {
      const found = distances(top, a, b);
      const everywhere = mean(distances(random, a, b));
      const unit = everywhere > 0 ? everywhere : mean(found) || 1;
      const places = found.map((distance) => distance / unit);
      pairs.push({ a, b, distance: mean(found), places });
      const row = (cluster: number | null, of: readonly number[]): ChangeRow => ({
        label_a: names[a] as string, label_b: names[b] as string, cluster, places: of.length,
        distance: mean(of.map((place) => found[place] as number)), change: mean(of.map((place) => places[place] as number)),
      });
      rows.push(row(null, [...places.keys()]), ...members.map((of, cluster) => row(cluster, of)));
    }
  }
  return { pairs, rows };
}
