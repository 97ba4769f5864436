// The rounds of a race (docs/reference/formats/run.md): RUN/rounds/NN holds what its shards found and what was decided from that. It lasts until the run
// is complete; race.json is what is kept.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ScoredPatch } from '../engine/types.js';
import { DiffmineError } from '../util/errors.js';
import { discard, writeFolderAtomic } from './atomic.js';
import type { RaceOptions } from './manifest.js';
import type { Run, ShardRecord } from './run.js';
import { list, members, number, oneOf, text, whole } from './json-shape.js';
import { Shards, shardName } from './shards.js';
import type { RunStore, ShardStore } from './store/store.js';
import { makeFolder } from '../util/paths.js';

/** An image after a round, under each of the labels that it is scored under. */
export interface RoundOutput {
  mean: number;
  top: ScoredPatch[];
  bottom: ScoredPatch[];
  random: ScoredPatch[];
}

export interface Size {
  width: number;
  height: number;
}

/** A line of results.jsonl: what a round found of an image, by its place in the run's list. */
export type RoundResult = { place: number; sha256: string | null } & (
  | { reason: string }
  | {
      /** upright source image; the resized one; the part of that which was scored */
      source: Size;
      resized: Size;
      scored: Size;
      outputs: RoundOutput[];
    }
);

/** What a label's images were found to be, and what was decided. */
export interface LabelCut {
  condition: string;
  /** images before and after the cut */
  images: number;
  continuing: number;
  /** patches of the final top K that are expected in the images that leave */
  missed: number;
}

/** cut.json: what follows from a finished round. */
export interface Cut {
  round: number;
  /** samples of each image so far */
  samples: number;
  labels: LabelCut[];
  /** places of the images that continue, ascending */
  places: number[];
}

/** race.json: what is known of a finished race. */
export interface RaceRecord extends RaceOptions {
  format: typeof RACE_FORMAT;
  labels: {
    label: string;
    /** scored images by how many samples they got, ascending */
    images: { samples: number; images: number }[];
    unetCalls: { spent: number; saved: number };
  }[];
  /** by the label that images are scored under: how many patches of its top K are expected to be missing */
  missed: { condition: string; patches: number }[];
  unetCalls: { spent: number; saved: number };
}

export const RACE_FORMAT = 'diffmine-race-1';
const RACE = 'race.json';
const CUT = 'cut.json';
const RESULTS = 'results.jsonl';
/** what each sample of an image found, for the next round to continue from */
export const DIFFERENCES = 'differences.safetensors';
export const ROUND_MAPS = 'maps.safetensors';

const CUT_SHAPE = members({
  round: whole(0),
  samples: whole(1),
  labels: list(members({ condition: text, images: whole(0), continuing: whole(0), missed: number })),
  places: list(whole(0)),
});
const RACE_SHAPE = members({
  format: oneOf(RACE_FORMAT),
  top: whole(1),
  rule: oneOf('risk', 'half'),
  risk: number,
  ends: list(whole(1)),
  controls: number,
  labels: list(
    members({
      label: text,
      images: list(members({ samples: whole(1), images: whole(0) })),
      unetCalls: members({ spent: whole(0), saved: whole(0) }),
    }),
  ),
  missed: list(members({ condition: text, patches: number })),
  unetCalls: members({ spent: whole(0), saved: whole(0) }),
});

const ROUNDS = 'rounds';
const roundName = (round: number): string => String(round + 1).padStart(2, '0');
const folderOf = (round: number): string => `${ROUNDS}/${roundName(round)}`;

/** Parsed content of a file of the run; undefined where there is none. */
async function read<T>(store: RunStore, name: string, shape: (value: unknown) => boolean): Promise<T | undefined> {
  const content = (await store.read(name))?.toString();
  if (content === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch {
    value = undefined;
  }
  if (!shape(value))
    throw new DiffmineError(
      'RUN_INVALID',
      `${store.place}/${name} is damaged.`,
      'Remove it and run the same command again.',
    );
  return value as T;
}

/** race.json of a run; undefined where the run did not race, or is not finished. */
export async function readRace({ store }: { store: RunStore }): Promise<RaceRecord | undefined> {
  return read<RaceRecord>(store, RACE, RACE_SHAPE);
}

/** The rounds of a run. */
export class RoundsFolder {
  private over = false;

  constructor(readonly run: Pick<Run, 'store' | 'manifest'>) {}

  private get store(): RunStore {
    return this.run.store;
  }

  /** The race is over, and its rounds are removed, or about to be. */
  async isOver(): Promise<boolean> {
    this.over ||= await this.store.exists(RACE);
    return this.over;
  }

  async hasBegun(): Promise<boolean> {
    // in a directory the folder of the first round is made when work on it begins
    return (await this.store.exists(ROUNDS)) || (await this.roundShards(0).done()).length > 0;
  }

  private roundShards(round: number): ShardStore {
    return this.store.shards(folderOf(round), '');
  }

  async cut(round: number): Promise<Cut | undefined> {
    return read<Cut>(this.store, `${folderOf(round)}/${CUT}`, CUT_SHAPE);
  }

  async writeCut(cut: Cut): Promise<void> {
    await this.store.write(`${folderOf(cut.round)}/${CUT}`, `${JSON.stringify(cut)}\n`);
  }

  /** @param places of the images that are in it, ascending */
  async open(round: number, places: readonly number[]): Promise<RoundFolder> {
    if (!(await this.isOver())) await makeFolder(join(this.store.path, folderOf(round), 'shards'));
    return new RoundFolder(this, round, places);
  }

  /** Writes race.json, then removes the rounds. */
  async finish(record: RaceRecord): Promise<void> {
    await this.store.write(RACE, `${JSON.stringify(record, null, 1)}\n`);
    await this.clear();
  }

  /** Removes the rounds of a race that is over. */
  async clear(): Promise<void> {
    await this.store.remove(ROUNDS);
  }
}

/** Shards of a round that keep 64 engines busy to its end, at which all wait for the last. */
const ENOUGH_SHARDS = 256;
/** Images of a shard, at least, unless those of the run have fewer: so few samples are added that fewer images would not fill a forward pass. */
const FEWEST_IMAGES = 8;

/** Images of a shard of a round. As images leave, shards become smaller rather than fewer, so that every engine of the run still has some. */
export function roundShardSize(images: number, { shards, shardSize }: { shards: number; shardSize: number }): number {
  const wanted = Math.max(1, Math.min(shards, ENOUGH_SHARDS));
  return Math.min(shardSize, Math.max(FEWEST_IMAGES, Math.ceil(images / wanted)));
}

/** One round: the images that are left are divided into shards again. */
export class RoundFolder extends Shards {
  private readonly shardSize: number;

  constructor(
    private readonly rounds: RoundsFolder,
    readonly round: number,
    readonly places: readonly number[],
  ) {
    super(rounds.run.store, { folder: folderOf(round), prefix: `round-${roundName(round)}-` });
    const { shards, options } = rounds.run.manifest;
    this.shardSize = roundShardSize(places.length, { shards, shardSize: options.shardSize });
  }

  override get count(): number {
    return Math.ceil(this.places.length / this.shardSize);
  }

  override shardRange(shard: number): [begin: number, end: number] {
    const { length } = this.places;
    return [Math.min(length, shard * this.shardSize), Math.min(length, (shard + 1) * this.shardSize)];
  }

  /** Places in the run's list of what is in a shard. */
  shardPlaces(shard: number): readonly number[] {
    return this.places.slice(...this.shardRange(shard));
  }

  /** The shard that holds the image at a place of the run's list. */
  shardOf(place: number): number | undefined {
    let [low, high] = [0, this.places.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.places[middle] as number) < place) low = middle + 1;
      else high = middle;
    }
    return this.places[low] === place ? Math.floor(low / this.shardSize) : undefined;
  }

  // a race that is over took all its rounds with it
  override async isDone(shard: number): Promise<boolean> {
    return (await super.isDone(shard)) || (await this.rounds.isOver());
  }

  override async doneShards(): Promise<number[]> {
    const found = await super.doneShards();
    if (found.length === this.count || !(await this.rounds.isOver())) return found;
    return Array.from({ length: this.count }, (_, shard) => shard);
  }

  async writeShard(
    shard: number,
    record: ShardRecord,
    results: readonly RoundResult[],
    fill: (folder: string) => Promise<void>,
  ): Promise<void> {
    await writeFolderAtomic(this.shardPath(shard), async (folder) => {
      await writeFile(join(folder, RESULTS), results.map((result) => `${JSON.stringify(result)}\n`).join(''));
      await fill(folder);
      await writeFile(join(folder, 'shard.json'), `${JSON.stringify(record)}\n`);
    });
    await this.kept.commit(shardName(shard));
  }

  async readRecord(shard: number): Promise<ShardRecord> {
    return this.readFile(shard, 'shard.json', (content) => JSON.parse(content) as ShardRecord);
  }

  /** What was found, in the order of shardPlaces. */
  async readResults(shard: number): Promise<RoundResult[]> {
    return this.readFile(shard, RESULTS, (content) =>
      content.split('\n').flatMap((line) => (line ? [JSON.parse(line) as RoundResult] : [])),
    );
  }

  private async readFile<T>(shard: number, name: string, parse: (content: string) => T): Promise<T> {
    const file = join(this.shardPath(shard), name);
    try {
      await this.fetchShard(shard, [name]);
      return parse(await readFile(file, 'utf8'));
    } catch (cause) {
      throw new DiffmineError(
        'RUN_INVALID',
        `${file} is missing or damaged.`,
        `Remove ${this.shardPath(shard)} and run the same command again: that shard is repeated.`,
        { cause },
      );
    }
  }

  /** Removes what only the next round, which is finished, has needed. */
  async discardDifferences(): Promise<void> {
    for (const name of await readdir(join(this.path, 'shards')).catch(() => []))
      await discard(join(this.path, 'shards', name, DIFFERENCES));
  }
}
