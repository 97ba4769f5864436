// Resolves the options of sampling and checks them against the model; reads and writes samples.json.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fillPrompt } from '../../data/index.js';
import { listed, namedLabels } from '../../data/labels.js';
import { DiffmineError } from '../../util/errors.js';
import { parseJson } from '../../util/json.js';
import {
  checkNullCondition,
  clashes,
  classIds,
  conditionKeys,
  defaultSize,
  openModel,
  modelOptions,
  type ModelFolder,
} from '../../models/index.js';
import type { HubHooks } from '../../models/hub/hub.js';
import { warnBarelyTrained } from '../../models/learned.js';
import { nullConditionOf } from '../../models/null-condition.js';
import type { DeviceInfo, Dtype } from '../../engine/types.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { findDevice, withDtype } from '../../runs/device.js';
import { chooseDtype } from '../../runs/dtype.js';
import { fingerprintOf, type Json } from '../../runs/fingerprint.js';
import { WHERE_SHAPES } from '../../runs/manifest.js';
import { safeName } from '../../runs/names.js';
import { list, members, nullable, oneOf, optional, text, valueOf, whole } from '../../runs/json-shape.js';
import { VERSION } from '../../util/version.js';
import { samplingTimesteps } from '../../models/ddim.js';
import { resolved } from '../../options/check.js';
import { SAMPLE, type SampleOptions } from './options.js';

export const SAMPLES_FORMAT = 'diffmine-samples-2';
export const SAMPLES = 'samples.json';
export const GRID = 'grid.png';

/** Guidance by kind of condition: the field's value for prompts; labels, which say all there is to say, need less. */
export const GUIDANCE = { text: 7.5, class: 3 } as const;

/** What decides an image, besides model, label and number. */
export interface SampleSettings {
  inferenceSteps: number;
  guidanceScale: number;
  seed: number;
  size: number;
  /** null for class models */
  prompt: string | null;
  nullPrompt: string | null;
  dtype: Dtype;
  /** the kind of device */
  device: 'cpu' | 'cuda';
}

export interface SampledLabel {
  label: string;
  /** the label as a folder's name */
  folder: string;
  /** the whole prompt; null for class models */
  prompt: string | null;
  /** images 0 ... images - 1 */
  images: number;
}

/** samples.json */
export interface SamplesRecord {
  format: typeof SAMPLES_FORMAT;
  version: string;
  /** ISO 8601 */
  created: string;
  /** of model and options: equal ones share a folder */
  fingerprint: string;
  model: { path: string; variant?: string | undefined; fingerprint: string };
  options: SampleSettings;
  labels: SampledLabel[];
}

const { inferenceSteps, guidanceScale, seed } = SAMPLE.shape;

const SAMPLES_SHAPE = members({
  format: oneOf(SAMPLES_FORMAT),
  fingerprint: text,
  model: members({ path: text, variant: optional(text), fingerprint: text }),
  options: members({
    inferenceSteps: valueOf(inferenceSteps),
    guidanceScale: valueOf(guidanceScale),
    seed: valueOf(seed),
    size: whole(1),
    prompt: nullable(text),
    nullPrompt: nullable(text),
    dtype: text,
    ...WHERE_SHAPES,
  }),
  labels: list(members({ label: text, folder: text, prompt: nullable(text), images: whole(0) })),
});

export interface SampleRequest {
  model: ModelFolder;
  device: DeviceInfo;
  record: SamplesRecord;
  batch: number | 'auto';
  threads: number;
}

/** A label as a folder's name on any system: itself if it can be, else with %XX instead of what cannot; cut, with a hash, where too long. */
export function labelFolder(label: string): string {
  return safeName(label, [GRID, SAMPLES]);
}

function labelsOf(model: ModelFolder, asked: readonly string[] | undefined): string[] {
  if (asked === undefined || asked.length === 0) {
    if (model.labels) return model.labels;
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      'A text model needs at least one label.',
      'Give one with `labels` "a red car". It replaces {label} in `prompt`.',
    );
  }
  if (asked.includes(''))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      'A label is empty.',
      'Leave `labels` out for all labels of a class model.',
    );
  const labels = [
    ...new Set(model.labels ? namedLabels(asked, [...model.labels, ...(model.classNames?.flat() ?? [])], true) : asked),
  ];
  if (model.labels) classIds(model, labels);
  return labels;
}

function checkSize(model: ModelFolder, size: number): number {
  const multiple = Math.max(model.vaeFactor * model.fold, model.sizeMultiple);
  if (size % multiple === 0) return size;
  const below = Math.floor(size / multiple) * multiple;
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `\`size\` is ${size}; this model's images have sides that are multiples of ${multiple} px.`,
    `Give ${below > 0 ? `${below} or ` : ''}${below + multiple}.`,
  );
}

/** Guidance needs the null condition: a model without one is sampled without guidance by default. */
async function guidanceOf(model: ModelFolder, asked: number | undefined, onLog: HubHooks['onLog']): Promise<number> {
  const what = 'Guidance leads away from it';
  if (asked !== undefined) {
    if (asked !== 1) await checkNullCondition(model, { named: true, what }, onLog);
    return asked;
  }
  if ((await nullConditionOf(model)) !== 'none') return GUIDANCE[model.conditioning];
  onLog?.(
    `Sampling without guidance (\`guidanceScale\` 1): the model '${model.path}' was trained without label dropout (\`drop\` 0) and has no null condition.`,
  );
  return 1;
}

/**
 * Opens the model, fills in defaults, checks all of it. Nothing is loaded, nothing written.
 *
 * @throws INVALID_ARGUMENT, MODEL_INVALID, MODEL_UNSUPPORTED, DEVICE_UNAVAILABLE
 */
export async function resolveRequest(options: SampleOptions, hooks: HubHooks = {}): Promise<SampleRequest> {
  const { onLog } = hooks;
  const asked = resolved(SAMPLE, options);
  const model = await openModel(asked.model, modelOptions(asked), hooks);
  await warnBarelyTrained(model, onLog);
  const prompted = model.conditioning === 'text';
  const labels = labelsOf(model, asked.labels);
  const { count, batch, threads = 0, inferenceSteps, seed, prompt: template } = asked;
  const device = findDevice(asked.device);
  const dtype = chooseDtype(asked.dtype, device, { task: 'images' });
  withDtype(device, dtype);
  const settings: SampleSettings = {
    inferenceSteps,
    guidanceScale: await guidanceOf(model, asked.guidanceScale, onLog),
    seed,
    size: checkSize(model, asked.size ?? defaultSize(model, onLog)),
    prompt: prompted ? template : null,
    nullPrompt: prompted ? asked.nullPrompt : null,
    dtype,
    device: device.id === 'cpu' ? 'cpu' : 'cuda',
  };
  samplingTimesteps(model.source.schedule, settings.inferenceSteps, model.timestepSpacing);

  const { prompt, nullPrompt } = settings;
  const sampled = labels.map((label) => ({
    label,
    folder: labelFolder(label),
    prompt: prompt === null ? null : fillPrompt(prompt, label),
    images: count,
  }));
  if (prompt !== null && labels.length > 1 && new Set(sampled.map((one) => one.prompt)).size === 1)
    onLog?.(`The prompt is the same for every label: ${JSON.stringify(prompt)} has no {label}.`);
  for (const cut of model.tokenizers?.[0]?.truncated([...sampled.map((one) => one.prompt ?? ''), nullPrompt ?? '']) ??
    [])
    onLog?.(`The model sees only the first 75 tokens of the prompt ${JSON.stringify(cut)}.`);
  const names = sampled.map((one) => one.prompt ?? one.label);
  for (const sentence of clashes(model, labels, names)) onLog?.(sentence);
  const keys = conditionKeys(model, [...names, nullPrompt ?? '']);
  const same = labels.filter((_, i) => keys[i] === keys[labels.length]);
  if (same.length > 0 && settings.guidanceScale !== 1)
    onLog?.(
      `The prompt of ${listed(same)} is the null prompt ${JSON.stringify(nullPrompt)} to this model: guidance has no effect for it.`,
    );
  if (!prompted && (options.prompt !== undefined || options.nullPrompt !== undefined))
    onLog?.('This model is conditioned on classes: prompts are not used.');

  const record = {
    format: SAMPLES_FORMAT,
    version: VERSION,
    created: new Date().toISOString(),
    fingerprint: fingerprintOfRecord(model.fingerprint, settings),
    model: { path: model.path, ...model.opened, fingerprint: model.fingerprint },
    options: settings,
    labels: sampled,
  } as const;
  return { model, device, record, batch, threads };
}

function fingerprintOfRecord(model: string, options: SampleSettings): string {
  return fingerprintOf({ format: SAMPLES_FORMAT, model, options: options as unknown as Json });
}

async function readRecord(folder: string): Promise<SamplesRecord | undefined> {
  const file = join(folder, SAMPLES);
  const content = await readFile(file, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  if (content === undefined) return undefined;
  const damaged = (): DiffmineError =>
    new DiffmineError(
      'RUN_INVALID',
      `${file} is damaged or of another format than ${SAMPLES_FORMAT}.`,
      'Give `out` a new or empty folder.',
    );
  let parsed: unknown;
  try {
    parsed = parseJson(content);
  } catch {
    throw damaged();
  }
  if (!SAMPLES_SHAPE(parsed)) throw damaged();
  const record = parsed as SamplesRecord;
  if (fingerprintOfRecord(record.model.fingerprint, record.options) !== record.fingerprint) throw damaged();
  return record;
}

/** A setting's name on the command line. */
const flagOf = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/**
 * A request together with what was asked in `folder` before: more images and more labels of the same model and options are added.
 *
 * @throws RUN_MISMATCH if another request's images, or anything else, is in the folder
 */
export async function mergedRecord(
  folder: string,
  name: string,
  { model, record }: SampleRequest,
): Promise<SamplesRecord> {
  const existing = await readRecord(folder);
  if (!existing) {
    const entries = await readdir(folder).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    });
    const foreign = entries.find((entry) => !entry.startsWith(`.${SAMPLES}.tmp-`));
    if (foreign !== undefined) {
      throw new DiffmineError(
        'RUN_MISMATCH',
        `${name} is not empty and is not a folder of samples (it has ${JSON.stringify(foreign)}).`,
        'Give `out` a new or empty folder.',
      );
    }
    return record;
  }
  if (existing.fingerprint !== record.fingerprint) {
    const keys = Object.keys(record.options) as (keyof SampleSettings)[];
    const differ = keys
      .filter((key) => existing.options[key] !== record.options[key])
      .map(
        (key) =>
          `${flagOf(key)}: these samples have ${JSON.stringify(existing.options[key])}, you asked for ${JSON.stringify(record.options[key])}`,
      );
    if (existing.model.fingerprint !== record.model.fingerprint)
      differ.unshift('model: these samples are from another one');
    throw new DiffmineError(
      'RUN_MISMATCH',
      `${name} has samples of another command. ${differ.join('; ')}.`,
      'Use its options to resume it, or give `out` another folder.',
    );
  }
  const merged = new Map(existing.labels.map((one) => [one.label, one]));
  for (const one of record.labels)
    merged.set(one.label, { ...one, images: Math.max(one.images, merged.get(one.label)?.images ?? 0) });
  const labels = [...merged.values()];
  const order = new Map(model.labels?.map((label, id) => [label, id]));
  if (model.labels) labels.sort((a, b) => (order.get(a.label) ?? 0) - (order.get(b.label) ?? 0));
  return { ...existing, labels };
}
/**
 * Puts a request down in `folder`, together with what was asked there before: more images and more labels of the same model and options are added.
 *
 * @throws RUN_MISMATCH if another request's images, or anything else, is in the folder
 */
export async function recordRequest(folder: string, name: string, request: SampleRequest): Promise<void> {
  await writeFileAtomic(
    join(folder, SAMPLES),
    `${JSON.stringify(await mergedRecord(folder, name, request), null, 2)}\n`,
  );
}
