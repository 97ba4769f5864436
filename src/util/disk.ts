// Disks that are full, or cannot be written.
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

const FREE = 'free some space';
/** Disks that take nothing more: by error code, or as libraries without codes (libvips, DuckDB) say it. */
const UNWRITABLE = [
  // the last text is DuckDB's, of its temporary folder
  { code: 'ENOSPC', text: /no space left on device|failed to offload data block/i, what: 'is full', remedy: FREE },
  { code: 'EDQUOT', text: /disk quota exceeded/i, what: 'is full for this user (quota)', remedy: FREE },
  { code: 'EROFS', text: /read-only file system/i, what: 'is read-only', remedy: 'make it writable' },
];

/** What is wrong with a disk of this machine, and what to do about it, if that is what an error is about; an error of another process has only its text. */
export function unwritable(error: { code?: unknown; message?: unknown }): { what: string; remedy: string } | undefined {
  const message = String(error.message);
  return UNWRITABLE.find(
    ({ code, text, what }) => code === error.code || text.test(message) || message.startsWith(`The disk ${what}`),
  );
}

/**
 * @param remedy of `unwritable`
 * @param where text with the file that could not be written
 */
export function hintForDisk(remedy: string, where: string): string {
  const action = where.includes(join(tmpdir(), 'diffmine-'))
    ? `This folder is temporary: ${remedy}, or set TMPDIR to a folder on another disk. Then`
    : `${remedy.charAt(0).toUpperCase()}${remedy.slice(1)} and`;
  return `${action} run the same command again: finished work is kept.`;
}
