// Listings of the containers (tar, Parquet) that a run's images lie in, kept with the run: another machine that resumes it or takes a part of it does not
// read all containers again.
import { packListings } from '../data/index.js';
import { openStore } from './store/open.js';
import type { RunStore } from './store/store.js';

export const LISTINGS = 'listings.jsonl.gz';

/** For openDataset: the listings that are kept with the run of a place, if there are any. */
export const listingsOf =
  (place: string): (() => Promise<Buffer | undefined>) =>
  async () => {
    const store = await openStore(place);
    try {
      return await store.read(LISTINGS);
    } finally {
      await store.close();
    }
  };

/** Keeps the listings of a run's dataset with the run, unless they are there. */
export async function keepListings(store: RunStore, keys: readonly string[]): Promise<void> {
  if (keys.length === 0 || (await store.exists(LISTINGS))) return;
  const packed = await packListings(keys);
  if (packed.length > 0) await store.write(LISTINGS, packed);
}
