// Locks as objects in a bucket (locks.ts), made by a conditional put.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Bucket } from '../../util/s3/bucket.js';
import { Locks, type FoundLock } from '../locks.js';

const FOLDER = 'locks/';

export class BucketLocks extends Locks {
  /** content of the locks made here */
  private readonly made = new Map<string, string>();

  constructor(private readonly bucket: Bucket) {
    super();
  }

  protected override async names(name: string): Promise<string[]> {
    const found: string[] = [];
    for await (const { key } of this.bucket.list(`${FOLDER}${name}.lock`)) found.push(key.slice(FOLDER.length));
    return found;
  }

  protected override async make(file: string, content: string): Promise<boolean> {
    // one process may ask for one lock twice: each try has its own mark, by which it knows a put whose answer was lost
    const marked = JSON.stringify({ ...(JSON.parse(content) as object), mark: randomUUID() });
    const key = `${FOLDER}${file}`;
    const made = (await this.bucket.putNew(key, marked)) || (await this.bucket.get(key))?.toString() === marked;
    if (made) this.made.set(file, marked);
    return made;
  }

  protected override async look(file: string): Promise<FoundLock | undefined> {
    const key = `${FOLDER}${file}`;
    const content = (await this.bucket.get(key))?.toString();
    if (content === undefined) return undefined;
    const touched = async (): Promise<number | undefined> => (await this.bucket.head(key))?.modified;
    return { content, touched, age: async () => (await this.now()) - ((await touched()) ?? -Infinity) };
  }

  /** The store's clock. */
  private async now(): Promise<number> {
    const key = `${FOLDER}.clock-${hostname()}-${process.pid}`;
    await this.bucket.put(key, '.');
    const found = await this.bucket.head(key);
    await this.bucket.remove([key]);
    return found?.modified ?? Date.now();
  }

  // a lock that another process has outbid and removed comes back by this, and is stale soon
  protected override async touch(file: string): Promise<void> {
    const content = this.made.get(file);
    if (content !== undefined) await this.bucket.put(`${FOLDER}${file}`, content);
  }

  protected override async discard(file: string): Promise<void> {
    this.made.delete(file);
    await this.bucket.remove([`${FOLDER}${file}`]);
  }

  protected override async clear(): Promise<void> {
    // a put is whole or not at all
  }
}
