// Which shards are whose, and which images go to the engine together. Follows from the manifest alone, so that every split gives the same bytes.
import { DiffmineError } from '../../util/errors.js';
import type { Manifest } from '../../runs/manifest.js';

/** Most images of one engine call: bounds what is decoded, and what a cancel may lose. */
const MOST_IMAGES = 16;

/** A folder with more entries is slow to list, and to open table by table. */
const MOST_SHARDS = 32_768;

/** Images per shard where nobody said: few, as a shard is what an interruption repeats; more where there would be too many shards. */
export function defaultShardSize(images: number): number {
  let size = 64;
  while (images > size * MOST_SHARDS) size *= 2;
  return size;
}

/** The shards of part `index` of `count`: every count-th, so that parts are alike. */
export function shardsOf(
  manifest: Pick<Manifest, 'shards'>,
  part: { index: number; count: number } = { index: 0, count: 1 },
): number[] {
  const { index, count } = part;
  if (!(Number.isSafeInteger(count) && Number.isSafeInteger(index) && index >= 0 && index < count)) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `There is no part ${index} of ${count}.`,
      'Parts are counted from 0: 0 of 8 is the first of eight.',
    );
  }
  const ids: number[] = [];
  for (let id = index; id < manifest.shards; id += count) ids.push(id);
  return ids;
}

/**
 * How many images of one shape go into one call. A forward pass takes floor(batch / fanOut) inputs (an image's sample each), and a call's last one is
 * rarely full: of 1 ... 16 images the fewest that leave at most 2 % of the places empty, or else the fewest of those that leave the least.
 */
export function imagesPerCall(batch: number, samples: number, fanOut: number): number {
  const inputs = Math.max(1, Math.floor(batch / fanOut));
  const empty = (images: number): number => {
    const places = Math.ceil((images * samples) / inputs) * inputs;
    return (places - images * samples) / places;
  };
  let best = 1;
  for (let images = 1; images <= MOST_IMAGES && empty(best) > 0.02; images += 1)
    if (empty(images) < empty(best)) best = images;
  return best;
}

/** Items by key, groups in order of their first item, items in order. */
export function groupBy<T>(items: readonly T[], key: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const name = key(item);
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return [...groups.values()];
}

export function chunks<T>(items: readonly T[], size: number): T[][] {
  const parts: T[][] = [];
  for (let i = 0; i < items.length; i += size) parts.push(items.slice(i, i + size));
  return parts;
}
