// ChestX-ray8 and ChestX-ray14 as NIH distributes them: Data_Entry_2017.csv ("Image Index", "Finding Labels" with A|B, "No Finding") and the images in
// images/ or images_001/images/ ... images_012/images/, as the archives unpack. The whole folder means every image that is there; a list of names
// (CXR8/train_val_list.txt, CXR8/test_list.txt) or the list of boxes (CXR8/BBox_List_2017.csv) means the images it names. Labels stay as they are, A|B.
import { count } from '../../web/html.js';
import path from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { Listing } from '../listing.js';
import type { TextOptions } from '../text/index.js';
import { absentWarning, addListed, headerOf, look, imageNames, readColumns, readLines, type Layout } from './files.js';

/** Names of the table; the paper's code has it as metadata.csv. */
const TABLES = ['Data_Entry_2017.csv', 'Data_Entry_2017_v2020.csv', 'metadata.csv'];
const IMAGE = 'Image Index';
const LABELS = 'Finding Labels';
const LIST = /^(train_val_list|test_list|BBox_List_2017)\.(txt|csv)$/i;
const HINT =
  'ChestX-ray14 has Data_Entry_2017.csv with the columns Image Index and Finding Labels, and the images in images/ or images_001/images/ and so on.';

/** Where each image lies, relative to the root. */
async function locate(root: string): Promise<Map<string, string>> {
  const { folders, files } = await look(root);
  const places = new Map(imageNames(files).map((name) => [name, name]));
  for (const folder of folders.filter((name) => /^images(_\d+)?$/i.test(name))) {
    for (const below of [folder, `${folder}/images`])
      for (const name of imageNames((await look(path.join(root, below))).files)) places.set(name, `${below}/${name}`);
  }
  return places;
}

async function tableOf(root: string): Promise<string | undefined> {
  for (const name of TABLES) {
    const header = await headerOf(path.join(root, name));
    if (header.includes(IMAGE) && header.includes(LABELS)) return path.join(root, name);
  }
  return undefined;
}

async function read(root: string, table: string, list: string | undefined, options: TextOptions): Promise<Listing> {
  const name = path.basename(list ?? table);
  const rows = await readColumns(table, [IMAGE, LABELS], options);
  const labels = new Map(rows.map((row) => [row[IMAGE], row]));
  const wanted =
    list === undefined
      ? [...labels.keys()]
      : /\.csv$/i.test(list)
        ? (await readColumns(list, [IMAGE], options)).map((row) => row[IMAGE])
        : (await readLines(list, options)).map(({ text }) => text);
  const places = await locate(root);
  const absent: string[] = [];
  const listed = [...new Set(wanted)].flatMap((image) => {
    const row = labels.get(image);
    if (!row)
      throw new DiffmineError(
        'DATASET_INVALID',
        `${name} names '${image}', for which ${path.basename(table)} has no findings.`,
        HINT,
      );
    if (row[LABELS] === '') throw new DiffmineError('DATASET_INVALID', `${row.where}: '${LABELS}' is empty.`, HINT);
    const place = places.get(image);
    if (place === undefined) absent.push(image);
    return place === undefined ? [] : [{ path: place, label: row[LABELS] }];
  });
  if (listed.length === 0) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `None of ${count(absent.length, 'image')} of ${name} is below '${root}', such as ${absent[0] ?? '-'}.`,
      HINT,
    );
  }
  const found = new Listing();
  await addListed(found, root, listed);
  found.ignore('unlisted', places.size - listed.length);
  found.warnings.push(...absentWarning(absent, absent.length + listed.length, name));
  return found;
}

export const xray: Layout = {
  async recognize(location, isFolder, options) {
    const name = path.basename(location);
    if (!isFolder && !LIST.test(name)) return undefined;
    const root = isFolder ? location : path.dirname(location);
    const table = await tableOf(root);
    if (table !== undefined) return { read: async () => read(root, table, isFolder ? undefined : location, options) };
    // names such as test_list.txt are common: alone they say little
    if (!isFolder)
      return !options.wanted && !/^BBox/i.test(name)
        ? undefined
        : { missing: `Data_Entry_2017.csv beside ${name}`, hint: HINT };
    if (!options.wanted) return undefined;
    const { folders } = await look(root);
    return folders.some((folder) => /^images(_\d+)?$/i.test(folder))
      ? { missing: 'Data_Entry_2017.csv', hint: HINT }
      : undefined;
  },
};
