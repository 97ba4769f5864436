// The folder of a scan: its pictures in shards, what each shard holds, and what mining adds.
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { writeFolderAtomic } from './atomic';
import { RUN, type Manifest, type ManifestDraft, type ManifestImage } from './manifest';
import { beginManifestOf, openManifestOf, ShardedFolder } from './sharded';

export { jsonLines, shardName, type Skipped } from './sharded';

/** shard.json */
export interface ShardRecord {
  id: number;
  /** pictures scored */
  images: number;
  skipped: number;
  /** UNet evaluations a forward pass: the manifest's, or less after an out-of-memory retry */
  batch: number;
  notes: string[];
}

export class Run extends ShardedFolder<Manifest> {
  /**
   * Opens an existing run.
   *
   * @throws RUN_INVALID where there is none, or a damaged one
   */
  static async open(path: string): Promise<Run> {
    return new Run(resolve(path), await openManifestOf(RUN, path));
  }

  /**
   * Begins a run in `path`, or goes on with the one that is there if it is the same run. Several processes may do so at once.
   *
   * @param anyBatch the draft's batch is a proposal: that of a run that is there stands
   * @throws RUN_MISMATCH where another run, or anything else, is in the folder
   */
  static async begin(path: string, draft: ManifestDraft, anyBatch = false): Promise<Run> {
    return new Run(resolve(path), await beginManifestOf(RUN, path, draft, anyBatch));
  }

  /** The pictures of a shard, in order. */
  shardImages(shard: number): ManifestImage[] {
    return this.partOf(this.manifest.images, shard);
  }

  shardFile(shard: number, name: 'shard.json' | 'images.parquet' | 'patches.parquet' | 'maps.safetensors' | 'skipped.jsonl'): string {
    return join(this.shardPath(shard), name);
  }

  mineFile(name: 'mine.json' | 'patches.parquet' | 'clusters.parquet' | 'features.safetensors'): string {
    return join(this.path, 'mine', name);
  }

  /** Writes a finished shard, all of it at once. `fill` writes its files into the folder it is given. */
  async writeShard(shard: number, fill: (folder: string) => Promise<void>): Promise<void> {
    await writeFolderAtomic(this.shardPath(shard), fill);
  }

  async readShard(shard: number): Promise<ShardRecord> {
    return JSON.parse(await readFile(this.shardFile(shard, 'shard.json'), 'utf8')) as ShardRecord;
  }
}

/** A picture among those of its run: the same file may stand under two labels. */
export function imageKey(image: { path: string; label: string }): string {
  return JSON.stringify([image.label, image.path]);
}
