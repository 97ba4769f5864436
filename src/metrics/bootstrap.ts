// Bootstrap over images: percentile intervals of figures per group (label) and of their mean.
import { setImmediate } from 'node:timers/promises';
import { DiffmineError } from '../util/errors.js';
import { Random } from '../util/random.js';
import type { Hooks, Progress } from '../util/hooks.js';

/** A figure and its 95 % interval over images; null if it cannot be computed, or nothing was resampled. */
export interface Figure {
  value: number | null;
  low: number | null;
  high: number | null;
}

/** Images that are drawn with replacement among themselves, and figures that follow from how often each was drawn. */
export interface Group {
  /** the group's images, as places in the weights */
  members: readonly number[];
  /** figures in a fixed order, the same for every group; weights [images of all groups]: how often each was drawn; absent: once each */
  measure(weights: Uint32Array | undefined): (number | null)[];
}

export interface BootstrapOptions {
  /** times the images are drawn again; 0: no intervals */
  bootstrap: number;
  seed: number;
}

export type BootstrapHooks = Pick<Hooks<Progress<'resample'>>, 'signal' | 'onProgress'>;

/** The interval's fraction of the resamples on each side. */
const TAIL = 0.025;

/**
 * Figures of each group, then of the mean over the groups that have the figure.
 *
 * @param images how many places the weights have
 * @returns [groups + 1][figures]
 * @throws CANCELLED
 */
export async function bootstrapped(
  groups: readonly Group[],
  images: number,
  { bootstrap, seed }: BootstrapOptions,
  hooks: BootstrapHooks,
): Promise<Figure[][]> {
  const rowsOf = (weights?: Uint32Array): (number | null)[][] => {
    const rows = groups.map((group) => group.measure(weights));
    return [...rows, (rows[0] ?? []).map((_, figure) => mean(rows.map((row) => row[figure] ?? null)))];
  };
  const values = rowsOf();
  const draws: number[][][] = values.map((row) => row.map(() => []));
  const random = new Random('bootstrap', seed);
  for (let time = 0; time < bootstrap; time++) {
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Evaluating was cancelled.');
    hooks.onProgress?.({ type: 'resample', done: time, total: bootstrap });
    await setImmediate();
    const weights = new Uint32Array(images);
    for (const { members } of groups) {
      for (let i = 0; i < members.length; i++) {
        const place = random.pick(members);
        weights[place] = (weights[place] as number) + 1;
      }
    }
    rowsOf(weights).forEach((row, group) =>
      row.forEach((value, figure) => value !== null && draws[group]?.[figure]?.push(value)),
    );
  }
  return values.map((row, group) =>
    row.map((value, i): Figure => {
      const sorted = Float64Array.from(draws[group]?.[i] ?? []).sort();
      const at = (fraction: number): number | null =>
        value === null || sorted.length === 0 ? null : (sorted[Math.round(fraction * (sorted.length - 1))] as number);
      return { value, low: at(TAIL), high: at(1 - TAIL) };
    }),
  );
}

/** The mean of the values that are there. */
export function mean(values: readonly (number | null)[]): number | null {
  const there = values.filter((value) => value !== null);
  return there.length > 0 ? there.reduce((sum, value) => sum + value, 0) / there.length : null;
}
