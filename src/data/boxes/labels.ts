// Checks that boxes and a run have labels in common.
import { DiffmineError } from '../../util/errors.js';
import { sharesLabel } from '../labels.js';
import { few } from './table.js';

/**
 * @param shown labels that the boxes are typical of
 * @param labels those of the run, or those to be mapped
 * @throws DATASET_INVALID if they have none in common: boxes of objects (wheel, door) in images of places
 */
export function checkLabels(location: string, shown: readonly string[], labels: readonly string[]): void {
  if (shown.some((one) => labels.some((label) => sharesLabel(one, label)))) return;
  throw new DiffmineError(
    'DATASET_INVALID',
    `No box in ${location} has a label of the run. Labels of the boxes: ${few([...shown].sort(), 8)}. Labels of the run: ${few(labels, 8)}.`,
    'The label of a box is in the column city, else label (evaluate: `typicalColumn`); in NIH files it is the finding, in COCO files the category. Put what a box shows, such as wheel, into a column kind.',
  );
}
