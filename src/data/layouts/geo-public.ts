// G^3 as its authors' scripts lay it out: train/train.csv with a column IMG_ID (PANORAMA_0.png to PANORAMA_3.png, four views), train/images/, and
// train/label_mapping/countries_names.json, which has the country of each image. val/ and test/ are like train/; the whole folder means train/.
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
  readColumns,
  readText,
  type Incomplete,
  type Listed,
  type Reading,
} from './files.js';

const HINT =
  'The scripts of github.com/g-luo/geolocation_via_guidebook_grounding write images/ (panocutter.py) and label_mapping/countries_names.json (image_to_country.py) beside train.csv.';
const COUNTRIES = path.join('label_mapping', 'countries_names.json');

/** @returns undefined where no table has a column IMG_ID */
export async function recognizePublic(
  location: string,
  options: TextOptions,
): Promise<Reading | Incomplete | undefined> {
  for (const [below, split] of [
    ['', 'train'],
    ['', 'val'],
    ['', 'test'],
    ['train', 'train'],
  ] as const) {
    const folder = path.join(location, below);
    if (!(await headerOf(path.join(folder, `${split}.csv`))).includes('IMG_ID')) continue;
    if (!(await look(folder)).folders.includes('images'))
      return { missing: path.posix.join(below, 'images/'), hint: HINT };
    if (!(await isFile(path.join(folder, COUNTRIES))))
      return { missing: path.posix.join(below, COUNTRIES), hint: HINT };
    return { read: async () => read(location, below, `${split}.csv`, options) };
  }
  return undefined;
}

async function read(root: string, below: string, table: string, options: TextOptions): Promise<Listing> {
  const rows = await readColumns(path.join(root, below, table), ['IMG_ID'], options);
  const countryOf = await readCountries(path.join(root, below, COUNTRIES), options);
  const listed: Listed[] = [];
  const unknown: string[] = [];
  const found = new Listing();
  for (const { IMG_ID: image, where } of rows) {
    if (image === '' || image !== path.basename(image))
      throw new DiffmineError('DATASET_INVALID', `${where}: IMG_ID is not the name of an image.`, HINT);
    const country = countryOf(image);
    if (country === undefined) unknown.push(image);
    else listed.push({ path: path.posix.join(below, 'images', image), label: country });
  }
  const absent = await addListed(found, root, listed);
  if (absent.length === listed.length)
    throw new DiffmineError(
      'DATASET_INVALID',
      `No image of ${table} is in '${path.join(root, below, 'images')}' and has a country.`,
      HINT,
    );
  unknown.forEach(() => found.ignore('unlisted'));
  if (unknown.length > 0)
    found.warnings.push(
      `${unknown.length} of the ${rows.length} images of ${table} have no country in countries_names.json, such as ${unknown[0]}: they are left out.`,
    );
  found.warnings.push(...absentWarning(absent, rows.length, table));
  return found;
}

/** The file has for each image a list of one country, as other label mappings have several labels. */
async function readCountries(file: string, options: TextOptions): Promise<(image: string) => string | undefined> {
  const invalid = (what: string, cause?: unknown): DiffmineError =>
    new DiffmineError('DATASET_INVALID', `countries_names.json ${what}.`, HINT, { cause });
  const text = await readText(file, options);
  let all: unknown;
  try {
    all = parseJson(text);
  } catch (cause) {
    throw invalid(`is not JSON (${(cause as Error).message})`, cause);
  }
  if (typeof all !== 'object' || all === null || Array.isArray(all)) throw invalid('is not an object of images');
  const entries = new Map<string, unknown>(Object.entries(all));
  return (image) => {
    const own = entries.get(image);
    if (own === undefined) return undefined;
    const [country, ...others] = Array.isArray(own) ? (own as unknown[]) : [own];
    if (typeof country !== 'string' || country === '' || others.length > 0)
      throw invalid(`has ${JSON.stringify(own)} for ${image} instead of one country`);
    return country;
  };
}
