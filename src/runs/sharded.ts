// The folder of sharded work, shared by scans, translations and co-typicality: a manifest (sharded-manifest.ts); the list of items (list.ts); shards, each
// written once; locks, so that several processes can work on it. It is in a directory or a bucket (store/), and begin.ts begins or opens it.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { together } from '../util/together.js';
import type { Opened } from './begin.js';
import type { ListFile } from './list.js';
import { list, members, text, type Shape } from './json-shape.js';
import type { ShardedManifest } from './sharded-manifest.js';
import { Shards } from './shards.js';
import type { Row } from './tables.js';

/** Something that could not be worked on, and why. */
export interface Skipped {
  image: string;
  label: string;
  reason: string;
}

/** The folder of work that has begun. A finished shard is the folder shards/NNNNN, or with a suffix the file. */
export abstract class ShardedFolder<M extends ShardedManifest, R extends Row = Row> extends Shards {
  readonly manifest: M;
  /** what is cut into shards @internal */
  readonly list: ListFile<R>;

  protected constructor({ store, manifest, list }: Opened<M, R>, suffix: '' | '.jsonl' = '') {
    super(store, { suffix });
    this.manifest = manifest;
    this.list = list;
  }

  override get count(): number {
    return this.manifest.shards;
  }

  /** Places of a shard in the list, [begin, end). @internal */
  override shardRange(shard: number): [begin: number, end: number] {
    const { options, index } = this.manifest;
    return [Math.min(index.rows, shard * options.shardSize), Math.min(index.rows, (shard + 1) * options.shardSize)];
  }

  /** A shard's rows of the list, in order. @internal */
  async shardRows(shard: number): Promise<R[]> {
    return this.list.read(...this.shardRange(shard));
  }

  /** @throws RUN_INVALID for a file of a finished shard that is missing or damaged */
  protected async readShardJson<T>(shard: number, name: string, shape: Shape): Promise<T> {
    await this.fetchShard(shard, [name]);
    const file = join(this.shardPath(shard), name);
    const invalid = (why: string, cause?: unknown): DiffmineError =>
      new DiffmineError(
        'RUN_INVALID',
        `${file} is ${why}.`,
        `Remove ${this.shardPath(shard)} and run the same command again: that shard is repeated.`,
        { cause },
      );
    const content = await readFile(file, 'utf8').catch((error: unknown) => {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') throw invalid('missing', error);
      throw error;
    });
    let value: unknown;
    try {
      value = name.endsWith('.jsonl')
        ? content.split('\n').flatMap((line) => (line ? [JSON.parse(line) as unknown] : []))
        : JSON.parse(content);
    } catch (error) {
      throw invalid('damaged', error);
    }
    if (!shape(value)) throw invalid('damaged');
    return value as T;
  }

  /** What was skipped in a finished shard, in order. */
  protected async skippedIn(shard: number): Promise<Skipped[]> {
    return this.readShardJson<Skipped[]>(
      shard,
      'skipped.jsonl',
      list(members({ image: text, label: text, reason: text })),
    );
  }

  /** What was skipped in the given finished shards (default: all finished ones), in order. */
  async skipped(shards?: number[]): Promise<Skipped[]> {
    const wanted = shards ?? (await this.doneShards());
    const found = new Map<number, Skipped[]>();
    await together(wanted, async (shard) => {
      const rows = await this.skippedIn(shard);
      if (rows.length > 0) found.set(shard, rows);
    });
    return wanted.flatMap((shard) => found.get(shard) ?? []);
  }

  /** Gathers all shards' skipped into skipped.jsonl, once every shard is finished. @internal */
  async writeSkipped(): Promise<void> {
    await this.store.write('skipped.jsonl', jsonLines(await this.skipped()));
  }
}

export function jsonLines(rows: readonly object[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}
