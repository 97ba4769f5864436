// Resolves options: fills in defaults, opens model and dataset, and checks everything that can be checked before work begins.
import type { z } from 'zod';
import { datasetNotes, ofLabels, type Dataset, type ImageList, type SizeOptions } from '../../data/index.js';
import { findLabel } from '../../data/labels.js';
import {
  checkLabels,
  checkNullCondition,
  clashes,
  defaultSize,
  modelOptions,
  openModel,
  untrained,
  type ModelFolder,
} from '../../models/index.js';
import { warnBarelyTrained } from '../../models/learned.js';
import { scoredRange } from '../../models/training.js';
import type { DeviceInfo, Dtype } from '../../engine/types.js';
import { resolved } from '../../options/check.js';
import { batchFor, isAuto, shapeOf } from '../../pipeline/batch.js';
import { chooseDevices } from '../../pipeline/devices.js';
import { check, imagesOf, manifestModel, presetOptions, timesteps, unseen } from '../../pipeline/resolve.js';
import { sizeInHand } from '../../pipeline/shard-size.js';
import { readManifest, type Manifest, type ManifestDraft, type RunOptions } from '../../runs/manifest.js';
import { Replay } from '../../runs/replay.js';
import type { Hooks } from '../../util/hooks.js';
import { sha256File } from '../../util/sha256.js';
import { count } from '../../web/html.js';
import { checkDifferences, keywordNote, labelsToScan, nullUse, rivalOf, type LabelConditions } from './against.js';
import { planContrasts, planSingles, type ContrastPlan } from './contrasts.js';
import { SCAN, type MapOptions, type ScanEvent, type ScanOptions } from './options.js';
import { namesOf, promptsFor, type Prompts } from './prompts.js';
import { raceOptions } from './race-options.js';
import { labelsToMap, type LabelsToMap } from './single-labels.js';

export interface Resolved {
  model: ModelFolder;
  dataset: Dataset;
  /** of the dataset, those that are scored */
  images: ImageList;
  /** what conditions are prepared of: the dataset's labels; of a localization its single labels and those asked for */
  labels: string[];
  contrasts: ContrastPlan;
  /** at least one */
  devices: [DeviceInfo, ...DeviceInfo[]];
  sizes: SizeOptions;
  replay: Replay | undefined;
  /** contrasts of scans with this many samples */
  planFor: (samples: number) => ContrastPlan;
  /** timesteps are chosen by a pilot: the draft's are those it measures */
  autoRange: boolean;
  /** a pilot is needed and no earlier call has run it */
  needsPilot: boolean;
  /** the run was there */
  begun: boolean;
  /** CPU threads; 0: all */
  threads: number;
  draft: ManifestDraft;
}

/** Options as given, and `out` may be left out: an estimate writes nothing. */
type Given = Omit<ScanOptions, 'out'> & { out?: string } & MapOptions;
/** With defaults. */
type Options = Omit<z.output<typeof SCAN>, 'out'> & { out?: string | undefined };
type Log = Hooks<ScanEvent>['onLog'];

/**
 * Opens model and dataset, fills in defaults, checks all of it. Nothing is loaded on a device, nothing written.
 *
 * @throws INVALID_ARGUMENT, DATASET_INVALID, MODEL_INVALID, MODEL_UNSUPPORTED, DEVICE_UNAVAILABLE
 */
export async function resolveOptions(
  { localize, only, ...given }: Given,
  version: string,
  hooks: Hooks<ScanEvent> = {},
): Promise<Resolved> {
  const { onLog } = hooks;
  const options: Options = resolved(SCAN.partial({ out: true }), given, presetOptions(given.preset));
  const inputs = await openInputs(options, { localize, only }, hooks);
  const { model, dataset, labels, map } = inputs;
  const sizes = sizesOf(options, inputs, onLog);
  const prompts = promptsFor(model, options, given, labels, onLog);
  const planFor = contrastPlanner(options, inputs);
  const contrasts = planFor(options.samples);
  checkConditions(options, inputs, { given, prompts, contrasts }, onLog);
  const images = imagesToScore(inputs, contrasts, onLog);
  const replay = options.replay === undefined ? undefined : Replay.open(options.replay);
  if (replay) for (const { path } of images) replay.check(path, options.samples);
  const allLabels = !map && options.allLabels;
  const race = map
    ? undefined
    : raceOptions(options, { images, scored: contrasts.scored, samples: options.samples, allLabels }, onLog);

  const existing = options.out === undefined ? undefined : await readManifest(options.out);
  const { devices, dtype } = chooseDevices(options, { recorded: existing?.options.dtype, onLog });
  const device = devices[0].id.startsWith('cuda') ? 'cuda' : 'cpu';
  const autoRange = options.tRange === 'auto';
  const piloted = autoRange || options.tWeights !== 'none';
  const range = await timestepsOf(options, model, existing, onLog);
  const batch = isAuto(options.batch)
    ? (existing?.options.batch ?? (await autoBatch({ options, inputs, sizes, contrasts, devices, dtype })))
    : options.batch;

  // Some options are left out at their defaults: fingerprints then do not depend on options that were added later.
  const runOptions: RunOptions = {
    ...prompts,
    size: sizes.size,
    sizeRule: options.sizeRule,
    patch: patchOf(options, inputs, sizes.size),
    samples: options.samples,
    seed: options.seed,
    ...range,
    sampler: options.sampler,
    ...(options.tWeights !== 'none' && { tWeights: options.tWeights }),
    ...(options.loss !== 'squared' && { loss: options.loss }),
    perImage: map ? 0 : options.perImage,
    batch,
    dtype,
    device,
    allLabels,
    against: inputs.against,
    ...(inputs.against === 'others' && { othersPerSample: contrasts.othersPerSample }),
    maps: map ? true : options.maps,
    shardSize: sizeInHand(options.shardSize, existing, images.length),
    replay: replay ? await sha256File(replay.file) : null,
    ...(inputs.chosen && { labels: inputs.chosen }),
    ...(inputs.holdout > 0 && { holdout: inputs.holdout }),
    ...(options.untrained && { untrained: true }),
    ...(options.checksum && { checksum: true }),
    ...(options.tune && device === 'cuda' && { tune: true }),
    ...(localize !== undefined && { localize: recordedLabels(localize, labels) }),
    ...(race && { race }),
  };
  const draft: ManifestDraft = {
    version,
    created: new Date().toISOString(),
    model: manifestModel(model),
    dataset: {
      path: dataset.path,
      fingerprint: dataset.fingerprint,
      images: images.length,
      ignored: dataset.ignored,
      ignoredBy: dataset.ignoredBy,
      labels: dataset.labels,
      columns: images.columns(),
      ...(dataset.layout && { layout: dataset.layout }),
      ...dataset.source,
    },
    options: runOptions,
    preset: options.preset ?? null,
    replayFile: replay?.file ?? null,
    ...(piloted && existing?.pilot && { pilot: existing.pilot }),
    conditions: contrasts.scored,
  };
  return {
    model,
    dataset,
    images,
    labels,
    contrasts,
    planFor,
    autoRange,
    needsPilot: piloted && !existing,
    begun: existing !== undefined,
    threads: options.threads ?? 0,
    devices,
    sizes,
    replay,
    draft,
  };
}

/** Model and dataset of a scan. */
interface Inputs {
  model: ModelFolder;
  /** images of the labels that are scanned, without those that the model was trained on */
  dataset: Dataset;
  /** fraction of the images that the dataset was reduced to; 0: all */
  holdout: number;
  /** labels that were asked for */
  chosen: string[] | undefined;
  against: string;
  /** of a localization */
  map: LabelsToMap | undefined;
  /** what conditions are prepared of */
  labels: string[];
}

async function openInputs(options: Options, { localize, only }: MapOptions, hooks: Hooks<ScanEvent>): Promise<Inputs> {
  const { onLog } = hooks;
  const opened = await openModel(options.model, modelOptions(options), hooks);
  const model = options.untrained ? untrained(opened, options.seed) : opened;
  if (!options.untrained) await warnBarelyTrained(opened, onLog);
  const complete = await imagesOf({ ...options, only });
  for (const note of datasetNotes(complete)) onLog?.(note);
  const { dataset: known, holdout } =
    localize === undefined ? await unseen(complete, options.holdout, opened, onLog) : { dataset: complete, holdout: 0 };
  const chosen = options.labels === undefined ? undefined : labelsToScan(known, options.labels);
  const dataset = chosen === undefined ? known : ofLabels(known, chosen);
  const against = rivalOf(options.against ?? (localize && 'null'), dataset.labels, model.labels);
  const keyword = options.against === undefined ? undefined : keywordNote(against, dataset.labels);
  if (keyword !== undefined) onLog?.(keyword);
  if (against === 'null' && !options.untrained)
    await checkNullCondition(opened, nullUse(options.against !== undefined, dataset.labels, localize), onLog);
  const map = localize === undefined ? undefined : labelsToMap(model, dataset, localize, against, onLog);
  const labels = map ? map.labels : dataset.labels;
  checkLabels(model, labels, 'the dataset');
  return { model, dataset, holdout, chosen, against, map, labels };
}

/** Side of a patch; 0 for a localization, which has none. */
function patchOf({ patch }: Options, { model, map }: Inputs, size: number | 'source'): number {
  if (map) return 0;
  const side = size === 'source' ? model.sampleSize : size;
  return patch ?? Math.max(1, Math.floor(side / 8));
}

function sizesOf(options: Options, inputs: Inputs, onLog: Log): SizeOptions {
  const size = options.size ?? defaultSize(inputs.model, onLog);
  const patch = patchOf(options, inputs, size);
  if (size !== 'source')
    check(
      patch <= size,
      `A patch of ${patch} px is larger than the images' short side of ${size} px.`,
      'Give a smaller `patch` or a larger `size`.',
    );
  return { size, rule: options.sizeRule, multiple: inputs.model.sizeMultiple, patch: Math.max(1, patch) };
}

/** Which conditions each label is scored under, for a number of samples. */
function contrastPlanner(options: Options, { against, dataset, labels, map }: Inputs): Resolved['planFor'] {
  const { othersPerSample, seed, allLabels } = options;
  check(
    othersPerSample === 1 || against === 'others',
    `\`othersPerSample\` does not apply to \`against\` ${against}.`,
    'Give `against` others, or leave it out.',
  );
  return (samples) => {
    const contrast = { against, othersPerSample, samples, seed };
    return map ? planSingles(labels, contrast, map.wanted, dataset.labels) : planContrasts(labels, contrast, allLabels);
  };
}

/** Warns of labels that the model confuses. @throws INVALID_ARGUMENT where typicality would be 0 everywhere */
function checkConditions(
  { samples, seed, othersPerSample }: Options,
  { model, dataset, against, map, labels }: Inputs,
  { given, prompts, contrasts }: { given: Given; prompts: Prompts; contrasts: ContrastPlan },
  onLog: Log,
): void {
  const names = namesOf(prompts, labels);
  for (const sentence of clashes(model, labels, names)) onLog?.(sentence);
  const conditions: LabelConditions = {
    model,
    given: dataset.labels,
    labels,
    names,
    nullName: prompts.nullPrompt ?? '',
  };
  checkDifferences(contrasts, conditions, against);
  // Who wrote a null prompt and no `against` may expect to be compared with it, and has a label that is trained as the null condition.
  if (prompts.prompt !== null && given.nullPrompt !== undefined && given.against === undefined && !map) {
    const withNull = planContrasts(labels, { against: 'null', othersPerSample, samples, seed }, false);
    checkDifferences(withNull, conditions, 'null');
  }
}

/** The images that are scored: all but those of a label that the others are compared with. */
function imagesToScore({ dataset, against }: Inputs, contrasts: ContrastPlan, onLog: Log): ImageList {
  const images = dataset.images.filter((index) => contrasts.of(dataset.images.label(index)) !== undefined);
  const left = dataset.images.length - images.length;
  if (left > 0)
    onLog?.(
      `${count(left, 'image')} of ${against} will not be scored: this label is only the contrast of the others (\`against\`).`,
    );
  check(
    images.length > 0,
    `All images have the label ${JSON.stringify(against)}, which \`against\` compares the other labels with.`,
    'Give another `against`.',
  );
  return images;
}

/** The timesteps that are sampled. With `tRange` auto, those of the earlier pilot, or all for a pilot to choose from. */
async function timestepsOf(
  { replay, tRange, tWeights }: Options,
  model: ModelFolder,
  existing: Manifest | undefined,
  onLog: Log,
): Promise<{ tBegin: number; tEnd: number }> {
  check(
    replay === undefined || (tRange !== 'auto' && tWeights === 'none'),
    'A replayed scan takes its timesteps from the file.',
    'Leave out `tRange` auto and `tWeights`, or `replay`.',
  );
  const { trainTimesteps } = model.source.schedule;
  if (tRange !== 'auto') return timesteps(await scoredRange(tRange, model, onLog), trainTimesteps);
  if (existing?.pilot) return { tBegin: existing.options.tBegin, tEnd: existing.options.tEnd };
  return timesteps([0, 1], trainTimesteps);
}

async function autoBatch(about: {
  options: Options;
  inputs: Inputs;
  sizes: SizeOptions;
  contrasts: ContrastPlan;
  devices: Resolved['devices'];
  dtype: Dtype;
}): Promise<number> {
  const { options, inputs, sizes, contrasts, devices, dtype } = about;
  const shape = await shapeOf(inputs.dataset.images, sizes, inputs.model);
  return batchFor(inputs.model, { shape, dtype, fanOut: contrasts.fanOut }, devices, options);
}

/** Labels to localize, as the dataset or the model writes them. */
function recordedLabels(
  localize: NonNullable<MapOptions['localize']>,
  labels: readonly string[],
): NonNullable<RunOptions['localize']> {
  return typeof localize === 'string' ? localize : localize.map((label) => findLabel(labels, label) ?? label);
}
