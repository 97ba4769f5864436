// File system queries of the readers: entries of a folder, and their kind and size.
import { stat, type Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { together } from '../util/together.js';
import { DiffmineError } from '../util/errors.js';
import { isRemote } from './bytes/names.js';
import { remoteFacts } from './bytes/remote.js';
import { nameOfBytes, nameOfText, systemPath } from './names.js';

/**
 * File names taken for images. Some of them cannot be decoded here (BMP, HEIC, JPEG 2000, ...): those are tried, skipped and listed with
 * the reason, instead of being left out silently.
 */
const IMAGE = /\.(avif|bmp|gif|heic|heif|j2k|jfif|jp2|jpe|jpeg|jpg|jxl|png|tif|tiff|webp)$/i;

export function isImage(name: string): boolean {
  return IMAGE.test(name);
}

/** System errors that are no fault of the file. */
export const EXHAUSTED: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE', 'ENOMEM']);

export const errorCode = (error: unknown): unknown => (error as { code?: unknown } | undefined)?.code;

/** Why a file or folder cannot be opened, as the end of a sentence. */
export function openingError(error: unknown): string {
  switch (errorCode(error)) {
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'ENOENT':
      return 'there is no such file';
    case 'ENOTDIR':
      return 'a part of its path is not a folder';
    case 'EISDIR':
      return 'it is a folder';
    case 'ELOOP':
      return 'its links form a loop';
    case 'EIO':
      return 'the disk or network failed to read it (EIO)';
    case 'ESTALE':
      return 'its network file system lost it (ESTALE)';
    default:
      return String((error as { message?: unknown } | undefined)?.message ?? error);
  }
}

/** A file's size, and its modification time in ms. An entry that is there but cannot be opened (a dangling link, a socket, no permission) has 0. */
export interface FileFacts {
  bytes: number;
  mtime: number;
}

/** Of an entry that cannot be opened. */
export const UNOPENED: FileFacts = { bytes: 0, mtime: 0 };

/** UNOPENED, by identity, of an entry that is there but cannot be opened. */
export type Facts = FileFacts | 'folder' | 'absent';

function factsFrom(status: Stats): Facts {
  if (status.isFile()) return { bytes: status.size, mtime: status.mtimeMs };
  return status.isDirectory() ? 'folder' : UNOPENED;
}

async function factsFromError(name: string, error: unknown): Promise<Facts> {
  const code = errorCode(error);
  if (EXHAUSTED.has(code))
    throw new DiffmineError('IO', `'${name}' could not be read: ${openingError(error)}.`, undefined, { cause: error });
  if (code === 'ENAMETOOLONG' || code === 'ENOTDIR') return 'absent';
  if (code !== 'ENOENT') return UNOPENED;
  return (await lstat(systemPath(name)).catch(() => undefined)) ? UNOPENED : 'absent';
}

/** Files asked about at once. */
const TOGETHER = 256;

/**
 * What lies at each name, links followed, in order. Whether it can be read shows when it is read.
 *
 * @throws IO if the machine has no more file handles
 */
export async function factsOfAll(names: readonly string[]): Promise<Facts[]> {
  const facts = new Array<Facts>(names.length).fill('absent');
  for (let start = 0; start < names.length; start += TOGETHER) {
    const end = Math.min(start + TOGETHER, names.length);
    const failed: [place: number, error: unknown][] = [];
    const remote = names.slice(start, end).flatMap((name, i) => (isRemote(name) ? [start + i] : []));
    await together(remote, async (place) => {
      facts[place] = (await remoteFacts(names[place] as string)) ?? 'absent';
    });
    // a callback costs half of what a promise does, which shows in datasets of millions
    await new Promise<void>((resolve) => {
      let left = end - start - remote.length;
      if (left === 0) resolve();
      for (let i = start; i < end; ++i) {
        if (isRemote(names[i] as string)) continue;
        stat(systemPath(names[i] as string), (error, status) => {
          if (error) failed.push([i, error]);
          else facts[i] = factsFrom(status);
          if (--left === 0) resolve();
        });
      }
    });
    for (const [place, error] of failed) facts[place] = await factsFromError(names[place] as string, error);
  }
  return facts;
}

/** `factsOfAll` of one name. */
export async function factsOf(name: string): Promise<Facts> {
  return (await factsOfAll([name]))[0] as Facts;
}

export interface Entry {
  name: string;
  kind: 'file' | 'folder' | 'link' | 'other';
}

/** What a folder holds, unsorted. Throws what the file system throws. */
export async function entriesOf(folder: string): Promise<Entry[]> {
  const place = systemPath(folder);
  const entries = await readdir(place, { withFileTypes: true });
  const kindOf = (entry: { isFile(): boolean; isDirectory(): boolean; isSymbolicLink(): boolean }): Entry['kind'] =>
    entry.isFile() ? 'file' : entry.isDirectory() ? 'folder' : entry.isSymbolicLink() ? 'link' : 'other';
  if (!entries.some(({ name }) => name.includes('\ufffd')))
    return entries.map((entry) => ({ name: nameOfText(entry.name), kind: kindOf(entry) }));
  // perhaps bytes that are not UTF-8
  const raw = await readdir(place, { encoding: 'buffer', withFileTypes: true });
  return raw.map((entry) => ({ name: nameOfBytes(entry.name as unknown as Buffer), kind: kindOf(entry) }));
}

/** A folder and all that it is in, by real paths: a link to one of them leads back to itself. */
export function withFoldersAbove(real: string): string[] {
  const parent = path.posix.dirname(real);
  return parent === real ? [real] : [real, ...withFoldersAbove(parent)];
}
