// Files that lie elsewhere: objects of a bucket (s3://BUCKET/KEY) and web addresses (http://, https://). Their names are used like those of files.
import { Bucket } from '../../util/s3/bucket.js';
import { isBucket } from '../../util/place.js';
import { DiffmineError } from '../../util/errors.js';
import { Kept } from '../../util/kept.js';
import { systemPath } from '../names.js';
import type { ByteSource } from './byte-source.js';

/** Tries of a web address. */
const TRIES = 4;

export interface RemoteFacts {
  bytes: number;
  /** ms since 1970 */
  mtime: number;
}

const buckets = new Map<string, Promise<Bucket>>();
/** what was listed, so that no object is asked about by itself */
const listed = new Map<string, RemoteFacts>();

/** The bucket of a name, and the key in it. */
async function objectOf(name: string): Promise<{ bucket: Bucket; key: string }> {
  const [, root = '', key = ''] = /^(s3:\/\/[^/]+)\/?(.*)$/is.exec(String(systemPath(name))) ?? [];
  let bucket = buckets.get(root);
  if (!bucket) buckets.set(root, (bucket = Bucket.open(root)));
  return { bucket: await bucket, key };
}

/** Objects below a prefix of a bucket, in the order of their keys. @param prefix a place, as a name */
export async function listRemote(prefix: string): Promise<{ name: string; bytes: number }[]> {
  const { bucket, key } = await objectOf(prefix);
  const start = key === '' || key.endsWith('/') ? key : `${key}/`;
  const found: { name: string; bytes: number }[] = [];
  for await (const object of bucket.list(start)) {
    if (object.key.endsWith('/')) continue; // a folder made by a console
    const name = `${bucket.place}/${object.key}`;
    listed.set(name, { bytes: object.size, mtime: object.modified });
    found.push({ name, bytes: object.size });
  }
  return found;
}

/** Forgets what was listed: a dataset that is opened has it. */
export function forgetListed(): void {
  listed.clear();
}

/** Size and time of a remote file; 0 for a web address, which is not requested before its image is read. Undefined if the object is missing. */
export async function remoteFacts(name: string): Promise<RemoteFacts | undefined> {
  if (!isBucket(name)) return { bytes: 0, mtime: 0 };
  const known = listed.get(name);
  if (known) return known;
  const { bucket, key } = await objectOf(name);
  const found = await bucket.head(key);
  return found && { bytes: found.size, mtime: found.modified };
}

/** All bytes of a remote file. Throws an Error with the reason if there is none. */
export async function readRemote(name: string): Promise<Buffer> {
  if (!isBucket(name)) return readWeb(String(systemPath(name)));
  const { bucket, key } = await objectOf(name);
  const bytes = await bucket.get(key);
  if (!bytes) throw new Error('there is no such object');
  return bytes;
}

async function readWeb(address: string): Promise<Buffer> {
  const { EnvHttpProxyAgent, fetch } = await import('undici');
  const dispatcher = new EnvHttpProxyAgent();
  try {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const answer = await fetch(address, { dispatcher });
        if (answer.ok) return Buffer.from(await answer.arrayBuffer());
        const failure = new Error(`the server answers ${answer.status}`);
        if (answer.status < 500 && answer.status !== 429) throw Object.assign(failure, { final: true });
        throw failure;
      } catch (error) {
        if (attempt === TRIES || (error as { final?: boolean }).final)
          throw (error as Error).message === 'fetch failed'
            ? new Error('the server does not answer', { cause: error })
            : error;
        await new Promise((resolve) => setTimeout(resolve, 250 * 4 ** attempt * Math.random()));
      }
    }
  } finally {
    await dispatcher.close();
  }
}

/** Bytes per request where reads follow each other: a request takes as long as a megabyte. */
const BLOCK = 2 ** 20;
/** Bytes of blocks that a container keeps. */
const KEPT = 16 * BLOCK;

class ObjectSource implements ByteSource {
  private readonly blocks = new Kept<number, Buffer>(KEPT, ({ length }) => length);
  /** where the latest read began */
  private latest = -Infinity;

  constructor(
    readonly name: string,
    readonly size: number,
    readonly mtime: number,
    private readonly bucket: Bucket,
    private readonly key: string,
  ) {}

  async read(begin: number, end: number): Promise<Buffer> {
    const last = Math.min(end, this.size);
    const follows = Math.abs(begin - this.latest) <= BLOCK;
    this.latest = begin;
    if (!follows || last - begin >= BLOCK) return this.bucket.range(this.key, begin, last);
    const blocks = await Promise.all([begin, last - 1].map(async (place) => this.block(Math.floor(place / BLOCK))));
    const start = begin % BLOCK;
    const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = blocks;
    return start + last - begin <= first.length
      ? Buffer.from(first.subarray(start, start + last - begin)) // a copy: what is kept of it keeps no block
      : Buffer.concat([first.subarray(start), second.subarray(0, start + last - begin - first.length)]);
  }

  private async block(number: number): Promise<Buffer> {
    return this.blocks.get(number, async () =>
      this.bucket.range(this.key, number * BLOCK, Math.min(this.size, (number + 1) * BLOCK)),
    );
  }

  async *stream(begin = 0): AsyncGenerator<Buffer, void, undefined> {
    if (begin >= this.size) return;
    for await (const chunk of await this.bucket.stream(this.key, begin)) yield chunk as Buffer;
  }

  async close(): Promise<void> {
    // connections are the client's
  }
}

/** A container in a bucket. @throws DATASET_INVALID if there is none */
export async function remoteSource(name: string): Promise<ByteSource> {
  if (!isBucket(name))
    throw new DiffmineError(
      'DATASET_INVALID',
      `'${name}' cannot be read: containers on the web are not supported.`,
      'Copy it to a disk or a bucket.',
    );
  const { bucket, key } = await objectOf(name);
  const found = await remoteFacts(name);
  if (!found) throw new DiffmineError('DATASET_INVALID', `'${name}' cannot be read: there is no such object.`);
  return new ObjectSource(name, found.bytes, found.mtime, bucket, key);
}
