// Computes figures and their bootstrap intervals from the collected evidence.
import { bootstrapped, type BootstrapOptions, type Figure } from '../../metrics/bootstrap.js';
import type { Evidence, Ranked } from './evidence.js';
import type { Image } from './images.js';
import { AT, type Control, type EvaluateEvent, type Metrics } from './options.js';
import type { Hooks } from '../../util/hooks.js';

/** Fractions of typical pixels: of each label, and their mean. */
export interface Fractions {
  labels: (number | null)[];
  mean: number | null;
}

/** A label's figures in a fixed order: average precision, pointing, then for `top`, `random` and `diverse` each k with hit and center. */
function measure(evidence: Evidence, weights: Uint32Array | undefined): (number | null)[] {
  const weight = (image: number): number => (weights ? (weights[image] ?? 1) : 1);
  const { curve, own, pointing } = evidence;
  const precision =
    curve &&
    (weights ? curve.resampled(Uint32Array.from(own, ({ index }) => weight(index))) : curve.averagePrecision());
  let [pointed, asked] = [0, 0];
  pointing.forEach((on, i) => {
    if (on === undefined) return;
    asked += weight((own[i] as Image).index);
    if (on) pointed += weight((own[i] as Image).index);
  });
  return [
    precision ?? null,
    asked > 0 ? pointed / asked : null,
    ...precisionAt(evidence.top, weight),
    ...precisionAt(evidence.random, weight),
    ...precisionAt(evidence.diverse, weight),
  ];
}

/** Hit and center for each k, where a patch stands in the ranking as often as its image was drawn. */
function precisionAt(ranking: readonly Ranked[] | undefined, weight: (image: number) => number): (number | null)[] {
  return AT.flatMap((k) => {
    let [taken, hits, centers] = [0, 0, 0];
    for (const { image, hit, center } of ranking ?? []) {
      const times = Math.min(weight(image), k - taken);
      taken += times;
      if (hit) hits += times;
      if (center) centers += times;
      if (taken === k) break;
    }
    return taken > 0 ? [hits / taken, centers / taken] : [null, null];
  });
}

/**
 * Figures of each label and of their mean, with intervals: images are drawn with replacement within each label.
 *
 * @param images how many there are in the run
 * @param fractions of typical pixels, which the lift goes by
 */
export async function figuresOf(
  evidence: readonly Evidence[],
  images: number,
  fractions: Fractions,
  options: BootstrapOptions,
  hooks: Hooks<EvaluateEvent>,
): Promise<Control<Metrics>> {
  const groups = evidence.map((one) => ({
    members: one.own.map(({ index }) => index),
    measure: (weights: Uint32Array | undefined) => measure(one, weights),
  }));
  const metrics = (await bootstrapped(groups, images, options, hooks)).map((figures, label): Metrics => {
    const lists = (from: number): Metrics['top'] =>
      AT.map((k, i) => ({ k, hit: figures[from + 2 * i] as Figure, center: figures[from + 2 * i + 1] as Figure }));
    const averagePrecision = figures[0] as Figure;
    const fraction = label < evidence.length ? fractions.labels[label] : fractions.mean;
    const lift = averagePrecision.value !== null && fraction ? averagePrecision.value / fraction : null;
    const diverse = evidence.some((one) => one.diverse && one.diverse.length > 0);
    return {
      averagePrecision,
      lift,
      pointing: figures[1] as Figure,
      top: lists(2),
      random: lists(2 + 2 * AT.length),
      diverse: diverse ? lists(2 + 4 * AT.length) : [],
    };
  });
  return {
    mean: metrics.pop() as Metrics,
    labels: evidence.map(({ label }, i) => ({ label, ...(metrics[i] as Metrics) })),
  };
}
