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

/** What a preset says, as options: those that are given by name come before it. */
export function presetOptions(name: string | undefined): Partial<PresetOptions> {
  if (!isPreset(name)) return {};
  const { timesteps: tRange, ...others } = PRESETS[name];
  return { ...others, tRange };
}

type PresetOptions = Omit<Preset, 'timesteps'> & { tRange: Preset['timesteps'] };

/** Of the settings of a scan and the like; what is none is refused with the other options. */
const isPreset = (name: string | undefined): name is PresetName => name !== undefined && Object.hasOwn(PRESETS, name);

/** Fractions of the schedule as timesteps [tBegin, tEnd). */
export function timesteps(
  [from, to]: readonly [number, number],
  trainTimesteps: number,
): { tBegin: number; tEnd: number } {
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
  only?: readonly string[] | undefined;
  preset?: string | undefined;
  encoding?: string | undefined;
  imageRoot?: string | undefined;
  checksum?: boolean | undefined;
  out?: string | undefined;
}): Promise<Dataset> {
  const dataset = await openDataset(path, {
    layout: isPreset(preset) ? preset : 'auto',
    checksum,
    ...(encoding === undefined ? {} : { encoding }),
    ...(imageRoot === undefined ? {} : { imageRoot }),
    ...(out === undefined ? {} : { out }),
  });
  return only ? restricted(dataset, new Set(only)) : dataset;
}
