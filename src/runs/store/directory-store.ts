// A run in a directory. A shard is finished when it has its name: writers give it by a rename.
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { exists, makeFolder } from '../../util/paths.js';
import { discard, writeFileAtomic } from '../atomic.js';
import { LockFolder } from '../lock-folder.js';
import type { RunStore, ShardStore } from './store.js';

const isMissing = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');

export class DirectoryStore implements RunStore {
  readonly locks: LockFolder;
  readonly place: string;

  /** @param path absolute */
  constructor(readonly path: string) {
    this.place = path;
    this.locks = new LockFolder(join(path, 'locks'));
  }

  async read(name: string): Promise<Buffer | undefined> {
    return readFile(join(this.path, name)).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
  }

  async exists(name: string): Promise<boolean> {
    return exists(join(this.path, name));
  }

  async write(name: string, data: string | Uint8Array): Promise<void> {
    await makeFolder(dirname(join(this.path, name)));
    await writeFileAtomic(join(this.path, name), data);
  }

  async fetch(name: string): Promise<boolean> {
    return this.exists(name);
  }

  async keep(): Promise<void> {
    // it is kept where it was made
  }

  async remove(name: string): Promise<void> {
    await discard(join(this.path, name));
  }

  async entries(): Promise<string[]> {
    return readdir(this.path).catch((error: unknown) => {
      if (isMissing(error)) return [];
      throw error;
    });
  }

  shards(folder: string, suffix: string): ShardStore {
    const path = join(this.path, folder, 'shards');
    return {
      isDone: async (name) => exists(join(path, `${name}${suffix}`)),
      done: async () => {
        const names = await readdir(path).catch((error: unknown) => {
          if (isMissing(error)) return [];
          throw error;
        });
        return names.flatMap((name) => (name.endsWith(suffix) ? [name.slice(0, name.length - suffix.length)] : []));
      },
      commit: async () => undefined,
      fetch: async () => undefined,
    };
  }

  // whoever writes it holds the lock `begin`
  async writeManifest(content: string): Promise<boolean> {
    await writeFileAtomic(join(this.path, 'manifest.json'), content);
    return true;
  }

  async close(): Promise<void> {
    // nothing is temporary
  }
}
