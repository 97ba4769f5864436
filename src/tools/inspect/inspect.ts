// inspect: tells whether a path is a model, a dataset, a run or another output, and describes it without loading a model. Of a dataset, some images are decoded.
import type { z } from 'zod';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';

import {
  isPattern,
  measureImage,
  openDataset,
  outputFormat,
  sourceOf,
  type DatasetSource,
  type Ignored,
  type LayoutName,
} from '../../data/index.js';
import { confoundsOf, type Confounds } from '../../data/confounds.js';
import { asDiffmineError, DiffmineError, reasonAlone } from '../../util/errors.js';
import { LORA } from '../../models/lora-folder.js';
import { inspectOutput, type DemoInspection, type OutputInspection } from './outputs.js';
import { writeImageGrid, type ImageGrid } from './grid.js';
import { resolved } from '../../options/check.js';
import { INSPECT, type InspectOptions } from './options.js';
import { isPickle } from '../../models/pickle.js';
import { hubIdOf, modelOptions, openModel } from '../../models/index.js';
import { cached } from '../../models/hub/hub.js';
import type { Hooks } from '../../util/hooks.js';
import { planModel, type HubModelFiles } from '../pull/pull.js';
import { MANIFEST, type Manifest } from '../../runs/manifest.js';
import { Run } from '../../runs/run.js';
import { withLocalRun } from '../../runs/store/copy.js';
import { isBucket } from '../../util/place.js';

export type { DemoInspection, OutputInspection } from './outputs.js';

export interface ModelInspection {
  kind: 'model';
  path: string;
  summary: object;
}

export interface DatasetInspection {
  kind: 'dataset';
  path: string;
  fingerprint: string;
  images: number;
  labels: { label: string; images: number }[];
  bytes: number;
  ignored: number;
  /** the same by reason */
  ignoredBy: Ignored;
  warnings: string[];
  /** the layout it was read as, of those of the paper's datasets; absent: label folders, or a table */
  layout?: LayoutName;
  /** of images spread evenly over the dataset: their sizes in pixels, and those whose header cannot be read */
  measured: {
    images: number;
    shortSide: [min: number, max: number] | null;
    longSide: [min: number, max: number] | null;
    unreadable: { image: string; reason: string }[];
  };
  /** properties of whole images that tell labels apart, and near-duplicates across labels; null where that was not asked for, or there is one label */
  confounds: Confounds | null;
  /** where one was asked for */
  imageGrid?: ImageGrid;
}

export interface RunInspection {
  kind: 'run';
  path: string;
  fingerprint: string;
  version: string;
  created: string;
  model: Manifest['model'];
  dataset: Manifest['dataset'];
  options: Manifest['options'];
  shards: { total: number; done: number };
  scored: number;
  skipped: number;
  mined: boolean;
  report: string | null;
}

/** A model of the Hugging Face hub that is not cached: what would be downloaded. */
export interface HubInspection extends HubModelFiles {
  kind: 'hub';
}

export type Inspection =
  ModelInspection | HubInspection | DatasetInspection | RunInspection | DemoInspection | OutputInspection;

/** Images whose headers are read. */
const MEASURED = 64;

/**
 * Describes a model folder, a model of the Hugging Face hub (which is not downloaded), a dataset (folder of label folders, CSV, JSONL), a run directory,
 * or the folder of a demo or of another stage.
 * @param given options of a model folder, or of a dataset
 * @throws DiffmineError INVALID_ARGUMENT when nothing is there; else what opening it throws (MODEL_*, DATASET_INVALID, RUN_INVALID)
 */
export async function inspect(
  path: string,
  given: InspectOptions = {},
  hooks: Pick<Hooks, 'signal'> = {},
): Promise<Inspection> {
  const options = resolved(INSPECT, given);
  const found = await described(path, options, hooks);
  if (options.imageGrid !== undefined && found.kind !== 'dataset')
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${path} is not a dataset: it has no image grid.`,
      'Leave out `imageGrid`, or inspect the dataset.',
    );
  return found;
}

async function described(
  path: string,
  options: z.output<typeof INSPECT>,
  hooks: Pick<Hooks, 'signal'>,
): Promise<Inspection> {
  if (isBucket(path))
    return withLocalRun(
      path,
      {},
      { reads: (name) => /(^|\/)(shard\.json|mine\.json|index\.html)$/.test(name), makes: [], lock: '' },
      inspectRun,
    );
  const status = statSync(path, { throwIfNoEntry: false });
  const id = hubIdOf(path, options);
  if (id && !(await cached(id, { t5: options.t5 })))
    return { kind: 'hub', ...(await planModel(id, options.t5, hooks)) };
  if (id) return inspectModel(path, options);
  if (!status && (await isPattern(path)))
    return inspectDataset(path, options, options.imagesPerLabel, options.imageGrid);
  if (!status)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `There is no file or folder ${path}.`,
      'Give a model folder, a dataset or a run directory.',
    );
  if (status.isFile() && (path.endsWith('.safetensors') || isPickle(path))) return inspectModel(path, options);
  if (status.isDirectory()) {
    // a manifest.json may be anybody's
    if (
      existsSync(join(path, MANIFEST)) &&
      (existsSync(join(path, 'shards')) || (await outputFormat(path, [MANIFEST])) !== undefined)
    )
      return (await inspectOutput(path)) ?? inspectRun(path);
    if (
      existsSync(join(path, 'model_index.json')) ||
      existsSync(join(path, LORA)) ||
      existsSync(join(path, 'unet', 'config.json'))
    ) {
      return inspectModel(path, options);
    }
    const output = await inspectOutput(path);
    if (output) return output;
  }
  return inspectDataset(path, options, options.imagesPerLabel, options.imageGrid);
}

async function inspectModel(path: string, options: InspectOptions): Promise<ModelInspection> {
  const model = await openModel(path, modelOptions(options));
  return { kind: 'model', path: model.path, summary: model.summary() };
}

async function inspectDataset(
  path: string,
  options: DatasetSource,
  imagesPerLabel: number,
  imageGrid: string | undefined,
): Promise<DatasetInspection> {
  const dataset = await openDataset(path, sourceOf(options));
  const counts = dataset.images.countByLabel();
  let bytes = 0;
  for (let i = 0; i < dataset.images.length; i++) bytes += dataset.images.bytes(i);
  const wanted = Math.min(MEASURED, dataset.images.length);
  const short: number[] = [];
  const long: number[] = [];
  const unreadable: { image: string; reason: string }[] = [];
  for (let i = 0; i < wanted; i++) {
    const image = dataset.images.at(Math.floor((i * dataset.images.length) / wanted));
    try {
      const { width, height } = await measureImage(image.file);
      short.push(Math.min(width, height));
      long.push(Math.max(width, height));
    } catch (thrown) {
      const error = asDiffmineError(thrown);
      if (error.code !== 'IMAGE_UNREADABLE') throw error;
      unreadable.push({ image: image.path, reason: reasonAlone(error) });
    }
  }
  const range = (sides: number[]): [number, number] | null =>
    sides.length > 0 ? [Math.min(...sides), Math.max(...sides)] : null;
  return {
    kind: 'dataset',
    path: dataset.path,
    fingerprint: dataset.fingerprint,
    images: dataset.images.length,
    labels: [...counts].map(([label, images]) => ({ label, images })),
    bytes,
    ignored: dataset.ignored,
    ignoredBy: dataset.ignoredBy,
    warnings: dataset.warnings,
    ...(dataset.layout ? { layout: dataset.layout } : {}),
    measured: { images: wanted, shortSide: range(short), longSide: range(long), unreadable },
    confounds: imagesPerLabel > 0 && counts.size > 1 ? await confoundsOf(dataset.images, imagesPerLabel) : null,
    ...(imageGrid === undefined ? {} : { imageGrid: await writeImageGrid(imageGrid, dataset.images) }),
  };
}

async function inspectRun(path: string): Promise<RunInspection> {
  const run = await Run.open(path);
  const { manifest } = run;
  const done = await run.doneShards();
  const records = await Promise.all(done.map((shard) => run.readShard(shard)));
  const report = join(run.path, 'report', 'index.html');
  return {
    kind: 'run',
    path: run.path,
    fingerprint: manifest.fingerprint,
    version: manifest.version,
    created: manifest.created,
    model: manifest.model,
    dataset: manifest.dataset,
    options: manifest.options,
    shards: { total: manifest.shards, done: done.length },
    scored: records.reduce((sum, record) => sum + record.images, 0),
    skipped: records.reduce((sum, record) => sum + record.skipped, 0),
    mined: existsSync(run.mineFile('mine.json')),
    report: existsSync(report) ? report : null,
  };
}
