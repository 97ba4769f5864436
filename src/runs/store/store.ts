// Where a run is kept: a directory (directory-store.ts) or a prefix in a bucket (bucket-store.ts). Stages work on local files in both cases: the store of a directory
// is that directory; the store of a bucket has a temporary folder of the same layout, from which finished shards are committed.
import type { Locks } from '../locks.js';

/** The finished shards of a run, or of one of its rounds. Each is there whole or not at all, and written once. */
export interface ShardStore {
  /** @param name as in shards/NAME */
  isDone(name: string): Promise<boolean>;
  /** names of finished shards, in any order */
  done(): Promise<string[]>;
  /**
   * Keeps a shard whose files are in the local folder. If another process has kept it, these are dropped: its results are the same.
   *
   * @param beside further files that belong to it, relative to the run's folder: equal whoever writes them
   */
  commit(name: string, beside?: readonly string[]): Promise<void>;
  /**
   * Makes files of a finished shard available in the local folder.
   *
   * @param files names in the shard's folder, [] of a shard that is a file; default: all of it, with the files beside it
   */
  fetch(name: string, files?: readonly string[]): Promise<void>;
}

export interface RunStore {
  /** as people write it: an absolute path, or s3://bucket/prefix */
  readonly place: string;
  /** the local folder, absolute */
  readonly path: string;
  readonly locks: Locks;

  /** A file outside of shards; undefined if there is none. @param name relative, forward slashes */
  read(name: string): Promise<Buffer | undefined>;
  exists(name: string): Promise<boolean>;
  /** Writes a file whole; what was there is replaced. */
  write(name: string, data: string | Uint8Array): Promise<void>;
  /** Makes a file available in the local folder. @returns false if there is none */
  fetch(name: string): Promise<boolean>;
  /** Keeps a file, or all files of a folder, that the local folder has; of a folder, what is kept of older ones is removed. */
  keep(name: string): Promise<void>;
  /** Removes a file or a folder. */
  remove(name: string): Promise<void>;
  /** Names of what is directly in the run, files and folders. */
  entries(): Promise<string[]>;

  /** @param folder of the shards' folder: '' for the run's, else a round's. @param suffix of a shard's name where it is a file */
  shards(folder: string, suffix: string): ShardStore;

  /** Writes the manifest, unless there is one. @returns false if there is one, which stands */
  writeManifest(content: string): Promise<boolean>;

  /** Removes what is only temporary. Nothing else may be called after it. */
  close(): Promise<void>;
}
