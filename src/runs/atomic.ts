// Writes files and folders atomically: under a temporary name, synced, then renamed.
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { isDiskError, naming } from '../util/disk.js';
import { makeFolder } from '../util/paths.js';

/** A name beside `target` that no other process uses: `.NAME.tmp-HOST-PID-RANDOM`. */
export function temporaryName(target: string): string {
  const host = hostname().replace(/[^A-Za-z0-9_.]/g, '_');
  return join(dirname(target), `.${basename(target)}.tmp-${host}-${process.pid}-${randomBytes(3).toString('hex')}`);
}

async function fsync(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whether the file system reports that it has no fsync, rather than a failure. */
export function hasNoSync(error: unknown): boolean {
  return ['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Forces a file's bytes to the disk. */
export async function syncFile(path: string): Promise<void> {
  await fsync(path).catch((error: unknown) => {
    if (!hasNoSync(error)) throw error;
  });
}

/** Forces a folder's entries to the disk where the file system can: CIFS, sshfs, VirtualBox and others refuse, each with an errno of its own. */
export async function syncFolder(path: string): Promise<void> {
  await fsync(path).catch((error: unknown) => {
    if (isDiskError(error)) throw error;
  });
}

/**
 * Removes what nobody needs any more. What cannot be removed stays: on NFS a file that another process has open lives on as .nfsXXXX, and its folder
 * cannot go before it.
 */
export async function discard(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch((error: unknown) => {
    if (isDiskError(error)) throw error;
  });
}

/**
 * Makes `file` a hard link to `temporary`, which appears whole at once and never replaces.
 *
 * @returns 'exists' where `file` was there before; 'refused' if it cannot be told: there are no hard links here (each file system has an errno of its
 *   own for that), or `temporary` is gone
 */
export async function linkNew(temporary: string, file: string): Promise<'made' | 'exists' | 'refused'> {
  try {
    await link(temporary, file);
    return 'made';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return 'refused';
    // NFS: the answer to the first try was lost, and the second one met the first one's link
    return (await stat(temporary).catch(() => undefined))?.nlink === 2 ? 'made' : 'exists';
  }
}

/** Writes `file` so that readers see the old content or the new one, never a part. */
export async function writeFileAtomic(file: string, data: string | Uint8Array): Promise<void> {
  const temporary = temporaryName(file);
  try {
    await writeFile(temporary, data);
    await syncFile(temporary);
    await rename(temporary, file);
  } catch (error) {
    await discard(temporary);
    throw naming(file, error);
  }
  await syncFolder(dirname(file));
}

/** Makes `folder`, lets `fill` put plain files into it, syncs all; removes it where that fails. */
async function filledFolder(folder: string, fill: (folder: string) => Promise<void>): Promise<void> {
  await makeFolder(folder);
  try {
    await fill(folder);
    for (const entry of await readdir(folder, { withFileTypes: true }))
      await (entry.isDirectory() ? syncFolder : syncFile)(join(folder, entry.name));
    await syncFolder(folder);
  } catch (error) {
    await discard(folder).catch(() => undefined);
    throw naming(folder, error);
  }
}

/**
 * Writes folder `target`: `fill` puts plain files into a temporary folder, which then takes its name.
 *
 * @returns false where `target` exists already: what was written is dropped, as somebody else's equal work stands there
 */
export async function writeFolderAtomic(target: string, fill: (folder: string) => Promise<void>): Promise<boolean> {
  const temporary = temporaryName(target);
  await filledFolder(temporary, fill);
  try {
    await rename(temporary, target);
  } catch (error) {
    await discard(temporary);
    // a folder that is in the way is refused with ENOTEMPTY or EEXIST, elsewhere with EPERM, EACCES or EBUSY
    if (!isDiskError(error) && (await stat(target).catch(() => undefined))?.isDirectory()) return false;
    throw error;
  }
  await syncFolder(dirname(target));
  return true;
}

/**
 * As writeFolderAtomic, but takes the place of a `target` that exists. Two renames: a crash between them leaves no `target`, never half of one.
 */
export async function replaceFolder(target: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const fresh = temporaryName(target);
  await filledFolder(fresh, fill);
  await moveOver(fresh, target);
}

/** Gives folder `fresh` the place of `target`, which may be there. */
export async function moveOver(fresh: string, target: string): Promise<void> {
  const old = temporaryName(target);
  await rename(target, old).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  });
  await rename(fresh, target);
  await syncFolder(dirname(target));
  await discard(old);
}

/** Removes what writers of `target` that died have left beside it. Only for who holds the lock on `target`. */
export async function removeLeftovers(target: string): Promise<void> {
  const prefix = `.${basename(target)}.tmp-`;
  for (const name of await readdir(dirname(target))) {
    if (name.startsWith(prefix)) await discard(join(dirname(target), name));
  }
}

/** Removes what writers in `folder` that died have left there. Only where nothing more is to be written: a writer that is late fails. */
export async function removeAllLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => []))
    if (/^\..+\.tmp-/.test(name)) await discard(join(folder, name));
}
