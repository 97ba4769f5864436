// Curves as numbers: smoothing, fewer points, and the range of values worth showing.
import type { Series } from './metrics.js';

/**
 * Running mean of each point and those before it, older ones weighing ever less: nothing of what comes later, such as an explosion, shows too early.
 * Over about `width` points, fewer at first, so that a steep beginning is followed. NaN are skipped; NaN before the first known value.
 */
export function smooth(values: readonly number[], width: number): number[] {
  let mean = NaN;
  let known = 0;
  return values.map((value) => {
    if (Number.isNaN(value)) return mean;
    mean = known === 0 ? value : mean + (value - mean) * Math.max(1 / width, 4 / (known + 4));
    known++;
    return mean;
  });
}

/**
 * Which points to draw: all, or of each of `limit`/2 runs of points the lowest and the highest, so that no spike is lost; the first and the last always.
 * @returns ascending indices, at most `limit` + 2
 */
export function reduce(values: readonly number[], limit: number): number[] {
  const n = values.length;
  if (n <= limit) return values.map((_, i) => i);
  const chosen = new Set([0, n - 1]);
  const runs = Math.floor(limit / 2);
  for (let run = 0; run < runs; run++) {
    const begin = Math.floor((run * n) / runs);
    const end = Math.floor(((run + 1) * n) / runs);
    let low = begin;
    let high = begin;
    for (let i = begin + 1; i < end; i++) {
      // NaN compares false: a known value takes its place, it takes nobody's
      if ((values[i] as number) < (values[low] as number) || Number.isNaN(values[low])) low = i;
      if ((values[i] as number) > (values[high] as number) || Number.isNaN(values[high])) high = i;
    }
    chosen.add(low);
    chosen.add(high);
  }
  return [...chosen].sort((a, b) => a - b);
}

/** The index of the smallest value, or −1. */
export function lowest(values: readonly number[]): number {
  let best = -1;
  for (let i = 0; i < values.length; i++)
    if (!Number.isNaN(values[i]) && (best < 0 || (values[i] as number) < (values[best] as number))) best = i;
  return best;
}

export interface Range {
  low: number;
  high: number;
  /** round values from low to high, both included */
  ticks: number[];
}

/**
 * Values from 99.5 % of the points after the first twentieth of the training: its first steep steps would press all others flat, as a single spike would.
 * From zero where that costs little.
 * @param always a value that has to be inside
 */
export function rangeOf({ steps, values }: Series, always?: number): Range {
  const from = (steps[steps.length - 1] ?? 0) * 0.05;
  const known = values.filter((value) => !Number.isNaN(value));
  const resolved = values.filter((value, i) => !Number.isNaN(value) && (steps[i] as number) > from);
  const sorted = (resolved.length > 1 ? resolved : known).sort((a, b) => a - b);
  if (sorted.length === 0) return { low: 0, high: 1, ticks: [0, 1] };
  const at = (fraction: number): number => sorted[Math.round(fraction * (sorted.length - 1))] as number;
  // A loss that explodes at the end has more than a few such points: five times the spread of most above the median is far enough.
  const spread = at(0.9) - at(0.1);
  const top = spread > 0 ? Math.min(at(0.995), at(0.5) + 5 * spread) : at(0.995);
  let [low, high] = [Math.min(at(0.005), always ?? Infinity), Math.max(top, always ?? -Infinity)];
  if (low >= 0 && low < 0.4 * high) low = 0;
  if (high === low) [low, high] = low === 0 ? [0, 1] : [Math.min(0, 2 * low), Math.max(0, 2 * low)];
  const step = niceStep((high - low) / 4);
  const [first, last] = [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return { low: ticks[0] as number, high: ticks[ticks.length - 1] as number, ticks };
}

/** Round steps of the training from 0 to `last`, about five. */
export function stepTicks(last: number): number[] {
  const step = Math.max(1, niceStep(last / 5));
  return Array.from({ length: Math.floor(last / step + 1e-9) + 1 }, (_, i) => i * step);
}

/** 1, 2 or 5 times a power of ten, at least `rough`. */
function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= rough * (1 - 1e-9)) ?? 10;
  return Number((factor * power).toPrecision(1));
}
