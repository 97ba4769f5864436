// What a label's loss is compared with: --against null | others | LABEL, and --all-labels, as the engine's conditions, subjects and weights.
//
// Typicality of output m is T_m = sum_k w_mk (L_k - L_subject(m)), the weights summing to 1: for `null` the paper's L_null - L_label, for a label X,
// L_X - L_label, for `others` the mean of the other labels' losses minus the loss of the label. That mean is sampled: in each sample one other label (or a few)
// stands for all of them, and they take turns, so that a sample takes two UNet calls for any number of labels and the expectation is the mean's.
import { splitLabels } from '../../data/labels.js';
import type { TypicalityInput } from '../../engine/types.js';
import { DiffmineError } from '../../util/errors.js';
import { Random } from '../../util/random.js';

/** How one image is scored: K conditions, M outputs. */
export interface Contrast {
  /** [K] rows of the prepared conditions: labels in order, then the null condition; or [N][K], those of each sample */
  conditions: readonly number[] | readonly (readonly number[])[];
  /** K: UNet calls of one sample */
  calls: number;
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
  /** other labels in each sample of `--against others`; 'all' where no image is contrasted with fewer */
  othersPerSample: number | 'all';
  /** How an image of `label` is scored; undefined where its label is what the others are compared with */
  of(label: string): Contrast | undefined;
}

/** What labels are compared with. */
export interface ContrastOptions {
  /** 'null', 'others' or a label */
  against: string;
  /** of `others`: how many of them a sample is contrasted with; 'all' is their mean in every sample */
  othersPerSample: number | 'all';
  /** N and the scan's seed decide whose turn it is */
  samples: number;
  seed: number;
}

/** An engine call's conditions; its contrasts are all of one form. */
export const conditionsOf = (contrasts: readonly Contrast[]): TypicalityInput['conditions'] =>
  contrasts.map(({ conditions }) => conditions) as TypicalityInput['conditions'];

/** Whether the conditions change with the sample. */
export const perSample = (contrast: Contrast): contrast is Contrast & { conditions: readonly (readonly number[])[] } =>
  Array.isArray(contrast.conditions[0]);

/**
 * Labels whose typicality is 0 whatever the model says: all that they are compared with is the same condition.
 *
 * @param given the images' labels
 * @param keys of each row of the prepared conditions, equal where two rows are
 */
export function alwaysZero(plan: ContrastPlan, given: readonly string[], keys: readonly string[]): string[] {
  const contrasts = new Set(given.flatMap((label) => plan.of(label) ?? []));
  const zero = [...contrasts].flatMap((contrast) => {
    const { subjects, weights, names } = contrast;
    return names.filter((_, m) => {
      const rows = perSample(contrast) ? contrast.conditions : [contrast.conditions as readonly number[]];
      return rows.every((row) =>
        row.every(
          (condition, k) => weights[m]?.[k] === 0 || keys[condition] === keys[row[subjects[m] as number] as number],
        ),
      );
    });
  });
  return [...new Set(zero)];
}

/** UNet calls a sample of all these images takes. */
export function unetCallsOf(plan: ContrastPlan, images: readonly { label: string }[]): number {
  return images.reduce((sum, { label }) => sum + (plan.of(label)?.calls ?? 0), 0);
}

/**
 * @param labels of the dataset, in order; row i of the prepared conditions is labels[i], row labels.length the null condition
 * @throws INVALID_ARGUMENT for a label that is not there, or too few labels to compare
 */
export function planContrasts(labels: readonly string[], options: ContrastOptions, allLabels: boolean): ContrastPlan {
  const { against } = options;
  const rival = against === 'null' || against === 'others' ? -1 : labels.indexOf(against);
  if (rival < 0 && against !== 'null' && against !== 'others') {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`against\` ${against}: the dataset has no label ${JSON.stringify(against)}.`,
      `Give null, others, or one of: ${labels.slice(0, 20).join(', ')}.`,
    );
  }
  if (against !== 'null' && labels.length < 2) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`against\` ${against} needs at least two labels; the dataset has ${labels.length}.`,
      'Use `against` null.',
    );
  }
  const rows = new Map(labels.map((label, row) => [label, row]));
  const scored = [...rows.values()].filter((row) => row !== rival);
  const known = new Map<string, Contrast>();
  const of = (label: string): Contrast | undefined => {
    const row = rows.get(label);
    if (row === undefined || (!allLabels && row === rival)) return undefined;
    // One object for all images of a label: those of one engine call share it.
    const key = allLabels ? '' : label;
    const found = known.get(key) ?? contrast(labels, options, allLabels ? scored : [row]);
    known.set(key, found);
    return found;
  };
  const first = of(labels[scored[0] as number] as string);
  return {
    scored: scored.map((row) => labels[row] as string),
    fanOut: first?.calls ?? 2,
    othersPerSample: first && perSample(first) ? options.othersPerSample : 'all',
    of,
  };
}

/**
 * How images are localized: each under labels of its own or under chosen ones, one map a label.
 *
 * @param labels as planContrasts takes them; among them, where it is one, the label compared with
 * @param wanted 'own': each image's single labels ('A|B' has two); else the labels that every image is scored under. The one compared with is left out
 * @param given the images' labels as the dataset has them
 */
export function planSingles(
  labels: readonly string[],
  options: ContrastOptions,
  wanted: 'own' | readonly string[],
  given: readonly string[],
): ContrastPlan {
  const { against } = options;
  if (against === 'others' && labels.length < 2) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`against\` others needs at least two labels; there is ${labels.length}.`,
      'Use `against` null.',
    );
  }
  const plans = new Map(
    given.flatMap((label) => {
      const subjects = (wanted === 'own' ? splitLabels(label) : wanted)
        .filter((one) => one !== against)
        .map((one) => labels.indexOf(one));
      return subjects.length === 0 ? [] : [[label, contrast(labels, options, subjects)] as const];
    }),
  );
  const all = [...plans.values()];
  const scored = new Set(all.flatMap(({ names }) => names));
  return {
    scored: labels.filter((label) => scored.has(label)),
    fanOut: Math.max(2, ...all.map(({ calls }) => calls)),
    othersPerSample: all.some(perSample) ? options.othersPerSample : 'all',
    of: (label) => plans.get(label),
  };
}

/** The contrast of these rows of `labels` with the null condition, one label, or the others. */
function contrast(labels: readonly string[], options: ContrastOptions, subjects: number[]): Contrast {
  const { against, othersPerSample } = options;
  const names = subjects.map((row) => labels[row] as string);
  if (against === 'others') {
    // Where turns would take as many calls as all labels once, their mean costs no more and has less noise.
    return othersPerSample === 'all' || subjects.length * (1 + othersPerSample) >= labels.length
      ? { ...meanOfOthers(labels, subjects), names }
      : { ...othersInTurn(labels, options, othersPerSample, subjects), names };
  }
  const rival = against === 'null' ? labels.length : labels.indexOf(against);
  const conditions = [...subjects, rival];
  return {
    conditions,
    calls: conditions.length,
    subjects: subjects.map((_, m) => m),
    weights: subjects.map(() => conditions.map((row) => (row === rival ? 1 : 0))),
    names,
  };
}

/** Every label's loss once, whatever the number of subjects. */
function meanOfOthers(labels: readonly string[], subjects: number[]): Omit<Contrast, 'names'> {
  return {
    conditions: labels.map((_, row) => row),
    calls: labels.length,
    subjects,
    weights: subjects.map((subject) => labels.map((_, row) => (row === subject ? 0 : 1 / (labels.length - 1)))),
  };
}

/** Each subject with others of its own in each sample. */
function othersInTurn(
  labels: readonly string[],
  { samples, seed }: ContrastOptions,
  each: number,
  subjects: number[],
): Omit<Contrast, 'names'> {
  const turns = subjects.map((subject) => {
    const others = labels.map((_, row) => row).filter((row) => row !== subject);
    return turnsOf(others, each, samples, new Random('others', seed, labels[subject] as string));
  });
  const block = 1 + each; // a subject, then its others
  return {
    conditions: Array.from({ length: samples }, (_, n) =>
      subjects.flatMap((subject, m) => [subject, ...(turns[m]?.[n] ?? [])]),
    ),
    calls: subjects.length * block,
    subjects: subjects.map((_, m) => m * block),
    weights: subjects.map((_, m) =>
      Array.from({ length: subjects.length * block }, (__, k) =>
        Math.floor(k / block) === m && k % block > 0 ? 1 / each : 0,
      ),
    ),
  };
}

/**
 * Whose turn it is: `each` different ones of `others` in each of the samples. They come in rounds, every round all of them in a new random order, so that
 * after any number of samples two of them differ by at most one turn, and none is tied to a part of the timesteps, whose golden-ratio sequence has
 * periods of its own.
 *
 * @param each less than others.length
 */
export function turnsOf(others: readonly number[], each: number, samples: number, random: Random): number[][] {
  let round: number[] = [];
  return Array.from({ length: samples }, () => {
    const turn = round.splice(0, each);
    if (turn.length < each) {
      const next = shuffled(others, random);
      // Those that had their turn in this very sample come last in the new round.
      round = [...next.filter((other) => !turn.includes(other)), ...next.filter((other) => turn.includes(other))];
      turn.push(...round.splice(0, each - turn.length));
    }
    return turn;
  });
}

function shuffled(all: readonly number[], random: Random): number[] {
  const order = [...all];
  for (let i = order.length - 1; i > 0; i -= 1) {
    const j = random.whole(0, i);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}
