// Whether something is there, and folders that must be.
import { access, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}

/** The file that is in the place of a folder, or of one above it. */
export async function fileInTheWay(folder: string): Promise<string | undefined> {
  const status = await stat(folder).catch(() => undefined);
  if (status) return status.isDirectory() ? undefined : folder;
  return dirname(folder) === folder ? undefined : fileInTheWay(dirname(folder));
}

/** Makes a folder and those above it. Node's own recursive `mkdir` reports what it does not expect, such as EROFS and EDQUOT, as ENOENT. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    if (!(await exists(dirname(path)))) await makeFolder(dirname(path));
    await mkdir(path).catch((reason: unknown) => {
      if (codeOf(reason) !== 'EEXIST') throw reason;
    });
  }
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;
