// The paper's area under the precision-recall curve (section 5.2, figure 11), exactly as in its code.
import { DiffmineError } from '../util/errors.js';
import type { ScoredPixels } from './precision.js';

/** 2 10^-x for 1000 even x from 2 to 7: descending, 2e-2 to 2e-7. */
export const PAPER_THRESHOLDS: readonly number[] = Array.from(
  { length: 1000 },
  (_, i) => 2 * 10 ** -(2 + (5 * i) / 999),
);

/** By threshold, in the order of PAPER_THRESHOLDS. */
export interface PaperCurve {
  /** pixels above it that are positive, and that are not */
  hits: number[];
  misses: number[];
  /** 0 where no pixel is above it */
  precision: number[];
  recall: number[];
  /** of all pixels */
  positives: number;
  /** trapezium rule in the given order, no end points added; null without positives */
  area: number | null;
}

/**
 * Precision and recall of {score > threshold} (strict) at the paper's thresholds. The map is one image's, at its pixels and not blurred: the thresholds
 * are absolute, so what lies below 2e-7 is never reached, and a map of another scale has another area. A constant map has half the positive share.
 *
 * @param pixels scores and truth of each pixel
 * @throws NUMERICS for a score that is NaN
 */
export function paperCurve({ scores, truth }: ScoredPixels): PaperCurve {
  const count = PAPER_THRESHOLDS.length;
  const [hits, misses] = [new Array<number>(count).fill(0), new Array<number>(count).fill(0)];
  let positives = 0;
  scores.forEach((score, i) => {
    if (Number.isNaN(score)) throw new DiffmineError('NUMERICS', 'A score is NaN.');
    if (truth[i]) positives += 1;
    const first = firstBelow(score);
    if (first === count) return;
    const counts = truth[i] ? hits : misses;
    counts[first] = (counts[first] as number) + 1;
  });
  for (let i = 1; i < count; i++) {
    hits[i] = (hits[i] as number) + (hits[i - 1] as number);
    misses[i] = (misses[i] as number) + (misses[i - 1] as number);
  }
  const precision = hits.map((hit, i) => (hit + (misses[i] as number) > 0 ? hit / (hit + (misses[i] as number)) : 0));
  const recall = hits.map((hit) => (positives > 0 ? hit / positives : 0));
  let area = 0;
  for (let i = 1; i < count; i++)
    area +=
      (((recall[i] as number) - (recall[i - 1] as number)) *
        ((precision[i] as number) + (precision[i - 1] as number))) /
      2;
  return { hits, misses, precision, recall, positives, area: positives > 0 ? area : null };
}

/** The paper's AUC-PR of one image's map; a label's is the mean over its images. */
export function paperAucPr(pixels: ScoredPixels): number | null {
  return paperCurve(pixels).area;
}

/** The first threshold that the score is above; their number if it is above none. */
function firstBelow(score: number): number {
  let [low, high] = [0, PAPER_THRESHOLDS.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (score > (PAPER_THRESHOLDS[middle] as number)) high = middle;
    else low = middle + 1;
  }
  return low;
}
