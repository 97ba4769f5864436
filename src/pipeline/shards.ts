// Divides items into shards, and shards into parts (--shard i/n).
import { DiffmineError } from '../util/errors.js';
import { rankOf, type Environment } from './task-number.js';
import type { AutoPart, Part } from '../options/fields.js';
import type { Hooks } from '../util/hooks.js';

/** Maximum number of shards: folders with more entries are slow to list and to read. */
export const MAX_SHARDS = 32_768;

/** Items per shard where no rate is known: few, because an interruption repeats a shard; more where there would be too many shards. */
export function defaultShardSize(items: number): number {
  let size = 64;
  while (items > size * MAX_SHARDS) size *= 2;
  return size;
}

/** The shards of part `index` of `count`: every count-th one, so that parts are similar. */
export function shardsOf(manifest: { shards: number }, part: Part = { index: 0, count: 1 }): number[] {
  const { index, count } = part;
  if (!(Number.isSafeInteger(count) && Number.isSafeInteger(index) && index >= 0 && index < count)) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `There is no part ${index} of ${count}.`,
      'Parts are counted from 0: 0/8 is the first of eight.',
    );
  }
  const ids: number[] = [];
  for (let id = index; id < manifest.shards; id += count) ids.push(id);
  return ids;
}

/**
 * All shards, in the order in which part `index` of `count` does them: its own, then those of the parts after it, from their ends, which their own calls
 * come to last.
 */
export function startingAt(shards: number, { index, count }: Part): number[] {
  const others = Array.from({ length: count - 1 }, (_, i) => (index + 1 + i) % count);
  return [
    shardsOf({ shards }, { index, count }),
    ...others.map((other) => shardsOf({ shards }, { index: other, count }).reverse()),
  ].flat();
}

/** Which shards a call does. */
export interface Division {
  /** its part: of others, it leaves finished shards unchecked */
  part: Part;
  /** it also does what is left of the other parts; what live processes work on is left to them */
  auto: boolean;
  /** of so many shards, those that the call does, in order */
  order(shards: number): number[];
}

/**
 * What `shard` means here.
 *
 * @throws INVALID_ARGUMENT for `auto` where the number of tasks is not known
 */
export function divisionOf(shard: Part | AutoPart | undefined, env: Environment, onLog?: Hooks['onLog']): Division {
  if (typeof shard !== 'string') {
    const part = shard ?? { index: 0, count: 1 };
    return { part, auto: false, order: (shards) => shardsOf({ shards }, part) };
  }
  const rank = rankOf(shard, env);
  onLog?.(
    rank
      ? `Starting with part ${rank.index} of ${rank.count}, ${rank.scheduler}; then what is left of the others.`
      : 'No job array found: starting with the first shard.',
  );
  const part = rank ?? { index: 0, count: 1 };
  return { part, auto: true, order: (shards) => startingAt(shards, part) };
}
