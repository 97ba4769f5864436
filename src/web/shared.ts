// Files that several pages are made of (src/web/page).
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export type SharedFile =
  'look.css' | 'rows.css' | 'dialog.css' | 'tools.js' | 'figures.js' | 'figures.css' | 'settings.js';

export const sharedPath = (name: SharedFile): string => join(import.meta.dirname, 'page', name);

export async function readShared(name: SharedFile): Promise<Buffer> {
  return readFile(sharedPath(name));
}
