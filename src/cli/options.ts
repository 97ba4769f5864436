// Options of the command line: one table each command picks from, the parsers behind it, and the order of precedence
// (flag, then --config file, then default). A value is parsed the same way wherever it comes from.
import { encodingName } from '../data/text/decode.js';
import { DiffmineError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { SIZE_NAMES } from '../stages/train/sizes.js';
import { OPTIMIZATIONS } from '../tools/bench/optimizations.js';
import { COMPILE_MODES } from '../tools/bench/modes.js';

/** Turns what was typed (a string, or any YAML scalar) into a value; throws `Expected` when it cannot. */
interface Parser<T> {
  (raw: unknown): T;
  /** takes an array, too: the option may be given several times, or be a list in a file */
  list?: boolean;
}

/** Thrown by parsers: what was expected. The option's name and what came instead are added around it. */
class Expected extends Error {}

export interface Option<T> {
  describe: string;
  group: Group;
  /** one with `list` may be given several times */
  parse: Parser<NonNullable<T>>;
  /** used when neither flag nor file names it */
  fallback?: T;
  /** what --help shows as the default, where the fallback does not say it */
  shownDefault?: string;
  alias?: string;
  /** takes no value */
  flag?: boolean;
  /** given by place, not by name */
  positional?: boolean;
  required?: boolean;
  choices?: readonly string[];
}

// The parameter is only ever read back through Values, so a table may mix types.
export type OptionTable = Record<string, Option<unknown>>;

/** The values of a table of options: T where there is a fallback or the option is required, else T | undefined. */
export type Values<Table> = { [Name in keyof Table]: Table[Name] extends Option<infer T> ? T : never };

export type Group =
  | 'What'
  | 'Prompts'
  | 'Pictures'
  | 'Scoring'
  | 'Sampling'
  | 'Mining'
  | 'Training'
  | 'Comparison'
  | 'Device'
  | 'Run folder'
  | 'Output'
  | 'Set-up';

interface Spec<T> extends Omit<Option<T>, 'parse' | 'fallback'> {
  parse: Parser<T>;
}
function option<T>(spec: Spec<T> & { fallback: NoInfer<T> }): Option<T>;
function option<T>(spec: Spec<T> & { required: true }): Option<T>;
function option<T>(spec: Spec<T>): Option<T | undefined>;
function option<T>(spec: Spec<T> & { fallback?: T }): Option<T | undefined> {
  return spec as Option<T | undefined>;
}

// --- parsers

const text: Parser<string> = (raw) => {
  if (typeof raw === 'string') return raw;
  if (typeof raw === 'number') return String(raw);
  throw new Expected('text');
};

const path: Parser<string> = (raw) => {
  const value = text(raw);
  if (value === '' || value.includes('\0')) throw new Expected('a path');
  return value;
};

const boolean: Parser<boolean> = (raw) => {
  if (typeof raw === 'boolean') return raw;
  throw new Expected('true or false');
};

function integer(min: number, max = Number.MAX_SAFE_INTEGER): Parser<number> {
  const range =
    max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`;
  return (raw) => {
    const value =
      typeof raw === 'number' ? raw : typeof raw === 'string' && /^[+-]?\d+$/.test(raw.trim()) ? Number(raw) : NaN;
    if (!Number.isSafeInteger(value) || value < min || value > max) throw new Expected(range);
    return value;
  };
}

const positive: Parser<number> = (raw) => {
  const value = typeof raw === 'number' || (typeof raw === 'string' && raw.trim() !== '') ? Number(raw) : NaN;
  if (!(value > 0 && Number.isFinite(value))) throw new Expected('a number above 0');
  return value;
};

const atLeastZero: Parser<number> = (raw) => {
  const value = typeof raw === 'number' || (typeof raw === 'string' && raw.trim() !== '') ? Number(raw) : NaN;
  if (!(value >= 0 && Number.isFinite(value))) throw new Expected('a number of at least 0');
  return value;
};

/** A share: 0 <= value <= 1. */
const upToOne: Parser<number> = (raw) => {
  const value = atLeastZero(raw);
  if (value > 1) throw new Expected('a number from 0 to 1');
  return value;
};

/** A share below one: 0 <= value < 1. */
const share: Parser<number> = (raw) => {
  const value = typeof raw === 'number' || (typeof raw === 'string' && raw.trim() !== '') ? Number(raw) : NaN;
  if (!(value >= 0 && value < 1)) throw new Expected('a number from 0 to below 1');
  return value;
};

/** '5%' or 0.05 -> 0.05; from 0 to below 1. */
const portion: Parser<number> = (raw) => {
  const percent = typeof raw === 'string' ? /^\s*([\d.]+)\s*%\s*$/.exec(raw) : null;
  const value = percent
    ? Number(percent[1]) / 100
    : typeof raw === 'number' || (typeof raw === 'string' && raw.trim() !== '')
      ? Number(raw)
      : NaN;
  if (!(value >= 0 && value < 1)) throw new Expected('a share such as 5% or 0.05');
  return value;
};

function choice<const T extends string>(choices: readonly T[]): Parser<T> {
  return (raw) => {
    const found = choices.find((one) => one === raw);
    if (found === undefined) throw new Expected(`one of ${choices.join(', ')}`);
    return found;
  };
}

function wordOr<const W extends string>(word: W, number: Parser<number>): Parser<number | W> {
  return (raw) => {
    if (raw === word) return word;
    try {
      return number(raw);
    } catch (error) {
      throw error instanceof Expected ? new Expected(`${error.message}, or ${word}`) : error;
    }
  };
}

/** A parser of options that may be given several times, or are a list in a file. */
function repeated<T>(parse: (values: unknown[]) => T): Parser<T> {
  return Object.assign((raw: unknown): T => parse(Array.isArray(raw) ? raw : [raw]), { list: true });
}

/** Labels by name. They may hold commas: where the labels are known, a value that is none of them is split (dataset/labels.ts, namedLabels). */
const labels = repeated((values) => values.map((one) => text(one)));

/** Values that hold no commas themselves: they may be given with commas between, too. */
function list<T>(item: Parser<T>, described: string): Parser<T[]> {
  return repeated((values) => {
    const parts = values.flatMap((one): unknown[] =>
      typeof one === 'string' ? one.split(',').map((part) => part.trim()) : [one],
    );
    if (parts.length === 0) throw new Expected(described);
    return parts.map((one) => item(one));
  });
}

const encoding: Parser<string> = (raw) => {
  const name = text(raw);
  try {
    encodingName(name);
    return name;
  } catch {
    throw new Expected('the name of an encoding such as windows-1252, shift_jis or gbk');
  }
};

const device: Parser<string> = (raw) => {
  if (typeof raw === 'string' && /^(auto|cpu|cuda(:\d+)?)$/.test(raw)) return raw;
  throw new Expected('auto, cpu, cuda or cuda:N');
};

const variant: Parser<string> = (raw) => {
  const value = text(raw);
  if (!/^[\w-]+$/.test(value))
    throw new Expected('a name such as fp16 or non_ema, the part of the file names before .safetensors');
  return value;
};

/** '0,1' -> cuda:0 and cuda:1; 'cpu,cpu' (or a list in a file). */
const devices: Parser<string[]> = list((raw) => {
  const name = /^\d+$/.test(text(raw)) ? `cuda:${text(raw)}` : text(raw);
  if (/^(cpu|cuda:\d+)$/.test(name)) return name;
  throw new Expected('devices with commas such as 0,1 (for cuda:0,cuda:1) or cpu,cpu');
}, 'devices');

/** '0.1,0.7' (or [0.1, 0.7] in a file) -> fractions of the schedule, 0 <= begin < end <= 1. */
const fractions: Parser<[number, number]> = (raw) => {
  const number = (one: unknown): number =>
    typeof one === 'number' || (typeof one === 'string' && one.trim() !== '') ? Number(one) : NaN;
  const parts = (Array.isArray(raw) ? (raw as unknown[]) : typeof raw === 'string' ? raw.split(',') : []).map(number);
  const [begin, end] = parts;
  if (parts.length !== 2 || begin === undefined || end === undefined || !(begin >= 0 && begin < end && end <= 1)) {
    throw new Expected('two fractions of the schedule such as 0.1,0.7, the first below the second');
  }
  return [begin, end];
};

/** '3/8' -> { index: 3, count: 8 }: part 3 of 8, counted from 0 as Slurm and Kubernetes count their tasks. */
const part: Parser<{ index: number; count: number }> = (raw) => {
  const found = typeof raw === 'string' ? /^(\d+)\/(\d+)$/.exec(raw) : null;
  const index = Number(found?.[1]);
  const count = Number(found?.[2]);
  if (!found || count < 1 || index >= count)
    throw new Expected('i/n with 0 <= i < n, such as 0/8 for the first of eight');
  return { index, count };
};

/** own or all alone, or labels. */
const labelList: Parser<'own' | 'all' | string[]> = repeated((values) => {
  const names = labels(values);
  const [first] = names;
  if (names.length === 1 && (first === 'own' || first === 'all')) return first;
  if (names.length === 0 || names.some((one) => one.trim() === '')) throw new Expected('own, all, or labels');
  return names;
});

// --- the options

/** Every command has these. `json`, `config`, `help` and `version` are read before anything else. */
export const COMMON = {
  config: option({ group: 'Output', describe: 'Take options from a YAML file; flags win', parse: path }),
  json: option({
    group: 'Output',
    describe: 'Put the result, or the error, alone on stdout as JSON',
    parse: boolean,
    flag: true,
    fallback: false,
  }),
  quiet: option({
    group: 'Output',
    describe: 'No progress and no notes, errors only',
    parse: boolean,
    flag: true,
    alias: 'q',
    fallback: false,
  }),
  verbose: option({
    group: 'Output',
    describe: 'More notes; errors with their cause and stack',
    parse: boolean,
    flag: true,
    alias: 'v',
    fallback: false,
  }),
} satisfies OptionTable;

/** How a dataset's tables and lists are read. */
export const TABLES = {
  encoding: option({
    group: 'What',
    describe: "Encoding of the dataset's tables and lists, such as windows-1252, latin1, shift_jis or gbk",
    parse: encoding,
    shownDefault: 'utf-8, strictly',
  }),
  'image-root': option({
    group: 'What',
    describe: 'Of a table: the folder that relative image paths start at',
    parse: path,
    shownDefault: "the table's folder",
  }),
} satisfies OptionTable;

export const DATASET = {
  dataset: option({
    group: 'What',
    positional: true,
    required: true,
    parse: path,
    describe:
      'A folder with one folder of images per label, or a .csv / .jsonl file with the columns path (or image) and label',
  }),
  ...TABLES,
} satisfies OptionTable;

export const RUN = {
  run: option({ group: 'What', positional: true, required: true, parse: path, describe: 'The folder a scan wrote' }),
} satisfies OptionTable;

export const DEVICE = {
  device: option({
    group: 'Device',
    describe: 'auto, cpu, cuda or cuda:N; auto says what it chose',
    parse: device,
    fallback: 'auto',
  }),
  dtype: option({
    group: 'Device',
    describe: 'dtype of the UNet; on a CPU fp16 needs one that has it (diffmine doctor)',
    parse: choice(['fp32', 'bf16', 'fp16']),
    choices: ['fp32', 'bf16', 'fp16'],
    fallback: 'fp32',
  }),
  threads: option({
    group: 'Device',
    describe: 'CPU threads of the computation',
    parse: integer(1, 1024),
    shownDefault: 'all cores',
  }),
} satisfies OptionTable;

const batch = {
  group: 'Device',
  describe: 'UNet evaluations a forward pass; auto sizes it from memory',
  parse: wordOr('auto', integer(1, 65536)),
} as const;

export const PRESET_NAMES = ['cars', 'faces', 'geo', 'places', 'xray'] as const;

/** What decides the cost and the results of a scan. Defaults are those of src/stages/scan, which a preset changes: here they are only shown. */
export const SCAN = {
  ...DATASET,
  model: option({
    group: 'What',
    required: true,
    describe: 'A diffusers model folder with safetensors weights',
    parse: path,
  }),
  variant: option({
    group: 'What',
    describe: 'Read the weights of this variant, such as fp16 or non_ema, where a part has it',
    parse: variant,
  }),
  preset: option({
    group: 'Prompts',
    describe: "The paper's prompts, sizes and patches for one kind of picture",
    parse: choice(PRESET_NAMES),
    choices: PRESET_NAMES,
  }),
  prompt: option({
    group: 'Prompts',
    describe: 'The prompt of a label; {label} stands for it, {words} for it with spaces for underscores',
    parse: text,
    shownDefault: '"{label}"',
  }),
  'null-prompt': option({
    group: 'Prompts',
    describe: 'The prompt that says nothing of the label',
    parse: text,
    shownDefault: '""',
  }),
  size: option({
    group: 'Pictures',
    describe: 'Short side in pixels to shrink to; source keeps the size',
    parse: wordOr('source', integer(8, 16384)),
    shownDefault: "the model's sample size",
  }),
  patch: option({
    group: 'Pictures',
    describe: 'Side of a patch in pixels of the scored picture',
    parse: integer(1, 16384),
    shownDefault: 'short side / 8',
  }),
  samples: option({
    group: 'Scoring',
    describe: 'Draws of noise and timestep a picture',
    parse: integer(1, 1_000_000),
    shownDefault: '100',
  }),
  't-range': option({
    group: 'Scoring',
    describe: 'Part of the schedule timesteps are drawn from',
    parse: fractions,
    shownDefault: '0.1,0.7',
  }),
  sampler: option({
    group: 'Scoring',
    describe: "Timesteps: golden-ratio stratified, or the reference's independent draws",
    parse: choice(['stratified', 'reference']),
    choices: ['stratified', 'reference'],
    shownDefault: 'stratified',
  }),
  seed: option({ group: 'Scoring', describe: 'Seed of noise and timesteps', parse: integer(0), shownDefault: '0' }),
  'all-labels': option({
    group: 'Scoring',
    describe: 'Score every picture under every label, not only its own',
    parse: boolean,
    flag: true,
  }),
  against: option({
    group: 'Scoring',
    describe: 'Contrast with null, with the mean of the others, or with one LABEL',
    parse: text,
    shownDefault: 'null',
  }),
  replay: option({ group: 'Scoring', describe: 'Take noises and timesteps from a safetensors file', parse: path }),
  untrained: option({
    group: 'Scoring',
    describe: "Random weights of the seed in place of the UNet's own: a control for evaluate",
    parse: boolean,
    flag: true,
  }),
  'per-image': option({
    group: 'Scoring',
    describe: 'Non-overlapping patches kept a picture in each list',
    parse: integer(1, 10_000),
    shownDefault: '5',
  }),
  'no-maps': option({ group: 'Run folder', describe: 'Keep no typicality maps', parse: boolean, flag: true }),
  'shard-size': option({
    group: 'Run folder',
    describe: 'Images per shard, the unit of saved work',
    parse: integer(1, 1_000_000),
    shownDefault: '64; more above 2 million images',
  }),
  checksum: option({
    group: 'Run folder',
    describe: 'Identify the dataset by the content of every file as well, which reads all of them',
    parse: boolean,
    flag: true,
  }),
  ...DEVICE,
  batch: option({ ...batch, shownDefault: 'auto' }),
  tune: option({
    group: 'Device',
    describe: 'On a GPU: find the fastest convolutions by trial; how the work is split then shows in the rounding',
    parse: boolean,
    flag: true,
  }),
  workers: option({
    group: 'Device',
    describe: 'Processes that share the work, each with its own engine',
    parse: integer(1, 256),
    shownDefault: '1',
  }),
  devices: option({
    group: 'Device',
    describe: 'A process for each of these devices, with commas: 0,1 are GPUs; in place of --device and --workers',
    parse: devices,
  }),
} satisfies OptionTable;

export const ESTIMATE = {
  rate: option({
    group: 'Scoring',
    describe: 'UNet evaluations a second, from an earlier run',
    parse: positive,
    shownDefault: 'measured',
  }),
  'no-calibrate': option({
    group: 'Scoring',
    describe: 'Do not load the model to measure the rate; hours are then left out',
    parse: boolean,
    flag: true,
  }),
} satisfies OptionTable;

export const OUT = {
  out: option({ group: 'Run folder', required: true, describe: 'The run folder to write, or to resume', parse: path }),
} satisfies OptionTable;

export const SHARD = {
  shard: option({ group: 'Run folder', describe: 'Do only part i of n (from 0) of the shards', parse: part }),
} satisfies OptionTable;

const BOX_FORMATS = ['auto', 'csv', 'nih', 'coco', 'masks'] as const;
const BOX_FRAMES = ['auto', 'upright', 'stored'] as const;
const boxFrame = option({
  group: 'What',
  describe:
    'What boxes and masks are drawn on: the upright image, or the image as stored, without its EXIF orientation',
  parse: choice(BOX_FRAMES),
  choices: BOX_FRAMES,
  shownDefault: 'auto',
});

/** Defaults are those of src/stages/scan and src/stages/localize: here they are only shown. */
export const LOCALIZE = {
  ...DATASET,
  model: SCAN.model,
  variant: SCAN.variant,
  out: option({ group: 'Run folder', required: true, describe: 'The run folder to write, or to resume', parse: path }),
  labels: option({
    group: 'What',
    describe:
      "Labels to map images under: given several times, or with commas between; own: each image's, all: the model's",
    parse: labelList,
    shownDefault: 'own',
  }),
  baseline: option({
    group: 'What',
    describe: 'Another model to make the same maps with, or untrained for random weights',
    parse: path,
  }),
  boxes: option({
    group: 'What',
    describe: 'Boxes or masks to compare with: a CSV, BBox_List_2017.csv, a COCO .json, a folder of PNGs',
    parse: path,
  }),
  'only-marked': option({
    group: 'What',
    describe: 'Map only pictures that boxes or masks are of',
    parse: boolean,
    flag: true,
  }),
  'box-format': option({
    group: 'What',
    describe: 'What --boxes is',
    parse: choice(BOX_FORMATS),
    choices: BOX_FORMATS,
    shownDefault: 'auto',
  }),
  'box-frame': boxFrame,
  pictures: option({
    group: 'What',
    describe: 'Where the pictures lie now',
    parse: path,
    shownDefault: "the run's data set",
  }),
  preset: SCAN.preset,
  prompt: SCAN.prompt,
  'null-prompt': SCAN['null-prompt'],
  size: SCAN.size,
  samples: SCAN.samples,
  't-range': SCAN['t-range'],
  sampler: SCAN.sampler,
  seed: SCAN.seed,
  against: SCAN.against,
  replay: SCAN.replay,
  blur: option({
    group: 'Scoring',
    describe: 'Sigma of the blur: a share of the short side below 1, else pixels; 0 for none',
    parse: atLeastZero,
    shownDefault: '0.0625',
  }),
  bootstrap: option({
    group: 'Scoring',
    describe: 'Times the pictures are drawn anew for the intervals; 0 for none',
    parse: integer(0, 1_000_000),
    shownDefault: '1000',
  }),
  overlays: option({
    group: 'Output',
    describe: 'Pictures drawn a label, those with boxes first',
    parse: wordOr('all', integer(0)),
    shownDefault: '100',
  }),
  'shard-size': SCAN['shard-size'],
  checksum: SCAN.checksum,
  ...SHARD,
  ...DEVICE,
  batch: SCAN.batch,
  tune: SCAN.tune,
  workers: SCAN.workers,
  devices: SCAN.devices,
} satisfies OptionTable;

/** Defaults are those of src/stages/mine: here they are only shown. */
export const MINE = {
  clusters: option({ group: 'Mining', describe: 'Clusters a label', parse: integer(1, 100_000), shownDefault: '32' }),
  top: option({
    group: 'Mining',
    describe: 'Patches a label in each ranking',
    parse: integer(1, 999_999),
    shownDefault: '1000',
  }),
  rank: option({
    group: 'Mining',
    describe: 'The ranking that is clustered',
    parse: choice(['top', 'least', 'random']),
    choices: ['top', 'least', 'random'],
    shownDefault: 'top',
  }),
  'dift-t': option({
    group: 'Mining',
    describe: 'Timestep of the DIFT features',
    parse: integer(0, 100_000),
    shownDefault: '161',
  }),
  'up-block': option({
    group: 'Mining',
    describe: 'UNet up block the features come from',
    parse: integer(0, 15),
    shownDefault: '1',
  }),
  ensemble: option({
    group: 'Mining',
    describe: 'Noises averaged for the features of a picture',
    parse: integer(1, 1024),
    shownDefault: '8',
  }),
  restarts: option({
    group: 'Mining',
    describe: 'Starts of k-means, of which the best is kept',
    parse: integer(1, 10_000),
    shownDefault: '10',
  }),
} satisfies OptionTable;

/** Defaults are those of src/stages/cotypicality: here they are only shown. */
export const COTYPICALITY = {
  parallel: option({
    group: 'What',
    positional: true,
    required: true,
    describe: 'What translate wrote: LABEL/NAME/source.png and LABEL/NAME/TARGET_LABEL.png',
    parse: path,
  }),
  model: SCAN.model,
  variant: SCAN.variant,
  out: OUT.out,
  label: option({
    group: 'What',
    describe: 'Labels to compare: given several times, or with commas between',
    parse: labels,
    shownDefault: 'all',
  }),
  boxes: option({
    group: 'What',
    describe: 'A file of boxes in the source pictures, to compare the clusters with',
    parse: path,
  }),
  preset: SCAN.preset,
  prompt: SCAN.prompt,
  'null-prompt': SCAN['null-prompt'],
  size: SCAN.size,
  patch: SCAN.patch,
  samples: SCAN.samples,
  't-range': SCAN['t-range'],
  sampler: SCAN.sampler,
  seed: option({
    group: 'Scoring',
    describe: 'Seed of noise, timesteps, projection and k-means',
    parse: integer(0),
    shownDefault: '0',
  }),
  places: option({
    group: 'Scoring',
    describe: 'Non-overlapping places kept a sequence',
    parse: integer(1, 10_000),
    shownDefault: '5',
  }),
  top: option({
    group: 'Mining',
    describe: 'Places grouped in all, the most co-typical ones',
    parse: integer(1, 10_000_000),
    shownDefault: '10000',
  }),
  clusters: option({ group: 'Mining', describe: 'Clusters', parse: integer(1, 100_000), shownDefault: '32' }),
  projection: option({
    group: 'Mining',
    describe: "How each label's features are brought down before they are clustered",
    parse: choice(['umap', 'pca', 'none']),
    choices: ['umap', 'pca', 'none'],
    shownDefault: 'umap',
  }),
  dimensions: option({
    group: 'Mining',
    describe: 'Dimensions left of each label',
    parse: integer(1, 4096),
    shownDefault: '32',
  }),
  neighbours: option({
    group: 'Mining',
    describe: 'Neighbours of a place that UMAP looks at',
    parse: integer(2, 1000),
    shownDefault: '15',
  }),
  restarts: MINE.restarts,
  'dift-t': MINE['dift-t'],
  'up-block': MINE['up-block'],
  ensemble: MINE.ensemble,
  rows: option({
    group: 'Output',
    describe: 'Sequences of a cluster on the page',
    parse: integer(1, 1000),
    shownDefault: '8',
  }),
  'no-maps': SCAN['no-maps'],
  'shard-size': option({
    group: 'Run folder',
    describe: 'Sequences a shard, the unit of saved work',
    parse: integer(1, 1_000_000),
    shownDefault: '16',
  }),
  ...SHARD,
  ...DEVICE,
  batch: SCAN.batch,
} satisfies OptionTable;

/** Of `mine` by itself: the manifest says all this, and it may have moved. */
export const MINE_WHERE = {
  model: option({ group: 'What', describe: 'Where the model lies now', parse: path, shownDefault: "the run's" }),
  variant: option({ group: 'What', describe: SCAN.variant.describe, parse: variant, shownDefault: "the run's" }),
  dataset: option({ group: 'What', describe: 'Where the dataset lies now', parse: path, shownDefault: "the run's" }),
  'image-root': option({ ...TABLES['image-root'], shownDefault: "the run's" }),
  device: option({ group: 'Device', describe: 'auto, cpu, cuda or cuda:N', parse: device, shownDefault: "the run's" }),
  batch: option({ ...batch, shownDefault: "the run's" }),
  threads: DEVICE.threads,
} satisfies OptionTable;

export const REPORT = {
  pictures: option({
    group: 'What',
    describe: 'Where the pictures lie now',
    parse: path,
    shownDefault: "the run's data set",
  }),
  controls: option({
    group: 'Output',
    describe: 'Patches shown of each ranking that was not clustered',
    parse: integer(0, 10_000),
    shownDefault: '100',
  }),
  title: option({
    group: 'Output',
    describe: "The report's heading",
    parse: text,
    shownDefault: "the data set's name",
  }),
} satisfies OptionTable;

export const GOLDEN = {
  folder: option({
    group: 'What',
    positional: true,
    required: true,
    describe: 'A folder with diffmine-golden-1 manifests, at any depth',
    parse: path,
  }),
} satisfies OptionTable;

export const BENCH = {
  file: option({
    group: 'Output',
    positional: true,
    describe: 'A file to write the report to as JSON (docs/guides/benchmarking.md), with or without --json',
    parse: path,
  }),
  model: option({
    group: 'What',
    describe: 'A model folder, or synthetic:sd15, synthetic:demo, synthetic:tiny (random weights, no download)',
    parse: path,
    fallback: 'synthetic:sd15',
  }),
  variant: SCAN.variant,
  latents: option({
    group: 'What',
    describe: "Sides of the UNet's input to time, with commas",
    parse: list(integer(1, 1024), 'whole numbers'),
    shownDefault: '32,64',
  }),
  size: option({
    group: 'What',
    describe: 'The same by sides of pictures in pixels',
    parse: list(integer(8, 16384), 'whole numbers'),
  }),
  batch: option({
    group: 'What',
    describe: 'UNet evaluations a forward pass, with commas',
    parse: list(integer(2, 65536), 'whole numbers'),
    shownDefault: '2; on a GPU 64',
  }),
  dtype: option({
    group: 'What',
    describe: 'Precisions to time, with commas',
    parse: list(choice(['fp32', 'bf16', 'fp16']), 'fp32, bf16 or fp16'),
    shownDefault: 'fp32,bf16; on a GPU fp16',
  }),
  repeats: option({
    group: 'What',
    describe: 'Rounds that count: each of the machine, a pass, a scoring call, the peer',
    parse: integer(1, 10_000),
    fallback: 5,
  }),
  'no-evaluations': option({ group: 'What', describe: 'Time no evaluations of the UNet', parse: boolean, flag: true }),
  'no-stages': option({
    group: 'What',
    describe: 'Time passes alone: no scoring calls, no features, no clusters',
    parse: boolean,
    flag: true,
  }),
  training: option({
    group: 'What',
    describe: 'Trainings to time, with commas: sizes of train --list, and model for that of --model',
    parse: list(choice([...SIZE_NAMES, 'model']), 'sizes'),
  }),
  'training-batch': option({
    group: 'What',
    describe: 'Pictures a training step',
    parse: integer(1, 65536),
    shownDefault: "the size's; of --model 1, on a GPU 8",
  }),
  'gradient-checkpointing': option({
    group: 'What',
    describe: 'Train in less memory for a third more time',
    parse: boolean,
    flag: true,
  }),
  'pipeline-model': option({ group: 'What', describe: 'A model folder to time the whole pipeline with', parse: path }),
  'pipeline-data': option({ group: 'What', describe: 'The data set for it', parse: path }),
  'pipeline-samples': option({
    group: 'What',
    describe: 'Draws of noise and timestep a picture of it',
    parse: integer(1, 1_000_000),
    fallback: 10,
  }),
  peer: option({
    group: 'Comparison',
    describe: 'A Python with torch and diffusers to time evaluations in turn with',
    parse: path,
  }),
  'peer-compile': option({
    group: 'Comparison',
    describe: 'Time the peer compiled, too, in this mode of torch.compile',
    parse: choice(COMPILE_MODES),
    choices: COMPILE_MODES,
  }),
  reference: option({
    group: 'Comparison',
    describe: "Time the reference's whole loop on --peer too, over the pictures of --pipeline-data",
    parse: boolean,
    flag: true,
  }),
  'reference-dtype': option({
    group: 'Comparison',
    describe: 'Precision of the reference',
    parse: choice(['fp32', 'bf16', 'fp16']),
    choices: ['fp32', 'bf16', 'fp16'],
    shownDefault: 'that of --dtype',
  }),
  top: option({
    group: 'Comparison',
    describe: 'Patches a label whose features are taken in both pipelines',
    parse: integer(1, 999_999),
    fallback: 1000,
  }),
  ablate: option({
    group: 'Comparison',
    describe:
      'Optimizations to measure, separated by commas, each against an engine that has it disabled; all: all that apply to the device',
    parse: list(choice(['all', ...OPTIMIZATIONS]), 'optimizations'),
    choices: ['all', ...OPTIMIZATIONS],
  }),
  compare: option({
    group: 'Comparison',
    describe: 'A report to compare with; exit code 1 where a share is below it by more than the tolerance',
    parse: path,
  }),
  tolerance: option({
    group: 'Comparison',
    describe: 'How much of a share may be lost, as 5% or 0.05',
    parse: portion,
    shownDefault: '5%',
  }),
  summary: option({
    group: 'Output',
    describe: 'A file for tables in Markdown; auto appends to the page of a GitHub job (GITHUB_STEP_SUMMARY)',
    parse: path,
  }),
  device: option({ group: 'Device', describe: 'auto, cpu, cuda or cuda:N', parse: device, fallback: 'auto' }),
  threads: DEVICE.threads,
  disable: option({
    group: 'Device',
    describe:
      'Disable optimizations in all that is measured but the whole pipeline, separated by commas; names as in --ablate',
    parse: list(choice(OPTIMIZATIONS), 'optimizations'),
  }),
} satisfies OptionTable;

export const INSPECTED = {
  path: option({
    group: 'What',
    positional: true,
    required: true,
    describe: 'A model folder, a dataset or a run folder',
    parse: path,
  }),
  ...TABLES,
  variant: option({
    group: 'What',
    describe: 'Of a model: read the weights of this variant, where a part has it',
    parse: variant,
  }),
} satisfies OptionTable;

export const EXPORT = {
  table: option({
    group: 'What',
    describe: 'Which table',
    parse: choice(['patches', 'clusters', 'images']),
    choices: ['patches', 'clusters', 'images'],
    fallback: 'patches',
  }),
  format: option({
    group: 'Output',
    describe: 'Which format',
    parse: choice(['json', 'csv', 'parquet']),
    choices: ['json', 'csv', 'parquet'],
    shownDefault: 'csv; with --json, json',
  }),
  out: option({ group: 'Output', describe: 'The file to write', parse: path, shownDefault: 'stdout' }),
} satisfies OptionTable;

/** Defaults are those of src/stages/evaluate: here they are only shown. */
export const EVALUATE = {
  boxes: option({
    group: 'What',
    required: true,
    describe:
      "A CSV with the columns image, x, y and w, h in source pixels (label, kind, slot, city optional), NIH's BBox_List_2017.csv or a COCO .json",
    parse: path,
  }),
  'typical-column': option({
    group: 'What',
    describe: 'The column with the label that a box is typical of',
    parse: text,
    shownDefault: "city, else label, else the image's label",
  }),
  'box-frame': boxFrame,
  control: option({
    group: 'What',
    describe: 'Another run of the same pictures to show beside it, such as one scanned with --untrained',
    parse: path,
  }),
  pictures: option({
    group: 'What',
    describe: 'Where the pictures lie now',
    parse: path,
    shownDefault: "the run's data set",
  }),
  smooth: option({
    group: 'Scoring',
    describe: 'Side of the box mean over the pixels of a map, odd',
    parse: integer(1, 999),
    shownDefault: '5',
  }),
  'no-colour': option({ group: 'Scoring', describe: 'Do without the baseline of colours', parse: boolean, flag: true }),
  bootstrap: option({
    group: 'Scoring',
    describe: 'Times the pictures are drawn anew for the intervals; 0 for none',
    parse: integer(0, 1_000_000),
    shownDefault: '1000',
  }),
  seed: option({ group: 'Scoring', describe: 'Seed of the drawing anew', parse: integer(0), shownDefault: '0' }),
  'per-label': option({
    group: 'Output',
    describe: 'Pictures a label on the sheet of maps',
    parse: integer(0, 100),
    shownDefault: '4',
  }),
  png: option({ group: 'Output', describe: 'Write the sheet of maps as maps.png, too', parse: boolean, flag: true }),
} satisfies OptionTable;

/** Defaults are those of src/tools/demo and src/tools/world: here they are only shown. */
export const DEMO = {
  out: option({
    group: 'Run folder',
    describe: "The demo's folder: new, or one to go on with",
    parse: path,
    shownDefault: 'demo-run',
  }),
  full: option({
    group: 'What',
    describe: 'Go on to translation, consistent changes and localization',
    parse: boolean,
    flag: true,
  }),
  translated: option({
    group: 'What',
    describe: 'With --full: pictures a city that are translated to the others',
    parse: integer(1, 1_000_000),
    shownDefault: '3',
  }),
  'data-only': option({ group: 'What', describe: 'Only draw the planted world into this new folder', parse: path }),
  model: option({
    group: 'What',
    describe: 'A model that was trained on such pictures',
    parse: path,
    shownDefault: "the package's",
  }),
  variant: SCAN.variant,
  pictures: option({
    group: 'Pictures',
    describe: 'Pictures a city',
    parse: integer(2, 1_000_000),
    shownDefault: '40; with --data-only 250, held-out ones included',
  }),
  size: option({
    group: 'Pictures',
    describe: 'Side of the pictures in pixels',
    parse: integer(32, 1024),
    shownDefault: '64',
  }),
  heldout: option({
    group: 'Pictures',
    describe: 'With --data-only: share of the pictures kept apart from training',
    parse: share,
    shownDefault: '0.2',
  }),
  seed: option({
    group: 'Pictures',
    describe: 'Seed of the world, and of the noises',
    parse: integer(0),
    shownDefault: '0',
  }),
  samples: option({
    group: 'Scoring',
    describe: 'Draws of noise and timestep a picture',
    parse: integer(1, 1_000_000),
    shownDefault: '16',
  }),
  clusters: option({ group: 'Mining', describe: 'Clusters a city', parse: integer(1, 100_000), shownDefault: '8' }),
  bootstrap: option({
    group: 'Scoring',
    describe: 'Times the pictures are drawn anew for the intervals; 0 for none',
    parse: integer(0, 1_000_000),
    shownDefault: '1000',
  }),
  ...DEVICE,
} satisfies OptionTable;

/** Defaults are those of src/stages/sample: here they are only shown. */
export const SAMPLE = {
  model: option({
    group: 'What',
    positional: true,
    required: true,
    describe: 'A diffusers model folder with safetensors weights',
    parse: path,
  }),
  variant: SCAN.variant,
  out: option({ group: 'Output', required: true, describe: 'The folder to write, or to go on with', parse: path }),
  label: option({
    group: 'What',
    describe: 'Labels to make images of: given several times; of a class model also with commas between',
    parse: labels,
    shownDefault: 'all labels of a class model',
  }),
  count: option({
    group: 'What',
    describe: 'Pictures a label',
    parse: integer(1, 1_000_000),
    alias: 'n',
    shownDefault: '8',
  }),
  prompt: option({ group: 'Prompts', describe: SCAN.prompt.describe, parse: text, shownDefault: '"{label}"' }),
  'null-prompt': option({
    group: 'Prompts',
    describe: 'The prompt that guidance leads away from',
    parse: text,
    shownDefault: '""',
  }),
  size: option({
    group: 'Pictures',
    describe: 'Side of the square pictures in pixels',
    parse: integer(8, 16384),
    shownDefault: "the model's sample size",
  }),
  steps: option({ group: 'Sampling', describe: 'DDIM steps', parse: integer(1, 100_000), shownDefault: '50' }),
  guidance: option({
    group: 'Sampling',
    describe: 'How far the label is followed (classifier-free guidance); 1 is as learnt',
    parse: atLeastZero,
    shownDefault: '7.5 for text, 3 for classes',
  }),
  seed: option({
    group: 'Sampling',
    describe: 'Seed of the noise: picture i of every label starts from the same',
    parse: integer(0),
    shownDefault: '0',
  }),
  ...DEVICE,
  batch: option({ ...batch, shownDefault: 'auto' }),
} satisfies OptionTable;

/** Defaults are those of src/stages/translate: here they are only shown. */
export const TRANSLATE = {
  ...DATASET,
  model: SCAN.model,
  variant: SCAN.variant,
  out: option({ group: 'Run folder', required: true, describe: 'The folder to write, or to go on with', parse: path }),
  to: option({
    group: 'What',
    describe: 'Target labels: given several times, or with commas between',
    parse: labels,
    shownDefault: 'all labels of the data set',
  }),
  'inversion-steps': option({
    group: 'Sampling',
    describe: 'DDIM steps from the picture to noise',
    parse: integer(1, 100_000),
    shownDefault: '999',
  }),
  steps: option({
    group: 'Sampling',
    describe: 'DDIM steps back, at timesteps that the inversion passes',
    parse: integer(1, 100_000),
    shownDefault: '50',
  }),
  guidance: option({
    group: 'Sampling',
    describe: 'How far the target is followed (classifier-free guidance); 1 is as learnt',
    parse: atLeastZero,
    shownDefault: '7.5',
  }),
  'guidance-range': option({
    group: 'Sampling',
    describe: 'Part of the schedule in which guidance acts',
    parse: fractions,
    shownDefault: '0,1; of pixel models 0,0.4',
  }),
  negative: option({
    group: 'Sampling',
    describe: "What guidance leads away from: the picture's own label, or nothing said",
    parse: choice(['source', 'null']),
    choices: ['source', 'null'],
    shownDefault: 'source',
  }),
  'feature-share': option({
    group: 'Sampling',
    describe: 'Share of the steps that keep the features of the source',
    parse: upToOne,
    shownDefault: '0.8',
  }),
  'attention-share': option({
    group: 'Sampling',
    describe: 'Share of the steps that keep its self-attention',
    parse: upToOne,
    shownDefault: '0.5',
  }),
  'feature-layers': option({
    group: 'Sampling',
    describe: 'Second convolutions to keep, with commas; up_blocks.1 is all of it',
    parse: list(text, 'module paths'),
    shownDefault: "the paper's",
  }),
  'attention-layers': option({
    group: 'Sampling',
    describe: 'Self-attentions to keep, with commas',
    parse: list(text, 'module paths'),
    shownDefault: "the paper's",
  }),
  preset: option({
    group: 'Prompts',
    describe: "The paper's prompts and sizes for one kind of picture",
    parse: choice(PRESET_NAMES),
    choices: PRESET_NAMES,
  }),
  prompt: SCAN.prompt,
  'null-prompt': option({
    group: 'Prompts',
    describe: 'With --negative null: the prompt that guidance leads away from',
    parse: text,
    shownDefault: '""',
  }),
  size: SCAN.size,
  limit: option({
    group: 'Pictures',
    describe: 'Translate only the first pictures of each label',
    parse: integer(1),
    shownDefault: 'all',
  }),
  evaluate: option({
    group: 'Scoring',
    describe: 'Measure the result with the model: structure kept, target recognised',
    parse: boolean,
    flag: true,
  }),
  boxes: option({
    group: 'Scoring',
    describe: 'With --evaluate: what is where in the pictures, to tell what has changed',
    parse: path,
  }),
  samples: option({
    group: 'Scoring',
    describe: 'With --evaluate: draws of noise and timestep a picture',
    parse: integer(1, 1_000_000),
    shownDefault: '16',
  }),
  't-range': option({
    group: 'Scoring',
    describe: 'With --evaluate: part of the schedule timesteps are drawn from',
    parse: fractions,
    shownDefault: '0.1,0.7',
  }),
  'shard-size': option({
    group: 'Run folder',
    describe: 'Pictures a shard, the unit of saved work',
    parse: integer(1, 1_000_000),
    shownDefault: '16',
  }),
  ...SHARD,
  ...DEVICE,
  batch: option({ ...batch, shownDefault: 'auto' }),
} satisfies OptionTable;

const precisions = ['fp32', 'bf16', 'fp16'] as const;

const fold: Parser<1 | 2> = (raw) => {
  const value = integer(1, 2)(raw);
  return value === 1 ? 1 : 2;
};

/** Defaults are those of src/stages/train: here they are only shown. What a training begins with, a resumed one knows. */
export const TRAIN = {
  dataset: option({ group: 'What', positional: true, parse: path, describe: DATASET.dataset.describe }),
  ...TABLES,
  out: option({ group: 'Run folder', describe: 'The folder of the training, which becomes the model', parse: path }),
  from: option({ group: 'What', describe: 'Fine-tune the UNet of this model folder', parse: path }),
  new: option({
    group: 'What',
    describe: 'Make a model of this size from nothing',
    parse: choice(SIZE_NAMES),
    choices: SIZE_NAMES,
  }),
  vae: option({ group: 'What', describe: 'With --new: the model whose VAE makes the latents', parse: path }),
  'text-encoder': option({
    group: 'What',
    describe: 'With --new: the model whose text encoder reads prompts',
    parse: path,
    shownDefault: 'labels as classes',
  }),
  variant: option({
    group: 'What',
    describe: 'Of --from, --vae and --text-encoder: read the weights of this variant, where a part has it',
    parse: variant,
  }),
  fold: option({
    group: 'What',
    describe: 'With --new: pixels folded into channels, in each direction',
    parse: fold,
    choices: ['1', '2'],
    shownDefault: '2 for pixels, 1 for latents',
  }),
  list: option({ group: 'What', describe: 'List the sizes', parse: boolean, flag: true }),
  resume: option({
    group: 'Run folder',
    describe: 'Go on with the training in --out, exactly',
    parse: boolean,
    flag: true,
  }),
  prompt: SCAN.prompt,
  'null-prompt': SCAN['null-prompt'],
  drop: option({
    group: 'Prompts',
    describe: 'Probability that a picture is shown under the null prompt',
    parse: upToOne,
    shownDefault: '0.05',
  }),
  size: option({
    group: 'Pictures',
    describe: 'Side of the random crops, of pictures shrunk to it',
    parse: integer(8, 16384),
    shownDefault: "the model's",
  }),
  flips: option({ group: 'Pictures', describe: 'Mirror half of the pictures', parse: boolean, flag: true }),
  validation: option({
    group: 'Pictures',
    describe: "Share of each label's pictures kept for validation",
    parse: share,
    shownDefault: '0.05',
  }),
  steps: option({ group: 'Training', describe: 'Steps', parse: integer(1), shownDefault: "the size's; 5000" }),
  epochs: option({ group: 'Training', describe: 'Passes over the pictures, in place of steps', parse: positive }),
  batch: option({
    group: 'Training',
    describe: 'Pictures a step',
    parse: integer(1, 65536),
    shownDefault: "the size's; 8",
  }),
  accumulate: option({
    group: 'Training',
    describe: 'Passes that the pictures of a step are split into',
    parse: integer(1, 65536),
    shownDefault: '1',
  }),
  'learning-rate': option({
    group: 'Training',
    describe: 'Learning rate at its peak',
    parse: positive,
    shownDefault: "the size's; 1e-5",
  }),
  schedule: option({
    group: 'Training',
    describe: 'Course of the learning rate after warm-up',
    parse: choice(['constant', 'linear', 'cosine']),
    choices: ['constant', 'linear', 'cosine'],
    shownDefault: 'cosine; constant with --from',
  }),
  warmup: option({
    group: 'Training',
    describe: 'Steps over which the rate rises',
    parse: integer(0),
    shownDefault: '100; 0 with --from',
  }),
  'weight-decay': option({ group: 'Training', describe: 'Of AdamW', parse: atLeastZero, shownDefault: '0.01' }),
  clip: option({
    group: 'Training',
    describe: 'Largest norm of the gradient; 0 never clips',
    parse: atLeastZero,
    shownDefault: '1',
  }),
  ema: option({
    group: 'Training',
    describe: 'Decay of the moving average of the weights; 0 for none',
    parse: share,
    shownDefault: '0.999; 0 with --from',
  }),
  't-range': option({
    group: 'Training',
    describe: 'Part of the schedule timesteps are drawn from',
    parse: fractions,
    shownDefault: '0,1',
  }),
  wide: option({
    group: 'Training',
    describe: 'Share of the timesteps drawn from the whole schedule all the same',
    parse: upToOne,
    shownDefault: '0',
  }),
  'min-snr': option({
    group: 'Training',
    describe: 'Gamma of the Min-SNR weights; 0 for none',
    parse: atLeastZero,
    shownDefault: '0',
  }),
  'lora-rank': option({
    group: 'Training',
    describe: 'Train low-rank updates of the attention projections; 0 trains the weights',
    parse: integer(0, 65536),
    shownDefault: '0',
  }),
  'lora-alpha': option({
    group: 'Training',
    describe: 'Scale of the updates, over the rank',
    parse: atLeastZero,
    shownDefault: 'the rank',
  }),
  'gradient-checkpointing': option({
    group: 'Device',
    describe: 'Less memory for a third more time',
    parse: boolean,
    flag: true,
  }),
  seed: option({
    group: 'Training',
    describe: 'Seed of order, crops, noise and first weights',
    parse: integer(0),
    shownDefault: '0',
  }),
  'checkpoint-every': option({
    group: 'Run folder',
    describe: 'Steps between checkpoints',
    parse: integer(1),
    shownDefault: '500',
  }),
  keep: option({
    group: 'Run folder',
    describe: 'Checkpoints kept besides the best',
    parse: integer(1),
    shownDefault: '2',
  }),
  use: option({
    group: 'Run folder',
    describe: 'Weights that the model gets',
    parse: choice(['last', 'best']),
    choices: ['last', 'best'],
    shownDefault: 'last',
  }),
  'save-as': option({
    group: 'Run folder',
    describe: "Precision of the model's file",
    parse: choice(precisions),
    choices: precisions,
    shownDefault: 'fp32',
  }),
  'sample-every': option({
    group: 'Output',
    describe: 'Steps between sheets of sampled pictures; 0 for none',
    parse: integer(0),
    shownDefault: 'a quarter of the steps',
  }),
  'sample-count': option({
    group: 'Output',
    describe: 'Pictures a label on a sheet',
    parse: integer(1, 64),
    shownDefault: '4',
  }),
  'sample-steps': option({
    group: 'Output',
    describe: 'DDIM steps of a sheet',
    parse: integer(1, 1000),
    shownDefault: '25',
  }),
  'sample-guidance': option({ group: 'Output', describe: 'Guidance of a sheet', parse: positive, shownDefault: '3' }),
  ...DEVICE,
  dtype: option({
    group: 'Device',
    describe: 'Precision of the activations; weights stay fp32',
    parse: choice(precisions),
    choices: precisions,
    shownDefault: 'fp32',
  }),
} satisfies OptionTable;

export const SETUP = {
  cuda: option({ group: 'Set-up', describe: 'Build for NVIDIA GPUs', parse: boolean, flag: true }),
  'no-cuda': option({
    group: 'Set-up',
    describe: 'Build for the CPU alone',
    parse: boolean,
    flag: true,
    shownDefault: 'as the last time, at first without CUDA',
  }),
  libtorch: option({
    group: 'Set-up',
    describe: 'The LibTorch to use, as the variable LIBTORCH',
    parse: path,
    shownDefault: 'found or fetched',
  }),
} satisfies OptionTable;

// --- values

/** A value as it was given. YAML's aliases can make one that contains itself. */
function shown(raw: unknown): string {
  try {
    return JSON.stringify(raw);
  } catch {
    return 'a value that contains itself';
  }
}

/** `{ flag: raw }` as typed, and the same of a configuration file -> checked values. Throws INVALID_ARGUMENT naming the option. */
export function resolveValues<Table extends OptionTable>(
  table: Table,
  flags: Record<string, unknown>,
  file: Record<string, unknown>,
  command: string,
): Values<Table> {
  const values: Record<string, unknown> = {};
  for (const [name, one] of Object.entries(table)) {
    const fromFlag = flags[name] !== undefined;
    const raw = fromFlag ? flags[name] : file[name];
    const label = one.positional ? name.toUpperCase() : `--${name}`;
    if (raw === undefined || raw === null) {
      if (one.required) {
        throw new DiffmineError(
          'INVALID_ARGUMENT',
          `${label} is missing.`,
          `${one.describe}. See: diffmine ${command} --help`,
        );
      }
      values[name] = one.fallback;
      continue;
    }
    try {
      values[name] = one.parse(raw);
    } catch (error) {
      if (!(error instanceof Expected)) throw error;
      const where = fromFlag ? label : `"${name}" in the configuration file`;
      const guess = one.choices && typeof raw === 'string' ? nearest(raw, one.choices, 3) : undefined;
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `${where} is ${shown(raw)}; expected ${error.message}.`,
        guess ? `Did you mean ${guess}?` : `See: diffmine ${command} --help`,
      );
    }
  }
  return values as Values<Table>;
}
