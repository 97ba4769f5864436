// Resolves options: fills in defaults, opens model and dataset, and checks everything that can be checked before work begins.
import { resolve } from 'node:path';
import {
  compareCodePoints,
  datasetNotes,
  fillPrompt,
  openDataset,
  type Dataset,
  type ImageList,
  type SizeOptions,
  layoutOf,
  sourceOf,
} from '../../data/index.js';
import { listed, namedLabels, spokenLabels, splitLabels } from '../../data/labels.js';
import { DiffmineError } from '../../util/errors.js';
import {
  checkLabels,
  checkNullCondition,
  clashes,
  classIds,
  conditionKeys,
  defaultSize,
  openModel,
  modelOptions,
  type ModelFolder,
} from '../../models/index.js';
import { unetOf } from '../../models/denoiser.js';
import { warnBarelyTrained } from '../../models/learned.js';
import type { DeviceInfo } from '../../engine/types.js';
import { listingsOf } from '../../runs/listings.js';
import { VERSION } from '../../util/version.js';
import { batchFor, isAuto, shapeOf } from '../../pipeline/batch.js';
import { chooseDevices } from '../../pipeline/devices.js';
import { sizeInHand } from '../../pipeline/shard-size.js';
import { check, manifestModel, presetOptions } from '../../pipeline/resolve.js';
import { readTranslation, type TranslationDraft } from './folder.js';
import { resolved } from '../../options/check.js';
import {
  GUIDANCE_RANGE,
  TRANSLATE,
  type TranslateEvent,
  type TranslateOptions,
  type TranslateSettings,
} from './options.js';
import { translationTimesteps } from './timesteps.js';
import { allSites, chooseSites, defaultSites } from './sites.js';
import type { Hooks } from '../../util/hooks.js';

/** Rows the smallest evaluation takes: a source, and a target under two conditions. */
export const MIN_BATCH = 3;

export interface Resolved {
  model: ModelFolder;
  /** of the dataset, those that are translated */
  images: ImageList;
  devices: [DeviceInfo, ...DeviceInfo[]];
  sizes: SizeOptions;
  draft: TranslationDraft;
  /** the translation was there */
  begun: boolean;
  /** of the dataset (Dataset) */
  listings: readonly string[];
}

/** What a model is conditioned on for a label, or the several labels of an image. */
export function conditionOf(prompt: string | null, label: string): string {
  return prompt === null ? label : fillPrompt(prompt, spokenLabels(label));
}

/** The targets of an image: all but its own labels. */
export function targetsOf(labels: readonly string[], own: string): string[] {
  const parts = new Set([own, ...splitLabels(own)].map((label) => label.normalize('NFC')));
  return labels.filter((label) => !parts.has(label.normalize('NFC')));
}

/**
 * Opens model and dataset, fills in defaults, checks all of it. Nothing is loaded on a device, nothing written.
 *
 * @throws INVALID_ARGUMENT, DATASET_INVALID, MODEL_INVALID, MODEL_UNSUPPORTED, DEVICE_UNAVAILABLE
 */
export async function resolveTranslation(
  given: TranslateOptions,
  hooks: Hooks<TranslateEvent> = {},
): Promise<Resolved> {
  const preset = presetOptions(given.preset);
  const options = resolved(TRANSLATE, given, preset);
  const { inversionSteps, inferenceSteps, guidanceScale, negative, imagesPerLabel = null } = options;
  const model = await openModel(options.model, modelOptions(options), hooks);
  await warnBarelyTrained(model, hooks.onLog);
  if (negative === 'null' && guidanceScale !== 1)
    await checkNullCondition(model, { named: true, what: 'Guidance leads away from it' }, hooks.onLog);
  const { schedule } = model.source;
  const unet = unetOf(model.source, 'Translation (Plug-and-Play)');
  translationTimesteps(schedule, inversionSteps, inferenceSteps);
  const [from, until] = options.guidanceRange ?? GUIDANCE_RANGE[model.kind];
  const known = allSites(unet.config);
  const places = defaultSites(unet.config);

  const { out } = options;
  const dataset = await openDataset(options.dataset, {
    layout: layoutOf(options.preset),
    out,
    listings: listingsOf(out),
    ...sourceOf(options),
  });
  for (const note of datasetNotes(dataset)) hooks.onLog?.(note);
  const labels = targetLabels(options.to, dataset, model, hooks.onLog);
  const first = firstOfEach(dataset.images, imagesPerLabel);
  const images = first.filter((index) => targetsOf(labels, first.label(index)).length > 0);
  if (images.length === 0)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `No image can be translated to ${labels.map((label) => JSON.stringify(label)).join(', ')}: all have that label.`,
      'Give another label with `to`.',
    );

  const isText = model.conditioning === 'text';
  const prompt = isText ? options.prompt : null;
  const nullPrompt = isText ? options.nullPrompt : null;
  if (prompt !== null) {
    const prompts = [...dataset.labels, ...labels].map((label) => conditionOf(prompt, label));
    check(
      new Set(prompts).size > 1,
      `The prompt is the same for every label: ${JSON.stringify(prompt)} has no {label}.`,
      'Write it with {label} or {words}.',
    );
    for (const cut of model.tokenizers?.[0]?.truncated([...new Set([...prompts, nullPrompt ?? ''])]) ?? [])
      hooks.onLog?.(`The model sees only the first 75 tokens of the prompt ${JSON.stringify(cut)}.`);
  } else if (given.prompt !== undefined || given.nullPrompt !== undefined) {
    hooks.onLog?.('This model is conditioned on classes: prompts are not used.');
  }
  tellClashes(
    model,
    [...new Set([...dataset.labels, ...labels])],
    labels,
    { prompt, nullPrompt },
    negative,
    hooks.onLog,
  );

  const size = options.size ?? defaultSize(model, hooks.onLog);
  // source and translations must have the same size, in whole cells of the VAE
  const multiple = Math.max(model.sizeMultiple, model.vaeFactor * model.fold);
  const sizes: SizeOptions = { size, rule: preset.sizeRule ?? 'floor', multiple, patch: multiple };

  const existing = await readTranslation(resolve(options.out));
  const { devices, dtype } = chooseDevices(options, {
    task: 'images',
    recorded: existing?.options.dtype,
    onLog: hooks.onLog,
  });
  const kind = devices[0].id.startsWith('cuda') ? 'cuda' : 'cpu';
  let batch: number;
  if (isAuto(options.batch)) {
    const shape = await shapeOf(images, sizes, model);
    batch = existing?.options.batch ?? batchFor(model, { shape, dtype, fanOut: MIN_BATCH }, devices, options);
  } else {
    batch = options.batch;
  }

  const settings: TranslateSettings = {
    inversionSteps,
    inferenceSteps,
    guidanceScale,
    guidanceBegin: Math.floor(from * schedule.trainTimesteps + 1e-6),
    guidanceEnd: Math.floor(until * schedule.trainTimesteps + 1e-6),
    negative,
    featureFraction: options.featureFraction,
    attentionFraction: options.attentionFraction,
    featureLayers: options.featureLayers
      ? chooseSites(known.features, options.featureLayers, 'featureLayers')
      : places.features,
    attentionLayers: options.attentionLayers
      ? chooseSites(known.attention, options.attentionLayers, 'attentionLayers')
      : places.attention,
    prompt,
    nullPrompt,
    size,
    sizeRule: sizes.rule,
    imagesPerLabel,
    batch,
    dtype,
    device: kind,
    shardSize: sizeInHand(options.shardSize, existing, images.length),
  };
  const draft: TranslationDraft = {
    version: VERSION,
    created: new Date().toISOString(),
    model: manifestModel(model),
    dataset: {
      path: dataset.path,
      fingerprint: dataset.fingerprint,
      labels: dataset.labels,
      images: images.length,
      ignored: dataset.ignored,
      ignoredBy: dataset.ignoredBy,
      ...dataset.source,
    },
    labels,
    options: settings,
    preset: options.preset ?? null,
  };
  return { model, images, devices, sizes, draft, begun: existing !== undefined, listings: dataset.listings };
}

/** Labels that the model cannot tell apart, and targets that guidance cannot lead to. */
function tellClashes(
  model: ModelFolder,
  all: readonly string[],
  targets: readonly string[],
  { prompt, nullPrompt }: Pick<TranslateSettings, 'prompt' | 'nullPrompt'>,
  negative: TranslateSettings['negative'],
  onLog: Hooks<TranslateEvent>['onLog'],
): void {
  const names = all.map((label) => conditionOf(prompt, label));
  for (const sentence of clashes(model, all, names)) onLog?.(`${sentence} Translating between them changes nothing.`);
  if (negative !== 'null') return;
  const keys = conditionKeys(model, [...targets.map((label) => conditionOf(prompt, label)), nullPrompt ?? '']);
  const same = targets.filter((_, i) => keys[i] === keys[targets.length]);
  if (same.length > 0)
    onLog?.(
      `The prompt of ${listed(same)} is the null prompt ${JSON.stringify(nullPrompt)} to this model: guidance has no effect for it.`,
    );
}

/** The targets, sorted; they and the dataset's own labels must be such as the model knows. */
function targetLabels(
  asked: readonly string[] | undefined,
  dataset: Dataset,
  model: ModelFolder,
  onLog: Hooks<TranslateEvent>['onLog'],
): string[] {
  const single = new Set(dataset.labels.flatMap(splitLabels));
  const isClass = model.conditioning === 'class';
  const named = asked && asked.length > 0 ? namedLabels(asked, [...single, ...(model.labels ?? [])], isClass) : single;
  const labels = [...new Set(named)].sort(compareCodePoints);
  check(!labels.includes(''), '`to`: a label is empty.', 'Leave `to` out for all labels of the dataset.');
  if (isClass) {
    classIds(model, labels);
    checkLabels(model, dataset.labels, 'the dataset');
  } else {
    for (const label of labels)
      if (!single.has(label)) onLog?.(`No image has the label ${JSON.stringify(label)}: its prompt is used anyway.`);
  }
  return labels;
}

/** The first `count` images of each label, in order; null for all. */
function firstOfEach(images: ImageList, count: number | null): ImageList {
  const seen = new Map<string, number>();
  return images.filter((index) => {
    const label = images.label(index);
    const before = seen.get(label) ?? 0;
    seen.set(label, before + 1);
    return count === null || before < count;
  });
}
