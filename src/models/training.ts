// What a model folder says of its training: train.json, which `train` writes beside the model (docs/reference/formats/training.md).
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Dataset } from '../data/index.js';
import type { Range } from '../options/fields.js';
import { parseJson } from '../util/json.js';

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
  /** mean training loss of the last quarter of the steps, over that of the second quarter; null for fewer than 8 steps */
  lossRatio: number | null;
  labels: LearnedLabel[];
}

export const TRAINING_FORMAT = 'diffmine-train-2';
export const RECORD = 'train.json';

/** Timesteps that are scored where nothing else is asked for, as fractions of the schedule: the paper's. */
export const DEFAULT_RANGE: Range = [0.1, 0.7];

/** The part of train.json that other commands use. */
export interface Training {
  settings: {
    dataset: string;
    /** absent: images were held out for validation only */
    holdout?: number | null;
    trainTRange: Range;
  };
  dataset: { fingerprint: string };
  /** absent until the training is done; null if no image was held out */
  learned?: Learned | null;
}

/** The training of a model folder that `train` wrote; undefined for other models. */
export async function trainingOf({ path: folder }: { path: string }): Promise<Training | undefined> {
  const text = await readFile(path.join(folder, RECORD), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const record = parseJson(text) as (Training & { format?: unknown }) | null;
    return record?.format === TRAINING_FORMAT ? record : undefined;
  } catch {
    return undefined; // not ours: the model is usable without it
  }
}

/**
 * Timesteps to score with a model, as fractions of its schedule: those asked for, else those that it was trained on, else the paper's. A training on
 * the whole schedule says nothing about where to score.
 */
export async function scoredRange(
  asked: Range | undefined,
  model: { path: string },
  onLog?: (line: string) => void,
): Promise<Range> {
  if (asked !== undefined) return asked;
  const trained = (await trainingOf(model))?.settings.trainTRange;
  if (trained === undefined || (trained[0] === 0 && trained[1] === 1)) return DEFAULT_RANGE;
  onLog?.(
    `Scoring timesteps ${trained.join(' to ')} of the noise schedule, the range that the model was trained on. \`tRange\` changes it.`,
  );
  return [...trained];
}

/** Whether a training used this dataset: the same images, or the same place (images may have been added). */
export const usedDataset = (training: Training, dataset: Pick<Dataset, 'path' | 'fingerprint'>): boolean =>
  training.dataset.fingerprint === dataset.fingerprint || training.settings.dataset === dataset.path;
