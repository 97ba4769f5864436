// The files of a folder.
import { readdir } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';

/** What file systems and desktops leave in a folder that is as good as empty. */
export const LITTER =
  /^(\.nfs.*|\.fuse_hidden.*|\.snapshot|\.DS_Store|\.directory|\._.*|Thumbs\.db|desktop\.ini|@eaDir|lost\+found)$/i;

/** Files in a folder and its folders, relative to it, forward slashes; a file is its own. Temporary ones are left out. */
export async function filesIn(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(path, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((name) => !name.split('/').some((part) => /^\..*\.tmp-/.test(part)))
    .sort();
}
