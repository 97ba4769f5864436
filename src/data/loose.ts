// Images whose labels are parts of their paths: all images below a folder, or those of a pattern.
import { count } from '../web/html.js';
import { walk } from './boxes/walk.js';
import { DiffmineError } from '../util/errors.js';
import { factsOfAll, isImage } from './files.js';
import { litter } from './ignored.js';
import { byPath, unlabeledWarning, type LabelRule } from './label-source.js';
import { Listing } from './listing.js';
import { imageFile } from './names.js';
import { compareCodePoints } from './order.js';

/**
 * @param names below `root`
 * @throws DATASET_INVALID if no image has a label
 */
export async function readLoose(root: string, names: readonly string[], rule: LabelRule): Promise<Listing> {
  const found = new Listing();
  const facts = await factsOfAll(names.map((name) => imageFile(root, name)));
  const unlabeled: string[] = [];
  names.forEach((name, i) => {
    const file = facts[i];
    if (typeof file !== 'object') return;
    const label = byPath(rule, name)?.trim() ?? '';
    if (label === '') unlabeled.push(name);
    else found.add({ path: name, file: imageFile(root, name), label, ...file });
  });
  if (found.count === 0)
    throw new DiffmineError(
      'DATASET_INVALID',
      unlabeled.length > 0
        ? `None of ${count(unlabeled.length, 'image')} has a label by ${'shown' in rule ? rule.shown : 'its path'}, such as ${unlabeled[0]}.`
        : `There are no images in '${root}'.`,
    );
  if (unlabeled.length > 0) found.warnings.push(unlabeledWarning(unlabeled, rule));
  return found;
}

/** The images below a folder, by code point. */
export async function imagesBelow(root: string, exclude: readonly string[]): Promise<string[]> {
  const { files } = await walk(root);
  return files
    .filter(
      (name) =>
        isImage(name) &&
        !name.split('/').some(litter) &&
        !exclude.some((out) => imageFile(root, name).startsWith(`${out}/`)),
    )
    .sort(compareCodePoints);
}
