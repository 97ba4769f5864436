// Files and folders that are either there whole or not at all: written under a temporary name, synced, renamed.
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, rename, rm, mkdir, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** A name beside `target` that no other process uses: `.NAME.tmp-HOST-PID-RANDOM`. */
export function temporaryName(target: string): string {
  const host = hostname().replace(/[^A-Za-z0-9_.]/g, '_');
  return join(dirname(target), `.${basename(target)}.tmp-${host}-${process.pid}-${randomBytes(3).toString('hex')}`);
}

/** Forces a file's bytes, or a folder's entries, to the disk. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes `file` so that readers see the old content or the new one, never a part. */
export async function writeFileAtomic(file: string, data: string | Uint8Array): Promise<void> {
  const temporary = temporaryName(file);
  try {
    await writeFile(temporary, data);
    await sync(temporary);
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await sync(dirname(file));
}

/** Makes `folder`, lets `fill` put plain files into it, syncs all; removes it where that fails. */
async function makeFolder(folder: string, fill: (folder: string) => Promise<void>): Promise<void> {
  await mkdir(folder, { recursive: true });
  try {
    await fill(folder);
    for (const name of await readdir(folder)) await sync(join(folder, name));
    await sync(folder);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/**
 * Writes folder `target`: `fill` puts plain files into a temporary folder, which then takes its name.
 *
 * @returns false where `target` exists already: what was written is dropped, as somebody else's equal work stands there
 */
export async function writeFolderAtomic(target: string, fill: (folder: string) => Promise<void>): Promise<boolean> {
  const temporary = temporaryName(target);
  await makeFolder(temporary, fill);
  try {
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw error;
  }
  await sync(dirname(target));
  return true;
}

/**
 * As writeFolderAtomic, but takes the place of a `target` that exists. Two renames: a crash between them leaves no `target`, never half of one.
 */
export async function replaceFolder(target: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const fresh = temporaryName(target);
  await makeFolder(fresh, fill);
  const old = temporaryName(target);
  await rename(target, old).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await rename(fresh, target);
  await sync(dirname(target));
  await rm(old, { recursive: true, force: true });
}

/** Removes what writers of `target` that died have left beside it. Only for who holds the lock on `target`. */
export async function removeLeftovers(target: string): Promise<void> {
  const prefix = `.${basename(target)}.tmp-`;
  for (const name of await readdir(dirname(target))) {
    if (name.startsWith(prefix)) await rm(join(dirname(target), name), { recursive: true, force: true });
  }
}
