// Opens a dataset (label folders, a CSV or JSONL table, or a known layout) as one sorted list of images with labels. Labels are opaque strings.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { contentOf } from './content.js';
import { errorCode, openingError } from './files.js';
import { readFolder } from './folder.js';
import { ignoredSentence, totalIgnored, type Ignored } from './ignored.js';
import type { ImageList } from './images.js';
import { readLayout, type LayoutName } from './layouts/index.js';
import { nameOfText } from './names.js';
import type { DatasetOptions, DatasetSource } from './options.js';
import { readTable } from './table.js';
import { encodingName } from './text/index.js';

/** Files read at once for their checksums. */
const HASHED_TOGETHER = 8;

export interface Dataset {
  /** absolute */
  path: string;
  /** folder that relative image paths start at: the dataset's, the table's, or imageRoot; absolute, as a name (names.ts) */
  root: string;
  /** sorted by path, then label, both by code point */
  images: ImageList;
  /** labels that have images, sorted by code point */
  labels: string[];
  /** ignored entries, by reason; a folder counts once */
  ignoredBy: Ignored;
  /** all of these */
  ignored: number;
  /** sha256 over (path, bytes, label) of every image, sorted; with `checksum` also the sha256 of each file */
  fingerprint: string;
  /** warnings: empty label folders, repeated rows */
  warnings: string[];
  /** the known layout it was read as; undefined: label folders, or a table */
  layout?: LayoutName;
  /** the options it was opened with */
  source: DatasetSource;
}

/**
 * Opens a folder of label folders, a .csv or .jsonl table, or one of the paper's datasets in its own layout (docs/guides/datasets), and lists its images
 * without decoding them.
 *
 * @throws DATASET_INVALID if there is no such dataset, it has no labeled images, or a table's row cannot be used (the line is named);
 * INVALID_ARGUMENT for an unknown encoding
 */
export async function openDataset(location: string, options: DatasetOptions = {}): Promise<Dataset> {
  if (options.encoding !== undefined) encodingName(options.encoding);
  const status = await stat(location).catch((error: unknown) => {
    if (errorCode(error) !== 'ENOENT' && errorCode(error) !== 'ENOTDIR')
      throw new DiffmineError(
        'DATASET_INVALID',
        `The dataset '${location}' cannot be read: ${openingError(error)}.`,
        undefined,
        { cause: error },
      );
    return undefined;
  });
  if (!status) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `There is no dataset '${location}'.`,
      'Give a folder with one folder per label, or a .csv or .jsonl table with the columns image and label.',
    );
  }
  const absolute = path.resolve(location);
  const isFolder = status.isDirectory();
  const source: DatasetSource = {
    ...(options.encoding === undefined ? {} : { encoding: options.encoding }),
    ...(options.imageRoot === undefined ? {} : { imageRoot: path.resolve(options.imageRoot) }),
  };
  if (isFolder && source.imageRoot !== undefined) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`imageRoot\` applies to tables, but '${location}' is a folder.`,
      'Leave it out, or give the table (.csv, .jsonl).',
    );
  }
  const root = nameOfText(source.imageRoot ?? (isFolder ? absolute : path.dirname(absolute)));
  const exclude = options.out === undefined ? [] : [path.resolve(options.out)];
  const known = await readLayout(nameOfText(absolute), isFolder, options.layout ?? 'auto', { ...source, exclude });
  const found =
    known?.found ??
    (isFolder ? await readFolder(root, { exclude }) : await readTable(absolute, root, { ...options, ...source }));

  const { images, repeated } = found.images.build();
  if (options.checksum) await addChecksums(images);
  const warnings =
    repeated === 0
      ? found.warnings
      : [
          ...found.warnings,
          `${repeated} row${repeated === 1 ? ' repeats' : 's repeat'} an image and label; only the first of each is kept.`,
        ];
  return {
    path: absolute,
    root,
    images,
    labels: labelsOf(images),
    ignored: totalIgnored(found.ignored),
    ignoredBy: found.ignored,
    fingerprint: fingerprintOf(images),
    warnings,
    source,
    ...(known ? { layout: known.layout } : {}),
  };
}

/** Notes about opening it: its warnings, then one line about ignored entries. */
export function datasetNotes({ warnings, ignoredBy }: Pick<Dataset, 'warnings' | 'ignoredBy'>): string[] {
  const ignored = ignoredSentence(ignoredBy);
  return ignored === undefined ? warnings : [...warnings, ignored];
}

/** The same dataset with only these images. */
export function restricted(dataset: Dataset, paths: ReadonlySet<string>): Dataset {
  const images = dataset.images.filter((index) => paths.has(dataset.images.path(index)));
  return { ...dataset, images, labels: labelsOf(images), fingerprint: fingerprintOf(images) };
}

/** The same dataset with only the images of these labels. */
export function ofLabels(dataset: Dataset, labels: readonly string[]): Dataset {
  const wanted = new Set(labels);
  const images = dataset.images.filter((index) => wanted.has(dataset.images.label(index)));
  return { ...dataset, images, labels: labelsOf(images), fingerprint: fingerprintOf(images) };
}

/** Hashes every file. A file that cannot be read has no checksum; it is skipped or an error later. */
async function addChecksums(images: ImageList): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < images.length) {
      const index = next++;
      const sha256 = await contentOf(images.file(index));
      if (sha256 !== null) images.setSha256(index, sha256);
    }
  };
  await Promise.all(Array.from({ length: HASHED_TOGETHER }, work));
}

const labelsOf = (images: ImageList): string[] => [...images.countByLabel().keys()];

/** The dataset fingerprint of these images. */
export function fingerprintOf(images: ImageList): string {
  const hash = createHash('sha256');
  for (let i = 0; i < images.length; i += 1) {
    const sha256 = images.sha256(i);
    hash.update(
      `${JSON.stringify([images.path(i), images.bytes(i), images.label(i), ...(sha256 === undefined ? [] : [sha256])])}\n`,
    );
  }
  return hash.digest('hex');
}
