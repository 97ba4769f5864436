// The figures that follow from evidence, and how they vary when the pictures are drawn anew.
import { setImmediate } from 'node:timers/promises';
import { DiffmineError } from '../errors';
import { Random } from '../random';
import type { Evidence, Picture, Ranked } from './evidence';
import { AT, type Control, type EvaluateHooks, type Figure, type Metrics } from './options';

/** The interval's share of the resamples on each side. */
const TAIL = 0.025;

/** Shares of typical pixels: of each label, and their mean. */
export interface Shares {
  labels: (number | null)[];
  mean: number | null;
}

/** A label's figures in a fixed order: average precision, pointing, then for `top` and `random` each k with hit and centre. */
function measure(evidence: Evidence, weights: Uint32Array | undefined): (number | null)[] {
  const weight = (picture: number): number => (weights ? (weights[picture] ?? 1) : 1);
  const { curve, own, pointing } = evidence;
  const precision = curve && (weights ? curve.resampled(Uint32Array.from(own, ({ index }) => weight(index))) : curve.averagePrecision());
  let [pointed, asked] = [0, 0];
  pointing.forEach((on, i) => {
    if (on === undefined) return;
    asked += weight((own[i] as Picture).index);
    if (on) pointed += weight((own[i] as Picture).index);
  });
  return [precision ?? null, asked > 0 ? pointed / asked : null, ...precisionAt(evidence.top, weight), ...precisionAt(evidence.random, weight)];
}

/** Hit and centre for each k, where a patch stands in the ranking as often as its picture was drawn. */
function precisionAt(ranking: readonly Ranked[] | undefined, weight: (picture: number) => number): (number | null)[] {
  return AT.flatMap((k) => {
    let [taken, hits, centres] = [0, 0, 0];
    for (const { picture, hit, centre } of ranking ?? []) {
      const times = Math.min(weight(picture), k - taken);
      taken += times;
      if (hit) hits += times;
      if (centre) centres += times;
      if (taken === k) break;
    }
    return taken > 0 ? [hits / taken, centres / taken] : [null, null];
  });
}

/**
 * Figures of each label and of their mean, with intervals: pictures are drawn with replacement within each label.
 *
 * @param pictures how many there are in the run
 * @param shares of typical pixels, which the lift goes by
 */
export async function figuresOf(
  evidence: readonly Evidence[], pictures: number, shares: Shares, { bootstrap, seed }: { bootstrap: number; seed: number }, hooks: EvaluateHooks,
): Promise<Control<Metrics>> {
  const rowOf = (weights?: Uint32Array): (number | null)[][] => {
    const labels = evidence.map((one) => measure(one, weights));
    return [...labels, (labels[0] ?? []).map((_, figure) => mean(labels.map((label) => label[figure] ?? null)))];
  };
  const values = rowOf();
  const draws: number[][][] = values.map((row) => row.map(() => []));
  const random = new Random('bootstrap', seed);
  for (let time = 0; time < bootstrap; time++) {
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Evaluating was cancelled.');
    hooks.onProgress?.({ stage: 'resample', done: time, total: bootstrap });
    await setImmediate();
    const weights = new Uint32Array(pictures);
    for (const { own } of evidence) {
      for (let i = 0; i < own.length; i++) {
        const { index } = random.pick(own);
        weights[index] = (weights[index] as number) + 1;
      }
    }
    rowOf(weights).forEach((row, label) => row.forEach((value, figure) => value !== null && draws[label]?.[figure]?.push(value)));
  }
  const metrics = values.map((row, label): Metrics => {
    const figures = row.map((value, i): Figure => {
      const sorted = Float64Array.from(draws[label]?.[i] ?? []).sort();
      const at = (share: number): number | null => (value === null || sorted.length === 0 ? null : (sorted[Math.round(share * (sorted.length - 1))] as number));
      return { value, low: at(TAIL), high: at(1 - TAIL) };
    });
    const lists = (from: number): Metrics['top'] => AT.map((k, i) => ({ k, hit: figures[from + 2 * i] as Figure, centre: figures[from + 2 * i + 1] as Figure }));
    const averagePrecision = figures[0] as Figure;
    const share = label < evidence.length ? shares.labels[label] : shares.mean;
    const lift = averagePrecision.value !== null && share ? averagePrecision.value / share : null;
    return { averagePrecision, lift, pointing: figures[1] as Figure, top: lists(2), random: lists(2 + 2 * AT.length) };
  });
  return { mean: metrics.pop() as Metrics, labels: evidence.map(({ label }, i) => ({ label, ...(metrics[i] as Metrics) })) };
}

/** The mean of the values that are there. */
export function mean(values: readonly (number | null)[]): number | null {
  const there = values.filter((value) => value !== null);
  return there.length > 0 ? there.reduce((sum, value) => sum + value, 0) / there.length : null;
}
