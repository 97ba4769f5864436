// What stages share in resolving their options: presets, whole numbers, timesteps, the images of a dataset, and what decides the batch.
import {
  measureImage,
  openDataset,
  PRESETS,
  restricted,
  scoredSize,
  type Dataset,
  type Preset,
  type PresetName,
  type Size,
  type SizeOptions,
} from '../data/index.js';
import type { Dtype } from '../engine/types.js';
import { variantOf, type ModelFolder } from '../models/index.js';
import type { ManifestModel } from '../runs/manifest.js';
import { unetShape, type Shape } from '../stages/scan/batch.js';
import { DiffmineError } from '../util/errors.js';

/** Images measured to learn how large they are. */
const MEASURED = 64;

/** A model as manifests keep it. */
export function manifestModel({
  path,
  variant,
  fingerprint,
  kind,
  conditioning,
  vaeFactor,
  fold,
}: ModelFolder): ManifestModel {
  return { path, ...variantOf({ variant }), fingerprint, kind, conditioning, vaeFactor, fold };
}

export function check(condition: boolean, message: string, hint?: string): void {
  if (!condition) throw new DiffmineError('INVALID_ARGUMENT', message, hint);
}

export function wholeNumber(value: number, min: number, name: string): number {
  check(
    Number.isSafeInteger(value) && value >= min,
    `${name} is ${value}; expected a whole number of at least ${min}.`,
  );
  return value;
}

export function presetOf(name: string | undefined): Preset | undefined {
  if (name === undefined) return undefined;
  const preset = (PRESETS as Record<string, Preset>)[name];
  check(
    preset !== undefined,
    `There is no preset ${JSON.stringify(name)}.`,
    `Presets: ${Object.keys(PRESETS).join(', ')}.`,
  );
  return preset;
}

/** Fractions of the schedule as timesteps [tBegin, tEnd). */
export function timesteps(
  [from, to]: readonly [number, number],
  trainTimesteps: number,
): { tBegin: number; tEnd: number } {
  check(from >= 0 && from < to && to <= 1, `The timestep range ${from},${to} is not within 0 ... 1 and ascending.`);
  const tBegin = Math.floor(from * trainTimesteps + 1e-6);
  const tEnd = Math.floor(to * trainTimesteps + 1e-6);
  check(tEnd > tBegin, `The timestep range ${from},${to} holds no timestep.`);
  return { tBegin, tEnd };
}

/** The largest scored shape among up to 64 images, evenly spaced over the dataset; undefined where none of them can be read. */
export async function largestShape(
  dataset: Dataset,
  sizes: SizeOptions,
  model: Pick<ModelFolder, 'vaeFactor' | 'fold'>,
): Promise<Shape | undefined> {
  const count = Math.min(MEASURED, dataset.images.length);
  const picked = Array.from({ length: count }, (_, i) =>
    dataset.images.at(Math.floor((i * dataset.images.length) / count)),
  );
  let largest: Size | undefined;
  for (const image of picked) {
    try {
      const size = scoredSize(await measureImage(image.file), sizes);
      if (!largest || size.width * size.height > largest.width * largest.height) largest = size;
    } catch (error) {
      if (!(error instanceof DiffmineError && error.code === 'IMAGE_UNREADABLE')) throw error;
    }
  }
  return largest && unetShape(largest.height, largest.width, model.vaeFactor, model.fold);
}

/** Whether the batch is to be sized from memory; an existing run has fixed it. */
export function isAuto(batch: number | 'auto' | undefined): batch is undefined | 'auto' {
  return batch === undefined || batch === 'auto';
}

/** Bytes of a model's weights once loaded in a precision, whatever they are stored in. */
export function weightBytes(model: Pick<ModelFolder, 'summary'>, dtype: Dtype): number {
  return model.summary().parameters * (dtype === 'fp32' ? 4 : 2);
}

/** The images that are scored, with the preset's layout where one is named. @throws DATASET_INVALID */
export async function imagesOf({
  dataset: path,
  only,
  preset,
  encoding,
  imageRoot,
  out,
  checksum = false,
}: {
  dataset: string;
  /** only these, by path */
  only?: readonly string[];
  preset?: string;
  encoding?: string;
  imageRoot?: string;
  checksum?: boolean;
  out?: string;
}): Promise<Dataset> {
  const dataset = await openDataset(path, {
    layout: presetOf(preset) ? (preset as PresetName) : 'auto',
    checksum,
    ...(encoding === undefined ? {} : { encoding }),
    ...(imageRoot === undefined ? {} : { imageRoot }),
    ...(out === undefined ? {} : { out }),
  });
  return only ? restricted(dataset, new Set(only)) : dataset;
}
