// Shards of work in a folder: each is there whole or not at all, and one process works on it at a time.
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { removeLeftovers } from './atomic.js';
import type { Lock, LockFolder } from './locks.js';

export function shardName(shard: number): string {
  return String(shard).padStart(5, '0');
}

/** A finished shard is the folder shards/NNNNN in `path`, or with a suffix the file. */
export abstract class Shards {
  private readonly suffix: string;
  private readonly prefix: string;

  /**
   * @param path absolute
   * @param options.prefix of the names of locks, which other shards may share the folder of
   */
  protected constructor(
    readonly path: string,
    readonly locks: LockFolder,
    { suffix = '', prefix = '' }: { suffix?: string; prefix?: string } = {},
  ) {
    this.suffix = suffix;
    this.prefix = prefix;
  }

  /** shards there are */
  abstract get count(): number;

  /** What is in a shard, by place: [begin, end). */
  abstract shardRange(shard: number): [begin: number, end: number];

  /** How much is in these shards. */
  shardLength(...shards: readonly number[]): number {
    return shards.reduce((sum, shard) => sum + this.shardRange(shard)[1] - this.shardRange(shard)[0], 0);
  }

  /** What is there once a shard is finished. */
  shardPath(shard: number): string {
    return join(this.path, 'shards', `${shardName(shard)}${this.suffix}`);
  }

  lockName(shard: number): string {
    return `${this.prefix}${shardName(shard)}`;
  }

  async isDone(shard: number): Promise<boolean> {
    return access(this.shardPath(shard)).then(
      () => true,
      () => false,
    );
  }

  /** Ids of finished shards, ascending. */
  async doneShards(): Promise<number[]> {
    return (await readdir(join(this.path, 'shards')))
      .flatMap((name) => (name.endsWith(this.suffix) ? [[name, Number.parseInt(name, 10)] as const] : []))
      .filter(([name, shard]) => name === `${shardName(shard)}${this.suffix}` && shard < this.count)
      .map(([, shard]) => shard)
      .sort((a, b) => a - b);
  }

  async isComplete(): Promise<boolean> {
    return (await this.doneShards()).length === this.count;
  }

  /**
   * Takes a shard to work on; what a dead process left of it is cleared away.
   *
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
    await removeLeftovers(this.shardPath(shard));
    return lock;
  }
}
