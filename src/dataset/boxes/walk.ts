// The files below a folder, links followed: masks often lie elsewhere, and are linked in.
import { readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';

export interface Walked {
  /** relative to the folder, forward slashes, sorted */
  files: string[];
  /** links that lead nowhere, or back into a folder that they are in, and folders that cannot be read, with the reason */
  lost: { path: string; reason: string }[];
}

/** A folder that is reached by two links is listed twice, under either name; only a link to a folder above itself is not followed. */
export async function walk(root: string): Promise<Walked> {
  const found: Walked = { files: [], lost: [] };
  const visit = async (folder: string, above: readonly string[]): Promise<void> => {
    const here = path.join(root, folder);
    for (const entry of await readdir(here, { withFileTypes: true })) {
      const name = path.posix.join(folder, entry.name);
      try {
        const status = entry.isSymbolicLink() ? await stat(path.join(here, entry.name)) : entry;
        if (!status.isDirectory()) {
          found.files.push(name);
          continue;
        }
        const real = await realpath(path.join(here, entry.name));
        if (above.includes(real)) found.lost.push({ path: name, reason: 'the link leads back to a folder above it' });
        else await visit(name, [...above, real]);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        const reason = code === 'ENOENT' ? 'the link leads nowhere' : code === 'ELOOP' ? 'the link leads back to itself' : code === 'EACCES' ? 'permission denied' : (error as Error).message;
        found.lost.push({ path: name, reason });
      }
    }
  };
  await visit('', [await realpath(root)]);
  found.files.sort();
  found.lost.sort((a, b) => (a.path < b.path ? -1 : 1));
  return found;
}
