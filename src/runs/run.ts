// The run directory: its images, shards and tables, and the results of mining.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageList } from '../data/index.js';
import { writeFolderAtomic } from './atomic.js';
import { imageRows, listedImage, type ListedImage, type ListedRow } from './images.js';
import { RUN, type Manifest, type ManifestDraft } from './manifest.js';
import { beginFolder, openFolder, type BeginOptions } from './begin.js';
import { ShardedFolder } from './sharded.js';
import { shardName } from './shards.js';
import {
  MINED_LISTS,
  type ClusterRow,
  type ContentRow,
  type ImageRow,
  type MinedListName,
  type MinedPatchRow,
} from './columns.js';
import { list, members, text, whole } from './json-shape.js';
import { readTable } from './tables.js';
import { DiffmineError } from '../util/errors.js';

export { jsonLines, type Skipped } from './sharded.js';
export { shardName } from './shards.js';

/** shard.json */
export interface ShardRecord {
  id: number;
  /** images scored */
  images: number;
  skipped: number;
  /** UNet inputs per forward pass: the manifest's, or fewer after running out of memory */
  batch: number;
  notes: string[];
}

const SHARD_RECORD = members({ id: whole(0), images: whole(0), skipped: whole(0), batch: whole(1), notes: list(text) });

/** Selects mined patches. */
export interface PatchQuery {
  /** label that patches were scored under; default: all, in the manifest's order */
  label?: string;
  /** default: all */
  list?: MinedListName;
  /** maximum number of patches per label and list, best first; default: all */
  limit?: number;
}

/** The directory of a run, or its place in a bucket: what `scan` found, and what `mine` made of it. */
export class Run extends ShardedFolder<Manifest, ListedRow> {
  /**
   * Opens an existing run.
   *
   * @throws RUN_INVALID if there is none, or a damaged one
   */
  static async open(path: string): Promise<Run> {
    return new Run(await openFolder(RUN, path));
  }

  /**
   * Begins a run in `place`, a path or s3://bucket/prefix, or resumes the one that is there if it is the same run. Several processes can do this at once.
   *
   * @internal
   * @param images of the run, in order
   * @throws RUN_MISMATCH if another run, or anything else, is in the folder
   */
  static async begin(place: string, draft: ManifestDraft, images: ImageList, options: BeginOptions = {}): Promise<Run> {
    const rows = imageRows(images, draft.dataset.columns, draft.options.checksum === true);
    return new Run(await beginFolder(RUN, place, draft, rows, options));
  }

  /** The images of a shard, in order. @internal */
  async shardImages(shard: number): Promise<ListedImage[]> {
    const { columns } = this.manifest.dataset;
    return (await this.shardRows(shard)).map((row) => listedImage(row, columns));
  }

  /** Index of each of these images in the list, by imageKey; unknown images are left out. @internal */
  async placesOf(images: Iterable<{ path: string; label: string }>): Promise<Map<string, number>> {
    const wanted = [...images];
    const names = new Set(wanted.map(({ path }) => path));
    const keys = new Set(wanted.map(imageKey));
    const places = new Map<string, number>();
    let place = 0;
    for await (const group of this.list.groups(['path', 'label'])) {
      for (const row of group) {
        if (names.has(row.path) && keys.has(imageKey(row))) places.set(imageKey(row), place);
        place += 1;
      }
      if (places.size === keys.size) break;
    }
    return places;
  }

  /** sha256 of the files that a finished shard was scored from, by place in the list; null if one could not be read. @internal */
  async shardContents(shard: number): Promise<Map<number, string | null>> {
    const [begin] = this.shardRange(shard);
    await this.fetchShard(shard, ['files.parquet']);
    const rows = await readTable<ContentRow>(this.shardFile(shard, 'files.parquet'), ['sha256']);
    return new Map(rows.map(({ sha256 }, i) => [begin + i, sha256]));
  }

  /**
   * The mined patches, by label, then list, then rank.
   *
   * @throws INVALID_ARGUMENT for a label, list or limit that the run cannot have; RUN_INVALID if the run is not mined
   */
  async *patches({ label, list, limit = Infinity }: PatchQuery = {}): AsyncGenerator<MinedPatchRow, void, undefined> {
    this.checkLabel(label);
    if (list !== undefined && !MINED_LISTS.includes(list))
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `list is ${JSON.stringify(list)}; expected one of ${MINED_LISTS.join(', ')}.`,
      );
    if (limit !== Infinity && !(Number.isSafeInteger(limit) && limit >= 0))
      throw new DiffmineError('INVALID_ARGUMENT', `limit is ${limit}; expected a whole number of at least 0.`);
    const wanted = (row: MinedPatchRow): boolean =>
      (label === undefined || row.condition === label) &&
      (list === undefined || row.list === list) &&
      row.rank <= limit;
    const place = new Map(this.manifest.conditions.map((condition, index) => [condition, index]));
    const order = (a: MinedPatchRow, b: MinedPatchRow): number =>
      (place.get(a.condition) ?? 0) - (place.get(b.condition) ?? 0) ||
      MINED_LISTS.indexOf(a.list) - MINED_LISTS.indexOf(b.list) ||
      a.rank - b.rank;
    yield* (await this.mined<MinedPatchRow>('patches.parquet')).filter(wanted).sort(order);
  }

  /**
   * The clusters of a label, or of all labels, by descending median typicality.
   *
   * @throws INVALID_ARGUMENT for a label that the run does not have; RUN_INVALID if the run is not mined
   */
  async *clusters({ label }: { label?: string } = {}): AsyncGenerator<ClusterRow, void, undefined> {
    this.checkLabel(label);
    for (const row of await this.mined<ClusterRow>('clusters.parquet'))
      if (label === undefined || row.condition === label) yield row;
  }

  /**
   * The scored images of finished shards, one row per image and label; one shard is in memory at a time.
   *
   * @throws INVALID_ARGUMENT for a label that the run does not have; RUN_INVALID for a damaged shard
   */
  async *images({ label }: { label?: string } = {}): AsyncGenerator<ImageRow, void, undefined> {
    this.checkLabel(label);
    for (const shard of await this.doneShards()) {
      await this.fetchShard(shard, ['images.parquet']);
      for (const row of await readTable<ImageRow>(this.shardFile(shard, 'images.parquet')))
        if (label === undefined || row.condition === label) yield row;
    }
  }

  private checkLabel(label: string | undefined): void {
    if (label === undefined || this.manifest.conditions.includes(label)) return;
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${this.path} has no patches of the label ${JSON.stringify(label)}.`,
      `Known labels: ${this.manifest.conditions.slice(0, 20).join(', ')}.`,
    );
  }

  private async mined<T>(name: 'patches.parquet' | 'clusters.parquet'): Promise<T[]> {
    if (!existsSync(this.mineFile('mine.json')))
      throw new DiffmineError('RUN_INVALID', `${this.path} is not mined.`, 'Mine it first: diffmine mine RUN.');
    return readTable<T>(this.mineFile(name));
  }

  /** Absolute path of a file of a finished shard; `fetchShard` brings it here from a bucket. */
  shardFile(
    shard: number,
    name: 'shard.json' | 'images.parquet' | 'patches.parquet' | 'files.parquet' | 'maps.safetensors' | 'skipped.jsonl',
  ): string {
    return join(this.shardPath(shard), name);
  }

  /** Absolute path of a file that `mine` writes. */
  mineFile(
    name:
      | 'mine.json'
      | 'patches.parquet'
      | 'clusters.parquet'
      | 'features.safetensors'
      | 'earlier.parquet'
      | 'earlier.safetensors'
      | 'elements.parquet'
      | 'trends.parquet'
      | 'trend-patches.parquet',
  ): string {
    return join(this.path, 'mine', name);
  }

  /** Writes a finished shard, all of it at once. `fill` writes its files into the folder it is given. @internal */
  async writeShard(shard: number, fill: (folder: string) => Promise<void>): Promise<void> {
    await writeFolderAtomic(this.shardPath(shard), fill);
    await this.kept.commit(shardName(shard));
  }

  /** The record of a finished shard. @throws RUN_INVALID if it is missing or damaged */
  async readShard(shard: number): Promise<ShardRecord> {
    return this.readShardJson<ShardRecord>(shard, 'shard.json', SHARD_RECORD);
  }
}

/** Key of an image in its run: the same file may have two labels. */
export function imageKey(image: { path: string; label: string }): string {
  return JSON.stringify([image.label, image.path]);
}
