// Lists the files below a folder. Links are followed, because masks are often linked from elsewhere.
import { realpath, stat } from 'node:fs/promises';
import { entriesOf, errorCode, openingError, withFoldersAbove } from '../files.js';
import { imageFile, systemPath } from '../names.js';

export interface Walked {
  /** relative to the folder, forward slashes, sorted; bytes that are not UTF-8 escaped (names.ts) */
  files: string[];
  /** dangling links, links back into a folder that they are in, and folders that cannot be read, with the reason */
  lost: { path: string; reason: string }[];
}

/** A folder that is reached by two links is listed twice, under either name; only a link to a folder above itself is not followed. */
export async function walk(root: string): Promise<Walked> {
  const found: Walked = { files: [], lost: [] };
  const real = async (folder: string): Promise<string> =>
    (await realpath(systemPath(folder), { encoding: 'buffer' })).toString('latin1');
  const visit = async (folder: string, above: readonly string[]): Promise<void> => {
    for (const entry of await entriesOf(imageFile(root, folder))) {
      const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
      const place = imageFile(root, name);
      try {
        const isFolder =
          entry.kind === 'folder' || (entry.kind === 'link' && (await stat(systemPath(place))).isDirectory());
        if (!isFolder) {
          found.files.push(name);
          continue;
        }
        const here = await real(place);
        if (above.includes(here)) found.lost.push({ path: name, reason: 'the link leads back to a folder above it' });
        else await visit(name, [...above, here]);
      } catch (error) {
        found.lost.push({
          path: name,
          reason: entry.kind === 'link' && errorCode(error) === 'ENOENT' ? 'the link is dangling' : openingError(error),
        });
      }
    }
  };
  await visit('', withFoldersAbove(await real(root)));
  found.files.sort();
  found.lost.sort((a, b) => (a.path < b.path ? -1 : 1));
  return found;
}
