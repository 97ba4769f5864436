// Area under the ROC curve: how often a positive scores higher than a negative, half counting where they are equal.
import { Random } from '../util/random.js';
import type { Figure } from './bootstrap.js';

/** Fraction of the resamples that the interval leaves out on each side. */
const TAIL = 0.025;

/**
 * AUROC with its 95 % bootstrap interval: positives and negatives are drawn again among themselves.
 *
 * @returns null figures without positives or without negatives
 */
export function auroc(
  positives: readonly number[],
  negatives: readonly number[],
  { bootstrap, seed }: { bootstrap: number; seed: number },
): Figure {
  if (positives.length === 0 || negatives.length === 0) return { value: null, low: null, high: null };
  const scores = [
    ...positives.map((score, i) => ({ score, positive: true, i })),
    ...negatives.map((score, i) => ({ score, positive: false, i })),
  ].sort((a, b) => a.score - b.score);
  /** weights: how often each was drawn */
  const area = (ofPositive: Uint32Array, ofNegative: Uint32Array): number => {
    let [sum, below, at] = [0, 0, 0];
    while (at < scores.length) {
      let [hits, misses] = [0, 0];
      const { score } = scores[at] as { score: number };
      for (; scores[at]?.score === score; at++) {
        const { positive, i } = scores[at] as (typeof scores)[number];
        if (positive) hits += ofPositive[i] as number;
        else misses += ofNegative[i] as number;
      }
      sum += hits * (below + misses / 2);
      below += misses;
    }
    return sum / (positives.length * negatives.length);
  };
  const value = area(new Uint32Array(positives.length).fill(1), new Uint32Array(negatives.length).fill(1));
  const random = new Random('auroc', seed);
  const drawn = (count: number): Uint32Array => {
    const weights = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const place = random.whole(0, count - 1);
      weights[place] = (weights[place] as number) + 1;
    }
    return weights;
  };
  const areas = Float64Array.from({ length: bootstrap }, () => area(drawn(positives.length), drawn(negatives.length)));
  areas.sort();
  const quantile = (fraction: number): number | null =>
    bootstrap > 0 ? (areas[Math.round(fraction * (bootstrap - 1))] as number) : null;
  return { value, low: quantile(TAIL), high: quantile(1 - TAIL) };
}
