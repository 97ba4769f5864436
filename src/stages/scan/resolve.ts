// Resolves options: fills in defaults, opens model and dataset, and checks everything that can be checked before work begins.
import {
  datasetNotes,
  fillPrompt,
  ofLabels,
  type Dataset,
  type ImageList,
  type SizeOptions,
} from '../../data/index.js';
import { findLabel, listed, namedLabels, splitLabels } from '../../data/labels.js';
import { DiffmineError } from '../../util/errors.js';
import {
  nullCondition,
  checkLabels,
  clashes,
  conditionKeys,
  defaultSize,
  difference,
  openModel,
  untrained,
  modelOptions,
  type ModelFolder,
} from '../../models/index.js';
import { warnBarelyTrained } from '../../models/learned.js';
import { scoredRange } from '../../models/training.js';
import { count } from '../../web/html.js';
import type { DeviceInfo } from '../../engine/types.js';
import { sha256File } from '../../util/sha256.js';
import { readManifest, type ManifestDraft, type RunOptions } from '../../runs/manifest.js';
import { check, imagesOf, manifestModel, presetOptions, timesteps, unseen } from '../../pipeline/resolve.js';
import { Replay } from '../../runs/replay.js';
import { batchFor, isAuto, shapeOf } from '../../pipeline/batch.js';
import { chooseDevices } from '../../pipeline/devices.js';
import { sizeInHand } from '../../pipeline/shard-size.js';
import { alwaysZero, planContrasts, planSingles, type ContrastPlan } from './contrasts.js';
import { labelsToMap } from './singles.js';
import { resolved } from '../../options/check.js';
import { raceOptions } from './race-options.js';
import { SCAN, type MapOptions, type ScanEvent, type ScanOptions } from './options.js';
import type { Hooks } from '../../util/hooks.js';

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

/** What conditions are prepared of: each label, then the null condition where labels are compared with it. */
export function promptsOf({ labels, draft }: Pick<Resolved, 'labels' | 'draft'>): (string | null)[] {
  const { prompt, nullPrompt, against } = draft.options;
  const names = prompt === null ? [...labels] : labels.map((label) => fillPrompt(prompt, label));
  // Only this contrast needs the null condition: a model trained without label dropout has none.
  return against === 'null' ? [...names, nullCondition(nullPrompt)] : names;
}

/** Prompts that cannot be meant stop a scan before it begins; those that may not be are told. */
function checkPrompts(
  { tokenizers }: ModelFolder,
  prompt: string,
  nullPrompt: string,
  labels: string[],
  onLog: Hooks<ScanEvent>['onLog'],
): void {
  const prompts = labels.map((label) => fillPrompt(prompt, label));
  check(
    !/\{(label|words)\}/.test(nullPrompt),
    `The null prompt ${JSON.stringify(nullPrompt)} has a placeholder for the label.`,
    'The null prompt is a prompt without the label, such as "A car.".',
  );
  if (labels.length > 1 && new Set(prompts).size === 1)
    onLog?.(`The prompt is the same for every label: ${JSON.stringify(prompt)} has no {label}.`);
  for (const text of tokenizers?.[0]?.truncated([...prompts, nullPrompt]) ?? [])
    onLog?.(`The model sees only the first 75 tokens of the prompt ${JSON.stringify(text)}.`);
}

/** The labels meant, in the order given. */
export function labelsToScan(dataset: Dataset, asked: readonly string[]): string[] {
  const labels = [...new Set(namedLabels(asked, dataset.labels, true))];
  const unknown = labels.filter((label) => !dataset.labels.includes(label));
  check(
    unknown.length === 0,
    `The dataset has no images of ${listed(unknown)}.`,
    `Known labels: ${listed(dataset.labels, 20)}.`,
  );
  return labels;
}

/**
 * What labels are compared with, as the dataset or the model writes it. Without a wish it is the other labels: they find more than the null condition
 * at the same number of UNet calls (docs/results/estimator.md).
 *
 * @param asked `against`, as given
 * @param labels of the dataset
 * @param known of the model
 */
export function rivalOf(asked: string | undefined, labels: readonly string[], known: readonly string[] = []): string {
  // A label of several ('A|B') has the others' elements too, and would be scored for lacking them.
  const severalLabels = labels.some((label) => splitLabels(label).length > 1);
  const against = asked ?? (labels.length < 2 || severalLabels ? 'null' : 'others');
  if (against === 'null' || against === 'others') return against;
  return (
    findLabel(labels, against) ??
    findLabel(labels.flatMap(splitLabels), against) ??
    findLabel(known, against) ??
    against
  );
}

/** @throws INVALID_ARGUMENT where labels are compared with nothing but the same condition: all that would be scored is 0 */
function checkDifferences(
  plan: ContrastPlan,
  about: { model: ModelFolder; given: string[]; labels: string[]; names: string[]; nullName: string; against: string },
): void {
  const { model, given, labels, names, nullName, against } = about;
  const zero = alwaysZero(plan, given, conditionKeys(model, [...names, nullName]));
  if (zero.length === 0) return;
  const nameOf = (label: string): string => names[labels.indexOf(label)] ?? '';
  const why = (other: string): string => difference(model, [nameOf(zero[0] as string), other]);
  const [plural, verb] = zero.length > 1 ? ['s', 'are'] : ['', 'is'];
  const [what, hint] =
    against === 'null'
      ? [
          `The prompt${plural} of the label${plural} ${listed(zero)} ${verb} the null prompt ${JSON.stringify(nullName)} to this model (${why(nullName)})`,
          'Give another `nullPrompt`, or a `prompt` that tells them apart.',
        ]
      : against === 'others'
        ? [
            `The label${plural} ${listed(zero)} ${verb} compared with labels that are the same to this model (${difference(model, names)})`,
            'Merge or rename labels, give another `prompt`, or use `against` null.',
          ]
        : [
            `The label${plural} ${listed(zero)} ${verb} the same to this model as ${JSON.stringify(against)} of \`against\` (${why(nameOf(against))})`,
            'Merge or rename labels, give another `prompt`, or another `against`.',
          ];
  throw new DiffmineError('INVALID_ARGUMENT', `${what}: the typicality would be 0 everywhere.`, hint);
}

/**
 * Opens model and dataset, fills in defaults, checks all of it. Nothing is loaded on a device, nothing written.
 *
 * @throws INVALID_ARGUMENT, DATASET_INVALID, MODEL_INVALID, MODEL_UNSUPPORTED, DEVICE_UNAVAILABLE
 */
export async function resolveOptions(
  { localize, only, ...given }: Omit<ScanOptions, 'out'> & { out?: string } & MapOptions,
  version: string,
  hooks: Hooks<ScanEvent> = {},
): Promise<Resolved> {
  const options = resolved(SCAN.partial({ out: true }), given, presetOptions(given.preset));
  const { seed, samples, sampler } = options;
  const opened = await openModel(options.model, modelOptions(options), hooks);
  const model = options.untrained ? untrained(opened, seed) : opened;
  if (!options.untrained) await warnBarelyTrained(opened, hooks.onLog);
  const complete = await imagesOf({ ...options, only });
  for (const note of datasetNotes(complete)) hooks.onLog?.(note);
  const { dataset: known, holdout } =
    localize === undefined
      ? await unseen(complete, options.holdout, opened, hooks.onLog)
      : { dataset: complete, holdout: 0 };
  const chosen = options.labels === undefined ? undefined : labelsToScan(known, options.labels);
  const dataset = chosen === undefined ? known : ofLabels(known, chosen);
  const against = rivalOf(options.against ?? (localize && 'null'), dataset.labels, model.labels);
  const map = localize === undefined ? undefined : labelsToMap(model, dataset, localize, against, hooks.onLog);
  const labels = map ? map.labels : dataset.labels;
  checkLabels(model, labels, 'the dataset');

  const size = options.size ?? defaultSize(model, hooks.onLog);
  const patch = map ? 0 : (options.patch ?? Math.max(1, Math.floor((size === 'source' ? model.sampleSize : size) / 8)));
  if (size !== 'source')
    check(
      patch <= size,
      `A patch of ${patch} px is larger than the images' short side of ${size} px.`,
      'Give a smaller `patch` or a larger `size`.',
    );
  const { sizeRule } = options;
  const sizes: SizeOptions = { size, rule: sizeRule, multiple: model.sizeMultiple, patch: Math.max(1, patch) };

  const isText = model.conditioning === 'text';
  const prompt = isText ? options.prompt : null;
  const nullPrompt = isText ? options.nullPrompt : null;
  if (prompt !== null && nullPrompt !== null) checkPrompts(model, prompt, nullPrompt, labels, hooks.onLog);
  if (!isText && (given.prompt !== undefined || given.nullPrompt !== undefined))
    hooks.onLog?.('This model is conditioned on classes: prompts are not used.');

  const allLabels = !map && options.allLabels;
  const { othersPerSample } = options;
  check(
    othersPerSample === 1 || against === 'others',
    `\`othersPerSample\` does not apply to \`against\` ${against}.`,
    'Give `against` others, or leave it out.',
  );
  const planFor = (count: number): ContrastPlan => {
    const contrast = { against, othersPerSample, samples: count, seed };
    return map ? planSingles(labels, contrast, map.wanted, dataset.labels) : planContrasts(labels, contrast, allLabels);
  };
  const contrasts = planFor(samples);
  const names = prompt === null ? labels : labels.map((label) => fillPrompt(prompt, label));
  for (const sentence of clashes(model, labels, names)) hooks.onLog?.(sentence);
  const conditions = { model, given: dataset.labels, labels, names, nullName: nullPrompt ?? '' };
  checkDifferences(contrasts, { ...conditions, against });
  // Who wrote a null prompt and no `against` may expect to be compared with it, and has a label that is trained as the null condition.
  if (prompt !== null && given.nullPrompt !== undefined && given.against === undefined && !map)
    checkDifferences(planContrasts(labels, { against: 'null', othersPerSample, samples, seed }, false), {
      ...conditions,
      against: 'null',
    });
  const images = dataset.images.filter((index) => contrasts.of(dataset.images.label(index)) !== undefined);
  if (images.length < dataset.images.length) {
    hooks.onLog?.(
      `${count(dataset.images.length - images.length, 'image')} of ${against} will not be scored: this label is only the contrast of the others (\`against\`).`,
    );
  }
  check(
    images.length > 0,
    `All images have the label ${JSON.stringify(against)}, which \`against\` compares the other labels with.`,
    'Give another `against`.',
  );

  const replay = options.replay === undefined ? undefined : Replay.open(options.replay);
  if (replay) for (const { path } of images) replay.check(path, samples);

  const perImage = map ? 0 : options.perImage;
  const race = map
    ? undefined
    : raceOptions(options, { images, scored: contrasts.scored, samples, allLabels }, hooks.onLog);

  const existing = options.out === undefined ? undefined : await readManifest(options.out);
  const { devices, dtype } = chooseDevices(options, { recorded: existing?.options.dtype, onLog: hooks.onLog });
  const kind = devices[0].id.startsWith('cuda') ? 'cuda' : 'cpu';

  const autoRange = options.tRange === 'auto';
  const { tWeights } = options;
  check(
    options.replay === undefined || (!autoRange && tWeights === 'none'),
    'A replayed scan takes its timesteps from the file.',
    'Leave out `tRange` auto and `tWeights`, or `replay`.',
  );
  const range =
    options.tRange !== 'auto'
      ? timesteps(await scoredRange(options.tRange, model, hooks.onLog), model.source.schedule.trainTimesteps)
      : existing?.pilot
        ? { tBegin: existing.options.tBegin, tEnd: existing.options.tEnd }
        : timesteps([0, 1], model.source.schedule.trainTimesteps);

  let batch: number;
  if (isAuto(options.batch)) {
    const shape = await shapeOf(dataset.images, sizes, model);
    batch = existing?.options.batch ?? batchFor(model, { shape, dtype, fanOut: contrasts.fanOut }, devices, options);
  } else {
    batch = options.batch;
  }

  const runOptions: RunOptions = {
    prompt,
    nullPrompt,
    size,
    sizeRule,
    patch,
    samples,
    seed,
    ...range,
    sampler,
    ...(tWeights === 'none' ? {} : { tWeights }),
    ...(options.loss === 'squared' ? {} : { loss: options.loss }),
    perImage,
    batch,
    dtype,
    device: kind,
    allLabels,
    against,
    ...(against === 'others' ? { othersPerSample: contrasts.othersPerSample } : {}),
    maps: map ? true : options.maps,
    shardSize: sizeInHand(options.shardSize, existing, images.length),
    replay: replay ? await sha256File(replay.file) : null,
    ...(chosen ? { labels: chosen } : {}),
    ...(holdout > 0 ? { holdout } : {}),
    ...(options.untrained ? { untrained: true } : {}),
    ...(options.checksum ? { checksum: true } : {}),
    ...(options.tune && kind === 'cuda' ? { tune: true } : {}),
    ...(localize === undefined
      ? {}
      : {
          localize:
            typeof localize === 'string' ? localize : localize.map((label) => findLabel(labels, label) ?? label),
        }),
    ...(race ? { race } : {}),
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
      ...(dataset.layout ? { layout: dataset.layout } : {}),
      ...dataset.source,
    },
    options: runOptions,
    preset: options.preset ?? null,
    replayFile: replay?.file ?? null,
    ...(existing?.pilot && (autoRange || tWeights !== 'none') ? { pilot: existing.pilot } : {}),
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
    needsPilot: !existing && (autoRange || tWeights !== 'none'),
    begun: existing !== undefined,
    threads: options.threads ?? 0,
    devices,
    sizes,
    replay,
    draft,
  };
}
