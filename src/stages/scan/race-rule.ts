// Which images of a race continue: a rule over scores alone, so that it can be tested, and calibrated (scripts/race-study.mjs), without images.
//
// After n of N samples a patch scores s with standard error e. What it will score after all N differs from s by what is left to learn,
//
//     v = e^2 (1 - n / N)        that is sigma^2 (1/n - 1/N)
//
// so its final score is forecast with center s and variance v, by Student's t, because v is itself estimated and means of few samples have long tails. T
// is the K-th best score so far. An image's patches are above T with probabilities that add up to what would be missed without it; images leave, the
// least likely first, while the sum stays within the round's part of the risk.
// Noise raises T as it raises the best patch of an image. A threshold from the forecasts themselves would count the noise twice and be too high: then
// images with top patches leave (docs/results/estimator.md, "Racing").
import type { ImageList } from '../../data/index.js';
import { Random } from '../../util/random.js';

/** An image under a label, after n samples. */
export interface Candidate {
  /** of its best patches, best first */
  scores: readonly number[];
  /** their standard errors */
  errors: readonly number[];
  /** continues whatever it scores */
  control?: boolean;
}

export interface CutOptions {
  /** patches that are to be found: K */
  top: number;
  /** 'risk': images leave that are unlikely to reach the top K; 'half': the worse half leaves */
  rule: 'risk' | 'half';
  /** fraction of the top K that all rounds together may miss */
  risk: number;
  /** from 0 */
  round: number;
  /** samples after each round; the last one is N */
  ends: readonly number[];
}

export interface CutResult {
  /** by candidate */
  keep: boolean[];
  /** patches of the final top K that are expected in images that leave */
  missed: number;
}

/** Standard errors of few samples are noisy: each counts as many as it has, the mean over similar images as this many. */
const SMOOTHING = 64;
/** Images on either side, in order of scores, that such a mean is taken over; or 2 % of all, if that is more. */
const NEIGHBORS = 8;

/** Degrees of freedom of a forecast, 4 (n - 4): fitted, so that what is missed is what was stated after any number of samples. */
const [FREEDOM, UNUSED] = [4, 4];

/** Controls of a small label: a part of its images, and no more than so many unless the given fraction asks for more. */
const [PART, ENOUGH] = [0.05, 10];

/** Probability that a standard normal number is below x; error below 1.2e-7 (W. J. Cody's rational form by Numerical Recipes' erfc). */
export function normalBelow(x: number): number {
  if (Math.abs(x) > 8) return x > 0 ? 1 : 0;
  const z = Math.abs(x) / Math.SQRT2;
  const t = 1 / (1 + z / 2);
  const tail =
    t *
    Math.exp(
      -z * z -
        1.26551223 +
        t *
          (1.00002368 +
            t *
              (0.37409196 +
                t *
                  (0.09678418 +
                    t *
                      (-0.18628806 +
                        t *
                          (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277)))))))),
    );
  return x >= 0 ? 1 - tail / 2 : tail / 2;
}

/**
 * Variances of what is left to learn of each patch. [candidate][place]
 *
 * Squares of few samples' errors are noisy, and larger where scores are: each is drawn to the mean of those of images with scores next to its own.
 */
function remaining(candidates: readonly Candidate[], n: number, N: number): number[][] {
  const variances = candidates.map(({ scores }) => scores.map(() => 0));
  const places = Math.max(0, ...candidates.map(({ scores }) => scores.length));
  const left = 1 - n / N;
  for (let place = 0; place < places; place += 1) {
    const ranked = candidates
      .flatMap(({ scores: { [place]: score }, errors: { [place]: error = 0 } }, i) =>
        score === undefined ? [] : [{ i, score, square: error ** 2 }],
      )
      .sort((a, b) => a.score - b.score || a.i - b.i);
    const reach = Math.max(NEIGHBORS, Math.round(ranked.length * 0.02));
    const sums = [0];
    for (const { square } of ranked) sums.push((sums.at(-1) as number) + square);
    ranked.forEach(({ i, square }, rank) => {
      const [from, to] = [Math.max(0, rank - reach), Math.min(ranked.length, rank + reach + 1)];
      const near = ((sums[to] as number) - (sums[from] as number)) / (to - from);
      (variances[i] as number[])[place] = (left * ((n - 1) * square + SMOOTHING * near)) / (n - 1 + SMOOTHING);
    });
  }
  return variances;
}

/** The K-th best score so far; none if there are no more than K patches. */
function thresholdOf(candidates: readonly Candidate[], top: number): number {
  const scores = Float64Array.from(candidates.flatMap((candidate) => candidate.scores)).sort();
  return scores.length > top ? (scores[scores.length - top] as number) : -Infinity;
}

/** Probability that a score ends above the threshold; by Student's t, as a normal number (Wallace 1959, Bounds on normal approximations to Student's t). */
function chance(above: number, deviation: number, freedom: number): number {
  if (deviation <= 0) return above >= 0 ? 1 : 0;
  const t = above / deviation;
  const size = ((8 * freedom + 1) / (8 * freedom + 3)) * Math.sqrt(freedom * Math.log1p(t ** 2 / freedom));
  return normalBelow(Math.sign(t) * size);
}

/** By candidate: how many of its patches are expected in the final top K. */
function expected(candidates: readonly Candidate[], { top, round, ends }: CutOptions): number[] {
  const [n, N] = [ends[round] as number, ends.at(-1) as number];
  const variances = remaining(candidates, n, N);
  const threshold = thresholdOf(candidates, top);
  const freedom = FREEDOM * Math.max(1, n - UNUSED);
  return candidates.map(({ scores }, i) =>
    scores.reduce(
      (sum, score, place) => sum + chance(score - threshold, Math.sqrt(variances[i]?.[place] ?? 0), freedom),
      0,
    ),
  );
}

/**
 * Which images of a label continue after a round.
 *
 * @param candidates all images of the label that are in the race
 */
export function cutLabel(candidates: readonly Candidate[], options: CutOptions): CutResult {
  const chances = expected(candidates, options);
  const keep = options.rule === 'half' ? betterHalf(candidates, options.top) : unlikely(candidates, chances, options);
  return { keep, missed: chances.reduce((sum, one, i) => (keep[i] ? sum : sum + one), 0) };
}

/** A round's part of the risk, as large as the part of an image's samples that leaving then saves. */
function riskOf({ risk, round, ends }: CutOptions): number {
  const N = ends.at(-1) as number;
  const saves = ends.slice(0, -1).map((n) => 1 - n / N);
  const all = saves.reduce((sum, one) => sum + one, 0);
  return all > 0 ? (risk * (saves[round] as number)) / all : risk;
}

/** All but the images with the least chances, which add up to no more than this round's part of the risk. */
function unlikely(candidates: readonly Candidate[], chances: readonly number[], options: CutOptions): boolean[] {
  const keep = candidates.map(() => true);
  const order = keep
    .map((_, i) => i)
    .filter((i) => !candidates[i]?.control)
    .sort((a, b) => (chances[a] as number) - (chances[b] as number) || a - b);
  let left = riskOf(options) * options.top;
  for (const i of order) {
    left -= chances[i] as number;
    if (left < 0) break;
    keep[i] = false;
  }
  return keep;
}

/** The better half, and who holds one of the K best patches. */
function betterHalf(candidates: readonly Candidate[], top: number): boolean[] {
  const best = candidates.map(({ scores }) => scores[0] ?? -Infinity);
  const order = candidates.map((_, i) => i).sort((a, b) => (best[b] as number) - (best[a] as number) || a - b);
  const keep = candidates.map(({ control }) => control === true);
  for (const i of order.slice(0, Math.ceil(order.length / 2))) keep[i] = true;
  candidates
    .flatMap(({ scores }, i) => scores.map((score) => ({ score, i })))
    .sort((a, b) => b.score - a.score || a.i - b.i)
    .slice(0, top)
    .forEach(({ i }) => (keep[i] = true));
  return keep;
}

/**
 * Images of a race that get all samples, whatever they score, by place; chosen by the seed.
 *
 * @param fraction of each label's images; of small labels 5 % or 10 images, whichever is less, and at least one
 */
export function controlsOf(images: ImageList, fraction: number, seed: number): ReadonlySet<number> {
  const byLabel = new Map<string, { place: number; drawn: number }[]>();
  let place = 0;
  for (const { path, label } of images) {
    const of = byLabel.get(label) ?? [];
    of.push({ place, drawn: new Random(seed, 'control', label, path).next() });
    byLabel.set(label, of);
    place += 1;
  }
  return new Set(
    [...byLabel.values()].flatMap((of) =>
      of
        .sort((a, b) => a.drawn - b.drawn || a.place - b.place)
        .slice(0, Math.ceil(Math.max(fraction * of.length, Math.min(ENOUGH, PART * of.length))))
        .map((one) => one.place),
    ),
  );
}
