// The figures of a demo, by city and planted element, from its evaluation.
import type { EvaluateSummary, Metrics } from '../../stages/evaluate/options.js';
import { SLOTS } from '../world/kinds.js';
import type { DemoCity, DemoFigures } from './options.js';

/** The evaluation speaks of the first 10, 50 and 100 patches; here the middle one is told. */
const FIRST = 50;

/** What the evaluation says of each city, and of what is planted in it. */
export function digest({ labels, kinds, mean, controls }: EvaluateSummary): { cities: DemoCity[]; mean: DemoFigures } {
  const figures = (
    of: Metrics & { fraction: number | null },
    untrained: number | null | undefined,
    color: number | null | undefined,
  ): DemoFigures => {
    const [top, random, diverse] = [of.top, of.random, of.diverse].map((list) => list.find(({ k }) => k === FIRST));
    return {
      fraction: of.fraction,
      averagePrecision: of.averagePrecision.value,
      untrained: untrained ?? null,
      color: color ?? null,
      pointing: of.pointing.value,
      precision50: top?.hit.value ?? null,
      center50: top?.center.value ?? null,
      random50: random?.hit.value ?? null,
      diverse50: diverse?.hit.value ?? null,
    };
  };
  const { run, color } = controls;
  const places: readonly string[] = SLOTS;
  const ofLabel = (control: typeof run | typeof color, label: string): number | null | undefined =>
    control?.labels.find((one) => one.label === label)?.averagePrecision.value;
  return {
    mean: figures(mean, run?.mean.averagePrecision.value, color?.mean.averagePrecision.value),
    cities: labels.map((one) => ({
      city: one.label,
      images: one.images,
      boxes: one.boxes,
      ...figures(one, ofLabel(run, one.label), ofLabel(color, one.label)),
      elements: kinds
        .filter(({ label }) => label === one.label)
        .sort((a, b) => places.indexOf(a.slot ?? '') - places.indexOf(b.slot ?? ''))
        .map(({ slot = '', kind, boxes, patches50, diversePatches50, recall50, recall, typicality }) => ({
          slot,
          kind,
          boxes,
          patches50: patches50 ?? 0,
          diverse50: diversePatches50 ?? 0,
          recall50: recall50 ?? 0,
          recall: recall ?? 0,
          typicality,
        })),
    })),
  };
}
