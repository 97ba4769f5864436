// Shared by the readers of layouts: listing folders, reading many file sizes at once, and reading lists and tables with errors that name the line.
import { DiffmineError } from '../../util/errors.js';
import { entriesOf, factsOf, factsOfAll, isImage } from '../files.js';
import { head, litter } from '../ignored.js';
import { Listing } from '../listing.js';
import { imageFile, systemPath } from '../names.js';
import { readCsv, readLines as linesOf, readText as textOf, type TextOptions } from '../text/index.js';

/** What a folder of a known layout is read as. */
export interface Reading {
  /** reads it */
  read: () => Promise<Listing>;
}

/** A layout's marks are there in part: what is missing, and what the whole of it is. */
export interface Incomplete {
  missing: string;
  hint: string;
}

export interface LayoutOptions extends TextOptions {
  /** the layout was asked for (by a preset): marks that many datasets have are enough then */
  wanted: boolean;
  /** output folders of the command that reads */
  exclude: readonly string[];
}

/** How one dataset is distributed. */
export interface Layout {
  /** Whether a folder, or a file that stands for a part of the dataset, is of this layout. Content decides, not names that other datasets have too. */
  recognize(location: string, isFolder: boolean, options: LayoutOptions): Promise<Reading | Incomplete | undefined>;
}

/** Names of the folders and of the files in a folder, hidden ones and litter left out; empty if there is no such folder. */
export async function look(folder: string): Promise<{ folders: string[]; files: string[] }> {
  const entries = (await entriesOf(folder).catch(() => []))
    .filter(({ name }) => litter(name) === undefined)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const folders: string[] = [];
  const files: string[] = [];
  for (const { name, kind } of entries)
    (kind === 'folder' || (kind === 'link' && (await factsOf(`${folder}/${name}`)) === 'folder')
      ? folders
      : files
    ).push(name);
  return { folders, files };
}

export function imageNames(names: readonly string[]): string[] {
  return names.filter(isImage);
}

export async function isFile(file: string): Promise<boolean> {
  return typeof (await factsOf(file)) === 'object';
}

/** An image that a list names, relative to the dataset. */
export interface Listed {
  path: string;
  label: string;
  extra?: Record<string, string>;
}

/** Adds listed images to a listing; those that are not there are left out and returned. */
export async function addListed(found: Listing, root: string, listed: readonly Listed[]): Promise<string[]> {
  const absent: string[] = [];
  const facts = await factsOfAll(listed.map((one) => imageFile(root, one.path)));
  listed.forEach((one, i) => {
    const file = facts[i];
    if (typeof file === 'object') found.add({ ...one, file: imageFile(root, one.path), ...file });
    else absent.push(one.path);
  });
  return absent;
}

/** 'N of the M images of LIST are not there, such as X' */
export function absentWarning(absent: readonly string[], total: number, list: string): string[] {
  return absent.length === 0
    ? []
    : [`${absent.length} of the ${total} images of ${list} are not there, such as ${absent[0]}: they are left out.`];
}

/** Tables and lists lie beside the location that was given, which is text: their names are no bytes. */
const literal = (name: string): string => systemPath(name).toString();

/** A text file. Throws as decodeFile (text/decode.ts). */
export const readText = async (file: string, options: TextOptions): Promise<string> => textOf(literal(file), options);

/** The lines of a list, with where they stand. Throws as readText. */
export const readLines = async (file: string, options: TextOptions): Promise<{ text: string; where: string }[]> =>
  linesOf(literal(file), options);

/**
 * Columns of a CSV as text, row by row.
 *
 * @throws DATASET_INVALID if it cannot be read or lacks a column
 */
export async function readColumns<Name extends string>(
  file: string,
  wanted: readonly Name[],
  options: TextOptions,
): Promise<(Record<Name, string> & { where: string })[]> {
  const { name, header, records } = await readCsv(literal(file), options);
  const places = wanted.map((column) => header.indexOf(column));
  const lost = wanted.filter((_, i) => places[i] === -1);
  if (lost.length > 0) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `${name} has no column ${lost.map((one) => `'${one}'`).join(' and none ')}; there is ${header.map((one) => `'${one}'`).join(', ') || 'nothing'}.`,
    );
  }
  return records.map(({ fields, line }) => {
    const values = Object.fromEntries(
      wanted.map((column, i) => [column, (fields[places[i] as number] ?? '').trim()]),
    ) as Record<Name, string>;
    return { ...values, where: `${name}, line ${line}` };
  });
}

/** The first line of a CSV as columns; empty if there is no such file. Whatever its encoding: the columns looked for are ASCII. */
export async function headerOf(file: string): Promise<string[]> {
  const text = await head(file, 16384);
  if (text === '') return [];
  return (text.split(/\r\n|\n|\r/, 1)[0] ?? '').split(',').map((column) => column.trim().replace(/^"|"$/g, ''));
}
