// Shared by stages for resolving options: presets, integers, timesteps, the images of a dataset.
import {
  layoutOf,
  openDataset,
  PRESETS,
  restricted,
  sourceOf,
  type Dataset,
  type DatasetSource,
  type Preset,
  type PresetName,
} from '../data/index.js';
import { defaultFeatures } from '../models/denoiser.js';
import { listed } from '../data/labels.js';
import { heldOut } from '../data/holdout.js';
import type { ModelFolder } from '../models/index.js';
import { trainingOf, usedDataset } from '../models/training.js';
import { listingsOf } from '../runs/listings.js';
import type { ManifestModel } from '../runs/manifest.js';
import { DiffmineError } from '../util/errors.js';
import { count } from '../web/html.js';

/** A model as manifests keep it. */
export function manifestModel({
  path,
  hub,
  opened = {},
  fingerprint,
  kind,
  conditioning,
  vaeFactor,
  fold,
  source,
}: ModelFolder): ManifestModel {
  const features = defaultFeatures(source);
  return { path, ...(hub && { hub }), ...opened, fingerprint, kind, conditioning, vaeFactor, fold, features };
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

/** The settings among the options of a stage; unknown keys are refused with the other options. */
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
  out,
  checksum = false,
  ...options
}: DatasetSource & {
  dataset: string;
  /** only these, by path */
  only?: readonly string[] | undefined;
  preset?: string | undefined;
  checksum?: boolean | undefined;
  out?: string | undefined;
}): Promise<Dataset> {
  const dataset = await openDataset(path, {
    layout: layoutOf(preset),
    checksum,
    ...sourceOf(options),
    ...(out === undefined ? {} : { out, listings: listingsOf(out) }),
  });
  return only ? restricted(dataset, new Set(only)) : dataset;
}

/** Of a dataset, the images that a fraction above 0 holds out. @throws DATASET_INVALID if there is none */
export function heldOutOf(dataset: Dataset, holdout: number): Dataset {
  const found = restricted(dataset, heldOut(dataset.images, holdout));
  if (found.images.length === 0)
    throw new DiffmineError(
      'DATASET_INVALID',
      `None of ${count(dataset.images.length, 'image')} of '${dataset.path}' is held out: \`holdout\` is ${holdout}.`,
      'Give a larger `holdout`, or 0 to use all images.',
    );
  return found;
}

/**
 * Of a dataset, the images that a model was not trained on.
 *
 * @param asked the fraction; undefined: what the model's training held out of this dataset
 * @returns the images, and the fraction that was used; 0 keeps all images
 * @throws DATASET_INVALID if no image is left
 */
export async function unseen(
  dataset: Dataset,
  asked: number | undefined,
  model: ModelFolder,
  onLog?: (line: string) => void,
): Promise<{ dataset: Dataset; holdout: number }> {
  const training = await trainingOf(model);
  const seen = training !== undefined && usedDataset(training, dataset);
  const trained = (seen ? training.settings.holdout : undefined) ?? 0;
  const holdout = asked ?? trained;
  if (holdout === 0) {
    if (trained > 0) onLog?.('Using all images, also those that the model was trained on (`holdout` 0).');
    return { dataset, holdout };
  }
  const found = heldOutOf(dataset, holdout);
  onLog?.(
    `Using the ${count(found.images.length, 'image')} of ${dataset.images.length} that the hash of their names holds out (\`holdout\` ${holdout}${asked === undefined ? ', as the model was trained; 0 uses all images' : ''}).`,
  );
  const absent = dataset.labels.filter((label) => !found.labels.includes(label));
  if (absent.length > 0) onLog?.(`No image is held out of ${listed(absent)}.`);
  if (seen && holdout > trained)
    onLog?.(
      `The model was trained with ${trained === 0 ? 'no `holdout`' : `\`holdout\` ${trained}`}: some of these images are among those it was trained on.`,
    );
  return { dataset: found, holdout };
}
