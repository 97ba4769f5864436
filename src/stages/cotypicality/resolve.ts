// Resolves options: fills in defaults, opens model and translated dataset, and checks everything that can be checked before work begins.
import { fillPrompt, measureImage, scoredSize, type SizeOptions } from '../../data/index.js';
import { readBoxes } from '../../data/boxes/index.js';
import { listed, namedLabels } from '../../data/labels.js';
import { DiffmineError } from '../../util/errors.js';
import { checkMining } from '../mine/mine.js';
import {
  checkLabels,
  checkNullCondition,
  clashes,
  conditionKeys,
  defaultSize,
  difference,
  openModel,
  modelOptions,
  type ModelFolder,
} from '../../models/index.js';
import { defaultFeatures } from '../../models/denoiser.js';
import { warnBarelyTrained } from '../../models/learned.js';
import { scoredRange } from '../../models/training.js';
import type { DeviceInfo } from '../../engine/types.js';
import { VERSION } from '../../util/version.js';
import { batchFor, isAuto, unetShape, type Shape } from '../../pipeline/batch.js';
import { chooseDevices } from '../../pipeline/devices.js';
import type { PipelineEvent } from '../../pipeline/options.js';
import { sizeInHand } from '../../pipeline/shard-size.js';
import { check, manifestModel, presetOptions, timesteps } from '../../pipeline/resolve.js';
import { openParallel, type Parallel, type Sequence } from '../../runs/parallel.js';
import { measuredPreference, preferenceSentence, reconstructionWarning } from '../../runs/reconstruction-words.js';
import { partOf, resolved } from '../../options/check.js';
import { COTYPICALITY, GROUPING, type CotypicalityOptions, type GroupSettings } from './options.js';
import { CotypicalityRun, type CotypicalityDraft } from './run.js';
import type { Hooks } from '../../util/hooks.js';

/** Conditions an image is scored under: the label it shows, and the null condition. */
export const FAN_OUT = 2;

export interface ResolvedCotypicality {
  model: ModelFolder;
  parallel: Parallel;
  /** by key */
  sequences: Map<string, Sequence>;
  labels: string[];
  devices: [DeviceInfo, ...DeviceInfo[]];
  sizes: SizeOptions;
  draft: CotypicalityDraft;
  /** the run was there */
  begun: boolean;
  grouping: GroupSettings;
}

/** The image of a sequence under a label: the source stands for its own. */
export function imageOf(sequence: Sequence, label: string): string | undefined {
  return label === sequence.label
    ? sequence.source
    : Object.hasOwn(sequence.images, label)
      ? sequence.images[label]
      : undefined;
}

function labelsOf(parallel: Parallel, asked: readonly string[] | undefined): string[] {
  const named = asked && namedLabels(asked, parallel.labels, true);
  const unknown = named?.find((label) => !parallel.labels.includes(label));
  if (unknown !== undefined) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The parallel dataset has no label ${JSON.stringify(unknown)}.`,
      `It has: ${parallel.labels.slice(0, 20).join(', ')}.`,
    );
  }
  const labels = parallel.labels.filter((label) => !named || named.includes(label));
  if (labels.length < 2) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `Consistent changes need at least two labels; ${asked ? '`labels` names' : `${parallel.path} has`} ${labels.length === 1 ? `only ${JSON.stringify(labels[0])}` : 'none'}.`,
      'Translate the images to more labels.',
    );
  }
  return labels;
}

/** Warns about a translation that loses its sources or its labels, as far as it was recorded. */
async function warnPoorTranslation(
  { path, psnr, sequences }: Parallel,
  onLog: Hooks<PipelineEvent>['onLog'],
): Promise<void> {
  const warning = reconstructionWarning(psnr);
  if (warning !== undefined)
    onLog?.(`The reconstructions of ${path} have ${psnr?.toFixed(1)} dB on average. ${warning}`);
  const preferred = await measuredPreference(path, sequences.length);
  if (preferred !== undefined && preferred <= 0.5) onLog?.(preferenceSentence(preferred));
}

function checkComplete(parallel: Parallel, labels: readonly string[]): void {
  if (parallel.sequences.some((sequence) => labels.every((label) => imageOf(sequence, label) !== undefined))) return;
  const everywhere = labels.filter((label) =>
    parallel.sequences.every((sequence) => imageOf(sequence, label) !== undefined),
  );
  throw new DiffmineError(
    'DATASET_INVALID',
    `No sequence of ${parallel.path} has an image under each of the labels ${labels.slice(0, 20).join(', ')}.`,
    everywhere.length > 1
      ? `All sequences have ${everywhere.join(', ')}: give these with \`labels\`.`
      : 'Translate every image to every label, or give `labels` the labels that all sequences have.',
  );
}

/** Labels are compared with one another, and each with the null condition: all of them must differ. */
function checkPrompts(
  model: ModelFolder,
  labels: readonly string[],
  prompt: string | null,
  nullPrompt: string | null,
): void {
  const names = labels.map((label) => (prompt === null ? label : fillPrompt(prompt, label)));
  if (prompt !== null && new Set(names).size < labels.length) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The prompt ${JSON.stringify(prompt)} is the same for different labels.`,
      'Add {label} or {words} to it.',
    );
  }
  const [clash] = clashes(model, labels, names);
  if (clash !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      clash,
      'Leave all but one of them out with `labels`, or give another `prompt`.',
    );
  const keys = conditionKeys(model, [...names, nullPrompt ?? '']);
  const same = labels.filter((_, i) => keys[i] === keys[labels.length]);
  if (same.length === 0) return;
  const why = difference(model, [names[labels.indexOf(same[0] as string)] ?? '', nullPrompt ?? '']);
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `The prompt of ${listed(same)} is the null prompt ${JSON.stringify(nullPrompt)} to this model (${why}): the typicality would be 0 everywhere.`,
    'Give another `nullPrompt`, or a `prompt` that tells them apart.',
  );
}

/** Of the first sequence. */
export async function shapeOf({
  parallel,
  sizes,
  model,
}: Pick<ResolvedCotypicality, 'parallel' | 'sizes' | 'model'>): Promise<Shape> {
  const first = parallel.sequences[0] as Sequence;
  const { height, width } = await measureImage(first.source)
    .then((measured) => scoredSize(measured, sizes))
    .catch(() => ({ height: model.sampleSize, width: model.sampleSize }));
  return unetShape(height, width, model.vaeFactor, model.fold);
}

/**
 * Opens model and parallel dataset, fills in defaults, checks all of it. Nothing is loaded on a device, nothing written.
 *
 * @throws INVALID_ARGUMENT, DATASET_INVALID, MODEL_INVALID, MODEL_UNSUPPORTED, DEVICE_UNAVAILABLE
 */
export async function resolveCotypicality(
  given: CotypicalityOptions,
  hooks: Hooks<PipelineEvent>,
): Promise<ResolvedCotypicality> {
  const options = resolved(COTYPICALITY, given, presetOptions(given.preset));
  const { samples, seed, sampler, places, maps, ensemble } = options;
  const grouping = resolved(GROUPING, partOf(GROUPING, options));
  if (options.boxes !== undefined) await readBoxes(options.boxes);
  const model = await openModel(options.model, modelOptions(options), hooks);
  await warnBarelyTrained(model, hooks.onLog);
  await checkNullCondition(model, { named: false, what: 'Labels are compared with it' }, hooks.onLog);
  const parallel = await openParallel(options.parallel);
  await warnPoorTranslation(parallel, hooks.onLog);
  const labels = labelsOf(parallel, options.labels);
  checkComplete(parallel, labels);
  checkLabels(model, labels, 'the parallel dataset');
  const place = defaultFeatures(model.source);
  const dift = { diftT: options.diftT ?? place.diftT, upBlock: options.upBlock ?? place.upBlock, ensemble };
  checkMining(dift, model.source);

  const size = options.size ?? defaultSize(model, hooks.onLog);
  const patch = options.patch ?? Math.max(1, Math.floor((size === 'source' ? model.sampleSize : size) / 8));
  if (size !== 'source' && patch > size)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `A patch of ${patch} px is larger than the images' short side of ${size} px.`,
      'Give a smaller `patch` or a larger `size`.',
    );
  const { sizeRule } = options;
  const sizes: SizeOptions = { size, rule: sizeRule, multiple: model.sizeMultiple, patch };

  const isText = model.conditioning === 'text';
  const prompt = isText ? options.prompt : null;
  const nullPrompt = isText ? options.nullPrompt : null;
  checkPrompts(model, labels, prompt, nullPrompt);
  if (!isText && (given.prompt !== undefined || given.nullPrompt !== undefined))
    hooks.onLog?.('This model is conditioned on classes: prompts are not used.');

  const existing = await CotypicalityRun.recorded(options.out);
  const { devices, dtype } = chooseDevices(options, { recorded: existing?.dtype, onLog: hooks.onLog });
  const kind = devices[0].id.startsWith('cuda') ? 'cuda' : 'cpu';
  let batch: number;
  if (isAuto(options.batch)) {
    const shape = await shapeOf({ parallel, sizes, model });
    batch = existing?.batch ?? batchFor(model, { shape, dtype, fanOut: FAN_OUT }, devices, options);
  } else {
    ({ batch } = options);
    check(batch >= FAN_OUT, `\`batch\` is ${batch}; expected a whole number of at least ${FAN_OUT}.`);
  }

  const draft: CotypicalityDraft = {
    version: VERSION,
    created: new Date().toISOString(),
    model: manifestModel(model),
    parallel: { path: parallel.path, fingerprint: parallel.fingerprint, sequences: parallel.sequences.length, labels },
    options: {
      prompt,
      nullPrompt,
      size,
      sizeRule,
      patch,
      samples,
      seed,
      ...timesteps(await scoredRange(options.tRange, model, hooks.onLog), model.source.schedule.trainTimesteps),
      sampler,
      places,
      ...dift,
      batch,
      dtype,
      device: kind,
      maps,
      shardSize: sizeInHand(options.shardSize, existing && { options: existing }, parallel.sequences.length),
    },
    preset: options.preset ?? null,
  };
  return {
    model,
    parallel,
    sequences: new Map(parallel.sequences.map((sequence) => [sequence.key, sequence])),
    labels,
    devices,
    sizes,
    draft,
    begun: existing !== undefined,
    grouping,
  };
}
