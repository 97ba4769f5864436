// Full disks.
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What a disk that fails, or is full, says; anything else says only that the file system does not do what was asked. */
const DISK_ERRORS = ['EIO', 'ENOSPC', 'EDQUOT'];

export function isDiskError(error: unknown): boolean {
  return DISK_ERRORS.includes((error as NodeJS.ErrnoException).code ?? '');
}

/** A failed write does not name its file: this adds it to the error of a full disk. Returns the error. */
export function naming(file: string, error: unknown): unknown {
  if (isDiskError(error)) (error as NodeJS.ErrnoException).path ??= file;
  return error;
}

/** How libraries without error codes, such as libvips and DuckDB, tell of a full disk; the last one is DuckDB's, of its temporary folder. */
export const FULL = /no space left on device|disk quota exceeded|failed to offload data block/i;

/** @param where text with the file that could not be written */
export function hintForFull(where: string): string {
  return where.includes(join(tmpdir(), 'diffmine-'))
    ? 'This folder is temporary: free some space on its disk, or set TMPDIR to a folder on a larger one. Then run the same command again: finished work is kept.'
    : 'Free some space and run the same command again: finished work is kept.';
}
