// The image index of a run: index.parquet with path, label, bytes, mtime and the other columns of the dataset's table.
import type { ImageList } from '../data/index.js';
import type { Rows } from './list.js';
import { carriedNames } from './columns.js';
import type { Row, Schema } from './tables.js';

/** A row of the list; further columns by the names that carriedNames gives them. */
export interface ListedRow extends Row {
  /** relative to the dataset, forward slashes: the image's name in every table */
  path: string;
  label: string;
  bytes: number;
  /** of the file when the work began, ms */
  mtime: number | null;
}

/** An image of the list, with the dataset's further columns by their own names. */
export interface ListedImage {
  path: string;
  label: string;
  extra?: Record<string, string>;
}

const OWN: Schema = [
  ['path', 'STRING'],
  ['label', 'STRING'],
  ['bytes', 'DOUBLE'],
  ['mtime', 'DOUBLE'],
];
const WITH_CHECKSUM: Schema = [...OWN, ['sha256', 'STRING']];

/** @param checksum the content of each file counts as well */
export function imageListColumns(
  columns: readonly string[],
  checksum = false,
): { own: Schema; deciding: readonly string[] } {
  const further = [...namesOf(columns).values()].map((name) => [name, 'STRING'] as const);
  return {
    own: [...(checksum ? WITH_CHECKSUM : OWN), ...further],
    deciding: checksum ? ['bytes', 'sha256'] : ['bytes'],
  };
}

/** `sha256` counts as taken with and without it. */
const namesOf = (columns: readonly string[]): Map<string, string> => carriedNames(WITH_CHECKSUM, columns);

/** The rows of images, in their order. */
export function imageRows(images: ImageList, columns: readonly string[], checksum = false): Rows {
  const names = [...namesOf(columns)];
  return {
    length: images.length,
    *[Symbol.iterator]() {
      for (const { path, label, bytes, mtime, extra, sha256 } of images) {
        const row: Row = { path, label, bytes, mtime: mtime ?? null };
        if (checksum) row['sha256'] = sha256 ?? null;
        if (extra)
          for (const [column, name] of names) row[name] = Object.hasOwn(extra, column) ? (extra[column] ?? null) : null;
        yield row;
      }
    },
  };
}

export function listedImage(row: ListedRow, columns: readonly string[]): ListedImage {
  const extra = [...namesOf(columns)].flatMap(([column, name]) =>
    typeof row[name] === 'string' ? [[column, row[name]] as const] : [],
  );
  return { path: row.path, label: row.label, ...(extra.length > 0 ? { extra: Object.fromEntries(extra) } : {}) };
}
