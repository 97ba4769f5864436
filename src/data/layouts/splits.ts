// Label folders below train/, val/ and test/: the whole folder means train/. Faces Through Time (folders a decade: train/1900/a.png, train/1900s/a.png),
// Places in the form for training libraries (train/airfield/1.jpg), street views sorted by country (train/France/1.jpg).
import path from 'node:path';
import { imageFile, nameOfText } from '../names.js';
import { readFolder } from '../label-folders.js';
import { Listing } from '../listing.js';
import { look } from './files.js';

const SPLITS = ['train', 'val', 'valid', 'validation', 'test'];

/** Whether a folder holds nothing but splits, train among them, and that one holds folders. */
export async function hasSplits(location: string): Promise<boolean> {
  const { folders } = await look(location);
  return (
    folders.includes('train') &&
    folders.every((folder) => SPLITS.includes(folder.toLowerCase())) &&
    (await look(path.join(location, 'train'))).folders.length > 0
  );
}

/** train/ of a folder of splits, or the folder itself. @param relabel what a label folder's name means */
export async function readLabelFolders(
  location: string,
  below: '' | 'train',
  relabel: (folder: string) => string,
  exclude: readonly string[],
): Promise<Listing> {
  const folder = nameOfText(path.join(location, below));
  const inner = await readFolder(folder, { exclude });
  const found = new Listing();
  found.warnings.push(...inner.warnings);
  Object.assign(found.ignored, inner.ignored);
  for (const image of inner.images)
    found.add({
      ...image,
      path: path.posix.join(below, image.path),
      file: imageFile(folder, image.path),
      label: relabel(image.label),
    });
  return found;
}
