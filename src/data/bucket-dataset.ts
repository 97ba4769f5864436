// A dataset in a bucket: a prefix of label folders, WebDataset tar shards or Parquet files with image bytes, a table, or a pattern of these.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { forgetListed, listRemote, readRemote, remoteFacts } from './bytes/remote.js';
import { isContainer, readContainers } from './containers.js';
import { isImage } from './files.js';
import { hasImageBytes } from './folder-contents.js';
import { litter } from './ignored.js';
import { labelRule } from './label-source.js';
import type { Listing } from './listing.js';
import { readLoose } from './loose.js';
import { nameOfText } from './names.js';
import type { DatasetOptions } from './options.js';
import { expandBraces, regexOf } from './patterns.js';
import { readTable } from './table.js';

const isTable = (name: string): boolean => /\.(csv|tsv|jsonl|ndjson|parquet)$/i.test(name);
const folderOf = (name: string): string => name.replace(/\/[^/]*$/, '');

/** What names of images of a dataset in a bucket start at. @param location of the dataset, or of its images */
export function bucketRoot(location: string): string {
  const place = nameOfText(location.replace(/\/+$/, ''));
  const sign = place.search(/[*?{]/);
  if (sign >= 0) return folderOf(place.slice(0, sign + 1));
  return isContainer(place) || isTable(place) ? folderOf(place) : place;
}

/**
 * Lists a dataset in a bucket.
 *
 * @param location s3://BUCKET/...
 * @returns what was found, and what names of images start at
 * @throws DATASET_INVALID if there is none; IO if the store does not answer
 */
export async function readBucket(
  location: string,
  options: DatasetOptions,
): Promise<{ found: Listing; root: string; layout?: undefined }> {
  const place = nameOfText(location.replace(/\/+$/, ''));
  try {
    if (/[*?{]/.test(place)) return await readPattern(place, location, options);
    if (isContainer(place) && (!/\.parquet$/i.test(place) || (await hasImageBytes(place, options.imageColumn))))
      return { found: await readContainers([place], folderOf(place), options), root: folderOf(place) };
    if (isTable(place) && (await remoteFacts(place))) return await readRemoteTable(place, options);
    return { found: await readPrefix(place, location, options), root: place };
  } finally {
    forgetListed();
  }
}

async function readPrefix(root: string, location: string, options: DatasetOptions): Promise<Listing> {
  const names = (await listRemote(root)).map(({ name }) => name);
  const kept = names.filter(
    (name) =>
      !name
        .slice(root.length + 1)
        .split('/')
        .some(litter),
  );
  const containers = kept.filter(isContainer);
  const images = kept.filter(isImage);
  if (containers.length > 0 && images.length === 0) return readContainers(containers, root, options);
  const rule = labelRule({ labelFrom: 'folder', ...options });
  if (images.length === 0 || !rule || 'column' in rule)
    throw new DiffmineError(
      'DATASET_INVALID',
      names.length === 0 ? `There is nothing at '${location}'.` : `There are no images at '${location}'.`,
      'Give a prefix with one folder per label, a .csv, .tsv, .jsonl or .parquet table, or .tar shards.',
    );
  const below = images.map((name) => name.slice(root.length + 1));
  const found = await readLoose(
    root,
    options.labelFrom === undefined ? below.filter((name) => name.includes('/')) : below,
    rule,
  );
  found.ignore('notImages', kept.length - images.length);
  found.ignore('hidden', names.length - kept.length);
  return found;
}

async function readPattern(
  place: string,
  location: string,
  options: DatasetOptions,
): Promise<{ found: Listing; root: string }> {
  const root = bucketRoot(place);
  const there = (await listRemote(root)).map(({ name }) => name);
  const known = new Set(there);
  const files: string[] = [];
  for (const one of expandBraces(place)) {
    if (/[*?]/.test(one)) {
      const is = regexOf(one);
      files.push(...there.filter((name) => is.test(name)));
    } else if (known.has(one)) files.push(one);
    else
      throw new DiffmineError(
        'DATASET_INVALID',
        `'${one}' of '${location}' is missing.`,
        'Give the numbers that are there, or * for all files.',
      );
  }
  const images = files.filter(isImage);
  const rule = labelRule({ labelFrom: 'folder', ...options });
  if (files.length > 0 && files.every(isContainer)) return { found: await readContainers(files, root, options), root };
  if (images.length === 0 || !rule || 'column' in rule)
    throw new DiffmineError('DATASET_INVALID', `'${location}' matches no images, and no .tar or .parquet files.`);
  return {
    found: await readLoose(
      root,
      images.map((name) => name.slice(root.length + 1)),
      rule,
    ),
    root,
  };
}

/** A table whose rows name objects beside it, or addresses. */
async function readRemoteTable(place: string, options: DatasetOptions): Promise<{ found: Listing; root: string }> {
  const root = options.imageRoot ?? folderOf(place);
  const folder = await mkdtemp(path.join(tmpdir(), 'diffmine-table-'));
  try {
    const copy = path.join(folder, path.basename(place));
    await writeFile(copy, await readRemote(place));
    await listRemote(root); // one list instead of a question for each row
    return { found: await readTable(copy, root, options), root };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
