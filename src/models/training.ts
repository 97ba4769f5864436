// What a model folder says of its training: train.json, which `train` writes beside the model (docs/reference/formats/training.md).
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Dataset } from '../data/index.js';
import type { Range } from '../options/fields.js';
import { list, members, nullable, number, oneOf, optional, text, type Shape } from '../runs/json-shape.js';
import { DEFAULT_RANGE, defaultRange } from './denoiser.js';
import type { ModelFolder } from './model.js';
import { DiffmineError } from '../util/errors.js';
import { parseJson } from '../util/json.js';

/** Chance is one half: a label without information helps half of the images. */
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

/** Of the null condition: learned, of the model that was tuned, or never learned. */
export type NullCondition = 'trained' | 'base' | 'none';

export const TRAINING_FORMAT = 'diffmine-train-2';
export const RECORD = 'train.json';

/** The part of train.json that other commands use. */
export interface Training {
  settings: {
    dataset: string;
    /** absent: images were held out for validation only */
    holdout?: number | null;
    trainTRange: Range;
    /** label dropout */
    drop?: number;
  };
  dataset: { fingerprint: string };
  /** `from`: null for random weights. `nullCondition`: absent in records of earlier versions */
  model?: { from: string | null; nullCondition?: NullCondition };
  /** absent until the training is done; null if no image was held out */
  learned?: Learned | null;
}

const isRange: Shape = (value) => list(number)(value) && (value as number[]).length === 2;
const isTraining = members({
  settings: members({
    dataset: text,
    holdout: optional(nullable(number)),
    trainTRange: isRange,
    drop: optional(number),
  }),
  dataset: members({ fingerprint: text }),
  model: optional(members({ from: nullable(text), nullCondition: optional(oneOf('trained', 'base', 'none')) })),
  learned: optional(nullable(members({ verdict: oneOf('yes', 'barely', 'no'), step: number, helped: number }))),
});

/**
 * The training of a model folder that `train` wrote; undefined for other models.
 *
 * @throws MODEL_INVALID for a record of ours that is damaged: without it, images of the training would be mined and other timesteps scored
 */
export async function trainingOf({ path: folder }: { path: string }): Promise<Training | undefined> {
  const file = path.join(folder, RECORD);
  const content = await readFile(file, 'utf8').catch(() => undefined);
  if (content === undefined) return undefined;
  let record: unknown;
  try {
    record = parseJson(content);
  } catch {
    return undefined; // of another program: the model is usable without it
  }
  if (!members({ format: oneOf(TRAINING_FORMAT) })(record)) return undefined;
  if (isTraining(record)) return record as Training;
  throw new DiffmineError(
    'MODEL_INVALID',
    `${file} is not a record of a training.`,
    'Restore it, or remove it: the model is usable without it, but nothing then says which images it was trained on.',
  );
}

/**
 * Timesteps to score with a model, as fractions of its schedule: those asked for, else those that it was trained on, else the default of its kind
 * (denoiser.ts). A training on the whole schedule does not tell where to score.
 */
export async function scoredRange(
  asked: Range | undefined,
  model: Pick<ModelFolder, 'path'> & Partial<Pick<ModelFolder, 'source'>>,
  onLog?: (line: string) => void,
): Promise<Range> {
  if (asked !== undefined) return asked;
  const trained = (await trainingOf(model))?.settings.trainTRange;
  if (trained === undefined || (trained[0] === 0 && trained[1] === 1))
    return model.source ? defaultRange(model.source) : DEFAULT_RANGE;
  onLog?.(
    `Scoring timesteps ${trained.join(' to ')} of the noise schedule, the range that the model was trained on. \`tRange\` changes it.`,
  );
  return [...trained];
}

/** Whether a training used this dataset: the same images, or the same place (images may have been added). */
export const usedDataset = (training: Training, dataset: Pick<Dataset, 'path' | 'fingerprint'>): boolean =>
  training.dataset.fingerprint === dataset.fingerprint || training.settings.dataset === dataset.path;
