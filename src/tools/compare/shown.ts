// What the page and the command line show of a comparison.
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

/** Names of two paths on a page: the last part of each, with as many parts above it as make them differ. */
export function namesOf(a: string, b: string): [string, string] {
  const [ours, theirs] = [a, b].map((path) => path.split(/[\\/]/).filter((part) => part !== '')) as [
    string[],
    string[],
  ];
  const longest = Math.max(ours.length, theirs.length);
  let parts = 1;
  while (parts < longest && ours.slice(-parts).join('/') === theirs.slice(-parts).join('/')) parts += 1;
  return [ours.slice(-parts).join('/'), theirs.slice(-parts).join('/')];
}
