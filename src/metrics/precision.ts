// Average precision over the pooled pixels of many images, also for bootstrap resamples of the images.
import { DiffmineError } from '../util/errors.js';

/** Above so many pixels the resampled curve has steps of equal size instead of one a pixel. */
const EXACT_PIXELS = 2 ** 20;
const STEPS = 8192;

/** Pixels of one image. */
export interface ScoredPixels {
  scores: Float32Array;
  /** 1 where a pixel is positive */
  truth: Uint8Array;
}

/**
 * Pixels by descending score. An entry is pixels of one image and one truth in one step of the curve: image << 2 | truth << 1 | last, where `last` marks
 * the end of a step, and how many they are (absent: one each). Equal scores are one step.
 */
interface Entries {
  packed: Uint32Array;
  counts?: Uint32Array;
}

export class PrecisionCurve {
  /** of the curve; coarser if there are many pixels */
  private readonly steps: Entries;
  private readonly exact: { average: number | null; bestIou: number | null };
  readonly pixels: number;
  readonly positives: number;

  /** @throws NUMERICS for a score that is NaN */
  constructor(images: readonly ScoredPixels[]) {
    const entries = sortPixels(images);
    this.pixels = entries.packed.length;
    this.positives = entries.packed.reduce((sum, entry) => sum + ((entry >>> 1) & 1), 0);
    this.exact = { average: average(entries), bestIou: bestIou(entries, this.positives) };
    this.steps = this.pixels <= EXACT_PIXELS ? entries : merge(entries, images.length);
  }

  /** sum of (R_n - R_n-1) P_n over the distinct scores, descending; no end points, no interpolation. null without positives. */
  averagePrecision(): number | null {
    return this.exact.average;
  }

  /** The largest intersection over union with the positives of {score >= threshold}, over all thresholds. null without positives. */
  bestIou(): number | null {
    return this.exact.bestIou;
  }

  /** The average precision when image i is there weights[i] times. Over a million pixels it is approximate: 8,192 steps. */
  resampled(weights: Uint32Array): number | null {
    return average(this.steps, weights);
  }
}

/** Average precision of one list of scores. */
export function averagePrecision(scores: Float32Array, truth: Uint8Array): number | null {
  return new PrecisionCurve([{ scores, truth }]).averagePrecision();
}

function average({ packed, counts }: Entries, weights?: Uint32Array): number | null {
  let [hits, all, before, sum] = [0, 0, 0, 0];
  for (let i = 0; i < packed.length; i++) {
    const entry = packed[i] as number;
    const pixels = (weights ? (weights[entry >>> 2] as number) : 1) * (counts ? (counts[i] as number) : 1);
    all += pixels;
    if (entry & 2) hits += pixels;
    if (entry & 1 && hits > before) {
      sum += ((hits - before) * hits) / all;
      before = hits;
    }
  }
  return before > 0 ? sum / before : null;
}

function bestIou({ packed }: Entries, positives: number): number | null {
  let [hits, all, best] = [0, 0, 0];
  for (const entry of packed) {
    all += 1;
    if (entry & 2) hits += 1;
    if (entry & 1) best = Math.max(best, hits / (positives + all - hits));
  }
  return positives > 0 ? best : null;
}

function sortPixels(images: readonly ScoredPixels[]): Entries {
  const total = images.reduce((sum, { scores }) => sum + scores.length, 0);
  // a 64-bit key per pixel, sorted natively: the score's bits in an order that descends, above the pixel's number
  const keys = new BigUint64Array(total);
  const halves = new Uint32Array(keys.buffer);
  const number = new Float32Array(1);
  const bits = new Uint32Array(number.buffer);
  const owner = new Uint32Array(total);
  const truths = new Uint8Array(total);
  let at = 0;
  images.forEach(({ scores, truth }, image) => {
    for (let i = 0; i < scores.length; i++, at++) {
      number[0] = (scores[i] as number) + 0; // -0 and 0 are equal
      if (Number.isNaN(number[0])) throw new DiffmineError('NUMERICS', 'A score is NaN.');
      const raw = bits[0] as number;
      halves[2 * at] = at;
      halves[2 * at + 1] = raw & 0x80000000 ? raw : ~raw & 0x7fffffff;
      owner[at] = image;
      truths[at] = truth[i] as number;
    }
  });
  keys.sort();
  const packed = new Uint32Array(total);
  for (let i = 0; i < total; i++) {
    const pixel = halves[2 * i] as number;
    const last = i + 1 === total || halves[2 * i + 1] !== halves[2 * i + 3] ? 1 : 0;
    packed[i] = ((owner[pixel] as number) << 2) | ((truths[pixel] as number) << 1) | last;
  }
  return { packed };
}

/** Steps of about pixels / STEPS pixels each. */
function merge({ packed }: Entries, images: number): Entries {
  const total = packed.length;
  const [entries, counts]: [number[], number[]] = [[], []];
  /** of the current step, by image << 1 | truth */
  const step = new Uint32Array(2 * images);
  for (let i = 0, inStep = 1; i < total; i++, inStep++) {
    const entry = packed[i] as number;
    step[entry >>> 1] = (step[entry >>> 1] as number) + 1;
    if (!(entry & 1) || (inStep * STEPS < total && i + 1 < total)) continue;
    step.forEach((count, which) => {
      if (count === 0) return;
      entries.push(which << 1);
      counts.push(count);
    });
    entries.push((entries.pop() as number) | 1);
    step.fill(0);
    inStep = 0;
  }
  return { packed: Uint32Array.from(entries), counts: Uint32Array.from(counts) };
}
