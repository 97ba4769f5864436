// Locks as files in a folder (locks.ts): a hard link to their content, which only one process can make.
import { open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { discard, linkNew, removeLeftovers, temporaryName } from './atomic.js';
import { Locks, type FoundLock } from './locks.js';

export class LockFolder extends Locks {
  constructor(readonly folder: string) {
    super();
  }

  protected override async names(): Promise<string[]> {
    return readdir(this.folder);
  }

  // who dies in the act leaves no lock of nobody, which would hold until it is stale
  protected override async make(file: string, content: string, first: string): Promise<boolean> {
    const target = join(this.folder, file);
    const temporary = temporaryName(join(this.folder, first));
    try {
      await writeFile(temporary, content);
      const made = await linkNew(temporary, target);
      if (made !== 'refused') return made === 'made';
    } finally {
      await discard(temporary);
    }
    // no hard links here (or somebody took the lock and cleared away what he took for a dead one's): two steps
    try {
      await writeFile(target, content, { flag: 'wx' });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      await discard(target);
      throw error;
    }
  }

  protected override async look(file: string): Promise<FoundLock | undefined> {
    const path = join(this.folder, file);
    const touched = async (): Promise<number | undefined> => (await stat(path).catch(() => undefined))?.mtimeMs;
    try {
      return {
        content: await readFile(path, 'utf8'),
        touched,
        age: async () => (await this.now()) - ((await touched()) ?? -Infinity),
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** The file system's clock. */
  private async now(): Promise<number> {
    const file = join(this.folder, `.clock-${hostname()}-${process.pid}`);
    const handle = await open(file, 'w');
    try {
      await handle.write('.');
      return (await handle.stat()).mtimeMs;
    } finally {
      await handle.close();
      await discard(file);
    }
  }

  // by writing: utimes would set it to this machine's time
  protected override async touch(file: string): Promise<void> {
    const handle = await open(join(this.folder, file), 'r+');
    try {
      await handle.write('{', 0);
    } finally {
      await handle.close();
    }
  }

  protected override async discard(file: string): Promise<void> {
    await discard(join(this.folder, file));
  }

  protected override async clear(first: string): Promise<void> {
    await removeLeftovers(join(this.folder, first));
  }
}
