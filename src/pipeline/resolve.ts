// Shared by stages for resolving options: presets, integers, timesteps, the images of a dataset.
import { openDataset, PRESETS, restricted, type Dataset, type Preset, type PresetName } from '../data/index.js';
import { variantOf, type ModelFolder } from '../models/index.js';
import type { ManifestModel } from '../runs/manifest.js';
import { DiffmineError } from '../util/errors.js';

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
  check(tEnd > tBegin, `The timestep range ${from},${to} contains no timestep.`);
  return { tBegin, tEnd };
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
