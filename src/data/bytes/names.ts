// Images inside of containers, and their names: what a run's tables have of an image is enough to read it again.
//
//     train-0001.tar#0001536+20480/n01440764/10026.jpg     20,480 bytes of the archive from byte 1,536 on
//     train-0001.parquet#000017/10026.jpg                  row 17 of the table, from 0; #000017:COLUMN for another column than the first
//
// Numbers are padded within a container, so that the order of names is the order of bytes. A file whose own name looks like this has %x23 for its # (names.ts).

/** A place in a container, where a name has one. */
export const PLACE = /\.(?:tar|parquet)#\d+(?:\+\d+|:[^/]+)?(?=\/|$)/gi;

const MEMBER = /^(.*\.(?:tar|parquet))#(\d+)(?:\+(\d+)|:([^/]+))?\/[^]*$/i;

export interface Member {
  /** the container's name (names.ts) */
  container: string;
  /** of a tar archive: the first byte; of a Parquet file: the row; undefined: all of a remote file */
  place: number | undefined;
  /** of a tar archive: how many bytes */
  size: number | undefined;
  /** of a Parquet file: the column, where it is not the first of image bytes */
  column: string | undefined;
}

/** What a name says of a container; undefined for a local file by itself. */
export function memberOf(name: string): Member | undefined {
  if (!name.includes('#')) return remoteFile(name);
  const [, container, place, size, column] = MEMBER.exec(name) ?? [];
  if (container === undefined) return remoteFile(name);
  return {
    container,
    place: Number(place),
    size: size === undefined ? undefined : Number(size),
    column: column === undefined ? undefined : decodeURIComponent(column),
  };
}

/** Whether a name is one of a bucket or the web (remote.ts). */
export const isRemote = (name: string): boolean => /^(s3|https?):\/\//i.test(name);

const remoteFile = (name: string): Member | undefined =>
  isRemote(name) ? { container: name, place: undefined, size: undefined, column: undefined } : undefined;

/** The path of an image without its place in a container: what a person named it. */
export const plainPath = (name: string): string =>
  name.includes('#') ? name.replace(/(\.(?:tar|parquet))#\d+(?:\+\d+|:[^/]+)?\//i, '$1/') : name;

const padded = (value: number, most: number): string => String(value).padStart(String(most).length, '0');

export function tarName(
  container: string,
  { name, begin, size }: { name: string; begin: number; size: number },
  bytes: number,
): string {
  return `${container}#${padded(begin, bytes)}+${size}/${name}`;
}

/** @param column undefined: the one that imageLeaf finds without a name */
export function parquetName(
  container: string,
  row: number,
  rows: number,
  name: string,
  column: string | undefined,
): string {
  return `${container}#${padded(row, rows)}${column === undefined ? '' : `:${encodeURIComponent(column)}`}/${name}`;
}
