// Divides items into shards, and shards into parts (--shard i/n).
import { DiffmineError } from '../util/errors.js';

/** Maximum number of shards: folders with more entries are slow to list and to read. */
const MAX_SHARDS = 32_768;

/** Images per shard by default: few, because an interruption repeats a shard; more where there would be too many shards. */
export function defaultShardSize(images: number): number {
  let size = 64;
  while (images > size * MAX_SHARDS) size *= 2;
  return size;
}

/** The shards of part `index` of `count`: every count-th one, so that parts are similar. */
export function shardsOf(
  manifest: { shards: number },
  part: { index: number; count: number } = { index: 0, count: 1 },
): number[] {
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
