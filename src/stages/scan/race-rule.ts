// Which images of a race continue: a rule over scores alone, so that it can be tested, and calibrated (scripts/race-study.mjs), without images.
//
// After n of N samples a patch scores s with standard error e. What it will score after all N differs from s by what is left to learn,
//
//     v = e^2 (1 - n / N)        that is sigma^2 (1/n - 1/N)
//
// so its final score is forecast as normal(s, w v). w widens the forecast for what it leaves out: errors of a few samples are themselves uncertain, and
// the largest of many scores is too large. T is where the forecasts of all patches put K of them above. An image's patches are above T with
// probabilities that add up to what would be missed without it; images leave, the least likely first, while the sum stays within the risk.
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

/** w: the variance of forecasts over what standard errors say, from races with known results (docs/results/estimator.md). */
const WIDENING = 1.5;
/** Standard errors of few samples are noisy: each counts as many as it has, the mean over similar images as this many. */
const SMOOTHING = 8;
/** Images on either side, in order of scores, that such a mean is taken over; or 2 % of all, if that is more. */
const NEIGHBORS = 8;

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
  const left = WIDENING * (1 - n / N);
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

/** Where the sum of chances is K; all of the patches' chances if there are no more than K patches. */
function thresholdOf(forecasts: readonly { centre: number; deviation: number }[], top: number): number {
  if (forecasts.length <= top) return -Infinity;
  const above = (threshold: number): number =>
    forecasts.reduce((sum, forecast) => sum + chance(forecast, threshold), 0);
  const centres = forecasts.map(({ centre }) => centre);
  const widest = 8 * Math.max(...forecasts.map(({ deviation }) => deviation));
  let [low, high] = [Infinity, -Infinity];
  for (const centre of centres) [low, high] = [Math.min(low, centre), Math.max(high, centre)];
  [low, high] = [low - widest - 1e-12, high + widest + 1e-12];
  for (let step = 0; step < 45; step += 1) {
    const middle = (low + high) / 2;
    if (above(middle) > top) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

function chance({ centre, deviation }: { centre: number; deviation: number }, threshold: number): number {
  if (deviation <= 0) return centre >= threshold ? 1 : 0;
  return normalBelow((centre - threshold) / deviation);
}

/** By candidate: how many of its patches are expected in the final top K. */
function expected(candidates: readonly Candidate[], { top, round, ends }: CutOptions): number[] {
  const [n, N] = [ends[round] as number, ends.at(-1) as number];
  const variances = remaining(candidates, n, N);
  const forecasts = candidates.map(({ scores }, i) =>
    scores.map((centre, place) => ({ centre, deviation: Math.sqrt(variances[i]?.[place] ?? 0) })),
  );
  const threshold = thresholdOf(forecasts.flat(), top);
  return forecasts.map((of) => of.reduce((sum, forecast) => sum + chance(forecast, threshold), 0));
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

/** All but the images with the least chances, which add up to no more than this round's part of the risk. */
function unlikely(
  candidates: readonly Candidate[],
  chances: readonly number[],
  { top, risk, ends }: CutOptions,
): boolean[] {
  const keep = candidates.map(() => true);
  const order = keep
    .map((_, i) => i)
    .filter((i) => !candidates[i]?.control)
    .sort((a, b) => (chances[a] as number) - (chances[b] as number) || a - b);
  let left = (risk * top) / (ends.length - 1);
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

/** Images of a race that get all samples, whatever they score, by place: this fraction of each label's, at least one, chosen by the seed. */
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
        .slice(0, Math.ceil(fraction * of.length))
        .map((one) => one.place),
    ),
  );
}
