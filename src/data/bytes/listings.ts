// What is in containers (tar archives, Parquet files) that were read before: the next command on them reads no headers again. Listings are kept in the
// cache of the machine, and with the runs that began on them, so that other machines read none either.
import { createHash } from 'node:crypto';
import { access, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { createGunzip, gunzip, gzip } from 'node:zlib';
import { cacheFolder } from '../../util/cache-folder.js';
import type { ByteSource } from './byte-source.js';
import { isRemote } from './names.js';
import { makeFolder } from '../../util/paths.js';

/** Of what is kept, and of how containers are read: another number forgets all listings. */
const VERSION = 3;
const FOLDER = 'listings';

/** An image in a container. */
export interface ListedMember {
  /** name without the container's (names.ts): from the # on */
  at: string;
  bytes: number;
  /** texts beside it, or the other columns of its row */
  fields: Record<string, string | null>;
}

export interface ContainerListing {
  /** in their order */
  images: ListedMember[];
  /** columns that may have labels; only of a table */
  columns?: string[];
  /** files that are neither images nor texts */
  notImages: number;
}

const fileOf = (key: string): string => join(cacheFolder(), FOLDER, `${key}.json.gz`);

/** A container of the same place, size and time of modification is the same. @param how it is read */
function keyOf({ name, size, mtime }: ByteSource, how: string): string | undefined {
  if (mtime === undefined) return undefined;
  const key = JSON.stringify([VERSION, isRemote(name) ? name : resolve(name), size, mtime, how]);
  return createHash('sha256').update(key).digest('hex');
}

/** Writes a file of the cache; a cache that cannot be written is as none. */
async function keep(key: string, line: string): Promise<void> {
  const file = fileOf(key);
  const part = `${file}.${process.pid}.tmp`;
  try {
    const whole = await promisify(gzip)(line);
    await makeFolder(join(cacheFolder(), FOLDER));
    await writeFile(part, whole);
    await rename(part, file);
  } catch {
    await rm(part, { force: true }).catch(() => undefined);
  }
}

async function kept(key: string): Promise<ContainerListing | undefined> {
  try {
    return JSON.parse((await promisify(gunzip)(await readFile(fileOf(key)))).toString('utf8')) as ContainerListing;
  } catch {
    return undefined; // not kept, or damaged
  }
}

/** The listings of one dataset. */
export class Listings {
  private fetched: Promise<void> | undefined;
  /** of containers that were listed */
  readonly keys: string[] = [];

  /** @param fetch listings that are kept elsewhere (packListings), asked for before the first container is read */
  constructor(private readonly fetch?: () => Promise<Buffer | undefined>) {}

  /** The listing of a container: the kept one, or what `read` finds, which is then kept. */
  async of(source: ByteSource, how: string, read: () => Promise<ContainerListing>): Promise<ContainerListing> {
    const key = keyOf(source, how);
    if (key === undefined) return read();
    this.keys.push(key);
    const known = (await kept(key)) ?? (await this.elsewhere(key));
    if (known) return known;
    const listing = await read();
    await keep(key, `${JSON.stringify({ key, ...listing })}\n`);
    return listing;
  }

  private async elsewhere(key: string): Promise<ContainerListing | undefined> {
    if (!this.fetch) return undefined;
    this.fetched ??= this.fetch().then(async (packed) => (packed ? unpackListings(packed) : undefined));
    await this.fetched;
    return kept(key);
  }
}

/** Listings of the cache as one file: JSON lines, compressed with gzip. Those that the cache does not have are left out. */
export async function packListings(keys: readonly string[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (const key of [...keys].sort()) parts.push(await readFile(fileOf(key)).catch(() => Buffer.alloc(0)));
  return Buffer.concat(parts); // files of gzip in a row are one
}

/** Puts listings into the cache, unless they are there. Damaged ones are ignored: containers are read then. */
export async function unpackListings(packed: Buffer): Promise<void> {
  const lines = createInterface({ input: Readable.from([packed]).pipe(createGunzip()), crlfDelay: Infinity });
  try {
    for await (const line of lines) {
      const [, key] = /^\{"key":"([0-9a-f]{64})",/.exec(line) ?? [];
      if (key === undefined) continue;
      const isThere = await access(fileOf(key)).then(
        () => true,
        () => false,
      );
      if (!isThere) await keep(key, `${line}\n`);
    }
  } catch {
    // what could be read is kept
  }
}
