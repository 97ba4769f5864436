// Whether a model has learned its labels: what `train` measures at its end on held-out images, writes to train.json, and what other commands make of it.
import { listed } from '../data/labels.js';
import { count, significant } from '../web/html.js';
import { trainingOf, type Learned, type LearnedLabel, type Verdict } from './training.js';

/** Losses of an image under its label and under others, with the same noise. */
export interface Pair {
  label: string;
  loss: number;
  others: number;
}

/** Fraction of images that the label helps from which it is learned (docs/guides/training.md has the evidence). */
const LEARNED = 0.75;
/** Below this ratio, the loss still falls fast: the model is still learning to denoise. */
const LEVEL = 0.75;
/** By this factor the validation loss has to be above its lowest value to call that a rise. */
const RISE = 1.1;
/** Standard errors by which the mean gain has to be above 0. */
const ERRORS = 2;

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** How sure it is that the label helps: mean of the gains over its standard error; 0 for fewer than two images. */
function certainty(gains: readonly number[]): number {
  const n = gains.length;
  if (n < 2) return 0;
  const average = mean(gains);
  const variance = gains.reduce((sum, gain) => sum + (gain - average) ** 2, 0) / (n - 1);
  return average / Math.sqrt(Math.max(variance, Number.MIN_VALUE) / n);
}

/** `lossRatio` of the losses of all steps, in order. */
export function lossRatioOf(losses: readonly number[]): number | null {
  const quarter = Math.floor(losses.length / 4);
  if (quarter < 2) return null;
  return mean(losses.slice(-quarter)) / mean(losses.slice(quarter, 2 * quarter));
}

/** Not learned: the mean gain may be chance. Learned: the label helps most images, and the loss has leveled off, too. */
export function verdictOf(pairs: readonly Pick<Pair, 'loss' | 'others'>[], lossRatio: number | null): Verdict {
  if (certainty(pairs.map(({ loss, others }) => (others - loss) / loss)) < ERRORS) return 'no';
  return summary(pairs).helped >= LEARNED && lossRatio !== null && lossRatio >= LEVEL ? 'yes' : 'barely';
}

function summary(pairs: readonly Pick<Pair, 'loss' | 'others'>[]): Omit<LearnedLabel, 'label'> {
  return {
    images: pairs.length,
    loss: mean(pairs.map(({ loss }) => loss)),
    others: mean(pairs.map(({ others }) => others)),
    helped: pairs.filter(({ loss, others }) => loss < others).length / pairs.length,
  };
}

/** @param pairs at least one */
export function learnedOf(pairs: readonly Pair[], facts: Pick<Learned, 'step' | 'samples' | 'lossRatio'>): Learned {
  return {
    verdict: verdictOf(pairs, facts.lossRatio),
    ...facts,
    ...summary(pairs),
    labels: [...new Set(pairs.map(({ label }) => label))].map((label) => ({
      label,
      ...summary(pairs.filter((pair) => pair.label === label)),
    })),
  };
}

const percent = (fraction: number): string => `${Math.round(100 * fraction)} %`;

/** What was measured, in a sentence. */
export function learnedSentence({ images, loss, others, helped, lossRatio }: Omit<Learned, 'labels'>): string {
  return `On ${count(images, 'held-out image')}, the loss with their label is ${significant(loss, 4)}, with other labels ${significant(others, 4)}; the label helps ${percent(helped)} of the images (chance: 50 %).${lossRatio === null || lossRatio >= LEVEL ? '' : ` The training loss is still falling: in the last quarter of the steps it is ${percent(lossRatio)} of what it was in the second.`}`;
}

const ENOUGH = `a label that helps ${percent(LEARNED)} of the images, and a loss that has leveled off`;

const VERDICTS: Readonly<Record<Verdict, string>> = {
  yes: `The model has learned its labels, enough to mine: enough is ${ENOUGH}.`,
  barely: `The model has barely learned its labels: findings will be weak. Enough is ${ENOUGH}.`,
  no: `The model has not learned its labels: what they gain is less than ${ERRORS} standard errors, so findings may be chance. Enough is ${ENOUGH}.`,
};

interface Validation {
  step: number;
  loss: number;
}

/** Where the validation loss was lowest, if it has risen since: the model has begun to know its training images by heart. @param validation in order */
export function overfitAfter(validation: readonly Validation[]): Validation | undefined {
  const last = validation.at(-1);
  const best = validation.reduce<Validation | undefined>((a, b) => (a && a.loss <= b.loss ? a : b), undefined);
  return best && last && last.loss > RISE * best.loss ? best : undefined;
}

/**
 * The verdict with its thresholds, and what would help.
 *
 * @param step whose weights were measured
 * @param validation of all of the training, in order
 */
export function verdictSentence(
  { verdict, step }: Pick<Learned, 'verdict' | 'step'>,
  validation: readonly Validation[],
): string {
  const best = overfitAfter(validation);
  const told = [VERDICTS[verdict]];
  if (best) {
    told.push(
      `The validation loss was lowest after step ${best.step} (${significant(best.loss, 4)}) and rose to ${significant(validation.at(-1)?.loss ?? NaN, 4)}: from there on the model learned its training images by heart. More steps do not help, more images do.`,
    );
    if (step !== best.step) told.push(`The weights of step ${best.step} are better: --use best writes them.`);
  } else if (verdict !== 'yes') told.push('Train longer, or on more images.');
  return told.join(' ');
}

/** Names the labels that nothing was measured of; undefined where there are none. */
export function unmeasuredSentence(labels: readonly { label: string; heldOut: number }[]): string | undefined {
  const without = labels.filter(({ heldOut }) => heldOut === 0).map(({ label }) => label);
  return without.length === 0
    ? undefined
    : `No image is held out of ${listed(without, 20)}: what the model has learned of ${without.length === 1 ? 'it' : 'them'} was not measured.`;
}

/** Warns about a model that has not learned its labels, as far as its training measured it. */
export async function warnBarelyTrained(
  model: { path: string },
  onLog: ((line: string) => void) | undefined,
): Promise<void> {
  const learned = (await trainingOf(model))?.learned;
  if (!learned || learned.verdict === 'yes') return;
  onLog?.(
    `The model ${learned.verdict === 'no' ? 'has not' : 'has barely'} learned its labels: after ${count(learned.step, 'step')}, they help ${percent(learned.helped)} of held-out images (chance: 50 %). Expect noise, and train it longer, or on more images.`,
  );
}
