// train.json: settings and state of a training, and the check that a resumed one has the same settings.
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { parseJson } from '../../util/json.js';
import type { Dtype } from '../../engine/types.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { canonicalJson, type Json } from '../../runs/fingerprint.js';
import { findDevice } from '../../runs/device.js';
import { chooseDtype, type Task } from '../../runs/dtype.js';
import { VERSION } from '../../util/version.js';
import type { HubHooks } from '../../models/hub/hub.js';
import { absolutePlace } from '../../models/locate.js';
import { nullAfter } from '../../models/null-condition.js';
import { RECORD, TRAINING_FORMAT, type Learned, type NullCondition } from '../../models/training.js';
import type { Base, Named } from './base.js';
import { openBase } from './open-base.js';
import { given } from '../../options/check.js';
import { defaultsOf } from '../../options/option.js';
import { checkSettings, FREE, TRAIN, type TrainOptions, type TrainSettings } from './options.js';
import { SIZES } from './sizes.js';

export { RECORD, TRAINING_FORMAT };

export interface TrainRecord {
  format: typeof TRAINING_FORMAT;
  version: string;
  created: string;
  status: 'running' | 'stopped' | 'done' | 'diverged';
  /** done */
  step: number;
  settings: TrainSettings;
  /** free settings that were changed on the way, and from which step on */
  changes: { step: number; settings: Partial<TrainSettings> }[];
  dataset: { path: string; fingerprint: string; labels: { label: string; training: number; heldOut: number }[] };
  model: {
    from: string | null;
    size: string | null;
    kind: 'latent' | 'pixel';
    conditioning: 'text' | 'class';
    nullCondition: NullCondition;
    parameters: number;
    trained: number;
  };
  best: { step: number; loss: number } | null;
  /** what the written model has learned of its labels; null until it is written, or if no image is held out */
  learned: Learned | null;
  device: string;
  dtype: Dtype;
}

/** The record in a folder, if there is one. */
export async function readRecord(folder: string): Promise<TrainRecord | undefined> {
  const text = await readFile(join(folder, RECORD), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const record = parseJson(text) as Partial<TrainRecord>;
    if (record.format === TRAINING_FORMAT) return record as TrainRecord;
  } catch {
    // said below
  }
  throw new DiffmineError(
    'RUN_INVALID',
    `${join(folder, RECORD)} is damaged, or of another version.`,
    'Give `out` another folder.',
  );
}

export const writeRecord = (folder: string, record: TrainRecord): Promise<void> =>
  writeFileAtomic(join(folder, RECORD), `${JSON.stringify(record, null, 1)}\n`);

export const newRecord = (
  settings: TrainSettings,
  facts: Pick<TrainRecord, 'dataset' | 'model' | 'device' | 'dtype'>,
): TrainRecord => ({
  format: TRAINING_FORMAT,
  version: VERSION,
  created: new Date().toISOString(),
  status: 'running',
  step: 0,
  settings,
  changes: [],
  best: null,
  learned: null,
  ...facts,
});

/** A training before its data are looked at: new, or found in the folder. */
export interface Opened {
  folder: string;
  base: Base;
  /** `steps` is 0 where epochs decide */
  settings: TrainSettings;
  epochs: number | undefined;
  /** what was asked for by name */
  asked: Partial<TrainSettings>;
  record: TrainRecord | undefined;
}

/** Of the settings. */
const DEFAULTS = defaultsOf(TRAIN.omit({ device: true, dtype: true }));
/** Options that are no settings of the training. */
const ORDERS: readonly string[] = ['out', 'device', 'threads', 'epochs'];
const PATHS: readonly string[] = ['dataset', 'imageRoot', 'map', 'from', 'vae', 'textEncoder'];

/**
 * Resolves what is trained.
 *
 * @throws RUN_MISMATCH if the folder holds something else, or another training; INVALID_ARGUMENT; what openModel throws
 */
export async function openTraining(options: TrainOptions, hooks: HubHooks = {}): Promise<Opened> {
  const { onLog } = hooks;
  const orders = given(TRAIN, options);
  const folder = resolve(orders.out);
  const record = await readRecord(folder);
  const { epochs } = orders;
  if (epochs !== undefined && orders.steps !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      '`steps` and `epochs` both set the length of the training.',
      'Give one of them.',
    );
  const asked: Partial<TrainSettings> = Object.fromEntries(
    Object.entries(orders)
      .filter(([name, value]) => !ORDERS.includes(name) && !(name === 'dtype' && value === 'auto'))
      .map(([name, value]) => [name, PATHS.includes(name) ? absolutePlace(value as string) : value]),
  );
  if (record) {
    if (record.model.conditioning === 'class') dropPrompts(asked, onLog);
    const { dtype, new: size } = record.settings;
    chooseDtype(orders.dtype ?? 'auto', findDevice(orders.device ?? 'auto'), {
      ...taskOf(size),
      recorded: dtype,
      onLog,
    });
    const settings = { ...record.settings, ...asked };
    const differ = (Object.keys(asked) as (keyof TrainSettings)[]).filter(
      (name) => !FREE.includes(name) && !same(asked[name], record.settings[name]),
    );
    if (differ.length > 0) {
      const what = differ.map(
        (name) =>
          `\`${name}\`: this training has ${JSON.stringify(record.settings[name])}, you asked for ${JSON.stringify(asked[name])}`,
      );
      throw new DiffmineError(
        'RUN_MISMATCH',
        `${options.out} is another training: ${what.join('; ')}.`,
        'Leave these options out to resume it, or give `out` another folder.',
      );
    }
    return { folder, base: await openBase(settings, hooks), settings, epochs, asked, record };
  }
  if (asked.dataset === undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      'No dataset was given.',
      'Give a folder with one folder of images per label, or a table.',
    );
  if (existsSync(folder)) {
    const foreign = (await readdir(folder)).find((name) => !['locks', 'cache'].includes(name) && !name.startsWith('.'));
    if (foreign !== undefined)
      throw new DiffmineError(
        'RUN_MISMATCH',
        `${options.out} is not empty and not a training folder (it has ${JSON.stringify(foreign)}).`,
        'Give `out` a new or empty folder.',
      );
  }
  const dtype = chooseDtype(orders.dtype ?? 'auto', findDevice(orders.device ?? 'auto'), {
    ...taskOf(asked.new ?? null),
    onLog,
  });
  const named: Named & Pick<TrainSettings, 'encoding' | 'imageRoot'> & Partial<TrainSettings> = {
    from: null,
    new: null,
    vae: null,
    textEncoder: null,
    variant: null,
    encoding: null,
    imageRoot: null,
    fold: null,
    ...asked,
  };
  const base = await openBase(named, hooks);
  if (base.conditioning === 'class') dropPrompts(asked, onLog);
  const settings = await fillIn({ ...asked, dtype }, named, base);
  if (epochs === undefined) checkSettings(settings); // before images are looked at
  return { folder, base, settings, epochs, asked, record: undefined };
}

const taskOf = (size: TrainSettings['new']): { task: Task } => ({ task: size === null ? 'fine-tuning' : 'training' });

/** One command line may serve several models: prompts do no harm to a model of classes. */
function dropPrompts(asked: Partial<TrainSettings>, onLog?: (line: string) => void): void {
  if ((asked.prompt ?? asked.nullPrompt) !== undefined)
    onLog?.(
      'This model is conditioned on classes: prompts are not used. With `new`, `textEncoder` MODEL conditions on them.',
    );
  delete asked.prompt;
  delete asked.nullPrompt;
}

async function fillIn(
  asked: Partial<TrainSettings> & { dtype: Dtype },
  named: Named,
  base: Base,
): Promise<TrainSettings> {
  const size = named.new === null ? undefined : SIZES[named.new];
  const text = base.conditioning === 'text';
  const steps = asked.steps ?? size?.steps ?? 5000;
  const filled = { ...DEFAULTS, ...asked };
  const { loraRank, prompt, nullPrompt, drop } = filled;
  if (loraRank > 0 && named.from === null)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      'LoRA needs a trained model to start from.',
      'Give `from` MODEL, or leave out `loraRank`.',
    );
  if (loraRank === 0 && base.architecture !== 'unet')
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `'${named.from ?? ''}' has a transformer, of which only a LoRA is trained.`,
      'Give `loraRank`, such as 8.',
    );
  if (filled.minSnr > 0 && base.flow)
    throw new DiffmineError('INVALID_ARGUMENT', '`minSnr` does not apply to flows.', 'Leave it out.');
  return {
    ...filled,
    ...named,
    dataset: asked.dataset as string,
    prompt: text ? prompt : null,
    nullPrompt: text ? nullPrompt : null,
    holdout: asked.holdout ?? null,
    size: asked.size ?? base.side,
    steps,
    trainBatch: asked.trainBatch ?? size?.batch ?? 8,
    learningRate: asked.learningRate ?? size?.learningRate ?? 1e-5,
    lrSchedule: asked.lrSchedule ?? (size ? 'cosine' : 'constant'),
    ema: asked.ema ?? (size ? 0.999 : 0),
    loraAlpha: asked.loraAlpha ?? loraRank,
    // guidance of the grids needs the null condition
    ...((await nullAfter(drop, named.from)) === 'none' && { sampleGuidanceScale: asked.sampleGuidanceScale ?? 1 }),
    ...dependent(asked, { steps, new: named.new }),
  };
}

/** Resolves how many steps `epochs` are, and what depends on that, and checks everything. */
export function resolveSteps({ settings, epochs, asked, record }: Opened, images: number): TrainSettings {
  const steps = epochs === undefined ? settings.steps : Math.max(1, Math.ceil((epochs * images) / settings.trainBatch));
  const resolved = { ...settings, steps };
  if (!record) Object.assign(resolved, dependent(asked, resolved));
  checkSettings(resolved);
  return resolved;
}

/** Defaults that depend on the number of steps. */
function dependent(
  asked: Partial<TrainSettings>,
  { steps, new: size }: Pick<TrainSettings, 'steps' | 'new'>,
): Pick<TrainSettings, 'warmupSteps' | 'sampleEvery'> {
  return {
    warmupSteps: asked.warmupSteps ?? (size === null ? 0 : Math.min(100, Math.floor(steps / 10))),
    sampleEvery: asked.sampleEvery ?? Math.max(1, Math.ceil(steps / 4)),
  };
}

/** The settings of `now` that are others than the record's. */
export function changed(record: TrainRecord, now: TrainSettings): Partial<TrainSettings> {
  const names = (Object.keys(now) as (keyof TrainSettings)[]).filter((name) => !same(now[name], record.settings[name]));
  return Object.fromEntries(names.map((name) => [name, now[name]]));
}

const same = (a: unknown, b: unknown): boolean => canonicalJson(a as Json) === canonicalJson(b as Json);
