// Average precision over the pooled pixels of many pictures, and how it varies when the pictures are drawn anew.
import { DiffmineError } from '../errors';

/** Above so many pixels the resampled curve has steps of equal size in place of one a pixel. */
const EXACT_PIXELS = 2 ** 20;
const STEPS = 8192;

/** Pixels of one picture. */
export interface ScoredPixels {
  scores: Float32Array;
  /** 1 where a pixel is positive */
  truth: Uint8Array;
}

/**
 * Pixels by descending score. An entry counts the positives and negatives that one picture has in a step of the curve; entries of a step are together, and
 * `last` marks where one ends. Equal scores are one step.
 */
interface Entries {
  picture: Uint32Array;
  positives: Uint32Array;
  negatives: Uint32Array;
  last: Uint8Array;
}

export class PrecisionCurve {
  private readonly entries: Entries;
  /** the same, coarser where there are many pixels */
  private readonly steps: Entries;
  readonly pixels: number;
  readonly positives: number;

  /** @throws NUMERICS for a score that is NaN */
  constructor(pictures: readonly ScoredPixels[]) {
    this.entries = sortPixels(pictures);
    this.pixels = this.entries.picture.length;
    this.positives = this.entries.positives.reduce((sum, count) => sum + count, 0);
    this.steps = this.pixels <= EXACT_PIXELS ? this.entries : merge(this.entries, pictures.length);
  }

  /** sum of (R_n - R_n-1) P_n over the distinct scores, descending; no end points, no interpolation. null without positives. */
  averagePrecision(): number | null {
    return average(this.entries);
  }

  /** The same when picture i is there weights[i] times. Over a million pixels it is approximate: 8,192 steps. */
  resampled(weights: Uint32Array): number | null {
    return average(this.steps, weights);
  }
}

/** Average precision of one list of scores. */
export function averagePrecision(scores: Float32Array, truth: Uint8Array): number | null {
  return new PrecisionCurve([{ scores, truth }]).averagePrecision();
}

function average({ picture, positives, negatives, last }: Entries, weights?: Uint32Array): number | null {
  let [hits, misses, before, sum] = [0, 0, 0, 0];
  for (let i = 0; i < picture.length; i++) {
    const weight = weights ? (weights[picture[i] as number] as number) : 1;
    hits += weight * (positives[i] as number);
    misses += weight * (negatives[i] as number);
    if (last[i] && hits > before) {
      sum += ((hits - before) * hits) / (hits + misses);
      before = hits;
    }
  }
  return before > 0 ? sum / before : null;
}

function sortPixels(pictures: readonly ScoredPixels[]): Entries {
  const total = pictures.reduce((sum, { scores }) => sum + scores.length, 0);
  // a 64-bit key a pixel, sorted natively: the score's bits in an order that descends, above the pixel's number
  const keys = new BigUint64Array(total);
  const halves = new Uint32Array(keys.buffer);
  const number = new Float32Array(1);
  const bits = new Uint32Array(number.buffer);
  const owner = new Uint32Array(total);
  const truths = new Uint8Array(total);
  let at = 0;
  pictures.forEach(({ scores, truth }, picture) => {
    for (let i = 0; i < scores.length; i++, at++) {
      number[0] = (scores[i] as number) + 0; // -0 and 0 are equal
      if (Number.isNaN(number[0])) throw new DiffmineError('NUMERICS', 'A score is NaN.');
      const raw = bits[0] as number;
      halves[2 * at] = at;
      halves[2 * at + 1] = raw & 0x80000000 ? raw : ~raw & 0x7fffffff;
      owner[at] = picture;
      truths[at] = truth[i] as number;
    }
  });
  keys.sort();
  const entries: Entries = { picture: new Uint32Array(total), positives: new Uint32Array(total), negatives: new Uint32Array(total), last: new Uint8Array(total) };
  for (let i = 0; i < total; i++) {
    const pixel = halves[2 * i] as number;
    entries.picture[i] = owner[pixel] as number;
    entries.positives[i] = truths[pixel] as number;
    entries.negatives[i] = 1 - (truths[pixel] as number);
    entries.last[i] = i + 1 === total || halves[2 * i + 1] !== halves[2 * i + 3] ? 1 : 0;
  }
  return entries;
}

/** Steps of about pixels / STEPS pixels each, an entry a picture and step. */
function merge(entries: Entries, pictures: number): Entries {
  const total = entries.picture.length;
  const parts: { picture: number; positives: number; negatives: number; last: number }[] = [];
  const positives = new Uint32Array(pictures);
  const negatives = new Uint32Array(pictures);
  let inStep = 0;
  for (let i = 0; i < total; i++) {
    const picture = entries.picture[i] as number;
    positives[picture] = (positives[picture] as number) + (entries.positives[i] as number);
    negatives[picture] = (negatives[picture] as number) + (entries.negatives[i] as number);
    if (++inStep * STEPS < total && i + 1 < total) continue;
    if (!entries.last[i]) continue;
    for (let one = 0; one < pictures; one++) {
      if ((positives[one] as number) + (negatives[one] as number) > 0) parts.push({ picture: one, positives: positives[one] as number, negatives: negatives[one] as number, last: 0 });
    }
    (parts[parts.length - 1] as (typeof parts)[number]).last = 1;
    positives.fill(0);
    negatives.fill(0);
    inStep = 0;
  }
  return {
    picture: Uint32Array.from(parts, (part) => part.picture), positives: Uint32Array.from(parts, (part) => part.positives),
    negatives: Uint32Array.from(parts, (part) => part.negatives), last: Uint8Array.from(parts, (part) => part.last),
  };
}
