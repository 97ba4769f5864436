// Finds images that changed since a run began, and names them in an error so that the user can restore them.
import { join, relative } from 'node:path';
import type { DatasetImage } from '../data/index.js';
import { compareCodePoints } from '../data/order.js';
import { DiffmineError } from '../util/errors.js';
import { contentOf } from '../data/checksums.js';
import type { ListFile, Rows } from './list.js';
import type { Cell, Row } from './tables.js';
import type { Hooks } from '../util/hooks.js';

/** A count and the first of what was counted. */
class Counted {
  private count = 0;
  private first = '';

  add(name: string): void {
    if (this.count === 0) this.first = name;
    this.count += 1;
  }

  /** '3 images changed (the first is a/1.png)' */
  tell(what: string): string[] {
    if (this.count === 0) return [];
    return [
      `${this.count} ${this.count === 1 ? 'image' : 'images'} ${what} (${this.count === 1 ? '' : 'the first is '}${this.first})`,
    ];
  }
}

/**
 * What differs between the list of a folder and the rows of today, both in order.
 *
 * @param key columns that the rows are sorted by and known by
 * @param deciding further columns that are to be equal
 * @returns undefined if nothing differs
 */
export async function listChanges(
  list: ListFile<Row>,
  rows: Rows,
  key: readonly [string, string],
  deciding: readonly string[],
): Promise<string | undefined> {
  const [changed, gone, added] = [new Counted(), new Counted(), new Counted()];
  const name = (row: Row): string => String(row[key[0]]);
  const compare = (a: Row, b: Row): number =>
    compareCodePoints(name(a), name(b)) || compareCodePoints(String(a[key[1]]), String(b[key[1]]));
  const value = (row: Row, column: string): Cell => row[column] ?? null;
  const now = rows[Symbol.iterator]();
  let next = now.next();
  for await (const group of list.groups()) {
    for (const old of group) {
      while (!next.done && compare(next.value, old) < 0) {
        added.add(name(next.value));
        next = now.next();
      }
      if (next.done || compare(next.value, old) > 0) {
        gone.add(name(old));
        continue;
      }
      const current = next.value;
      if (deciding.some((column) => value(old, column) !== value(current, column))) changed.add(name(old));
      next = now.next();
    }
  }
  for (; !next.done; next = now.next()) added.add(name(next.value));
  const told = [
    ...changed.tell('changed'),
    ...gone.tell('missing or under another label'),
    ...added.tell('new or under another label'),
  ];
  return told.length > 0 ? told.join(', ') : undefined;
}

/** Files hashed at once. */
const TOGETHER = 8;

/** A folder of work, as far as it knows what its finished shards were made of. */
export interface WithContents {
  path: string;
  list: ListFile<Row & { mtime: number | null }>;
  manifest: { options: { shardSize: number } };
  shardRange(shard: number): [begin: number, end: number];
  shardPath(shard: number): string;
  /** sha256 of each file that a finished shard was made of, by its place in the list; null: it could not be read then */
  shardContents(shard: number): Promise<ReadonlyMap<number, string | null>>;
}

/**
 * Checks that images which were worked on still have the content that they had then. Only files whose modification time is not the one of the list are
 * read: copies of a dataset and checkouts have other times, and are as good.
 *
 * @param shards finished ones
 * @param imageAt the image of today at a place of the list; undefined: not asked about
 * @throws RUN_MISMATCH naming the first that changed; CANCELLED
 */
export async function checkContents(
  folder: WithContents,
  shards: Iterable<number>,
  imageAt: (place: number) => Pick<DatasetImage, 'path' | 'file' | 'mtime'> | undefined,
  redo: readonly string[],
  { signal, onLog }: Pick<Hooks, 'signal' | 'onLog'> = {},
): Promise<void> {
  const changed = new Counted();
  const places: string[] = [];
  let same = 0;
  for (const shard of shards) {
    const [begin, end] = folder.shardRange(shard);
    const times = await folder.list.read(begin, end, ['mtime']);
    const suspects = times.flatMap(({ mtime }, i) => {
      const image = imageAt(begin + i);
      return image && (image.mtime ?? null) !== mtime ? [{ place: begin + i, image }] : [];
    });
    if (suspects.length === 0) continue;
    if (same === 0)
      onLog?.('Some images have other modification times than when this run began: comparing their content.');
    const before = await folder.shardContents(shard);
    let found = false as boolean; // set in a callback
    for (let i = 0; i < suspects.length; i += TOGETHER) {
      if (signal?.aborted) throw new DiffmineError('CANCELLED', 'Comparing the content of images was cancelled.');
      const part = suspects.slice(i, i + TOGETHER);
      const now = await Promise.all(part.map(async ({ image }) => contentOf(image.file)));
      part.forEach(({ place, image }, j) => {
        if (before.get(place) === now[j]) same += 1;
        else {
          changed.add(image.path);
          found = true;
        }
      });
    }
    if (found) places.push(join(relative(folder.path, folder.shardPath(shard))));
  }
  const [told] = changed.tell('changed since this run worked on them');
  if (told === undefined) {
    if (same > 0)
      onLog?.(`${same} ${same === 1 ? 'image has' : 'images have'} another modification time but the same content.`);
    return;
  }
  const removed = [
    ...places.slice(0, 3),
    ...(places.length > 3 ? [`${places.length - 3} more in shards`] : []),
    ...redo,
  ].join(', ');
  throw new DiffmineError(
    'RUN_MISMATCH',
    `${told}.`,
    `Restore what was there; or remove ${removed} from ${folder.path} and run the same command again, which repeats only those shards; or give \`out\` another folder.`,
  );
}
