// What a race did to a run, in sentences: for the report, mining and evaluation.
import { count } from '../web/html.js';
import type { RaceOptions } from './manifest.js';
import type { RaceRecord } from './rounds.js';

/** 0.123 -> 12 %, 0.0012 -> 0.1 % */
export function percent(fraction: number): string {
  const value = 100 * fraction;
  return `${value >= 10 || value === 0 ? Math.round(value) : Number(value.toFixed(value >= 1 ? 1 : 2))} %`;
}

const whole = (value: number): string => value.toLocaleString('en');

/** Fraction of the UNet calls of a scan without racing that were made. */
export function spentFraction({ spent, saved }: { spent: number; saved: number }): number {
  return spent + saved === 0 ? 1 : spent / (spent + saved);
}

/** Labels that are named with their own numbers. */
const NAMED = 30;

/** How the images raced, what it cost and what may be missing. */
export function raceMeaning(race: RaceRecord): string {
  const { top, rule, risk, ends, labels, missed, unetCalls } = race;
  const all = ends.at(-1) ?? 0;
  const most = Math.max(0, ...missed.map(({ patches }) => patches));
  const sentences = [
    `This run raced: after ${listed(ends.slice(0, -1).map(String))} of ${count(all, 'sample')}, ` +
      (rule === 'half'
        ? 'the worse half of the images of each label was left out.'
        : `images were left out that were unlikely to hold one of the ${whole(top)} most typical patches of their label.`),
    `Patches are ranked only from images that got all ${all} samples.`,
    `It made ${whole(unetCalls.spent)} of ${whole(unetCalls.spent + unetCalls.saved)} UNet calls (${percent(spentFraction(unetCalls))})` +
      (labels.length > 1 && labels.length <= NAMED
        ? `: ${labels.map(({ label, unetCalls: of }) => `${label} ${percent(spentFraction(of))}`).join(', ')}.`
        : '.'),
    `An estimated ${percent(most / top)} of the top ${whole(top)} patches is missing at most in a label` +
      (rule === 'half' ? '.' : ` (allowed: ${percent(risk)}).`),
  ];
  return sentences.join(' ');
}

/** Which lists of patches a race leaves. */
export const RACE_LISTS =
  'Random patches come from images of each label that chance chose to get all samples. The least typical patches are not ranked, because images that score low were left out early.';

/** Of ranking more patches than the race looked for; undefined where it did. */
export function raceTooShort({ top }: RaceOptions, wanted: number): string | undefined {
  if (wanted <= top) return undefined;
  return `The scan raced for the top ${count(top, 'patch', 'patches')} of a label (--top): of ranks above ${top}, patches may be missing.`;
}

/** Of measures over all images' maps. */
export function raceMaps({ ends }: RaceOptions): string {
  return `The scan raced: images that were left out have maps of fewer than ${ends.at(-1)} samples, so average precision, pointing game and mean typicality are lower than without --race. P@k and recall of top patches are not affected, apart from patches that the race missed.`;
}

function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
