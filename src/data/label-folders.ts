// A dataset as a folder of label folders: data/1920/a.jpg, data/1920/more/b.jpg, data/1950/c.png.
import { realpath } from 'node:fs/promises';
import { DiffmineError } from '../util/errors.js';
import {
  entriesOf,
  factsOfAll,
  isImage,
  openingError,
  UNOPENED,
  withFoldersAbove,
  type Entry,
  type FileFacts,
} from './files.js';
import { litter, outputFormat, type IgnoreReason } from './ignored.js';
import { Listing } from './listing.js';
import { systemPath, textOfName } from './names.js';
import { compareCodePoints } from './order.js';
import { isSplitName, splitsAmong, splitsError, splitsWarning } from './splits.js';

const LAYOUT =
  'A dataset has one folder per label, with the images in it: data/1920/a.jpg, data/1950/b.jpg. A table (.csv, .tsv, .jsonl) with the columns image and label also works.';
/** Formats of outputs that are datasets as well. */
const READABLE_OUTPUTS = ['diffmine-translation', 'diffmine-samples-'];

export interface FolderOptions {
  /** output folders of the running command: they are not data, even while they are empty */
  exclude?: readonly string[];
}

/** A label folder while it is read. */
interface Label {
  /** of the folder */
  name: string;
  label: string;
  images: number;
  /** images in the folder itself */
  direct: number;
  /** folders in it that hold images */
  classes: Set<string>;
}

interface Walk {
  root: string;
  found: Listing;
  /** paths as given, and real ones */
  excluded: ReadonlySet<string>;
  unreadable: string[];
}

/** Contents of a folder: images (with size and time) and folders, sorted. Other entries are counted. */
interface Held {
  folders: string[];
  images: [name: string, facts: FileFacts][];
  format: string | undefined;
}

/** Of an output of diffmine below the root only the format. */
async function look(place: string, { root, found, unreadable }: Walk, isRoot: boolean): Promise<Held> {
  const rest: IgnoreReason = isRoot ? 'besideLabels' : 'notImages';
  const entries: Entry[] = await entriesOf(place);
  const format = await outputFormat(
    place,
    entries.map(({ name }) => name),
  );
  if (format !== undefined && !isRoot) return { folders: [], images: [], format };
  const folders: string[] = [];
  const files: string[] = [];
  for (const { name, kind } of entries) {
    const reason = litter(name);
    if (reason) found.ignore(reason);
    else if (kind === 'folder') folders.push(name);
    else if (kind === 'link' || isImage(name)) files.push(name);
    else found.ignore(rest);
  }
  const images: Held['images'] = [];
  const facts = await factsOfAll(files.map((name) => `${place}/${name}`));
  files.forEach((name, i) => {
    const one = facts[i];
    if (one === 'folder') folders.push(name);
    else if (!isImage(name)) {
      found.ignore(rest);
      // perhaps a folder, of a disk that is not there now
      if (one === UNOPENED)
        unreadable.push(`'${place.slice(root.length + 1)}${place === root ? '' : '/'}${name}' (a dangling link)`);
    } else if (one !== undefined && one !== 'absent') images.push([name, one]);
  });
  images.sort(([a], [b]) => compareCodePoints(a, b));
  return { folders: folders.sort(compareCodePoints), images, format };
}

/**
 * Every image below a folder of a label, nested folders included. Links are followed; one to a folder above it is not.
 *
 * @param relative to the dataset, forward slashes: begins with the label's folder
 * @param above real paths of the folders above
 */
async function collect(relative: string, label: Label, walk: Walk, above: readonly string[]): Promise<void> {
  const { root, found, excluded, unreadable } = walk;
  const place = `${root}/${relative}`;
  const real = await realpath(systemPath(place), { encoding: 'buffer' })
    .then((bytes) => bytes.toString('latin1'))
    .catch(() => place);
  if (above.includes(real)) {
    // named like an image, it is one that cannot be read
    if (isImage(relative)) found.add({ path: relative, file: place, label: label.label, bytes: 0, mtime: 0 });
    return;
  }
  if (excluded.has(place) || excluded.has(real)) {
    found.ignore('outputs');
    return;
  }
  let held: Held;
  try {
    held = await look(place, walk, false);
  } catch (error) {
    if (error instanceof DiffmineError) throw error;
    unreadable.push(`'${relative}' (${openingError(error)})`);
    return;
  }
  if (held.format !== undefined) {
    found.ignore('outputs');
    return;
  }
  for (const [name, facts] of held.images)
    found.add({ path: `${relative}/${name}`, file: `${place}/${name}`, label: label.label, ...facts });
  const [, first] = relative.split('/', 2);
  label.images += held.images.length;
  if (held.images.length > 0) {
    if (first === undefined) label.direct += held.images.length;
    else label.classes.add(first);
  }
  for (const folder of held.folders) await collect(`${relative}/${folder}`, label, walk, [...above, real]);
}

/**
 * Every image below every label folder. Other files, files beside the label folders, and files of the system and of diffmine (ignored.ts) are counted.
 * Folders that cannot be read cause warnings.
 *
 * @param root absolute, as a name (names.ts)
 * @throws DATASET_INVALID if it has no images of labels, or splits (train/, val/) take the place of labels
 */
export async function readFolder(root: string, options: FolderOptions = {}): Promise<Listing> {
  const found = new Listing();
  const exclude = options.exclude ?? [];
  const realOnes = await Promise.all(
    exclude.map(async (folder) =>
      realpath(folder, { encoding: 'buffer' })
        .then((bytes) => bytes.toString('latin1'))
        .catch(() => folder),
    ),
  );
  const walk: Walk = { root, found, excluded: new Set([...exclude, ...realOnes]), unreadable: [] };
  const held = await look(root, walk, true).catch((cause: unknown) => {
    if (cause instanceof DiffmineError) throw cause;
    throw new DiffmineError(
      'DATASET_INVALID',
      `The folder '${root}' cannot be read: ${openingError(cause)}.`,
      'Check its permissions.',
      { cause },
    );
  });
  if (held.format !== undefined && !READABLE_OUTPUTS.some((format) => held.format?.startsWith(format))) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `'${root}' is an output folder of diffmine (${held.format}), not a dataset.`,
      LAYOUT,
    );
  }
  found.ignore('besideLabels', held.images.length);
  const real = await realpath(systemPath(root), { encoding: 'buffer' });
  const above = withFoldersAbove(real.toString('latin1'));
  const labels = new Map<string, Label>();
  for (const name of held.folders) {
    const label: Label = { name, label: textOfName(name), images: 0, direct: 0, classes: new Set() };
    const [outputs, unreadable] = [found.ignored.outputs ?? 0, walk.unreadable.length];
    await collect(name, label, walk, above);
    if (label.images > 0) labels.set(name, label);
    else if ((found.ignored.outputs ?? 0) === outputs && walk.unreadable.length === unreadable)
      found.warnings.push(`The label folder '${name}' has no images.`);
    if (Buffer.isBuffer(systemPath(name)))
      found.warnings.push(`The name of the label folder '${name}' is not UTF-8: %xHH stands for a byte.`);
  }
  const { unreadable } = walk;
  if (unreadable.length > 0) {
    const shown = unreadable.slice(0, 3).join(', ');
    found.warnings.push(
      `${unreadable.length} ${unreadable.length === 1 ? 'folder or link' : 'folders or links'} cannot be read, so any images there are missing: ${shown}${unreadable.length > 3 ? `, and ${unreadable.length - 3} more` : ''}.`,
    );
  }
  if (found.count === 0) {
    const loose = held.images.length;
    const reason =
      unreadable.length > 0
        ? `has no images that can be found: ${unreadable[0]} cannot be read`
        : loose > 0
          ? `has ${loose} image${loose === 1 ? '' : 's'}, but no label folders`
          : held.folders.length > 0
            ? 'has label folders, but no images in them'
            : 'has no label folders';
    throw new DiffmineError('DATASET_INVALID', `The folder '${root}' ${reason}.`, LAYOUT);
  }
  const splits = splitsAmong(labels);
  if (splits.length > 0 && splits.length === labels.size) throw splitsError(root, splits, labels);
  if (splits.length > 0) found.warnings.push(splitsWarning(root, splits, labels));
  else if (
    labels.size >= 2 &&
    [...labels.keys()].every(isSplitName) &&
    [...labels.values()].some(({ direct, classes }) => direct === 0 && classes.size >= 2)
  ) {
    // train/CLASS/ beside a flat test/, as competitions have them
    const [name] = [...labels].find(([, { direct, classes }]) => direct === 0 && classes.size >= 2) as [string, Label];
    found.warnings.push(
      `Warning: ${[...labels.keys()].map((one) => `${one}/`).join(', ')} look like splits of one dataset. They are read as labels; if the folders in ${name}/ are the labels, give '${root}/${name}'.`,
    );
  }
  const [only] = labels.values();
  if (labels.size === 1 && only?.direct === 0 && only.classes.size > 1) {
    found.warnings.push(
      `All images have the label '${only.label}'. If its folders (${[...only.classes].slice(0, 3).join(', ')}${only.classes.size > 3 ? ', ...' : ''}) are the labels, give '${root}/${only.name}'.`,
    );
  }
  return found;
}
