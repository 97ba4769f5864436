// Folders of an export: new, and there only when they are complete.
import { readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { writeFolderAtomic } from '../../runs/atomic.js';
import { DiffmineError } from '../../util/errors.js';

/** Files of an earlier export would pass for those of this one. @param option the key of the option that names it */
export async function checkNewFolder(folder: string, option: string): Promise<void> {
  const entries = await readdir(resolve(folder)).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    if (code === 'ENOTDIR')
      throw new DiffmineError('INVALID_ARGUMENT', `${folder} is a file.`, `Name a new folder with \`${option}\`.`);
    throw error;
  });
  if (entries.length > 0) throw notEmpty(folder, option);
}

/**
 * Writes a folder that must be new or empty.
 *
 * @throws INVALID_ARGUMENT if it is not
 */
export async function writeNewFolder(
  folder: string,
  option: string,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  await checkNewFolder(folder, option);
  if (!(await writeFolderAtomic(resolve(folder), fill))) throw notEmpty(folder, option);
}

const notEmpty = (folder: string, option: string): DiffmineError =>
  new DiffmineError(
    'INVALID_ARGUMENT',
    `The folder ${folder} is not empty.`,
    `Remove it, or name another folder with \`${option}\`.`,
  );
