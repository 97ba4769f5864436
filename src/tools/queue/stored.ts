// A run of any stage as its folder shows it: how many shards there are, and which are missing. Needs no model, no dataset and no queue.
import type { Remaining } from '../../pipeline/remaining.js';
import { newerFormat } from '../../runs/format.js';
import { RUN_FORMAT, type Manifest } from '../../runs/manifest.js';
import { TRANSLATION_FORMAT } from '../../runs/parallel.js';
import { RoundsFolder } from '../../runs/rounds.js';
import { members, text, whole } from '../../runs/json-shape.js';
import { MANIFEST } from '../../runs/sharded-manifest.js';
import { Shards } from '../../runs/shards.js';
import { openStore } from '../../runs/store/open.js';
import type { RunStore } from '../../runs/store/store.js';
import { COTYPICALITY_FORMAT } from '../../stages/cotypicality/run.js';
import { DiffmineError } from '../../util/errors.js';
import { placeIn } from '../../util/place.js';

/** What every run's manifest has. */
interface AnyManifest {
  format: string;
  version: string;
  fingerprint: string;
  shards: number;
  index: { rows: number };
  options: { shardSize: number };
}

const SHAPE = members({
  format: text,
  version: text,
  fingerprint: text,
  shards: whole(0),
  index: members({ rows: whole(0) }),
  options: members({ shardSize: whole(1) }),
});
const FORMATS = [RUN_FORMAT, TRANSLATION_FORMAT, COTYPICALITY_FORMAT];

class StoredShards extends Shards {
  constructor(
    store: RunStore,
    private readonly manifest: AnyManifest,
  ) {
    super(store, { suffix: manifest.format === TRANSLATION_FORMAT ? '.jsonl' : '' });
  }

  override get count(): number {
    return this.manifest.shards;
  }

  override shardRange(shard: number): [begin: number, end: number] {
    const { rows } = this.manifest.index;
    const { shardSize } = this.manifest.options;
    return [Math.min(rows, shard * shardSize), Math.min(rows, (shard + 1) * shardSize)];
  }
}

/** The round that a race is in. */
export interface StoredRound {
  /** from 1 */
  round: number;
  of: number;
  shards: { total: number; done: number };
}

export interface StoredRun {
  /** absolute path, or s3://bucket/prefix */
  place: string;
  format: string;
  version: string;
  fingerprint: string;
  shards: number;
  /** shards of the run that are not finished, ascending */
  missing: number[];
  round: StoredRound | null;
  /** what can be worked on now; where that is nothing and the run is not complete, a shard that makes a worker look */
  remaining: Remaining;
}

/** @throws RUN_INVALID where there is no run */
export async function storedRun(store: RunStore): Promise<StoredRun> {
  const manifest = await readManifest(store);
  const { format, version, fingerprint, shards } = manifest;
  const missing = await missingOf(new StoredShards(store, manifest));
  const racing =
    format === RUN_FORMAT && missing.length > 0 ? await roundOf(store, manifest as unknown as Manifest) : undefined;
  return {
    place: store.place,
    format,
    version,
    fingerprint,
    shards,
    missing,
    round: racing?.round ?? null,
    remaining: racing?.remaining ?? { missing },
  };
}

/** Opens the store of a run for a task. */
export async function withStore<T>(place: string, task: (store: RunStore) => Promise<T>): Promise<T> {
  const store = await openStore(place);
  try {
    return await task(store);
  } finally {
    await store.close();
  }
}

/** A manifest as it stands; undefined if there is none that can be read. @throws RUN_INVALID for one of a newer diffmine */
export async function anyManifest(store: RunStore): Promise<unknown> {
  const content = (await store.read(MANIFEST))?.toString('utf8') ?? '';
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch {
    return undefined;
  }
  const newer = newerFormat(placeIn(store.place, MANIFEST), value, ...FORMATS);
  if (newer) throw newer;
  return value;
}

async function readManifest(store: RunStore): Promise<AnyManifest> {
  const value = await anyManifest(store);
  if (!SHAPE(value) || !FORMATS.includes((value as AnyManifest).format))
    throw new DiffmineError(
      'RUN_INVALID',
      `${store.place} is not a run: it has no ${MANIFEST} of this version of diffmine.`,
      'Give the output directory of scan, localize, translate or cotypicality.',
    );
  return value as AnyManifest;
}

async function missingOf(folder: Shards): Promise<number[]> {
  const done = new Set(await folder.doneShards());
  return Array.from({ length: folder.count }, (_, shard) => shard).filter((shard) => !done.has(shard));
}

async function roundOf(
  store: RunStore,
  manifest: Manifest,
): Promise<{ round: StoredRound; remaining: Remaining } | undefined> {
  const { race } = manifest.options;
  const rounds = new RoundsFolder({ store, manifest });
  if (!race || (await rounds.isOver())) return undefined;
  let places = Array.from({ length: manifest.index.rows }, (_, place) => place);
  for (let index = 0; index < race.ends.length; index += 1) {
    const cut = await rounds.cut(index);
    if (cut) {
      ({ places } = cut);
      continue;
    }
    const folder = await rounds.open(index, places);
    const missing = await missingOf(folder);
    return {
      round: {
        round: index + 1,
        of: race.ends.length,
        shards: { total: folder.count, done: folder.count - missing.length },
      },
      // a finished round is closed by the first that looks
      remaining: { round: index, missing: missing.length > 0 ? missing : [0] },
    };
  }
  return undefined;
}

/** 0, 3, 4, 5 -> 0,3-5 */
export function ranges(numbers: readonly number[]): string {
  const found: [first: number, last: number][] = [];
  for (const number of numbers) {
    const open = found.at(-1);
    if (open?.[1] === number - 1) open[1] = number;
    else found.push([number, number]);
  }
  return found.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}
