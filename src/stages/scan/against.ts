// Which labels are scanned, and what they are compared with (`against`).
import type { Dataset } from '../../data/index.js';
import { findLabel, listed, namedLabels, splitLabels } from '../../data/labels.js';
import { conditionKeys, difference, type ModelFolder, type NullUse } from '../../models/index.js';
import { check } from '../../pipeline/resolve.js';
import { DiffmineError } from '../../util/errors.js';
import { alwaysZero, type ContrastPlan } from './contrasts.js';

/** The labels meant, in the order given. */
export function labelsToScan(dataset: Dataset, asked: readonly string[]): string[] {
  const labels = [...new Set(namedLabels(asked, dataset.labels, true))];
  const unknown = labels.filter((label) => !dataset.labels.includes(label));
  check(
    unknown.length === 0,
    `The dataset has no images of ${listed(unknown)}.`,
    `Known labels: ${listed(dataset.labels, 20)}.`,
  );
  return labels;
}

/**
 * What labels are compared with, as the dataset or the model writes it. By default it is the other labels: they find more than the null condition
 * at the same number of UNet calls (docs/results/estimator.md).
 *
 * @param asked `against`, as given
 * @param labels of the dataset
 * @param known of the model
 */
export function rivalOf(asked: string | undefined, labels: readonly string[], known: readonly string[] = []): string {
  // A label of several ('A|B') has the others' elements too, and would be scored for lacking them.
  const severalLabels = labels.some((label) => splitLabels(label).length > 1);
  const against = asked ?? (labels.length < 2 || severalLabels ? 'null' : 'others');
  if (against === 'null' || against === 'others') return against;
  return (
    findLabel(labels, against) ??
    findLabel(labels.flatMap(splitLabels), against) ??
    findLabel(known, against) ??
    against
  );
}

/** Warns about a label with the name of a way to compare: it cannot be compared with. */
export function keywordNote(against: string, labels: readonly string[]): string | undefined {
  const means = against === 'null' ? 'the null prompt' : against === 'others' ? 'all other labels' : undefined;
  if (means === undefined || findLabel(labels, against) === undefined) return undefined;
  return `Warning: \`against\` ${against} means ${means}, not the label '${against}'. To compare with that label, rename it (\`map\`).`;
}

/** How a scan comes to compare labels with the null condition. */
export function nullUse(named: boolean, labels: readonly string[], localize: unknown): NullUse {
  const why =
    named || localize !== undefined
      ? ''
      : labels.length < 2
        ? ', because there is no other'
        : ', because some are several in one';
  const all = labels.length < 2 ? 'The label is' : 'Labels are';
  return {
    named,
    what: `${all} compared with it${why}`,
    instead: `Compare with other labels (\`against\` ${labels.length < 2 ? 'LABEL' : 'others or LABEL'})`,
  };
}

/** Labels as conditions of a model. */
export interface LabelConditions {
  model: ModelFolder;
  /** labels of the dataset, which may be several in one ('A|B') */
  given: string[];
  labels: string[];
  /** the prompts of `labels`, or the labels for a class model */
  names: string[];
  nullName: string;
}

/** @throws INVALID_ARGUMENT where labels are compared with nothing but the same condition: all that would be scored is 0 */
export function checkDifferences(plan: ContrastPlan, conditions: LabelConditions, against: string): void {
  const { model, given, labels, names, nullName } = conditions;
  const zero = alwaysZero(plan, given, conditionKeys(model, [...names, nullName]));
  const [first] = zero;
  if (first === undefined) return;
  const nameOf = (label: string): string => names[labels.indexOf(label)] ?? '';
  const why = (other: string): string => difference(model, [nameOf(first), other]);
  const refuse = (what: string, hint: string): never => {
    throw new DiffmineError('INVALID_ARGUMENT', `${what}: the typicality would be 0 everywhere.`, hint);
  };
  const [plural, verb] = zero.length > 1 ? ['s', 'are'] : ['', 'is'];
  if (against === 'null')
    refuse(
      `The prompt${plural} of the label${plural} ${listed(zero)} ${verb} the null prompt ${JSON.stringify(nullName)} to this model (${why(nullName)})`,
      'Give another `nullPrompt`, or a `prompt` that tells them apart.',
    );
  if (against === 'others')
    refuse(
      `The label${plural} ${listed(zero)} ${verb} compared with labels that are the same to this model (${difference(model, names)})`,
      'Merge or rename labels, give another `prompt`, or use `against` null.',
    );
  refuse(
    `The label${plural} ${listed(zero)} ${verb} the same to this model as ${JSON.stringify(against)} of \`against\` (${why(nameOf(against))})`,
    'Merge or rename labels, give another `prompt`, or another `against`.',
  );
}
