// Opens the store of a place.
import { resolve } from 'node:path';
import { isBucket } from '../../util/place.js';
import { BucketStore } from './bucket-store.js';
import { DirectoryStore } from './directory-store.js';
import type { RunStore } from './store.js';

/**
 * The store of a run. Nothing is made or read yet.
 *
 * @param place a path, or s3://bucket/prefix
 * @throws INVALID_ARGUMENT for a malformed place; SETUP where the package for buckets is not installed
 */
export async function openStore(place: string, onLog?: (line: string) => void): Promise<RunStore> {
  return isBucket(place) ? BucketStore.open(place, onLog) : new DirectoryStore(resolve(place));
}
