// Whether a model has learned its labels: what `train` measures at its end on held-out images, writes to train.json, and what other commands make of it.
import { trainingOf } from './training.js';

/** Chance is one half: a label that says nothing helps half of the images. */
export interface LearnedLabel {
  label: string;
  images: number;
  /** mean loss of its images under the label */
  loss: number;
  /** the same under other labels */
  others: number;
  /** fraction of its images that the label helps: whose loss is lower with it */
  helped: number;
}

export type Verdict = 'yes' | 'barely' | 'no';

export interface Learned extends Omit<LearnedLabel, 'label'> {
  verdict: Verdict;
  /** of these weights */
  step: number;
  /** noise and timestep samples per image */
  samples: number;
  labels: LearnedLabel[];
}

/** Losses of an image under its label and under others, with the same noise. */
export interface Pair {
  label: string;
  loss: number;
  others: number;
}

/** Fractions of images that the label helps from which it is learned, and from which it is barely learned (docs/guides/training.md has the evidence). */
const [LEARNED, BARELY] = [0.75, 0.6];
/** Standard errors by which the mean gain has to differ from 0. */
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

/** Judges by the fraction of images that the label helps, if the mean gain is not by chance. */
export function verdictOf(pairs: readonly Pick<Pair, 'loss' | 'others'>[]): Verdict {
  if (certainty(pairs.map(({ loss, others }) => (others - loss) / loss)) < ERRORS) return 'no';
  const { helped } = summary(pairs);
  return helped >= LEARNED ? 'yes' : helped >= BARELY ? 'barely' : 'no';
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
export function learnedOf(pairs: readonly Pair[], facts: Pick<Learned, 'step' | 'samples'>): Learned {
  return {
    verdict: verdictOf(pairs),
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
export function learnedSentence({ images, loss, others, helped }: Omit<Learned, 'labels'>): string {
  return `On ${images} held-out image${images === 1 ? '' : 's'}, the loss with their label is ${loss.toPrecision(4)}, with other labels ${others.toPrecision(4)}; the label helps ${percent(helped)} of the images (chance: 50 %).`;
}

export const VERDICTS: Readonly<Record<Verdict, string>> = {
  yes: 'The model has learned its labels: that is enough to mine.',
  barely: 'The model has barely learned its labels: findings will be weak. Train longer, or on more images.',
  no: 'The model has not learned its labels: findings would be chance. Train longer, or on more images.',
};

/** A warning about a model that has not learned its labels, as its training measured; undefined if it has, or if nothing was measured. */
export async function barelyTrained(model: { path: string }): Promise<string | undefined> {
  const learned = (await trainingOf(model))?.learned;
  if (!learned || learned.verdict === 'yes') return undefined;
  return `The model ${learned.verdict === 'no' ? 'has not' : 'has barely'} learned its labels (after ${learned.step} steps they help ${percent(learned.helped)} of held-out images, chance is 50 %): expect noise.`;
}
