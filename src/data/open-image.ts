// Opens image files, and explains why one cannot be opened (no permission, a dangling link, a socket): decoders call all of these an unknown format.
import { constants } from 'node:fs';
import { lstat, open, stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { readMember } from './bytes/member.js';
import { memberOf } from './bytes/names.js';
import { errorCode, EXHAUSTED, openingError } from './files.js';
import { systemPath } from './names.js';

interface Kind {
  isFile(): boolean;
  isDirectory(): boolean;
  isSocket(): boolean;
  isFIFO(): boolean;
}

const kindOf = (status: Kind): string =>
  status.isDirectory()
    ? 'it is a folder'
    : status.isSocket()
      ? 'it is a socket'
      : status.isFIFO()
        ? 'it is a named pipe'
        : 'it is a device';

/** The bytes of an image's file. @throws IMAGE_UNREADABLE with the reason; IO if the machine's resources are exhausted */
export async function readImageFile(file: string): Promise<Buffer> {
  const member = memberOf(file);
  try {
    if (member) {
      const bytes = await readMember(file, member);
      if (bytes.length === 0) throw new Error('it is empty');
      return bytes;
    }
    // opening a pipe to read it would wait for a writer
    const handle = await open(systemPath(file), constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const status = await handle.stat();
      if (!status.isFile()) throw new Error(kindOf(status));
      const bytes = await handle.readFile();
      if (bytes.length === 0) throw new Error('the file is empty');
      return bytes;
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw member ? unreadable(file, error) : await unopened(file, error);
  }
}

/** What opens the image in a decoder: its path, or its bytes where it lies in a container or its path is not UTF-8. Throws as readImageFile. */
export async function imageInput(file: string): Promise<string | Buffer> {
  const place = systemPath(file);
  if (typeof place !== 'string' || memberOf(file)) return readImageFile(file);
  const status = await stat(place).catch(async (error: unknown) => Promise.reject(await unopened(file, error)));
  if (!status.isFile()) throw unreadable(file, new Error(kindOf(status)));
  return place;
}

async function unopened(file: string, error: unknown): Promise<DiffmineError> {
  const place = systemPath(file);
  const code = errorCode(error);
  if (code === 'ENOENT' && (await lstat(place).catch(() => undefined))?.isSymbolicLink())
    return unreadable(file, error, 'it is a dangling link');
  if (code === 'ENXIO') return unreadable(file, error, await stat(place).then(kindOf, () => openingError(error)));
  return unreadable(file, error, code === undefined ? undefined : openingError(error));
}

/** A decoder's failure: where the file itself cannot be opened, that is the reason. */
export async function undecodable(file: string, cause: unknown): Promise<DiffmineError> {
  if (cause instanceof DiffmineError) return cause;
  if (memberOf(file)) return unreadable(file, cause);
  try {
    const handle = await open(systemPath(file), constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = await handle.stat();
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(64), 0, 64, 0);
    await handle.close();
    return unreadable(
      file,
      cause,
      size === 0 ? 'the file is empty' : otherKind(buffer.toString('latin1', 0, bytesRead)),
    );
  } catch (error) {
    return unopened(file, error);
  }
}

/** What often lies in the place of an image, by its beginning. */
function otherKind(beginning: string): string | undefined {
  if (beginning.startsWith('version https://git-lfs'))
    return 'it is a Git LFS pointer, not the image: run git lfs pull';
  return /^\s*<(?:!doctype\s+)?html/i.test(beginning) ? 'it is a web page, not an image' : undefined;
}

/** Any failure of reading `file` as IMAGE_UNREADABLE; exhausted resources of the machine stay what they are. */
function unreadable(file: string, cause: unknown, reason?: string): DiffmineError {
  const name = path.basename(file);
  const { message } = cause as { message?: unknown };
  if (EXHAUSTED.has(errorCode(cause)))
    return new DiffmineError('IO', `The image '${name}' could not be read: ${String(message)}.`, undefined, { cause });
  // Of libvips' lines the first says what was wrong; folders are left out, so that a run's files do not depend on them.
  const line =
    reason ??
    String(message ?? cause)
      .split('\n')[0]
      ?.trim()
      .replaceAll(file, () => name)
      .replace(/\.$/, '');
  const what = `cannot be read: ${line}.`;
  return new DiffmineError('IMAGE_UNREADABLE', `The image '${name}' ${what}`, undefined, { cause, reason: what });
}
