// Places365 as distributed: categories_places365.txt ("/a/airfield 0"), lists (places365_train_standard.txt: "/a/airfield/00000001.jpg 0";
// places365_val.txt: "Places365_val_00000001.jpg 165") and folders of images, large or shrunk to 256 px. The whole folder means the training list where
// its images are there, else the validation list; a list (PLACES/places365_val.txt) is a dataset as well. Labels are the categories, /a/apartment_building/outdoor
// being apartment_building_outdoor.
import path from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { Listing } from '../listing.js';
import type { TextOptions } from '../text/index.js';
import { absentWarning, addListed, isFile, readLines, type Layout } from './files.js';
import { hasSplits, readLabelFolders } from './splits.js';

const CATEGORIES = 'categories_places365.txt';
/** Where lists lie: beside the images, or in the folder their archive makes. */
const LISTS = ['', 'filelist_places365-standard', 'filelist_places365-challenge'];
/** Lists in the order they are tried, and the folders their images may be in, larger ones first. */
const PARTS: Record<string, readonly string[]> = {
  'places365_train_standard.txt': ['data_large_standard', 'data_large', 'data_256_standard', 'data_256', 'images', ''],
  'places365_train_challenge.txt': [
    'data_large_challenge',
    'data_large',
    'data_256_challenge',
    'data_256',
    'images',
    '',
  ],
  'places365_val.txt': ['val_large', 'val_256', 'images', ''],
};
const HINT = `Places365 has ${CATEGORIES}, a list such as places365_val.txt, and the images in data_large/, data_256/, val_large/ or val_256/.`;

/** '/a/apartment_building/outdoor' -> 'apartment_building_outdoor' */
export function categoryName(category: string): string {
  return category.split('/').slice(2).join('_');
}

async function entries(file: string, options: TextOptions): Promise<[string, string, string][]> {
  return (await readLines(file, options)).map(({ text, where }) => {
    const [, name, number] = /^(\S+)\s+(\d+)$/.exec(text) ?? [];
    if (name === undefined || number === undefined)
      throw new DiffmineError(
        'DATASET_INVALID',
        `${where}: ${JSON.stringify(text.slice(0, 80))} is not a name and number.`,
        HINT,
      );
    return [name, number, where];
  });
}

/** The first of `folders` that holds the first of these images. */
async function folderOf(
  root: string,
  images: readonly string[],
  folders: readonly string[],
): Promise<string | undefined> {
  for (const image of [images[0], images[Math.floor(images.length / 2)], images[images.length - 1]]) {
    for (const folder of folders)
      if (image !== undefined && (await isFile(path.join(root, folder, image)))) return folder;
  }
  return undefined;
}

interface Part {
  list: string;
  folder: string;
  rows: [string, string, string][];
}

async function open(root: string, file: string, options: TextOptions): Promise<Part | undefined> {
  const list = path.basename(file);
  const rows = await entries(file, options);
  const folder = await folderOf(
    root,
    rows.map(([name]) => name.replace(/^\//, '')),
    PARTS[list] ?? [''],
  );
  return folder === undefined ? undefined : { list, folder, rows };
}

async function read(
  root: string,
  categories: string,
  { list, folder, rows }: Part,
  options: TextOptions,
): Promise<Listing> {
  const names = new Map((await entries(categories, options)).map(([name, number]) => [number, categoryName(name)]));
  const listed = rows.map(([name, number, where]) => {
    const label = names.get(number);
    if (!label)
      throw new DiffmineError('DATASET_INVALID', `${where}: there is no category ${number} in ${CATEGORIES}.`, HINT);
    return { path: path.posix.join(folder, name.replace(/^\//, '')), label };
  });
  const found = new Listing();
  found.warnings.push(...absentWarning(await addListed(found, root, listed), listed.length, list));
  return found;
}

async function find(root: string, name: string): Promise<string | undefined> {
  for (const folder of LISTS) if (await isFile(path.join(root, folder, name))) return path.join(root, folder, name);
  return undefined;
}

export const places: Layout = {
  async recognize(location, isFolder, options) {
    const { wanted, exclude } = options;
    if (!isFolder && !Object.hasOwn(PARTS, path.basename(location))) return undefined;
    const root = isFolder ? location : path.dirname(location);
    const categories = await find(root, CATEGORIES);
    const lists = isFolder
      ? (await Promise.all(Object.keys(PARTS).map(async (name) => find(root, name)))).filter(
          (file) => file !== undefined,
        )
      : [location];
    if (categories === undefined) {
      if (lists.length > 0) return { missing: CATEGORIES, hint: HINT };
      if (wanted && isFolder && (await hasSplits(location)))
        return { read: async () => readLabelFolders(location, 'train', (category) => category, exclude) };
      return undefined;
    }
    for (const list of lists) {
      const part = await open(root, list, options);
      if (part) return { read: async () => read(root, categories, part, options) };
    }
    return {
      missing:
        lists.length === 0
          ? `a list (${Object.keys(PARTS).join(', ')})`
          : `the images of ${lists.map((list) => path.basename(list)).join(' or ')}`,
      hint: HINT,
    };
  },
};
