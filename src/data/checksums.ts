// Checksums of image files.
import { stat } from 'node:fs/promises';
import { sha256, sha256File } from '../util/sha256.js';
import { readMember } from './bytes/member.js';
import { memberOf } from './bytes/names.js';
import { systemPath } from './names.js';

/** Hex sha256 of an image's file, by its name (names.ts); null if it cannot be read. */
export async function contentOf(file: string): Promise<string | null> {
  const member = memberOf(file);
  if (member) return readMember(file, member).then(sha256, () => null);
  const place = systemPath(file);
  // opening a pipe would wait for a writer, and a device may have no end
  const isFile = await stat(place).then(
    (status) => status.isFile(),
    () => false,
  );
  return isFile ? sha256File(place).catch(() => null) : null;
}
