// The trend of an element over ordered labels: whether it rises, falls, or peaks, and how clear that is compared with the standard errors.
// Courses are fitted by isotonic regression (pool adjacent violators), weighted by 1 / error^2.
import { Random } from '../util/random.js';

export const SHAPES = ['rising', 'falling', 'passing', 'steady'] as const;
export type Shape = (typeof SHAPES)[number];

export interface Course {
  shape: Shape;
  /** how much better the course fits than a constant, in standard errors: the root of the difference of the two chi squares */
  clarity: number;
  /** how often a constant with the same errors has so clear a course */
  p: number;
  /** place of the label where the course is highest */
  peak: number;
}

/** A course is passing where it fits better than a rising or falling one by this chi square (95 % of one degree of freedom). */
const TURN = 3.84;
const SURE = 0.05;
const DRAWS = 499;

interface Fit {
  chi: number;
  values: number[];
}

/** The closest increasing course. */
function increasing(values: readonly number[], weights: readonly number[]): Fit {
  const blocks: { mean: number; weight: number; size: number }[] = [];
  values.forEach((value, i) => {
    let block = { mean: value, weight: weights[i] as number, size: 1 };
    for (let last = blocks.at(-1); last && last.mean >= block.mean; last = blocks.at(-1)) {
      blocks.pop();
      const weight = last.weight + block.weight;
      block = {
        mean: (last.mean * last.weight + block.mean * block.weight) / weight,
        weight,
        size: last.size + block.size,
      };
    }
    blocks.push(block);
  });
  const fitted = blocks.flatMap(({ mean, size }) => new Array<number>(size).fill(mean));
  return { values: fitted, chi: chiSquare(values, weights, fitted) };
}

function decreasing(values: readonly number[], weights: readonly number[]): Fit {
  const fit = increasing([...values].reverse(), [...weights].reverse());
  return { chi: fit.chi, values: fit.values.reverse() };
}

/** The closest course that rises to one peak and falls. */
function unimodal(values: readonly number[], weights: readonly number[]): Fit {
  let best: Fit = { chi: Infinity, values: [] };
  for (let peak = 0; peak < values.length; peak++) {
    const up = increasing(values.slice(0, peak + 1), weights.slice(0, peak + 1));
    const down = decreasing(values.slice(peak + 1), weights.slice(peak + 1));
    const chi = up.chi + down.chi;
    if (chi < best.chi) best = { chi, values: [...up.values, ...down.values] };
  }
  return best;
}

function chiSquare(values: readonly number[], weights: readonly number[], fitted: readonly number[]): number {
  return values.reduce((sum, value, i) => sum + (weights[i] as number) * (value - (fitted[i] as number)) ** 2, 0);
}

function flat(values: readonly number[], weights: readonly number[]): { chi: number; mean: number } {
  const weight = weights.reduce((sum, one) => sum + one, 0);
  const mean = values.reduce((sum, value, i) => sum + value * (weights[i] as number), 0) / weight;
  return { mean, chi: chiSquare(values, weights, new Array<number>(values.length).fill(mean)) };
}

/**
 * @param values of the labels, in their order
 * @param errors their standard errors, above 0
 * @param seed of the constants that the course is compared with
 */
export function courseOf(values: readonly number[], errors: readonly number[], seed: number): Course {
  const weights = errors.map((error) => 1 / error ** 2);
  const { chi: constant, mean } = flat(values, weights);
  const [up, down, one] = [increasing(values, weights), decreasing(values, weights), unimodal(values, weights)];
  const monotone = up.chi <= down.chi ? up : down;
  const fit = monotone.chi - one.chi < TURN ? monotone : one;
  const clearest = Math.sqrt(Math.max(0, constant - one.chi));
  const random = new Random('course', seed);
  let above = 0;
  for (let draw = 0; draw < DRAWS; draw++) {
    const drawn = errors.map((error) => mean + error * random.normal());
    const chi = flat(drawn, weights).chi - unimodal(drawn, weights).chi;
    if (Math.sqrt(Math.max(0, chi)) >= clearest) above += 1;
  }
  const p = (1 + above) / (1 + DRAWS);
  const shape: Shape = p > SURE ? 'steady' : fit === one ? 'passing' : fit === up ? 'rising' : 'falling';
  const most = Math.max(...fit.values);
  const peaks = [...fit.values.keys()].filter((i) => fit.values[i] === most);
  return {
    shape,
    clarity: Math.sqrt(Math.max(0, constant - fit.chi)),
    p,
    peak: peaks.reduce((best, i) => ((values[i] as number) > (values[best] as number) ? i : best), peaks[0] ?? 0),
  };
}

/** A fraction of images and its standard error, over groups of images that belong together. A fraction of none or all has the error of Wilson's estimate. */
export function fractionOf(found: readonly boolean[], groups: readonly string[]): { fraction: number; error: number } {
  const n = found.length;
  const hits = found.filter(Boolean).length;
  const fraction = hits / n;
  const sums = new Map<string, number>();
  found.forEach((one, i) => {
    const group = groups[i] as string;
    sums.set(group, (sums.get(group) ?? 0) + Number(one) - fraction);
  });
  const squares = [...sums.values()].reduce((sum, value) => sum + value * value, 0);
  const own = Math.sqrt(((squares / n) * (sums.size / Math.max(1, sums.size - 1))) / n);
  const shrunk = (hits + 1) / (n + 2);
  return {
    fraction,
    error: Math.max(own, hits === 0 || hits === n || sums.size === 1 ? Math.sqrt((shrunk * (1 - shrunk)) / n) : 0),
  };
}
