// The single labels that `localize` maps images under, where a dataset may have 'A|B'.
import { findLabel, namedLabels, splitLabels } from '../../data/labels.js';
import { compareCodePoints } from '../../data/order.js';
import type { Dataset } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';
import type { ModelFolder } from '../../models/index.js';

export interface LabelsToMap {
  /** what conditions are prepared of, sorted: the labels mapped, and what they are compared with */
  labels: string[];
  wanted: 'own' | string[];
}

/**
 * @param wanted 'own': each image's single labels; 'all': every label of a class model, of a text model every single label of the dataset; or labels by name
 * @throws INVALID_ARGUMENT for labels asked for that nobody knows
 */
export function labelsToMap(
  model: ModelFolder,
  dataset: Dataset,
  wanted: 'own' | 'all' | readonly string[],
  against: string,
  onLog?: (sentence: string) => void,
): LabelsToMap {
  const sorted = (labels: Iterable<string>): string[] => [...new Set(labels)].sort(compareCodePoints);
  const own = sorted(dataset.labels.flatMap(splitLabels));
  // A class that images are labeled with keeps the name it has there.
  const known =
    model.conditioning === 'class' ? sorted((model.labels ?? []).map((label) => findLabel(own, label) ?? label)) : own;
  const rival = against === 'null' || against === 'others' ? [] : [against];
  if (model.conditioning === 'class' && rival[0] !== undefined && !known.includes(rival[0]))
    throw unknown(`\`against\` ${against}: the model has no label ${JSON.stringify(against)}.`, known);
  if (rival[0] !== undefined && !own.includes(rival[0]))
    onLog?.(`No image has the label ${JSON.stringify(against)} of \`against\`; its prompt is used anyway.`);
  if (wanted === 'own') return { labels: sorted([...own, ...rival]), wanted };
  const named = wanted === 'all' ? known : sorted(namedLabels(wanted, known, true));
  const lost = named.find((label) => !known.includes(label));
  if (lost !== undefined)
    throw unknown(
      `\`labels\`: ${model.conditioning === 'class' ? 'the model' : 'the dataset'} has no label ${JSON.stringify(lost)}.`,
      known,
    );
  return { labels: sorted([...named, ...rival, ...(against === 'others' ? known : [])]), wanted: named };
}

function unknown(message: string, known: readonly string[]): DiffmineError {
  return new DiffmineError(
    'INVALID_ARGUMENT',
    message,
    `It knows: ${known.slice(0, 20).join(', ')}${known.length > 20 ? ', ...' : ''}.`,
  );
}
