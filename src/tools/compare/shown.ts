// What the page and the command line show of a comparison.
import { basename } from 'node:path';
import type { CompareSummary, LabelComparison } from './options.js';

/** Labels whose patches are drawn: those with the least overlap first. All are in compare.json. */
export const LABELS_DRAWN = 24;

/** The labels that the page shows patches of, by ascending overlap of the largest k that they have. */
export function drawnLabels({ labels }: Pick<CompareSummary, 'labels'>): LabelComparison[] {
  const overlap = (one: LabelComparison): number =>
    one.overlap.findLast(({ fraction }) => fraction !== null)?.fraction ?? 1;
  return labels
    .filter(({ movers }) => movers.run.length + movers.other.length > 0)
    .sort((a, b) => overlap(a) - overlap(b))
    .slice(0, LABELS_DRAWN);
}

/** The runs' names: the last part of their paths, or all of it where both end alike. */
export function namesOf({ run, other }: Pick<CompareSummary, 'run' | 'other'>): [string, string] {
  const [a, b] = [basename(run.path), basename(other.path)];
  return a === b ? [run.path, other.path] : [a, b];
}
