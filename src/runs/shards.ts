// Shards of work in a run: each is there whole or not at all, and one process works on it at a time.
import { dirname, join } from 'node:path';
import { removeLeftovers } from './atomic.js';
import type { Lock, Locks } from './locks.js';
import type { RunStore, ShardStore } from './store/store.js';
import { makeFolder } from '../util/paths.js';

export function shardName(shard: number): string {
  return String(shard).padStart(5, '0');
}

/** A finished shard is the folder shards/NNNNN in `path`, or with a suffix the file; in a bucket, its commit record. */
export abstract class Shards {
  /** absolute: the run directory; of a run in a bucket, the local folder where shards are made */
  readonly path: string;
  private readonly suffix: string;
  private readonly prefix: string;
  protected readonly kept: ShardStore;

  /**
   * @param options.folder of the shards, in the run's folder; default: that one
   * @param options.suffix of a shard that is a file
   * @param options.prefix of the names of locks, which other shards may share
   */
  protected constructor(
    /** @internal */
    readonly store: RunStore,
    { folder = '', suffix = '', prefix = '' }: { folder?: string; suffix?: string; prefix?: string } = {},
  ) {
    this.path = join(store.path, folder);
    this.suffix = suffix;
    this.prefix = prefix;
    this.kept = store.shards(folder, suffix);
  }

  /** where the run is kept: an absolute path, or s3://bucket/prefix */
  get place(): string {
    return this.store.place;
  }

  /** @internal */
  get locks(): Locks {
    return this.store.locks;
  }

  /** number of shards */
  abstract get count(): number;

  /** What is in a shard, by place: [begin, end). @internal */
  abstract shardRange(shard: number): [begin: number, end: number];

  /** How much is in these shards. @internal */
  shardLength(...shards: readonly number[]): number {
    return shards.reduce((sum, shard) => sum + this.shardRange(shard)[1] - this.shardRange(shard)[0], 0);
  }

  /** Absolute path of a finished shard: a folder, or in some stages a file. */
  shardPath(shard: number): string {
    return join(this.path, 'shards', `${shardName(shard)}${this.suffix}`);
  }

  /** @internal */
  lockName(shard: number): string {
    return `${this.prefix}${shardName(shard)}`;
  }

  /** Whether a shard is finished. */
  async isDone(shard: number): Promise<boolean> {
    return this.kept.isDone(shardName(shard));
  }

  /** Ids of finished shards, ascending. */
  async doneShards(): Promise<number[]> {
    return (await this.kept.done())
      .map((name) => [name, Number.parseInt(name, 10)] as const)
      .filter(([name, shard]) => name === shardName(shard) && shard < this.count)
      .map(([, shard]) => shard)
      .sort((a, b) => a - b);
  }

  /** Makes files of a finished shard available in the local folder. @param files default: all of it */
  async fetchShard(shard: number, files?: readonly string[]): Promise<void> {
    await this.kept.fetch(shardName(shard), files);
  }

  /** Whether every shard is finished. */
  async isComplete(): Promise<boolean> {
    return (await this.doneShards()).length === this.count;
  }

  /**
   * Takes a shard to work on; what a dead process left of it is cleared away.
   *
   * @internal
   * @returns undefined where it is finished, or a live process works on it
   */
  async lockShard(shard: number): Promise<Lock | undefined> {
    if (await this.isDone(shard)) return undefined;
    const lock = await this.locks.acquire(this.lockName(shard));
    if (!lock) return undefined;
    if (await this.isDone(shard)) {
      await lock.release();
      return undefined;
    }
    await makeFolder(dirname(this.shardPath(shard)));
    await removeLeftovers(this.shardPath(shard));
    return lock;
  }
}
