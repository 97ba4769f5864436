// Files that a table names with another Unicode normalization, or with other letters in upper case, than the file system.
import { isRemote } from './bytes/names.js';
import { entriesOf, factsOf, type Facts } from './files.js';
import { imageFile } from './names.js';

/** Replaces paths without a file by the same in another Unicode normalization, if there is a file: macOS writes names as NFD, most other systems as NFC. */
export async function useOtherForms(root: string, paths: string[], facts: Facts[]): Promise<void> {
  for (const [i, name] of paths.entries()) {
    if (facts[i] !== 'absent') continue;
    for (const other of new Set([name.normalize('NFC'), name.normalize('NFD')])) {
      if (other === name) continue;
      const found = await factsOf(imageFile(root, other));
      if (typeof found === 'object') [paths[i], facts[i]] = [other, found];
    }
  }
}

/** What a path without a file may mean: the one that differs from it in the case of letters or in Unicode normalization. */
export async function similarPath(root: string, name: string): Promise<string | undefined> {
  if (isRemote(name) || name.includes('\\')) return undefined;
  const alike = (one: string): string => one.normalize('NFC').toLowerCase();
  let found = '';
  for (const part of name.split('/')) {
    const place = imageFile(root, found === '' && name.startsWith('/') ? '/' : found);
    if (part === '' || part === '.' || part === '..') {
      found += `${part}/`;
      continue;
    }
    const entries = (await entriesOf(place).catch(() => [])).map((entry) => entry.name);
    const one = entries.includes(part) ? part : entries.find((entry) => alike(entry) === alike(part));
    if (one === undefined) return undefined;
    found += `${one}/`;
  }
  return found.slice(0, -1);
}
