// Listings of tar archives that were read before, in the cache: a resumed scan, and the next scan of the same archives, read no headers again.
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { cacheFolder } from '../../util/cache-folder.js';
import type { ByteSource } from './byte-source.js';
import { isRemote } from './names.js';
import type { TarMember } from './tar.js';

/** Of what is kept, and of how archives are read: another number forgets all listings. */
const VERSION = 1;

export interface TarListing {
  /** in their order, with the texts beside each */
  images: (TarMember & { fields: Record<string, string> })[];
  /** files that are neither images nor texts */
  notImages: number;
}

/** An archive of the same place, size and time of modification is the same archive. */
function fileOf({ name, size, mtime }: ByteSource): string | undefined {
  if (mtime === undefined) return undefined;
  const key = JSON.stringify([VERSION, isRemote(name) ? name : resolve(name), size, mtime]);
  return join(cacheFolder(), 'tar-listings', `${createHash('sha256').update(key).digest('hex')}.json.gz`);
}

/** The listing of an archive: the kept one, or what `read` finds, which is then kept. A cache that cannot be read or written is as none. */
export async function keptListing(source: ByteSource, read: () => Promise<TarListing>): Promise<TarListing> {
  const file = fileOf(source);
  if (file === undefined) return read();
  try {
    return JSON.parse((await promisify(gunzip)(await readFile(file))).toString('utf8')) as TarListing;
  } catch {
    // not kept, or damaged
  }
  const listing = await read();
  const part = `${file}.${process.pid}.tmp`;
  try {
    const whole = await promisify(gzip)(JSON.stringify(listing));
    await mkdir(join(cacheFolder(), 'tar-listings'), { recursive: true });
    await writeFile(part, whole);
    await rename(part, file);
  } catch {
    // read again the next time
    await rm(part, { force: true }).catch(() => undefined);
  }
  return listing;
}
