// What mining reads besides the run: its model, its images, its replayed noises; each as the scan had it.
import { heldOut } from '../../data/holdout.js';
import { ImageList, ofLabels, openDataset, restricted, sourceOf, type Dataset } from '../../data/index.js';
import { openModel, recordedModel, untrained, modelOptions, type ModelFolder } from '../../models/index.js';
import { checkContents } from '../../runs/changes.js';
import { listingsOf } from '../../runs/listings.js';
import type { Manifest } from '../../runs/manifest.js';
import { Replay } from '../../runs/replay.js';
import { imageKey, type Run } from '../../runs/run.js';
import type { PatchRow } from '../../runs/columns.js';
import type { Hooks } from '../../util/hooks.js';
import { DiffmineError } from '../../util/errors.js';
import { sha256File } from '../../util/sha256.js';
import type { MineEvent, MineOptions } from './options.js';

export async function openRunModel(
  manifest: Manifest,
  options: Pick<MineOptions, 'model' | 'variant'>,
  hooks: Hooks<MineEvent>,
): Promise<ModelFolder> {
  const model = await openModel(
    options.model ?? (await recordedModel(manifest.model)),
    modelOptions({ ...manifest.model, ...options }),
    hooks,
  );
  if (model.fingerprint === manifest.model.fingerprint)
    return manifest.options.untrained ? untrained(model, manifest.options.seed) : model;
  throw new DiffmineError(
    'RUN_MISMATCH',
    `The model in ${model.path} is not the one this run was scanned with.`,
    'If the model has moved, give its folder with `model`. Otherwise scan again into a new folder.',
  );
}

/** The dataset that the run was scanned from. @throws RUN_MISMATCH where it has changed */
export async function openRunDataset(
  run: Run,
  { dataset: path, imageRoot }: Pick<MineOptions, 'dataset' | 'imageRoot'>,
): Promise<Dataset> {
  const { dataset: recorded, options } = run.manifest;
  const complete = await openDataset(path ?? recorded.path, {
    layout: recorded.layout ?? 'auto',
    checksum: options.checksum === true,
    listings: listingsOf(run.path),
    ...sourceOf(recorded),
    ...(imageRoot === undefined ? {} : { imageRoot }),
  });
  const { holdout = 0, labels } = options;
  const held = holdout > 0 ? restricted(complete, heldOut(complete.images, holdout)) : complete;
  const dataset = labels ? ofLabels(held, labels) : held;
  if (dataset.fingerprint === recorded.fingerprint) return dataset;
  throw new DiffmineError(
    'RUN_MISMATCH',
    `The dataset ${dataset.path} is not the one that this run was scanned from: its images have changed.`,
    'Restore it, or scan again into a new folder.',
  );
}

/** The files of the patches' images, which have not changed since the scan; the whole list of the dataset need not be kept. */
export async function filesOf(
  run: Run,
  images: ImageList,
  patches: readonly PatchRow[],
  hooks: Hooks<MineEvent>,
): Promise<ImageList> {
  const wanted = new Map(patches.map(({ image, label }) => [imageKey({ path: image, label }), { path: image, label }]));
  const files = ImageList.from(
    [...wanted.values()].flatMap(({ path: image, label }) => images.find(image, label) ?? []),
  );
  const places = new Map(
    [...(await run.placesOf(wanted.values()))].map(([key, place]) => {
      const { path: image, label } = wanted.get(key) as { path: string; label: string };
      return [place, files.find(image, label)] as const;
    }),
  );
  const shards = [
    ...new Set([...places.keys()].map((place) => Math.floor(place / run.manifest.options.shardSize))),
  ].sort((a, b) => a - b);
  await checkContents(run, shards, (place) => places.get(place), ['mine'], hooks);
  return files;
}

export async function openReplay(manifest: Manifest): Promise<Replay | undefined> {
  if (manifest.replayFile === null) return undefined;
  const replay = Replay.open(manifest.replayFile);
  if ((await sha256File(manifest.replayFile)) === manifest.options.replay) return replay;
  throw new DiffmineError(
    'RUN_MISMATCH',
    `The replay file ${manifest.replayFile} has changed since the scan.`,
    'Restore it, or scan again into a new folder.',
  );
}
