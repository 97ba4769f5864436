// CarDB as its project distributes it: train/NAME.jpg and train.json ({ "NAME.jpg": { "year": 1937, ... } }), test/ and test.json likewise. Years become
// decades ("1930"). The whole folder means train/; one of its folders (CARDB/test) is a dataset as well.
import path from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { parseJson } from '../../util/json.js';
import { Listing } from '../listing.js';
import { isImage } from '../files.js';
import { head } from '../ignored.js';
import { addListed, isFile, look, imageNames, readText, type Layout, type Listed } from './files.js';
import type { TextOptions } from '../text/index.js';

const HINT = 'CarDB has train/ with the images and train.json with their years: {"NAME.jpg": {"year": 1937}}.';
const SPLITS = ['train', 'val', 'test'] as const;

/** @returns the decade of a year, as a label: 1937 -> "1930" */
export function decadeOf(year: unknown): string | undefined {
  const number =
    typeof year === 'number' ? year : typeof year === 'string' && /^\s*\d{4}\s*$/.test(year) ? Number(year) : NaN;
  return Number.isInteger(number) && number >= 1000 && number <= 9999
    ? String(Math.floor(number / 10) * 10)
    : undefined;
}

/** @param below the folder of the images, relative to the dataset: '' or 'train' */
async function read(root: string, below: string, list: string, options: TextOptions): Promise<Listing> {
  const name = path.basename(list);
  let years: Record<string, { year?: unknown } | null> | null;
  try {
    years = parseJson(await readText(list, options)) as typeof years;
  } catch (cause) {
    if (cause instanceof DiffmineError) throw cause;
    throw new DiffmineError('DATASET_INVALID', `${name} is not JSON (${(cause as Error).message}).`, HINT, { cause });
  }
  if (typeof years !== 'object' || years === null || Array.isArray(years))
    throw new DiffmineError('DATASET_INVALID', `${name} is not an object of images.`, HINT);
  const { files } = await look(path.join(root, below));
  const images = imageNames(files);
  const listed: Listed[] = [];
  const unlisted: string[] = [];
  for (const image of images) {
    const entry = Object.hasOwn(years, image) ? (years[image] ?? {}) : undefined;
    if (entry === undefined) {
      unlisted.push(image);
      continue;
    }
    const decade = decadeOf(entry.year);
    if (decade === undefined)
      throw new DiffmineError(
        'DATASET_INVALID',
        `${name}: the year of '${image}' is ${JSON.stringify(entry.year ?? null)}.`,
        HINT,
      );
    listed.push({ path: path.posix.join(below, image), label: decade, extra: { year: String(entry.year).trim() } });
  }
  if (listed.length === 0)
    throw new DiffmineError('DATASET_INVALID', `No image of '${path.join(root, below)}' is in ${name}.`, HINT);
  const there = new Set(images);
  const absent = Object.keys(years).filter((image) => !there.has(image));
  const found = new Listing();
  await addListed(found, root, listed);
  found.ignore('unlisted', files.length - listed.length);
  if (unlisted.length > 0)
    found.warnings.push(
      `${unlisted.length} ${unlisted.length === 1 ? 'image is' : 'images are'} not in ${name}, such as ${unlisted[0]}: left out.`,
    );
  if (absent.length > 0)
    found.warnings.push(
      `${absent.length} of the ${Object.keys(years).length} images of ${name} are not there, such as ${absent[0]}.`,
    );
  return found;
}

/** Whether a file begins as CarDB's list does: {"NAME.jpg": {. Many datasets have a train.json; COCO's begins with "images" or "info". */
async function isYears(list: string): Promise<boolean> {
  const first = /^\s*\{\s*"((?:[^"\\]|\\.)*)"\s*:\s*\{/.exec(await head(list))?.[1];
  return first !== undefined && isImage(first);
}

export const cars: Layout = {
  async recognize(location, isFolder, options) {
    if (!isFolder) return undefined;
    const { wanted } = options;
    const { folders, files } = await look(location);
    for (const split of SPLITS) {
      // a label folder `train` beside some train.json is no CarDB: there its images lie in train/ itself
      const list = path.join(location, `${split}.json`);
      const images =
        folders.includes(split) && files.includes(`${split}.json`)
          ? imageNames((await look(path.join(location, split))).files).length
          : 0;
      if (images > 0 && (wanted || (await isYears(list))))
        return { read: async () => read(location, split, list, options) };
    }
    // a folder of it: images alone, their years in a file of its name beside it
    if (
      folders.length === 0 &&
      imageNames(files).length > 0 &&
      (wanted ? await isFile(`${location}.json`) : await isYears(`${location}.json`))
    ) {
      return { read: async () => read(location, '', `${location}.json`, options) };
    }
    if (!wanted) return undefined;
    const lone = SPLITS.find((split) => folders.includes(split));
    if (lone && (await look(path.join(location, lone))).folders.length === 0)
      return { missing: `${lone}.json`, hint: HINT };
    const list = SPLITS.find((split) => files.includes(`${split}.json`));
    if (list) return { missing: `${list}/`, hint: HINT };
    if (folders.length === 0 && imageNames(files).length > 0)
      return { missing: `${path.basename(location)}.json beside it`, hint: HINT };
    return undefined;
  },
};
