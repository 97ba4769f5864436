// Splits of a dataset (train/, val/, test/) above the same class folders. As labels they would be train, val and test, and the classes would be mixed.
import { DiffmineError } from '../util/errors.js';

const SPLIT =
  /^(?:(?:fold|split|part|partition|subset)[-_ ]?\d+|(?:seg[-_])?(?:train|training|trainval|val|valid|validating|validation|dev|development|eval|evaluation|test|testing|hold[-_]?out|held[-_]?out)(?:[-_ ]?(?:set|data|images|imgs|split))?(?:[-_ ]?(?:19|20)\d\d)?)$/i;

export function isSplitName(name: string): boolean {
  return SPLIT.test(name);
}

/** What lies below one label folder. */
export interface LabelFolder {
  /** images in the folder itself */
  direct: number;
  /** folders in it that hold images */
  classes: ReadonlySet<string>;
}

/**
 * The label folders that are splits: two or more with such names, which have folders instead of images, most of them the same. A label that happens to be
 * called train has images itself, or folders that no other label has.
 *
 * @param labels with images
 */
export function splitsAmong(labels: ReadonlyMap<string, LabelFolder>): string[] {
  const candidates = [...labels].filter(
    ([name, { direct, classes }]) => isSplitName(name) && direct === 0 && classes.size > 0,
  );
  let largest: ReadonlySet<string> = new Set();
  for (const [, { classes }] of candidates) if (classes.size > largest.size) largest = classes;
  const splits = candidates.filter(
    ([, { classes }]) => 2 * [...classes].filter((name) => largest.has(name)).length > classes.size,
  );
  return splits.length >= 2 ? splits.map(([name]) => name) : [];
}

function describe(
  root: string,
  splits: readonly string[],
  labels: ReadonlyMap<string, LabelFolder>,
): { what: string; command: string } {
  const main = splits.find((name) => /train/i.test(name)) ?? splits[0] ?? '';
  const classes = [...(labels.get(main)?.classes ?? [])];
  const listed = `${classes.slice(0, 3).join(', ')}${classes.length > 3 ? ', ...' : ''}`;
  return {
    what: `${splits.map((name) => `${name}/`).join(', ')} are splits of one dataset: each has the class folders ${listed}`,
    command: `'${root}/${main}'`,
  };
}

/** All labels are splits. */
export function splitsError(
  root: string,
  splits: readonly string[],
  labels: ReadonlyMap<string, LabelFolder>,
): DiffmineError {
  const { what, command } = describe(root, splits, labels);
  return new DiffmineError(
    'DATASET_INVALID',
    `In '${root}', ${what}. Read as labels, ${splits.join(', ')} would mix the classes.`,
    `Give one split: ${command}. To compare the splits themselves, list the images in a table with ${splits.join(' and ')} as labels.`,
  );
}

/** Some labels are splits. */
export function splitsWarning(
  root: string,
  splits: readonly string[],
  labels: ReadonlyMap<string, LabelFolder>,
): string {
  const { what, command } = describe(root, splits, labels);
  return `Warning: ${what}. They are read as labels, which mixes the classes; to read one split, give ${command}.`;
}
