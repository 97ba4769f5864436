// A run folder: its manifest, its shards, which of them are finished, and who may work on one.
import { access, link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DiffmineError } from '../errors';
import { removeLeftovers, sync, temporaryName, writeFileAtomic, writeFolderAtomic } from './atomic';
import { LockFolder, type Lock } from './locks';
import { differences, MANIFEST, makeManifest, readManifest, type Manifest, type ManifestDraft, type ManifestImage } from './manifest';

/** A picture that could not be scored, and why. */
export interface Skipped {
  image: string;
  label: string;
  reason: string;
}

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

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

export class Run {
  readonly locks: LockFolder;

  private constructor(
    /** absolute */
    readonly path: string,
    readonly manifest: Manifest,
  ) {
    this.locks = new LockFolder(join(path, 'locks'));
  }

  /**
   * Opens an existing run.
   *
   * @throws RUN_INVALID where there is none, or a damaged one
   */
  static async open(path: string): Promise<Run> {
    const manifest = await readManifest(path);
    if (!manifest) throw new DiffmineError('RUN_INVALID', `${path} is no run folder: it has no ${MANIFEST}.`, 'Give the folder named with --out when the pictures were scanned.');
    return new Run(resolve(path), manifest);
  }

  /**
   * Begins a run in `path`, or goes on with the one that is there if it is the same run. Several processes may do so at once.
   *
   * @param anyBatch the draft's batch is a proposal: several that begin at once may have seen different amounts of free memory, and the first one's stands
   * @throws RUN_MISMATCH where another run, or anything else, is in the folder
   */
  static async begin(path: string, draft: ManifestDraft, anyBatch = false): Promise<Run> {
    const folder = resolve(path);
    let manifest = await readManifest(folder);
    if (!manifest) {
      await mkdir(folder, { recursive: true });
      const foreign = (await readdir(folder)).filter((name) => !['shards', 'locks', MANIFEST].includes(name) && !name.startsWith(`.${MANIFEST}.tmp-`));
      if (foreign.length > 0) {
        throw new DiffmineError('RUN_MISMATCH', `${path} is not empty and not a run folder (it has ${JSON.stringify(foreign[0])}).`, 'Give --out a new or empty folder.');
      }
      await mkdir(join(folder, 'shards'), { recursive: true });
      await mkdir(join(folder, 'locks'), { recursive: true });
      manifest = await Run.writeManifest(folder, makeManifest(draft));
    }
    const wanted = anyBatch ? { ...draft, options: { ...draft.options, batch: manifest.options.batch } } : draft;
    const differ = differences(manifest, wanted);
    if (differ.length > 0) {
      throw new DiffmineError('RUN_MISMATCH', `${path} is in use by another run; what differs: ${differ.join('; ')}.`, 'Repeat that run\'s options to go on with it, or give --out another folder.');
    }
    return new Run(folder, manifest);
  }

  /** Writes the manifest unless another process was first; says whose stands. */
  private static async writeManifest(folder: string, manifest: Manifest): Promise<Manifest> {
    const target = join(folder, MANIFEST);
    const temporary = temporaryName(target);
    try {
      await writeFile(temporary, `${JSON.stringify(manifest, null, 1)}\n`);
      await sync(temporary);
      // unlike rename, link does not replace; where there are no hard links, two beginners write what differs in its date at most
      await link(temporary, target).catch(async (error: NodeJS.ErrnoException) => {
        if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(error.code ?? '')) throw error;
        await rename(temporary, target);
      });
      await sync(folder);
      return manifest;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      return (await readManifest(folder)) ?? manifest;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** The pictures of a shard, in order. */
  shardImages(shard: number): ManifestImage[] {
    const { shardSize } = this.manifest.options;
    return this.manifest.images.slice(shard * shardSize, (shard + 1) * shardSize);
  }

  shardFolder(shard: number): string {
    return join(this.path, 'shards', shardName(shard));
  }

  shardFile(shard: number, name: 'shard.json' | 'images.parquet' | 'patches.parquet' | 'maps.safetensors' | 'skipped.jsonl'): string {
    return join(this.shardFolder(shard), name);
  }

  mineFile(name: 'mine.json' | 'patches.parquet' | 'clusters.parquet' | 'features.safetensors'): string {
    return join(this.path, 'mine', name);
  }

  async isDone(shard: number): Promise<boolean> {
    return exists(this.shardFolder(shard));
  }

  /** Ids of finished shards, ascending. */
  async doneShards(): Promise<number[]> {
    const names = await readdir(join(this.path, 'shards'));
    return names
      .filter((name) => /^\d{5,}$/.test(name))
      .map(Number)
      .filter((shard) => shard < this.manifest.shards)
      .sort((a, b) => a - b);
  }

  async isComplete(): Promise<boolean> {
    return (await this.doneShards()).length === this.manifest.shards;
  }

  /**
   * Takes a shard to work on; what a dead process left of it is cleared away.
   *
   * @returns undefined where it is finished, or a live process works on it
   */
  async lockShard(shard: number): Promise<Lock | undefined> {
    if (await this.isDone(shard)) return undefined;
    const lock = await this.locks.acquire(shardName(shard));
    if (!lock) return undefined;
    if (await this.isDone(shard)) {
      await lock.release();
      return undefined;
    }
    await removeLeftovers(this.shardFolder(shard));
    return lock;
  }

  /** Writes a finished shard, all of it at once. `fill` writes its files into the folder it is given. */
  async writeShard(shard: number, fill: (folder: string) => Promise<void>): Promise<void> {
    await writeFolderAtomic(this.shardFolder(shard), fill);
  }

  async readShard(shard: number): Promise<ShardRecord> {
    return JSON.parse(await readFile(this.shardFile(shard, 'shard.json'), 'utf8')) as ShardRecord;
  }

  /** The skipped pictures of the given finished shards (default: all finished ones), in order. */
  async skipped(shards?: number[]): Promise<Skipped[]> {
    const rows: Skipped[] = [];
    for (const shard of shards ?? (await this.doneShards())) {
      const text = await readFile(this.shardFile(shard, 'skipped.jsonl'), 'utf8');
      for (const line of text.split('\n')) if (line) rows.push(JSON.parse(line) as Skipped);
    }
    return rows;
  }

  /** Gathers all shards' skipped pictures into skipped.jsonl, once every shard is finished. */
  async writeSkipped(): Promise<void> {
    await writeFileAtomic(join(this.path, 'skipped.jsonl'), jsonLines(await this.skipped()));
  }
}

export function shardName(shard: number): string {
  return String(shard).padStart(5, '0');
}

/** A picture among those of its run: the same file may stand under two labels. */
export function imageKey(image: { path: string; label: string }): string {
  return JSON.stringify([image.label, image.path]);
}

export function jsonLines(rows: readonly object[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}
