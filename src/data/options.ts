// Options of reading a dataset, as the readers take them. What people give is described in src/options/shared.ts (TABLES, HOLDOUT).
import type { LayoutName } from './layouts/index.js';

/** What has to be known, beside the path, to open a dataset again. */
export interface DatasetSource {
  /** encoding of its tables and lists; default strict UTF-8 */
  encoding?: string | undefined;
  /** what relative paths of a table start at, absolute; default the table's folder */
  imageRoot?: string | undefined;
  /** column of a table that holds the image's path or bytes; default `image`, else `path` or `file_name` */
  imageColumn?: string | undefined;
  /** column of a table that holds the label; default `label` */
  labelColumn?: string | undefined;
  /** where labels come from: 'folder', a regular expression on the image's path with one group, or a column */
  labelFrom?: string | undefined;
  /** numbers as labels become bins: START:STOP:STEP, or q4 for quartiles */
  bin?: string | undefined;
  /** file of new names of labels, absolute */
  map?: string | undefined;
  /** images in all, spread evenly */
  limit?: number | undefined;
  /** images per label, chosen at random with `sampleSeed` */
  sample?: number | undefined;
  sampleSeed?: number | undefined;
}

export const SOURCE_KEYS = [
  'encoding',
  'imageRoot',
  'imageColumn',
  'labelColumn',
  'labelFrom',
  'bin',
  'map',
  'limit',
  'sample',
  'sampleSeed',
] as const satisfies readonly (keyof DatasetSource)[];

/** Those options of a command, or of a record, that say how its dataset is read; null counts as not given. */
export function sourceOf(options: { [Key in keyof DatasetSource]?: DatasetSource[Key] | null }): DatasetSource {
  return Object.fromEntries(
    SOURCE_KEYS.flatMap((key) => (options[key] === undefined || options[key] === null ? [] : [[key, options[key]]])),
  );
}

export interface DatasetOptions extends DatasetSource {
  /**
   * the layout of one of the paper's datasets, which a location that has it is read as; label folders and tables are read anyway. 'auto' knows
   * each by its own lists and tables; default 'auto'
   */
  layout?: LayoutName | 'auto';
  /** read every file: the fingerprint is then over its content as well */
  checksum?: boolean | undefined;
  /** listings of containers that are kept elsewhere (bytes/listings.ts), asked for where the cache lacks one */
  listings?: (() => Promise<Buffer | undefined>) | undefined;
  /** output folder of the command that reads: it is not data, wherever it lies */
  out?: string | undefined;
}
