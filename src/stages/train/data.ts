// What a training learns from: the dataset, which of its images are trained on and which are held out, and the conditions of its labels.
import { count } from '../../web/html.js';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { heldOut, holdoutKey } from '../../data/holdout.js';
import { datasetNotes, openDataset, sourceOf } from '../../data/index.js';
import { distinctLabels } from '../../data/labels.js';
import { readSafetensors, writeSafetensors, type Engine } from '../../engine/index.js';
import type { ConditionInput, Tensor, TextEmbeddings } from '../../engine/types.js';
import { because, DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { sha256 } from '../../util/sha256.js';
import type { Base } from './base.js';
import { openCrops, type Crops } from './images.js';
import type { TrainEvent, TrainSettings } from './options.js';
import type { TrainRecord } from './record.js';
import { makeFolder } from '../../util/paths.js';

/** Fraction held out for validation where no `holdout` was asked for. */
const VALIDATED = 0.05;
/** Maximum number of images that the validation loss is measured on. */
const MOST_VALIDATED = 512;

/** The images of a training, and its labels. */
export interface Data {
  labels: string[];
  crops: Crops;
  /** row of conditions of each usable image */
  rows: number[];
  /** indices into the usable images */
  training: number[];
  /** all that are not trained on */
  heldOut: number[];
  /** of those, the ones that the validation loss is measured on */
  validation: number[];
  /** usable by their headers, but found to be broken when they were decoded */
  unreadable: Set<number>;
  fingerprint: string;
}

/** Opens the dataset, and splits its usable images. */
export async function openData(
  settings: TrainSettings,
  record: TrainRecord | undefined,
  folder: string,
  base: Base,
  engine: Engine,
  hooks: Hooks<TrainEvent>,
): Promise<Data> {
  const dataset = await openDataset(settings.dataset, {
    out: folder,
    ...sourceOf(settings),
  });
  for (const note of datasetNotes(dataset)) hooks.onLog?.(note);
  if (record && record.dataset.fingerprint !== dataset.fingerprint) {
    throw new DiffmineError(
      'RUN_MISMATCH',
      `The dataset ${settings.dataset} is not the one that the training in ${folder} began with.`,
      'Restore it, or begin a new training in another folder.',
    );
  }
  base.checkLabels(dataset.labels, settings, hooks.onLog);
  const crops = await openCrops(dataset.images, base, engine, {
    side: settings.size,
    mirrored: settings.flips,
    cache: join(folder, 'cache'),
    signal: hooks.signal,
    onLog: hooks.onLog,
    onProgress: (done, total) => hooks.onProgress?.({ type: 'prepare', done, total }),
  });
  const { usable, skipped } = crops;
  for (const { image, reason } of skipped.slice(0, 5)) hooks.onLog?.(because('skipped', image, reason));
  if (skipped.length > 5) hooks.onLog?.(`skipped ${skipped.length - 5} more`);
  // Of the whole dataset, as a scan sees it: a scan may use images that are too small for crops.
  const held = heldOut(dataset.images, settings.holdout ?? VALIDATED);
  const trained = usable.filter(({ image }) => !held.has(image.path));
  if (trained.length === 0) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `None of ${count(dataset.images.length, 'image')} of ${settings.dataset} can be used${skipped[0] ? `; the first, ${skipped[0].image}, ${skipped[0].reason}` : '.'}`,
      'Images must be at least as large as the crops: try a smaller `size`.',
    );
  }
  const used = dataset.labels.filter((label) => trained.some(({ image }) => image.label === label));
  for (const label of dataset.labels)
    if (!used.includes(label)) hooks.onLog?.(`The label '${label}' is left out: none of its images can be used.`);
  const labels = distinctLabels(used);
  if (labels.length === 1)
    hooks.onLog?.(`All images have the label '${labels[0]}': a model with one label is of no use for typicality.`);
  const rowOf = new Map(labels.map((label, row) => [label.normalize('NFC'), row]));
  const rows = usable.map(({ image }) => rowOf.get(image.label.normalize('NFC')) ?? -1);
  const pathOf = (index: number): string => (usable[index] as Crops['usable'][number]).image.path;
  const all = [...usable.keys()].filter((index) => rows[index] !== -1);
  const out = all.filter((index) => held.has(pathOf(index)));
  const keys = new Map(out.map((index) => [index, holdoutKey(pathOf(index))]));
  const validated = [...out].sort((a, b) => (keys.get(a) ?? 0) - (keys.get(b) ?? 0)).slice(0, MOST_VALIDATED);
  return {
    labels,
    crops,
    rows,
    training: all.filter((index) => !held.has(pathOf(index))),
    heldOut: out,
    validation: validated.sort((a, b) => a - b),
    unreadable: new Set(),
    fingerprint: dataset.fingerprint,
  };
}

/** Conditions of the labels, then the null condition; embeddings of a text are computed once. */
export async function conditionsOf(
  base: Base,
  engine: Engine,
  labels: string[],
  settings: TrainSettings,
  folder: string,
): Promise<ConditionInput> {
  if (base.conditioning === 'class') return base.conditions(engine, labels, settings);
  const key = sha256(
    JSON.stringify([base.encoderFingerprint, settings.dtype, labels, settings.prompt, settings.nullPrompt]),
  ).slice(0, 16);
  const file = join(folder, 'cache', `text-${key}.safetensors`);
  if (!existsSync(file)) {
    await makeFolder(join(folder, 'cache'));
    writeSafetensors(file, { ...((await base.conditions(engine, labels, settings)) as TextEmbeddings) });
  }
  const { text, pooled } = readSafetensors(file) as { text: Tensor; pooled?: Tensor };
  return pooled ? { text, pooled } : text;
}
