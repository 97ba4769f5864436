// Opens containers (tar, Parquet): files here, objects in buckets by remote.ts.
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { DiffmineError } from '../../util/errors.js';
import { openingError } from '../files.js';
import { systemPath } from '../names.js';
import type { ByteSource } from './byte-source.js';
import { isRemote } from './names.js';
import { remoteSource } from './remote.js';

/** Bytes per chunk of a stream. */
const CHUNK = 2 ** 20;

class FileSource implements ByteSource {
  constructor(
    readonly name: string,
    readonly size: number,
    readonly mtime: number,
    private readonly handle: FileHandle,
  ) {}

  async read(begin: number, end: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(end, this.size) - begin));
    let read = 0;
    while (read < bytes.length) {
      const { bytesRead } = await this.handle.read(bytes, read, bytes.length - read, begin + read);
      if (bytesRead === 0) return bytes.subarray(0, read);
      read += bytesRead;
    }
    return bytes;
  }

  async *stream(begin = 0): AsyncGenerator<Buffer, void, undefined> {
    for (let at = begin; at < this.size; at += CHUNK) {
      const bytes = await this.read(at, at + CHUNK);
      if (bytes.length === 0) return;
      yield bytes;
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/**
 * Opens a container by its name (names.ts).
 *
 * @throws DATASET_INVALID if it cannot be opened
 */
export async function openSource(name: string): Promise<ByteSource> {
  if (isRemote(name)) return remoteSource(name);
  const invalid = (reason: string, cause?: unknown): DiffmineError =>
    new DiffmineError('DATASET_INVALID', `'${name}' cannot be read: ${reason}.`, undefined, { cause });
  const handle = await open(systemPath(name), constants.O_RDONLY | constants.O_NONBLOCK).catch((cause: unknown) => {
    throw invalid(openingError(cause), cause);
  });
  const status = await handle.stat();
  if (status.isFile()) return new FileSource(name, status.size, status.mtimeMs, handle);
  await handle.close();
  throw invalid('it is not a file');
}
