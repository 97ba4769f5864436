// A ranking in which no element takes most of the places: greedy, with a penalty for what is like the patches that were taken before.
import type { Features } from '../../pipeline/cluster.js';

/** Candidates for each place of the ranking. */
export const CANDIDATES = 2;
/** A patch's score is halved when patches like it fill this fraction of the ranking. */
const HALVED_AT = 0.2;

/**
 * The indices of the patches in their new order, at most `top` of them. Each next patch has the largest
 *
 *     t / (1 + s / (HALVED_AT top)),   s = sum over patches taken before of max(0, correlation)
 *
 * where t is its typicality (multiplied, not divided, where it is negative). Features are compared after the mean of all candidates is taken away: what all
 * of them share is no evidence.
 *
 * @param features of the candidates, best first
 */
export function diversify({ values, width }: Features, typicalities: readonly number[], top: number): number[] {
  const count = typicalities.length;
  const units = centered(values, count, width);
  const taken = new Uint8Array(count);
  const like = new Float64Array(count);
  const order: number[] = [];
  while (order.length < Math.min(top, count)) {
    let [best, highest] = [-1, -Infinity];
    for (let i = 0; i < count; i++) {
      if (taken[i]) continue;
      const typicality = typicalities[i] as number;
      const penalty = 1 + (like[i] as number) / (HALVED_AT * top);
      const score = typicality > 0 ? typicality / penalty : typicality * penalty;
      if (score > highest) [best, highest] = [i, score];
    }
    taken[best] = 1;
    order.push(best);
    const own = units.subarray(best * width, (best + 1) * width);
    for (let i = 0; i < count; i++) {
      if (taken[i]) continue;
      let correlation = 0;
      for (let f = 0; f < width; f++) correlation += (own[f] as number) * (units[i * width + f] as number);
      like[i] = (like[i] as number) + Math.max(0, correlation);
    }
  }
  return order;
}

/** Unit vectors of the features without their mean. */
function centered(values: Float32Array, count: number, width: number): Float32Array {
  const mean = new Float64Array(width);
  values.forEach((value, i) => (mean[i % width] = (mean[i % width] as number) + value / count));
  const units = new Float32Array(values.length);
  for (let i = 0; i < count; i++) {
    let squares = 0;
    for (let f = 0; f < width; f++) squares += ((values[i * width + f] as number) - (mean[f] as number)) ** 2;
    const norm = Math.sqrt(squares) || 1;
    for (let f = 0; f < width; f++)
      units[i * width + f] = ((values[i * width + f] as number) - (mean[f] as number)) / norm;
  }
  return units;
}
