// Opens a dataset (label folders, a table, containers, a pattern, or a known layout) as one sorted list of images with labels. Labels are opaque strings.
import { count } from '../web/html.js';
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { isBucket } from '../util/place.js';
import { DiffmineError } from '../util/errors.js';
import { readBucket } from './bucket-dataset.js';
import { contentOf } from './checksums.js';
import { containersIn, hasImageBytes, imageFolderTable, refuseSplitTables } from './folder-contents.js';
import { isContainer, readContainers } from './containers.js';
import { errorCode, isImage, openingError } from './files.js';
import { readFolder } from './label-folders.js';
import { ignoredSentence, totalIgnored, type Ignored } from './ignored.js';
import type { ImageList } from './images.js';
import { changesLabels, labelRule, relabelled } from './label-source.js';
import { lookAlikes } from './labels.js';
import { readLayout, type LayoutName } from './layouts/index.js';
import type { Listing } from './listing.js';
import { imagesBelow, readLoose } from './loose.js';
import { nameOfText } from './names.js';
import { sourceOf, type DatasetOptions, type DatasetSource } from './options.js';
import { filesOf, isPattern, rootOf } from './patterns.js';
import { readTable } from './table.js';
import { encodingName } from './text/index.js';

/** Files read at once for their checksums. */
const HASHED_TOGETHER = 8;

export interface Dataset {
  /** absolute, or s3://... */
  path: string;
  /** folder that relative image paths start at: the dataset's, the table's, or imageRoot; absolute or in a bucket, as a name (names.ts) */
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
  /** of its containers (bytes/listings.ts): keys of their listings in the cache */
  listings: readonly string[];
}

/**
 * Opens a folder of label folders, a table (.csv, .tsv, .jsonl, .parquet), WebDataset's .tar shards, Parquet files with image bytes, the files of a pattern, or one of
 * the paper's datasets in its own layout (docs/guides/datasets), and lists its images without decoding them.
 *
 * @throws DATASET_INVALID if there is no such dataset, it has no labeled images, or a table's row cannot be used (the line is named);
 * INVALID_ARGUMENT for an unknown encoding
 */
export async function openDataset(location: string, options: DatasetOptions = {}): Promise<Dataset> {
  if (options.encoding !== undefined) encodingName(options.encoding);
  const { imageRoot } = options;
  const source: DatasetSource = {
    ...sourceOf(options),
    ...(imageRoot === undefined ? {} : { imageRoot: isBucket(imageRoot) ? imageRoot : path.resolve(imageRoot) }),
    ...(options.map === undefined ? {} : { map: path.resolve(options.map) }),
  };
  const { found, root, layout } = isBucket(location)
    ? await readBucket(location, { ...options, ...source })
    : await readLocal(location, source, options);

  const { images: listed, repeated } = found.images.build();
  const { images, notes } = changesLabels(source) ? await relabelled(listed, source) : { images: listed, notes: [] };
  if (options.checksum) await addChecksums(images);
  const warnings = [
    ...found.warnings,
    ...(repeated === 0
      ? []
      : [
          `${repeated} row${repeated === 1 ? ' repeats' : 's repeat'} an image and label; only the first of each is kept.`,
        ]),
    ...notes,
    ...lookAlikes(labelsOf(images)),
  ];
  return {
    path: isBucket(location) ? location : path.resolve(location),
    root,
    images,
    labels: labelsOf(images),
    ignored: totalIgnored(found.ignored),
    ignoredBy: found.ignored,
    fingerprint: fingerprintOf(images),
    warnings,
    source,
    listings: found.listings,
    ...(layout ? { layout } : {}),
  };
}

/** A dataset of this machine's file system. */
async function readLocal(
  location: string,
  source: DatasetSource,
  options: DatasetOptions,
): Promise<{ found: Listing; root: string; layout?: LayoutName }> {
  const place = await placeOf(location);
  if (place.kind !== 'file' && source.imageRoot !== undefined) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`imageRoot\` applies to tables, but '${location}' is a ${place.kind}.`,
      'Leave it out, or give the table (.csv, .tsv, .jsonl).',
    );
  }
  const root = nameOfText(source.imageRoot ?? rootOf(location, place.kind));
  return { root, ...(await read(place, root, { ...options, ...source })) };
}

type Place =
  ({ kind: 'folder' | 'file' } & { location: string }) | { kind: 'pattern'; files: string[]; location: string };

/** @throws DATASET_INVALID if there is nothing */
async function placeOf(location: string): Promise<Place> {
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
  if (status) return { kind: status.isDirectory() ? 'folder' : 'file', location };
  if (await isPattern(location)) return { kind: 'pattern', files: await filesOf(location), location };
  throw new DiffmineError(
    'DATASET_INVALID',
    `There is no dataset '${location}'.`,
    'Give a folder with one folder per label, a .csv, .tsv, .jsonl or .parquet table with the columns image and label, or .tar shards.',
  );
}

/** Reads it as what it is. */
async function read(
  place: Place,
  root: string,
  options: DatasetOptions,
): Promise<{ found: Listing; layout?: LayoutName }> {
  const { location } = place;
  const absolute = path.resolve(location);
  const rule = labelRule(options);
  if (place.kind === 'pattern') return { found: await readPattern(place.files, root, location, options) };
  const exclude = options.out === undefined ? [] : [path.resolve(options.out)];
  const isFolder = place.kind === 'folder';
  const known = await readLayout(nameOfText(absolute), isFolder, options.layout ?? 'auto', { ...options, exclude });
  if (known) return known;
  if (!isFolder) {
    const name = nameOfText(absolute);
    const isBytes =
      isContainer(name) && (!/\.parquet$/i.test(name) || (await hasImageBytes(name, options.imageColumn)));
    return { found: isBytes ? await readContainers([name], root, options) : await readTable(absolute, root, options) };
  }
  const table = await imageFolderTable(root);
  if (table) return { found: await readTable(table.file, root, { ...options, ...table.options(options) }) };
  const { files, warnings } = await containersIn(root, options.imageColumn);
  if (files.length > 0) {
    const found = await readContainers(files, root, options);
    found.warnings.unshift(...warnings);
    return { found };
  }
  if (!rule || 'column' in rule) await refuseSplitTables(root);
  if (rule && 'column' in rule)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `'${location}' is a folder of images, which have no column '${rule.column}'.`,
      'Take labels from the folder (the default), or from the path: `labelFrom` with a regular expression that has one group.',
    );
  if (rule && options.labelFrom !== 'folder')
    return { found: await readLoose(root, await imagesBelow(root, exclude), rule) };
  return { found: await readFolder(root, { exclude }) };
}

async function readPattern(
  files: readonly string[],
  root: string,
  location: string,
  options: DatasetOptions,
): Promise<Listing> {
  const containers = files.filter(isContainer);
  if (containers.length === files.length) return readContainers(files, root, options);
  const images = files.filter(isImage);
  const rule = labelRule({ labelFrom: 'folder', ...options });
  if (containers.length > 0 || images.length === 0 || !rule || 'column' in rule)
    throw new DiffmineError(
      'DATASET_INVALID',
      `'${location}' matches ${count(files.length, 'file')} that are not all images, or all .tar or .parquet files, such as '${files.find((file) => !isImage(file)) ?? files[0]}'.`,
      'Make the pattern narrower. Labels of images come from their folder or a regular expression on their path.',
    );
  const found = await readLoose(
    root,
    images.map((file) => file.slice(root.length + 1)),
    rule,
  );
  found.ignore('notImages', files.length - images.length);
  return found;
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
