// Datasets in containers: WebDataset's tar shards, and Parquet files with image bytes as Hugging Face datasets have them. Only headers, labels and other
// small columns are read; images are named by their place (bytes/names.ts) and read when they are needed.
import { count } from '../web/html.js';
import { isUtf8 } from 'node:buffer';
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { parseJson } from '../util/json.js';
import { chunks } from '../util/group.js';
import { imageLeaf } from './bytes/member.js';
import { parquetName, tarName } from './bytes/names.js';
import { ParquetFile, type Leaf } from './bytes/parquet.js';
import type { ByteSource } from './bytes/byte-source.js';
import { openSource } from './bytes/source.js';
import { Listings, type ContainerListing, type ListedMember } from './bytes/listings.js';
import { tarMembers, type TarMember } from './bytes/tar.js';
import { classNamer } from './class-names.js';
import { isImage } from './files.js';
import { labelRule, type LabelRule } from './label-source.js';
import { Listing } from './listing.js';
import { imageFile } from './names.js';
import type { DatasetOptions, DatasetSource } from './options.js';
import { cellText, labelProblem } from './table-labels.js';

/** Of a sample in a tar archive: files that are texts, by their endings in WebDataset. */
const TEXTS = new Set([
  'cls',
  'cls2',
  'id',
  'index',
  'inx',
  'txt',
  'text',
  'transcript',
  'caption',
  'label',
  'json',
  'jsn',
]);
/** Where labels are unless an option says it. */
const LABEL_COLUMNS: readonly string[] = ['label', 'cls', 'labels', 'class'];
/** Longer texts are no labels, and are not carried. */
const MOST_TEXT = 2 ** 16;
const MOST_CARRIED = 1000;
/** Containers that are read at once. */
const TOGETHER = 8;

/** What an image is listed with. */
interface Candidate {
  /** the container, relative to the root */
  path: string;
  bytes: number;
  /** texts beside it, or the other columns of its row */
  fields: Record<string, string>;
}

/** Whether a file is a container by its name. */
export const isContainer = (name: string): boolean => /\.(tar|parquet)$/i.test(name);

/**
 * Lists the images of containers, in their order.
 *
 * @param files names (names.ts), in order
 * @param root that names of images start at
 * @throws DATASET_INVALID for a container that cannot be read, an image without a label, or a label that is not there
 */
export async function readContainers(
  files: readonly string[],
  root: string,
  options: DatasetOptions,
): Promise<Listing> {
  const found = new Listing();
  const listings = new Listings(options.listings);
  const labels = new Labels(found, options);
  const read = async (file: string): Promise<{ images: Candidate[]; mtime: number }> => {
    const name = file.startsWith(`${root}/`) ? file.slice(root.length + 1) : file;
    const source = await openSource(file);
    try {
      const images = /\.parquet$/i.test(file)
        ? await parquetImages(source, name, options, labels, listings)
        : await tarImages(source, name, found, listings);
      return { images, mtime: source.mtime ?? 0 };
    } finally {
      await source.close();
    }
  };
  // several are read at once; the first one alone, as it says in which column labels are
  const groups = [files.slice(0, 1), ...chunks(files.slice(1), TOGETHER)];
  for (const group of groups)
    for (const { images, mtime } of await allOf(group.map(read)))
      for (const { path: image, bytes, fields } of images)
        labels.add(image, fields, { file: imageFile(root, image), bytes, mtime });
  labels.check(files);
  found.listings.push(...listings.keys);
  return found;
}

/** As Promise.all, but waits for all of them before the first failure in their order is thrown. */
async function allOf<T>(work: readonly Promise<T>[]): Promise<T[]> {
  const outcomes = await Promise.allSettled(work);
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}

/** Gives images their labels. */
class Labels {
  readonly rule: LabelRule | undefined;
  /** the column that was found without being named */
  private column: string | undefined;
  private unmatched = 0;
  private example = '';

  constructor(
    private readonly found: Listing,
    options: DatasetSource,
  ) {
    this.rule = labelRule(options);
  }

  /** The column that labels are in, of these; undefined: they are in paths. */
  columnAmong(columns: readonly string[], where: string): string | undefined {
    if (this.rule) return 'column' in this.rule ? this.rule.column : undefined;
    this.column ??= LABEL_COLUMNS.find((name) => columns.includes(name));
    if (this.column !== undefined) return this.column;
    throw new DiffmineError(
      'DATASET_INVALID',
      `${where} has no label: there ${columns.length === 0 ? 'is nothing beside the image' : `is ${columns.map((one) => `'${one}'`).join(', ')}`}.`,
      'Name what has it with `labelFrom`: a column or ending, folder, or a regular expression on the path with one group.',
    );
  }

  add(image: string, fields: Record<string, string>, file: { file: string; bytes: number; mtime: number }): void {
    const column = this.columnAmong(Object.keys(fields), image);
    const given = column === undefined ? this.byPath(image) : fields[column];
    if (column !== undefined && given === undefined)
      throw new DiffmineError(
        'DATASET_INVALID',
        `${image} has no '${column}'; it has ${
          Object.keys(fields)
            .map((one) => `'${one}'`)
            .join(', ') || 'nothing beside the image'
        }.`,
        'Name what every image has with `labelFrom`.',
      );
    const label = given?.trim() ?? '';
    if (label === '') {
      this.unmatched += 1;
      this.example ||= image;
      return;
    }
    const problem = labelProblem(label);
    if (problem !== undefined)
      throw new DiffmineError('DATASET_INVALID', `The label ${JSON.stringify(label)} of ${image} has ${problem}.`);
    const extra = Object.fromEntries(
      Object.entries(fields).filter(([name, value]) => name !== column && value.length <= MOST_CARRIED),
    );
    this.found.add({ path: image, label, ...file, ...(Object.keys(extra).length > 0 ? { extra } : {}) });
  }

  private byPath(image: string): string | undefined {
    return this.rule && 'path' in this.rule ? this.rule.path(image) : undefined;
  }

  check(files: readonly string[]): void {
    const from =
      this.rule && 'path' in this.rule
        ? this.rule.shown
        : `'${this.column ?? (this.rule as { column?: string } | undefined)?.column ?? ''}'`;
    if (this.found.count === 0)
      throw new DiffmineError(
        'DATASET_INVALID',
        this.unmatched > 0
          ? `None of ${count(this.unmatched, 'image')} has a label by ${from}, such as ${this.example}.`
          : `There is no image in ${files.length === 1 ? `'${files[0]}'` : `the ${files.length} files`}.`,
        this.unmatched > 0 ? 'Name what has the label with `labelFrom`.' : undefined,
      );
    if (this.unmatched > 0)
      this.found.warnings.push(
        `${this.unmatched} ${this.unmatched === 1 ? 'image has' : 'images have'} no label by ${from} and ${this.unmatched === 1 ? 'is' : 'are'} left out, such as ${this.example}.`,
      );
  }
}

/** Images of a tar archive. Files that differ only after the first dot of their names are one sample: the others say what is known of its images. */
async function tarListing(source: ByteSource): Promise<ContainerListing> {
  const listing: ContainerListing = { images: [], notImages: 0 };
  let sample: string | undefined;
  let images: TarMember[] = [];
  let fields: Record<string, string> = {};
  const flush = (): void => {
    for (const image of images) listing.images.push({ at: tarName('', image, source.size), bytes: image.size, fields });
    [images, fields] = [[], {}];
  };
  for await (const member of tarMembers(source)) {
    const base = path.posix.basename(member.name);
    if (base.startsWith('.')) continue;
    const dot = base.indexOf('.');
    const key = dot < 0 ? member.name : member.name.slice(0, member.name.length - base.length + dot);
    const ending = dot < 0 ? '' : base.slice(dot + 1).toLowerCase();
    if (key !== sample) flush();
    sample = key;
    if (isImage(base)) images.push(member);
    else if (TEXTS.has(ending) && member.size <= MOST_TEXT) {
      const text = textOf(await source.read(member.begin, member.begin + member.size), source, member);
      if (ending === 'json' || ending === 'jsn')
        Object.assign(fields, jsonFields(text, `'${source.name}', ${member.name}`));
      else fields[ending] = text.trim();
    } else listing.notImages += 1;
  }
  flush();
  return listing;
}

async function tarImages(
  source: ByteSource,
  container: string,
  found: Listing,
  listings: Listings,
): Promise<Candidate[]> {
  const { images, notImages } = await listings.of(source, 'tar', async () => tarListing(source));
  found.ignore('notImages', notImages);
  return images.map((image) => candidate(container, image));
}

/** @param label column that an image without a value has an empty label by */
function candidate(container: string, { at, bytes, fields }: ListedMember, label?: string): Candidate {
  const texts = Object.entries(fields).flatMap(([name, text]): [string, string][] =>
    text !== null ? [[name, text]] : name === label ? [[name, '']] : [],
  );
  return { path: `${container}${at}`, bytes, fields: Object.fromEntries(texts) };
}

/** Strict UTF-8: what took the place of other bytes could make one label of two. */
function textOf(bytes: Buffer, source: ByteSource, member: TarMember): string {
  if (isUtf8(bytes)) return bytes.toString('utf8').replace(/^\ufeff/, '');
  throw new DiffmineError(
    'DATASET_INVALID',
    `'${source.name}', ${member.name}: not UTF-8.`,
    'Save it as UTF-8, and make the archive again.',
  );
}

/** An integer beyond 2^53 as it is written, because neighboring ones become one number; undefined for all else. */
function digitsOf(name: string, value: unknown, text: string): string | undefined {
  if (!Number.isInteger(value) || Number.isSafeInteger(value)) return undefined;
  const written = [...text.matchAll(/"((?:[^"\\]|\\.)*)"\s*:\s*(-?\d+)(?![\d.eE])/g)];
  return written.find(([, key, digits]) => JSON.parse(`"${key}"`) === name && Number(digits) === value)?.[2];
}

/** Texts, numbers and lists of them in a JSON object, by name. */
function jsonFields(text: string, where: string): Record<string, string> {
  let root: unknown;
  try {
    root = parseJson(text);
  } catch (cause) {
    throw new DiffmineError('DATASET_INVALID', `${where} is not JSON (${(cause as Error).message}).`, undefined, {
      cause,
    });
  }
  if (typeof root !== 'object' || root === null || Array.isArray(root)) return {};
  return Object.fromEntries(
    Object.entries(root).flatMap(([name, value]: [string, unknown]): [string, string][] => {
      const one = digitsOf(name, value, text) ?? cellText(value);
      return one === undefined ? [] : [[name, one]];
    }),
  );
}

async function parquetImages(
  source: ByteSource,
  container: string,
  { imageColumn }: DatasetSource,
  labels: Labels,
  listings: Listings,
): Promise<Candidate[]> {
  const { rule } = labels;
  // lists are read as labels alone: others may be long, such as embeddings
  const lists = rule && 'column' in rule ? [rule.column] : LABEL_COLUMNS;
  const how = JSON.stringify(['parquet', imageColumn ?? null, ...lists]);
  const { images, columns = [] } = await listings.of(source, how, async () =>
    parquetListing(source, imageColumn, lists),
  );
  const label = labels.columnAmong(columns, `'${source.name}'`);
  return images.map((image) => candidate(container, image, label));
}

/** Images of a table, with the values of its plain columns. */
async function parquetListing(
  source: ByteSource,
  imageColumn: string | undefined,
  lists: readonly string[],
): Promise<ContainerListing> {
  const file = await ParquetFile.open(source);
  const image = imageLeaf(file, imageColumn);
  if (!image)
    throw new DiffmineError(
      'DATASET_INVALID',
      `'${source.name}' has no ${imageColumn === undefined ? 'column of image bytes' : `image bytes in a column '${imageColumn}'`}; there is ${file.leaves.map(({ path: name }) => `'${name}'`).join(', ')}.`,
      'Images are a column of bytes, or a struct of bytes and path as Hugging Face datasets write it; `imageColumn` names it.',
    );
  const named = classNamer(file);
  const own = image.path.replace(/\.bytes$/, '');
  const other = imageLeaf(file)?.path === image.path ? undefined : own;
  const plain = file.leaves.filter(
    ({ isBinary, isList, path: name }) => !isBinary && !name.startsWith(`${own}.`) && (!isList || lists.includes(name)),
  );
  const place = file.leaves.find((leaf) => leaf.path === `${own}.path`);
  const listing: ContainerListing = { images: [], columns: plain.map((leaf) => leaf.path), notImages: 0 };
  for (const group of file.groups) {
    const paths = place ? await file.values(group, place) : [];
    const values: [Leaf, ArrayLike<unknown>][] = [];
    for (const leaf of plain) values.push([leaf, await file.values(group, leaf)]);
    const bytes = file.bytesPerRow(group, image);
    for (let row = 0; row < group.rows; row++) {
      const given = paths[row];
      const name = typeof given === 'string' && given !== '' ? given.replace(/^\/+/, '') : 'image';
      const fields: Record<string, string | null> = {};
      for (const [leaf, column] of values) fields[leaf.path] = cellText(named(leaf.path, column[row])) ?? null;
      listing.images.push({ at: parquetName('', group.row + row, file.rows, name, other), bytes, fields });
    }
  }
  return listing;
}
