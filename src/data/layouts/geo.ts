// Street views with their countries: G^3 as its authors' scripts lay it out (geo-public.ts); metadata.csv (id, country, ...) and images/ID/45.jpg,
// 135.jpg, ... (or images/ID.jpg), where exclude.json lists images to leave out ("ID/45.jpg"), as the authors of the paper have it; or country folders,
// which are label folders, with or without train/ above them.
import path from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { parseJson } from '../../util/json.js';
import { Listing } from '../listing.js';
import type { TextOptions } from '../text/index.js';
import {
  absentWarning,
  addListed,
  headerOf,
  isFile,
  look,
  imageNames,
  readColumns,
  readText,
  type Layout,
  type Listed,
} from './files.js';
import { recognizePublic } from './geo-public.js';
import { hasSplits, readLabelFolders } from './splits.js';

const HINT =
  'G^3 has metadata.csv with the columns id and country, and images/ID/ANGLE.jpg. Folders of images named after countries do as well.';

async function read(root: string, options: TextOptions): Promise<Listing> {
  const rows = await readColumns(path.join(root, 'metadata.csv'), ['id', 'country'], options);
  const list = path.join(root, 'exclude.json');
  let left: Set<string>;
  try {
    left = new Set((await isFile(list)) ? (parseJson(await readText(list, options)) as string[]) : []);
  } catch (cause) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `exclude.json is not a list of images (${(cause as Error).message}).`,
      HINT,
      { cause },
    );
  }
  const places = await look(path.join(root, 'images'));
  const folders = new Set(places.folders);
  const files = new Map(imageNames(places.files).map((file) => [path.parse(file).name, file]));
  const listed: Listed[] = [];
  const absent: string[] = [];
  const found = new Listing();
  for (const { id, country, where } of rows) {
    if (id === '' || country === '')
      throw new DiffmineError('DATASET_INVALID', `${where}: the id or the country is missing.`, HINT);
    const own = folders.has(id)
      ? imageNames((await look(path.join(root, 'images', id))).files).map((file) => `${id}/${file}`)
      : [files.get(id) ?? files.get(path.parse(id).name)].filter((one) => one !== undefined);
    if (own.length === 0) absent.push(`images/${id}`);
    for (const image of own) {
      if (left.has(image)) found.ignore('unlisted');
      else listed.push({ path: `images/${image}`, label: country });
    }
  }
  if (listed.length === 0)
    throw new DiffmineError('DATASET_INVALID', `No image of metadata.csv is in '${path.join(root, 'images')}'.`, HINT);
  await addListed(found, root, listed);
  found.warnings.push(...absentWarning(absent, rows.length, 'metadata.csv'));
  return found;
}

/** Whether rows of metadata.csv name what is in images/: other datasets have a metadata.csv with an id and a country too. */
async function namesImages(root: string, options: TextOptions): Promise<boolean> {
  const { folders, files } = await look(path.join(root, 'images'));
  const names = new Set([...folders, ...imageNames(files).map((file) => path.parse(file).name)]);
  const rows = await readColumns(path.join(root, 'metadata.csv'), ['id'], options).catch(() => undefined);
  // one that cannot be decoded is an error when it is read
  return rows === undefined || rows.some(({ id }) => names.has(id) || names.has(path.parse(id).name));
}

export const geo: Layout = {
  async recognize(location, isFolder, options) {
    if (!isFolder) return undefined;
    const published = await recognizePublic(location, options);
    if (published) return published;
    const { folders } = await look(location);
    const header = await headerOf(path.join(location, 'metadata.csv'));
    const { wanted, exclude } = options;
    const table = header.includes('id') && header.includes('country');
    if (table && folders.includes('images') && (wanted || (await namesImages(location, options))))
      return { read: async () => read(location, options) };
    if (!wanted) return undefined;
    if (table) return { missing: 'images/', hint: HINT };
    if (
      folders.length === 1 &&
      folders[0] === 'images' &&
      (await look(path.join(location, 'images'))).files.length === 0
    ) {
      return { missing: header.length > 0 ? "metadata.csv's columns id and country" : 'metadata.csv', hint: HINT };
    }
    if (await hasSplits(location))
      return { read: async () => readLabelFolders(location, 'train', (country) => country, exclude) };
    return undefined;
  },
};
