// What a folder holds instead of label folders: containers, or Hugging Face's imagefolder with a table of its images.
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { imageLeaf } from './bytes/member.js';
import { ParquetFile } from './bytes/parquet.js';
import { openSource } from './bytes/source.js';
import { isContainer } from './containers.js';
import { entriesOf, factsOf, factsOfAll } from './files.js';
import { head, litter } from './ignored.js';
import { imageFile, nameOfText } from './names.js';
import type { DatasetOptions } from './options.js';
import { compareCodePoints } from './order.js';
import { isSplitName } from './splits.js';
import { CsvParser, delimiterOf } from './text/index.js';

const METADATA = ['metadata.csv', 'metadata.tsv', 'metadata.jsonl', 'metadata.parquet'];
const FILE_NAME = 'file_name';

/** Whether a Parquet file has the bytes of images, and not only their paths. */
export async function hasImageBytes(file: string, column: string | undefined): Promise<boolean> {
  const source = await openSource(file);
  try {
    return imageLeaf(await ParquetFile.open(source), column) !== undefined;
  } finally {
    await source.close();
  }
}

/** What lies in a folder, litter left out. */
async function namesIn(folder: string): Promise<{ files: string[]; folders: string[] }> {
  const entries = (await entriesOf(folder).catch(() => [])).filter(({ name }) => litter(name) === undefined);
  const facts = await factsOfAll(entries.map(({ name }) => `${folder}/${name}`));
  const names = (isFolder: boolean): string[] =>
    entries.flatMap(({ name }, i) => ((facts[i] === 'folder') === isFolder ? [name] : [])).sort(compareCodePoints);
  return { files: names(false), folders: names(true) };
}

/**
 * The containers of a folder, in it or in its data/, where there are no other folders, which may be labels. Of several splits
 * (train-00000-of-00002.parquet), those of train.
 */
export async function containersIn(
  root: string,
  column: string | undefined,
): Promise<{ files: string[]; warnings: string[] }> {
  for (const folder of [root, `${root}/data`]) {
    const held = await namesIn(folder);
    if (held.folders.some((name) => folder !== root || name !== 'data')) break;
    const files = held.files.filter((name) => isContainer(name) && !METADATA.includes(name));
    const [first] = files;
    if (first === undefined) continue;
    // tables beside images have no bytes
    if (/\.parquet$/i.test(first) && !(await hasImageBytes(`${folder}/${first}`, column))) continue;
    const splitOf = (name: string): string | undefined =>
      /^(train|validation|valid|val|dev|test)(?=[-_.0-9])/i.exec(name)?.[1]?.toLowerCase();
    const splits = [...new Set(files.map(splitOf))];
    const isTrain = splits.includes('train') && splits.length > 1;
    const kept = isTrain ? files.filter((name) => splitOf(name) === 'train') : files;
    return {
      files: kept.map((name) => `${folder}/${name}`),
      warnings: isTrain
        ? [
            `Only the ${kept.length} ${kept.length === 1 ? 'file' : 'files'} of the split train are read; for another split, give its files: '${folder}/${splits.find((one) => one !== 'train' && one !== undefined) ?? 'test'}-*'.`,
          ]
        : [],
    };
  }
  return { files: [], warnings: [] };
}

/** The table of an imagefolder: metadata.csv, .tsv, .jsonl or .parquet with a column file_name. */
export async function imageFolderTable(
  root: string,
): Promise<{ file: string; options: (asked: DatasetOptions) => Partial<DatasetOptions> } | undefined> {
  for (const name of METADATA) {
    const file = path.join(root, name);
    const columns = await columnsOf(file);
    if (!columns.includes(FILE_NAME)) continue;
    // a table of other files does not make it an imagefolder
    const first = await firstName(file);
    if (first !== undefined && (await factsOf(imageFile(root, first))) === 'absent') continue;
    return {
      file,
      options: ({ imageColumn, labelColumn, labelFrom }) => ({
        imageColumn: imageColumn ?? FILE_NAME,
        // without a column, the folders are the labels
        ...(labelColumn === undefined && labelFrom === undefined && !columns.includes('label')
          ? { labelFrom: 'folder' }
          : {}),
      }),
    };
  }
  return undefined;
}

/** @throws DATASET_INVALID if the folders are splits (train/, test/) with tables of their own, whose names would become the labels */
export async function refuseSplitTables(root: string): Promise<void> {
  const { folders } = await namesIn(root);
  if (folders.length === 0 || !folders.every(isSplitName)) return;
  const tables = await Promise.all(folders.map((name) => imageFolderTable(`${root}/${name}`)));
  const splits = folders.filter((_, i) => tables[i] !== undefined);
  const main = splits.find((name) => /train/i.test(name)) ?? splits[0];
  if (main === undefined) return;
  const table = path.basename(tables[folders.indexOf(main)]?.file ?? '');
  throw new DiffmineError(
    'DATASET_INVALID',
    `In '${root}', ${folders.map((name) => `${name}/`).join(', ')} ${folders.length === 1 ? 'is a split' : 'are splits'} of one dataset: the labels are in ${splits.map((name) => `${name}/${table}`).join(', ')}.`,
    `Give one split: '${root}/${main}'.`,
  );
}

/** The first image that a table names; undefined where that is not looked up. */
async function firstName(file: string): Promise<string | undefined> {
  if (file.endsWith('.parquet')) return undefined;
  const text = await head(file, 2 ** 16);
  if (file.endsWith('.jsonl'))
    return (JSON.parse(text.split(/\r\n|\n|\r/, 1)[0] ?? '') as { [FILE_NAME]?: string })[FILE_NAME];
  const records = new CsvParser(file, delimiterOf(file, text)).push(text);
  const [header, row] = records;
  const name = row?.fields[header?.fields.indexOf(FILE_NAME) ?? 0];
  return name === undefined ? undefined : nameOfText(Buffer.from(name, 'latin1').toString('utf8'));
}

/** The columns of a table; empty if there is no such file, or it is none. */
async function columnsOf(file: string): Promise<string[]> {
  if (file.endsWith('.parquet')) {
    const source = await openSource(file).catch(() => undefined);
    if (!source) return [];
    try {
      return (await ParquetFile.open(source)).leaves.map((leaf) => leaf.path);
    } catch {
      return [];
    } finally {
      await source.close();
    }
  }
  const [first = ''] = (await head(file, 2 ** 16)).split(/\r\n|\n|\r/, 1);
  try {
    if (/\.[ct]sv$/.test(file))
      return new CsvParser(file, delimiterOf(file, first)).push(`${first}\n`)[0]?.fields ?? [];
    return Object.keys(JSON.parse(first) as object);
  } catch {
    return [];
  }
}
