// Options of reading a dataset.
import type { LayoutName } from './layouts/index.js';

/** What has to be known, beside the path, to open a dataset again. */
export interface DatasetSource {
  /** encoding of its tables and lists; default strict UTF-8 */
  encoding?: string | undefined;
  /** what relative paths of a table start at, absolute; default the table's folder */
  imageRoot?: string | undefined;
}

export interface DatasetOptions extends DatasetSource {
  /**
   * the layout of one of the paper's datasets, which a location that has it is read as; label folders and tables are read anyway. 'auto' knows
   * each by its own lists and tables; default 'auto'
   */
  layout?: LayoutName | 'auto';
  /** read every file: the fingerprint is then over its content as well */
  checksum?: boolean | undefined;
  /** column of a table that holds the label; `label` */
  labelColumn?: string;
  /** column of a table that holds the image's path; `image`, else `path` */
  imageColumn?: string;
  /** output folder of the command that reads: it is not data, wherever it lies */
  out?: string | undefined;
}
