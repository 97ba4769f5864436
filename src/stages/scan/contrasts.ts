// What a label's loss is compared with: --against null | others | LABEL, and --all-labels, as the engine's conditions, subjects and weights.
//
// Typicality of output m is T_m = sum_k w_mk (L_k - L_subject(m)), the weights summing to 1: for `null` the paper's L_null - L_label, for `others` the
// mean of the other labels' losses less the label's own (SMALL-WORLD measured it better than null at equal samples), for a label X, L_X - L_label.
import { splitLabels } from '../../data/labels.js';
import { DiffmineError } from '../../util/errors.js';

/** How one image is scored: K conditions, M outputs. */
export interface Contrast {
  /** [K] rows of the prepared conditions: labels in order, then the null condition */
  conditions: number[];
  /** [M] which of the K an output scores */
  subjects: number[];
  /** [M][K] */
  weights: number[][];
  /** [M] the labels scored */
  names: string[];
}

export interface ContrastPlan {
  /** labels images are scored under: all, less the one they are compared with */
  scored: string[];
  /** UNet calls an image and sample, at most */
  fanOut: number;
  /** How an image of `label` is scored; undefined where its label is what the others are compared with */
  of(label: string): Contrast | undefined;
}

/**
 * Labels whose typicality is 0 whatever the model says: all that they are compared with is the same condition.
 *
 * @param given the images' labels
 * @param keys of each row of the prepared conditions, equal where two rows are
 */
export function alwaysZero(plan: ContrastPlan, given: readonly string[], keys: readonly string[]): string[] {
  const contrasts = new Set(given.flatMap((label) => plan.of(label) ?? []));
  const zero = [...contrasts].flatMap(({ conditions, subjects, weights, names }) =>
    names.filter((_, m) => {
      const own = keys[conditions[subjects[m] as number] as number];
      return conditions.every((row, k) => weights[m]?.[k] === 0 || keys[row] === own);
    }),
  );
  return [...new Set(zero)];
}

/** UNet calls a sample of all these images takes. */
export function unetCallsOf(plan: ContrastPlan, images: readonly { label: string }[]): number {
  return images.reduce((sum, { label }) => sum + (plan.of(label)?.conditions.length ?? 0), 0);
}

/**
 * @param labels of the dataset, in order; row i of the prepared conditions is labels[i], row labels.length the null condition
 * @throws INVALID_ARGUMENT for a label that is not there, or too few labels to compare
 */
export function planContrasts(labels: readonly string[], against: string, allLabels: boolean): ContrastPlan {
  const rival = against === 'null' || against === 'others' ? -1 : labels.indexOf(against);
  if (rival < 0 && against !== 'null' && against !== 'others') {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--against ${against}: the dataset has no label ${JSON.stringify(against)}.`,
      `Give null, others, or one of: ${labels.slice(0, 20).join(', ')}.`,
    );
  }
  if (against !== 'null' && labels.length < 2) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--against ${against} needs at least two labels; the dataset has ${labels.length}.`,
      'Use --against null.',
    );
  }
  const rows = labels.map((_, row) => row);
  const scored = rows.filter((row) => row !== rival);
  const make = (subjects: number[]): Contrast => contrast(labels, against, subjects);
  const all = allLabels ? make(scored) : undefined;
  const own = new Map(allLabels ? [] : scored.map((row) => [labels[row] as string, make([row])]));
  return {
    scored: scored.map((row) => labels[row] as string),
    fanOut: against === 'others' ? labels.length : allLabels ? scored.length + 1 : 2,
    of: (label) => (all ? (labels.includes(label) ? all : undefined) : own.get(label)),
  };
}

/**
 * How images are localised: each under labels of its own or under chosen ones, one map a label.
 *
 * @param labels as planContrasts takes them; among them, where it is one, the label compared with
 * @param wanted 'own': each image's single labels ('A|B' has two); else the labels that every image is scored under. The one compared with is left out
 * @param given the images' labels as the dataset has them
 */
export function planSingles(
  labels: readonly string[],
  against: string,
  wanted: 'own' | readonly string[],
  given: readonly string[],
): ContrastPlan {
  if (against === 'others' && labels.length < 2) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--against others needs at least two labels; there is ${labels.length}.`,
      'Use --against null.',
    );
  }
  const plans = new Map(
    given.flatMap((label) => {
      const subjects = (wanted === 'own' ? splitLabels(label) : wanted)
        .filter((one) => one !== against)
        .map((one) => labels.indexOf(one));
      return subjects.length === 0 ? [] : [[label, contrast(labels, against, subjects)] as const];
    }),
  );
  const scored = new Set([...plans.values()].flatMap(({ names }) => names));
  return {
    scored: labels.filter((label) => scored.has(label)),
    fanOut: Math.max(2, ...[...plans.values()].map(({ conditions }) => conditions.length)),
    of: (label) => plans.get(label),
  };
}

/** The contrast of these rows of `labels` with the null condition, the mean of the others, or one label. */
function contrast(labels: readonly string[], against: string, subjects: number[]): Contrast {
  const others = against === 'others';
  const rival = against === 'null' ? labels.length : labels.indexOf(against);
  const conditions = others ? labels.map((_, row) => row) : [...subjects, rival];
  return {
    conditions,
    subjects: subjects.map((row) => conditions.indexOf(row)),
    weights: subjects.map((subject) =>
      conditions.map((row) => (others ? (row === subject ? 0 : 1 / (labels.length - 1)) : row === rival ? 1 : 0)),
    ),
    names: subjects.map((row) => labels[row] as string),
  };
}
