// What differs in how two runs were made: model, dataset, options of the scan and of mining.
import { isDeepStrictEqual } from 'node:util';
import type { MineRecord } from '../../runs/mining.js';
import type { Run } from '../../runs/run.js';
import { kebab } from '../../options/option.js';
import type { CompareSummary } from './options.js';

/** Options that change nothing in the results, or nothing beyond rounding. */
const HARMLESS = new Set(['batch', 'shardSize', 'maps', 'perImage']);

/** Of two runs that are mined. */
export function differencesOf(
  [run, mined]: [Run, MineRecord],
  [other, otherMined]: [Run, MineRecord],
): CompareSummary['differences'] {
  const told = (a: object, b: object, prefix: string): CompareSummary['differences'] =>
    [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) => {
      if (HARMLESS.has(key)) return [];
      const [ours, theirs] = [a, b].map((one) => (one as Record<string, unknown>)[key] ?? null);
      return isDeepStrictEqual(ours, theirs) ? [] : [{ name: `${prefix}${kebab(key)}`, run: ours, other: theirs }];
    });
  const inputs = (['model', 'dataset'] as const).flatMap((what) => {
    const [a, b] = [run.manifest[what], other.manifest[what]];
    if (a.fingerprint === b.fingerprint) return [];
    return a.path === b.path
      ? [{ name: `content of the ${what}`, run: a.fingerprint, other: b.fingerprint }]
      : [{ name: what, run: a.path, other: b.path }];
  });
  return [
    ...inputs,
    ...told(run.manifest.options, other.manifest.options, ''),
    ...told(mined.options, otherMined.options, 'mine: '),
  ];
}
