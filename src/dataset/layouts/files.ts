// What the readers of layouts share: folders looked into, files sized many at once, lists and tables read with errors that name the line.
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'csv-parse/sync';
import { DiffmineError } from '../../errors';
import type { Found } from '../dataset';
import { isPicture } from '../folder';
import { ImageListBuilder } from '../images';

/** Files sized at once. */
const TOGETHER = 64;

/** What a folder of a known layout is read as. */
export interface Reading {
  /** reads it */
  read: () => Promise<Found>;
}

/** A layout's marks are there in part: what is missing, and what the whole of it is. */
export interface Incomplete {
  missing: string;
  hint: string;
}

/** How one data set is distributed. */
export interface Layout {
  /**
   * Whether a folder, or a file that stands for a part of the data set, is of this layout.
   *
   * @param wanted the layout was asked for (by a preset): marks that many data sets have are enough then
   */
  recognise(location: string, isFolder: boolean, wanted: boolean): Promise<Reading | Incomplete | undefined>;
}

/** Names of the folders and of the files in a folder, hidden ones left out; empty where there is no such folder. */
export async function look(folder: string): Promise<{ folders: string[]; files: string[] }> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const shown = entries.filter((entry) => !entry.name.startsWith('.')).sort((a, b) => (a.name < b.name ? -1 : 1));
  const folders: string[] = [];
  const files: string[] = [];
  for (const entry of shown) {
    const directory = entry.isSymbolicLink() ? ((await stat(path.join(folder, entry.name)).catch(() => undefined))?.isDirectory() ?? false) : entry.isDirectory();
    (directory ? folders : files).push(entry.name);
  }
  return { folders, files };
}

export function pictureNames(names: readonly string[]): string[] {
  return names.filter(isPicture);
}

export async function isFile(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined))?.isFile() ?? false;
}

/** A picture that a list names, relative to the data set. */
export interface Listed {
  path: string;
  label: string;
  extra?: Record<string, string>;
}

/** Finds the sizes of listed pictures; those that are not there are left out and told. */
export async function sized(root: string, listed: readonly Listed[]): Promise<{ images: ImageListBuilder; absent: string[] }> {
  const images = new ImageListBuilder();
  const absent: string[] = [];
  for (let start = 0; start < listed.length; start += TOGETHER) {
    const some = listed.slice(start, start + TOGETHER);
    const sizes = await Promise.all(some.map(async (one) => stat(path.join(root, one.path)).catch(() => undefined)));
    some.forEach((one, i) => {
      const status = sizes[i];
      if (status?.isFile()) images.add({ ...one, file: path.join(root, one.path), bytes: status.size });
      else absent.push(one.path);
    });
  }
  return { images, absent };
}

/** 'N of the M pictures of LIST are not there, such as X' */
export function absentWarning(absent: readonly string[], total: number, list: string): string[] {
  return absent.length === 0 ? [] : [`${absent.length} of the ${total} pictures of ${list} are not there, such as ${absent[0]}: they are left out.`];
}

/** A text file. @throws DATASET_INVALID where it cannot be read */
export async function readText(file: string): Promise<string> {
  return (
    await readFile(file, 'utf8').catch((cause: unknown) => {
      throw new DiffmineError('DATASET_INVALID', `The list '${file}' cannot be read.`, undefined, { cause });
    })
  ).replace(/^\uFEFF/, '');
}

/** The lines of a list, less empty ones, with where they stand. */
export async function readLines(file: string): Promise<{ text: string; where: string }[]> {
  return (await readText(file)).split(/\r?\n/).map((line, i) => ({ text: line.trim(), where: `${path.basename(file)}, line ${i + 1}` })).filter(({ text }) => text !== '');
}

/**
 * Columns of a CSV as text, row by row.
 *
 * @throws DATASET_INVALID where it cannot be read or lacks a column
 */
export async function readColumns<Name extends string>(file: string, wanted: readonly Name[]): Promise<(Record<Name, string> & { where: string })[]> {
  const name = path.basename(file);
  let records: { record: string[]; info: { lines: number } }[];
  try {
    records = parse(await readText(file), { info: true, skip_empty_lines: true, relax_column_count: true }) as unknown as typeof records;
  } catch (cause) {
    if (cause instanceof DiffmineError) throw cause;
    throw new DiffmineError('DATASET_INVALID', `The table '${file}' cannot be read: ${(cause as Error).message}.`, undefined, { cause });
  }
  const header = (records[0]?.record ?? []).map((column) => column.trim());
  const places = wanted.map((column) => header.indexOf(column));
  const lost = wanted.filter((_, i) => places[i] === -1);
  if (lost.length > 0) {
    throw new DiffmineError('DATASET_INVALID', `${name} has no column ${lost.map((one) => `'${one}'`).join(' and none ')}; there is ${header.map((one) => `'${one}'`).join(', ') || 'nothing'}.`);
  }
  return records.slice(1).map(({ record, info }) => {
    const values = Object.fromEntries(wanted.map((column, i) => [column, (record[places[i] as number] ?? '').trim()])) as Record<Name, string>;
    return { ...values, where: `${name}, line ${info.lines}` };
  });
}

/** The first line of a CSV as columns; empty where there is no such file. */
export async function headerOf(file: string): Promise<string[]> {
  if (!(await isFile(file))) return [];
  return ((await readText(file)).split(/\r?\n/, 1)[0] ?? '').split(',').map((column) => column.trim().replace(/^"|"$/g, ''));
}
