// How many images mining takes features of, before it is known which patches rank: what `estimate` tells.
import type { MineSettings } from '../../runs/mining.js';
import { CANDIDATES } from './diverse.js';
import { heldOutOf } from './evidence.js';
import { BACKGROUND } from './trends.js';

/**
 * Images that mining takes features of, at most: once per label that ranks or tests them, and once more for trends.
 *
 * @param ranked by label: the images that may have ranked patches; of a scan of all labels, all images
 * @param counts by label: its images
 */
export function mostImages(
  ranked: readonly number[],
  counts: readonly number[],
  {
    top,
    diverse,
    evidenceImages,
    trends,
    trendImages,
  }: Pick<MineSettings, 'top' | 'diverse' | 'evidenceImages' | 'trends' | 'trendImages'>,
): number {
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const all = sum(counts);
  const candidates = diverse ? CANDIDATES * top : top;
  const clustered = ranked.map((count, index) => {
    const { own, others } = heldOutOf(counts[index] ?? count, evidenceImages);
    return Math.min(all, Math.min(count, candidates + own) + Math.min(others, all - (counts[index] ?? 0)));
  });
  // with a diverse ranking, these patches are followed too
  const followed = sum(ranked.map((count) => Math.min(count, diverse ? 2 * top : top)));
  const sampled = sum(counts.map((count) => Math.min(count, trendImages)));
  return sum(clustered) + (trends ? Math.min(all, followed + sampled) + Math.min(BACKGROUND, sampled) : 0);
}
