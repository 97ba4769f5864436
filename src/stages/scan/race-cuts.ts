// What follows from the rounds of a race: which images continue after one, and what is recorded at the end.
import type { RaceOptions } from '../../runs/manifest.js';
import { RACE_FORMAT, type Cut, type LabelCut, type RaceRecord, type RoundFolder } from '../../runs/rounds.js';
import { unetCallsOf } from './contrasts.js';
import { cutLabel, type Candidate } from './race-rule.js';
import type { Scoring } from './shard.js';

/** What is known of a race without what was found in it. */
export type Known = Pick<Scoring, 'run' | 'contrasts' | 'images'>;

/**
 * What continues, from all that a finished round found.
 *
 * @param index of the round
 * @param controls images that get all samples whatever they score
 */
export async function cutOf(
  round: RoundFolder,
  index: number,
  { run, contrasts, images }: Known,
  { ends, top, rule, risk }: RaceOptions,
  controls: ReadonlySet<number>,
): Promise<Cut> {
  const samples = ends[index] as number;
  if (index === ends.length - 1) return { round: index, samples, labels: [], places: [] };
  const byLabel = new Map<string, { candidates: Candidate[]; places: number[] }>();
  for (let shard = 0; shard < round.count; shard += 1) {
    for (const result of await round.readResults(shard)) {
      if (!('outputs' in result)) continue;
      const names = contrasts.of(images.label(result.place))?.names ?? [];
      result.outputs.forEach(({ top: patches }, m) => {
        const condition = names[m] as string;
        let of = byLabel.get(condition);
        if (!of) byLabel.set(condition, (of = { candidates: [], places: [] }));
        of.places.push(result.place);
        of.candidates.push({
          scores: patches.map(({ score }) => score),
          errors: patches.map(({ standardError }) => standardError ?? 0),
          control: controls.has(result.place),
        });
      });
    }
  }
  const continuing = new Set<number>();
  const labels: LabelCut[] = [];
  for (const condition of run.manifest.conditions) {
    const { candidates, places } = byLabel.get(condition) ?? { candidates: [], places: [] };
    const { keep, missed } = cutLabel(candidates, { top, rule, risk, round: index, ends });
    places.forEach((place, i) => keep[i] && continuing.add(place));
    labels.push({ condition, images: places.length, continuing: keep.filter(Boolean).length, missed });
  }
  return { round: index, samples, labels, places: [...continuing].sort((a, b) => a - b) };
}

/** What race.json says of a finished race. @param cuts of all rounds */
export async function recordOf(
  { run, contrasts }: Known,
  race: RaceOptions,
  cuts: readonly (Cut | undefined)[],
): Promise<RaceRecord> {
  const { conditions, options } = run.manifest;
  const byLabel = new Map<string, Map<number, number>>();
  for await (const { label, condition, samples } of run.images()) {
    if (options.allLabels && condition !== conditions[0]) continue; // each image has a row under every label
    const of = byLabel.get(label) ?? new Map<number, number>();
    byLabel.set(label, of.set(samples, (of.get(samples) ?? 0) + 1));
  }
  const all = { spent: 0, saved: 0 };
  const labels = [...byLabel].map(([label, of]) => {
    const unetCalls = { spent: 0, saved: 0 };
    const perSample = unetCallsOf(contrasts, [{ label }]);
    for (const [samples, images] of of) {
      unetCalls.spent += images * samples * perSample;
      unetCalls.saved += images * (options.samples - samples) * perSample;
    }
    all.spent += unetCalls.spent;
    all.saved += unetCalls.saved;
    const images = [...of].sort(([a], [b]) => a - b).map(([samples, n]) => ({ samples, images: n }));
    return { label, images, unetCalls };
  });
  const missed = new Map(conditions.map((condition) => [condition, 0]));
  for (const cut of cuts)
    for (const { condition, missed: expected } of cut?.labels ?? [])
      missed.set(condition, (missed.get(condition) ?? 0) + expected);
  return {
    format: RACE_FORMAT,
    ...race,
    labels,
    missed: [...missed].map(([condition, patches]) => ({ condition, patches })),
    unetCalls: all,
  };
}
