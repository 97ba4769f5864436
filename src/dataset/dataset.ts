// A data set: pictures with labels. Where they come from (a folder of label folders, a CSV, a JSONL) is settled here;
// everything after sees one sorted list. Labels are opaque strings.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../errors';
import { readFolder } from './folder';
import { readLayout, type LayoutName } from './layouts';
import { compareCodePoints } from './order';
import { readTable } from './table';

/** One picture under one label. */
export interface DatasetImage {
  /** its name in runs: relative to the data set, forward slashes */
  path: string;
  /** absolute */
  file: string;
  label: string;
  /** size of the file */
  bytes: number;
  /** a table's further columns */
  extra?: Record<string, string>;
}

export interface Dataset {
  /** absolute */
  path: string;
  /** sorted by path, then label, both by code point */
  images: DatasetImage[];
  /** those that have pictures, sorted by code point */
  labels: string[];
  /** files that are no pictures, or lie beside the label folders */
  ignored: number;
  /** sha256 over (path, bytes, label) of every picture, sorted */
  fingerprint: string;
  /** sentences worth showing: empty label folders, repeated rows */
  warnings: string[];
  /** the known layout it was read as; undefined: label folders, or a table */
  layout?: LayoutName;
}

export interface DatasetOptions {
  /**
   * the layout of one of the paper's data sets, which a location that has it is read as; label folders and tables are read all the same. 'auto' knows
   * each by its own lists and tables; default 'auto'
   */
  layout?: LayoutName | 'auto';
  /** column of a table that holds the label; `label` */
  labelColumn?: string;
  /** column of a table that holds the picture's path; `image`, else `path` */
  imageColumn?: string;
}

/** What a reader (folder.ts, table.ts) found. */
export interface Found {
  images: DatasetImage[];
  ignored: number;
  warnings: string[];
}

/**
 * Opens a folder of label folders, a .csv / .jsonl table, or one of the paper's data sets as it is distributed (docs/datasets), and lists its pictures;
 * none is decoded.
 *
 * @throws DATASET_INVALID when there is no such data set, it has no labelled pictures, or a table's row cannot be used (the line is named)
 */
export async function openDataset(location: string, options: DatasetOptions = {}): Promise<Dataset> {
  const status = await stat(location).catch(() => undefined);
  if (!status) {
    throw new DiffmineError('DATASET_INVALID', `There is no data set '${location}'.`, 'Give a folder with one folder a label, or a .csv or .jsonl table with the columns image and label.');
  }
  const absolute = path.resolve(location);
  const known = await readLayout(absolute, status.isDirectory(), options.layout ?? 'auto');
  const found = known?.found ?? (status.isDirectory() ? await readFolder(absolute) : await readTable(absolute, options));

  const images = found.images.sort((a, b) => compareCodePoints(a.path, b.path) || compareCodePoints(a.label, b.label));
  return { path: absolute, images, labels: labelsOf(images), ignored: found.ignored, fingerprint: fingerprint(images), warnings: found.warnings, ...(known ? { layout: known.layout } : {}) };
}

/** The same data set with these pictures alone. */
export function restricted(dataset: Dataset, paths: ReadonlySet<string>): Dataset {
  const images = dataset.images.filter((image) => paths.has(image.path));
  return { ...dataset, images, labels: labelsOf(images), fingerprint: fingerprint(images) };
}

const labelsOf = (images: readonly DatasetImage[]): string[] => [...new Set(images.map((image) => image.label))].sort(compareCodePoints);

/** @param images sorted */
function fingerprint(images: DatasetImage[]): string {
  const hash = createHash('sha256');
  for (const { path, bytes, label } of images) hash.update(`${JSON.stringify([path, bytes, label])}\n`);
  return hash.digest('hex');
}
