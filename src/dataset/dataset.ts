// A data set: pictures with labels. Where they come from (a folder of label folders, a CSV, a JSONL) is settled here;
// everything after sees one sorted list. Labels are opaque strings.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../errors';
import { readFolder } from './folder';
import type { ImageList, ImageListBuilder } from './images';
import { readLayout, type LayoutName } from './layouts';
import { readTable } from './table';

export interface Dataset {
  /** absolute */
  path: string;
  /** sorted by path, then label, both by code point */
  images: ImageList;
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
  images: ImageListBuilder;
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

  const { images, repeated } = found.images.build();
  const warnings = repeated === 0 ? found.warnings : [...found.warnings, `${repeated} row${repeated === 1 ? ' repeats' : 's repeat'} an image and label: the first of each is kept.`];
  return { path: absolute, images, labels: labelsOf(images), ignored: found.ignored, fingerprint: fingerprint(images), warnings, ...(known ? { layout: known.layout } : {}) };
}

/** The same dataset with these images alone. */
export function restricted(dataset: Dataset, paths: ReadonlySet<string>): Dataset {
  const images = dataset.images.filter((index) => paths.has(dataset.images.path(index)));
  return { ...dataset, images, labels: labelsOf(images), fingerprint: fingerprint(images) };
}

const labelsOf = (images: ImageList): string[] => [...images.countByLabel().keys()];

function fingerprint(images: ImageList): string {
  const hash = createHash('sha256');
  for (let i = 0; i < images.length; i += 1) hash.update(`${JSON.stringify([images.path(i), images.bytes(i), images.label(i)])}\n`);
  return hash.digest('hex');
}
