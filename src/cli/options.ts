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
  | 'Images'
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
const fraction: Parser<number> = (raw) => {
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

function wordOr<const W extends string, T>(word: W, other: Parser<T>): Parser<T | W> {
  return (raw) => {
    if (raw === word) return word;
    try {
      return other(raw);
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
  config: option({ group: 'Output', describe: 'YAML file with options; flags take precedence', parse: path }),
  json: option({
    group: 'Output',
    describe: 'Print the result, or the error, as JSON on stdout',
    parse: boolean,
    flag: true,
    fallback: false,
  }),
  quiet: option({
    group: 'Output',
    describe: 'Print errors only: no progress, no notes',
    parse: boolean,
    flag: true,
    alias: 'q',
    fallback: false,
  }),
  verbose: option({
    group: 'Output',
    describe: 'Print more notes, and errors with cause and stack',
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
    describe: "Text encoding of the dataset's tables and lists, such as windows-1252, shift_jis or gbk",
    parse: encoding,
    shownDefault: 'utf-8, strictly',
  }),
  'image-root': option({
    group: 'What',
    describe: "Folder that a table's relative image paths start from",
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
      'Folder with one folder of images per label, or a .csv or .jsonl table with the columns path (or image) and label',
  }),
  ...TABLES,
} satisfies OptionTable;

export const RUN = {
  run: option({
    group: 'What',
    positional: true,
    required: true,
    parse: path,
    describe: 'Run directory written by scan',
  }),
} satisfies OptionTable;

export const DEVICE = {
  device: option({
    group: 'Device',
    describe: 'Device to compute on: auto, cpu, cuda or cuda:N',
    parse: device,
    fallback: 'auto',
  }),
  dtype: option({
    group: 'Device',
    describe: 'dtype of the UNet; fp16 on a CPU needs hardware support (see diffmine doctor)',
    parse: choice(['fp32', 'bf16', 'fp16']),
    choices: ['fp32', 'bf16', 'fp16'],
    fallback: 'fp32',
  }),
  threads: option({
    group: 'Device',
    describe: 'CPU threads per process',
    parse: integer(1, 1024),
    shownDefault: 'all cores',
  }),
} satisfies OptionTable;

const batch = {
  group: 'Device',
  describe: 'UNet inputs per forward pass; auto chooses by free memory',
  parse: wordOr('auto', integer(1, 65536)),
} as const;

export const PRESET_NAMES = ['cars', 'faces', 'geo', 'places', 'xray'] as const;

/** What decides the cost and the results of a scan. Defaults are those of src/stages/scan, which a preset changes: here they are only shown. */
export const SCAN = {
  ...DATASET,
  model: option({
    group: 'What',
    required: true,
    describe: 'Model folder in the diffusers layout, with safetensors weights',
    parse: path,
  }),
  variant: option({
    group: 'What',
    describe: 'Weight variant to read where a component has it, such as fp16 or non_ema',
    parse: variant,
  }),
  preset: option({
    group: 'Prompts',
    describe: "The paper's prompts, image size and patch size for a kind of dataset",
    parse: choice(PRESET_NAMES),
    choices: PRESET_NAMES,
  }),
  prompt: option({
    group: 'Prompts',
    describe: 'Prompt template; {label} is the label, {words} the label with spaces for underscores',
    parse: text,
    shownDefault: '"{label}"',
  }),
  'null-prompt': option({
    group: 'Prompts',
    describe: 'Unconditional prompt',
    parse: text,
    shownDefault: '""',
  }),
  size: option({
    group: 'Images',
    describe: 'Short side to resize larger images to, px; source keeps the size',
    parse: wordOr('source', integer(8, 16384)),
    shownDefault: "the model's sample size",
  }),
  patch: option({
    group: 'Images',
    describe: 'Side of a patch in the resized image, px',
    parse: integer(1, 16384),
    shownDefault: 'short side / 8',
  }),
  samples: option({
    group: 'Scoring',
    describe: 'Noise and timestep samples per image',
    parse: integer(1, 1_000_000),
    shownDefault: '100',
  }),
  't-range': option({
    group: 'Scoring',
    describe:
      'Range of timesteps to sample, as fractions of the noise schedule; auto takes the range with the most contrast for its noise, measured on a few images',
    parse: wordOr('auto', fractions),
    shownDefault: '0.1,0.7',
  }),
  't-weights': option({
    group: 'Scoring',
    describe:
      'Weight samples by timestep: none, sqrt (1 / sqrt of the noise) or inverse (1 / noise), the noise measured on a few images',
    parse: choice(['none', 'sqrt', 'inverse']),
    choices: ['none', 'sqrt', 'inverse'],
    shownDefault: 'none',
  }),
  sampler: option({
    group: 'Scoring',
    describe:
      'How timesteps are sampled: stratified (golden ratio) or independently as in the reference implementation',
    parse: choice(['stratified', 'reference']),
    choices: ['stratified', 'reference'],
    shownDefault: 'stratified',
  }),
  seed: option({ group: 'Scoring', describe: 'Seed of noise and timesteps', parse: integer(0), shownDefault: '0' }),
  'all-labels': option({
    group: 'Scoring',
    describe: 'Score each image under every label, not only its own',
    parse: boolean,
    flag: true,
  }),
  against: option({
    group: 'Scoring',
    describe:
      'What a label is contrasted with: null (the unconditional prompt), others (the other labels, on average) or one LABEL',
    parse: text,
    shownDefault: 'null',
  }),
  'others-per-sample': option({
    group: 'Scoring',
    describe:
      'With --against others: how many other labels each sample is contrasted with, in turn; all contrasts every sample with their mean',
    parse: wordOr('all', integer(1, 1_000_000)),
    shownDefault: '1',
  }),
  replay: option({ group: 'Scoring', describe: 'Read noise and timesteps from a safetensors file', parse: path }),
  untrained: option({
    group: 'Scoring',
    describe: 'Use random UNet weights, as a control for evaluate',
    parse: boolean,
    flag: true,
  }),
  'per-image': option({
    group: 'Scoring',
    describe: 'Non-overlapping patches kept per image in each list',
    parse: integer(1, 10_000),
    shownDefault: '5',
  }),
  'no-maps': option({ group: 'Run folder', describe: 'Do not store typicality maps', parse: boolean, flag: true }),
  'shard-size': option({
    group: 'Run folder',
    describe: 'Images per shard; finished shards survive an interruption',
    parse: integer(1, 1_000_000),
    shownDefault: '64; more above 2 million images',
  }),
  checksum: option({
    group: 'Run folder',
    describe: 'Include the content of every file in the dataset fingerprint; reads all files',
    parse: boolean,
    flag: true,
  }),
  ...DEVICE,
  batch: option({ ...batch, shownDefault: 'auto' }),
  tune: option({
    group: 'Device',
    describe: 'On a GPU: turn on cuDNN benchmark mode; results may then differ in rounding between shardings',
    parse: boolean,
    flag: true,
  }),
  workers: option({
    group: 'Device',
    describe: 'Worker processes on this machine',
    parse: integer(1, 256),
    shownDefault: '1',
  }),
  devices: option({
    group: 'Device',
    describe:
      'Devices to run one worker process on each, separated by commas; 0,1 are GPUs. Replaces --device and --workers',
    parse: devices,
  }),
} satisfies OptionTable;

export const ESTIMATE = {
  rate: option({
    group: 'Scoring',
    describe: 'UNet calls per second, from an earlier run',
    parse: positive,
    shownDefault: 'measured',
  }),
  'no-calibrate': option({
    group: 'Scoring',
    describe: 'Do not load the model to measure the rate; omits the hours',
    parse: boolean,
    flag: true,
  }),
} satisfies OptionTable;

export const OUT = {
  out: option({
    group: 'Run folder',
    required: true,
    describe: 'Output directory of the run: new, or one to resume',
    parse: path,
  }),
} satisfies OptionTable;

export const SHARD = {
  shard: option({ group: 'Run folder', describe: 'Run only part i of n of the shards, i from 0', parse: part }),
} satisfies OptionTable;

const BOX_FORMATS = ['auto', 'csv', 'nih', 'coco', 'masks'] as const;
const BOX_FRAMES = ['auto', 'upright', 'stored'] as const;
const boxFrame = option({
  group: 'What',
  describe:
    'Whether boxes and masks refer to the upright image or to the image as stored, before its EXIF orientation is applied',
  parse: choice(BOX_FRAMES),
  choices: BOX_FRAMES,
  shownDefault: 'auto',
});

/** Defaults are those of src/stages/scan and src/stages/localize: here they are only shown. */
export const LOCALIZE = {
  ...DATASET,
  model: SCAN.model,
  variant: SCAN.variant,
  out: option({
    group: 'Run folder',
    required: true,
    describe: 'Output directory of the run: new, or one to resume',
    parse: path,
  }),
  labels: option({
    group: 'What',
    describe:
      "Labels to map images under: given several times, or with commas between; own: each image's, all: the model's",
    parse: labelList,
    shownDefault: 'own',
  }),
  baseline: option({
    group: 'What',
    describe: 'Second model to compare with, or untrained for random weights',
    parse: path,
  }),
  boxes: option({
    group: 'What',
    describe: 'Boxes or masks to compare with: a CSV, BBox_List_2017.csv, a COCO .json or a folder of PNG masks',
    parse: path,
  }),
  'only-marked': option({
    group: 'What',
    describe: 'Map only images that have boxes or masks',
    parse: boolean,
    flag: true,
  }),
  'box-format': option({
    group: 'What',
    describe: 'Format of --boxes',
    parse: choice(BOX_FORMATS),
    choices: BOX_FORMATS,
    shownDefault: 'auto',
  }),
  'box-frame': boxFrame,
  preset: SCAN.preset,
  prompt: SCAN.prompt,
  'null-prompt': SCAN['null-prompt'],
  size: SCAN.size,
  samples: SCAN.samples,
  't-range': SCAN['t-range'],
  't-weights': SCAN['t-weights'],
  sampler: SCAN.sampler,
  seed: SCAN.seed,
  against: SCAN.against,
  'others-per-sample': SCAN['others-per-sample'],
  replay: SCAN.replay,
  blur: option({
    group: 'Scoring',
    describe: 'Sigma of the Gaussian blur: below 1 a fraction of the short side, else px; 0 disables it',
    parse: atLeastZero,
    shownDefault: '0.0625',
  }),
  bootstrap: option({
    group: 'Scoring',
    describe: 'Bootstrap resamples for the confidence intervals; 0 disables them',
    parse: integer(0, 1_000_000),
    shownDefault: '1000',
  }),
  overlays: option({
    group: 'Output',
    describe: 'Overlays drawn per label, images with boxes first',
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
  clusters: option({ group: 'Mining', describe: 'Clusters per label', parse: integer(1, 100_000), shownDefault: '32' }),
  top: option({
    group: 'Mining',
    describe: 'Patches per label in each ranking',
    parse: integer(1, 999_999),
    shownDefault: '1000',
  }),
  rank: option({
    group: 'Mining',
    describe: 'Ranking to cluster',
    parse: choice(['top', 'bottom', 'random']),
    choices: ['top', 'bottom', 'random'],
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
    describe: 'UNet up block to take the features from',
    parse: integer(0, 15),
    shownDefault: '1',
  }),
  ensemble: option({
    group: 'Mining',
    describe: 'Noise samples averaged for the features of an image',
    parse: integer(1, 1024),
    shownDefault: '8',
  }),
  restarts: option({
    group: 'Mining',
    describe: 'k-means restarts; the best one is kept',
    parse: integer(1, 10_000),
    shownDefault: '10',
  }),
  diverse: option({
    group: 'Mining',
    describe: 'Add a ranking in which no element takes most of the places',
    parse: boolean,
    flag: true,
  }),
  recenter: option({
    group: 'Mining',
    describe: 'Move patches to where their typicality map is strongest, by at most half a patch',
    parse: boolean,
    flag: true,
  }),
  'min-contrast': option({
    group: 'Mining',
    describe: 'Minimum RMS contrast of a patch, from 0 to 1; about 0.04 drops flat, black and white patches',
    parse: fraction,
    shownDefault: '0',
  }),
  'group-by': option({
    group: 'Mining',
    describe: 'What images belong together: a column of the dataset, folder, or a regular expression on the path',
    parse: text,
  }),
  'max-per-group': option({
    group: 'Mining',
    describe: 'Maximum patches of one group in a ranking; needs --group-by',
    parse: integer(1),
    shownDefault: 'unlimited',
  }),
  'keep-duplicates': option({
    group: 'Mining',
    describe: 'Rank near-duplicate images like any other, instead of counting them once',
    parse: boolean,
    flag: true,
  }),
} satisfies OptionTable;

/** Defaults are those of src/stages/cotypicality: here they are only shown. */
export const COTYPICALITY = {
  parallel: option({
    group: 'What',
    positional: true,
    required: true,
    describe: 'Output of translate: LABEL/NAME/source.png and LABEL/NAME/TARGET_LABEL.png',
    parse: path,
  }),
  model: SCAN.model,
  variant: SCAN.variant,
  out: OUT.out,
  labels: option({
    group: 'What',
    describe: 'Labels to compare, separated by commas',
    parse: labels,
    shownDefault: 'all',
  }),
  boxes: option({
    group: 'What',
    describe: 'Boxes in the source images to compare the clusters with',
    parse: path,
  }),
  preset: SCAN.preset,
  prompt: SCAN.prompt,
  'null-prompt': SCAN['null-prompt'],
  size: SCAN.size,
  patch: SCAN.patch,
  samples: SCAN.samples,
  't-range': option({
    group: 'Scoring',
    describe: 'Range of timesteps to sample, as fractions of the noise schedule',
    parse: fractions,
    shownDefault: '0.1,0.7',
  }),
  sampler: SCAN.sampler,
  seed: option({
    group: 'Scoring',
    describe: 'Seed of noise, timesteps, projection and k-means',
    parse: integer(0),
    shownDefault: '0',
  }),
  places: option({
    group: 'Scoring',
    describe: 'Non-overlapping places kept per sequence',
    parse: integer(1, 10_000),
    shownDefault: '5',
  }),
  'max-places': option({
    group: 'Mining',
    describe: 'Places to cluster in total, the most co-typical ones',
    parse: integer(1, 10_000_000),
    shownDefault: '10000',
  }),
  clusters: option({ group: 'Mining', describe: 'Clusters', parse: integer(1, 100_000), shownDefault: '32' }),
  projection: option({
    group: 'Mining',
    describe: "Dimensionality reduction of each label's features before clustering",
    parse: choice(['umap', 'pca', 'none']),
    choices: ['umap', 'pca', 'none'],
    shownDefault: 'umap',
  }),
  dimensions: option({
    group: 'Mining',
    describe: 'Dimensions per label after the reduction',
    parse: integer(1, 4096),
    shownDefault: '32',
  }),
  neighbors: option({
    group: 'Mining',
    describe: 'Neighbors per place in UMAP',
    parse: integer(2, 1000),
    shownDefault: '15',
  }),
  restarts: MINE.restarts,
  'dift-t': MINE['dift-t'],
  'up-block': MINE['up-block'],
  ensemble: MINE.ensemble,
  rows: option({
    group: 'Output',
    describe: 'Sequences shown per cluster',
    parse: integer(1, 1000),
    shownDefault: '8',
  }),
  'no-maps': SCAN['no-maps'],
  'shard-size': option({
    group: 'Run folder',
    describe: 'Sequences per shard; finished shards survive an interruption',
    parse: integer(1, 1_000_000),
    shownDefault: '16',
  }),
  ...SHARD,
  workers: SCAN.workers,
  devices: SCAN.devices,
  ...DEVICE,
  batch: SCAN.batch,
} satisfies OptionTable;

/** Of `mine` by itself: the manifest says all this, and it may have moved. */
export const MINE_WHERE = {
  model: option({
    group: 'What',
    describe: 'Where the model is now, if it has moved',
    parse: path,
    shownDefault: "the run's",
  }),
  variant: option({ group: 'What', describe: SCAN.variant.describe, parse: variant, shownDefault: "the run's" }),
  dataset: option({
    group: 'What',
    describe: 'Where the dataset is now, if it has moved',
    parse: path,
    shownDefault: "the run's",
  }),
  'image-root': option({ ...TABLES['image-root'], shownDefault: "the run's" }),
  device: option({ group: 'Device', describe: 'auto, cpu, cuda or cuda:N', parse: device, shownDefault: "the run's" }),
  batch: option({ ...batch, shownDefault: "the run's" }),
  threads: DEVICE.threads,
} satisfies OptionTable;

export const REPORT = {
  dataset: option({
    group: 'What',
    describe: 'Where the dataset is now, if it has moved',
    parse: path,
    shownDefault: "the run's dataset",
  }),
  'control-patches': option({
    group: 'Output',
    describe: 'Patches shown of each ranking that was not clustered',
    parse: integer(0, 10_000),
    shownDefault: '100',
  }),
  title: option({
    group: 'Output',
    describe: "The report's heading",
    parse: text,
    shownDefault: "the dataset's name",
  }),
} satisfies OptionTable;

export const GOLDEN = {
  folder: option({
    group: 'What',
    positional: true,
    required: true,
    describe: 'Folder with diffmine-golden-1 manifests, at any depth',
    parse: path,
  }),
} satisfies OptionTable;

export const BENCH = {
  out: option({
    group: 'Output',
    describe: 'JSON file to write the report to',
    parse: path,
  }),
  model: option({
    group: 'What',
    describe: 'Model folder, or synthetic:sd15, synthetic:demo or synthetic:tiny (random weights, no download)',
    parse: path,
    fallback: 'synthetic:sd15',
  }),
  variant: SCAN.variant,
  latents: option({
    group: 'What',
    describe: 'Sides of the UNet input to time, in latent cells, separated by commas',
    parse: list(integer(1, 1024), 'whole numbers'),
    shownDefault: '32,64',
  }),
  size: option({
    group: 'What',
    describe: 'The same as --latents, in px of the image',
    parse: list(integer(8, 16384), 'whole numbers'),
  }),
  batch: option({
    group: 'What',
    describe: 'UNet inputs per forward pass, separated by commas',
    parse: list(integer(2, 65536), 'whole numbers'),
    shownDefault: '2; on a GPU 64',
  }),
  dtype: option({
    group: 'What',
    describe: 'dtypes to time, separated by commas',
    parse: list(choice(['fp32', 'bf16', 'fp16']), 'fp32, bf16 or fp16'),
    shownDefault: 'fp32,bf16; on a GPU fp16',
  }),
  repeats: option({
    group: 'What',
    describe: 'Rounds measured; each times the machine rates, a forward pass, a scoring call and diffusers',
    parse: integer(1, 10_000),
    fallback: 5,
  }),
  'no-unet': option({ group: 'What', describe: 'Time no UNet calls', parse: boolean, flag: true }),
  'no-stages': option({
    group: 'What',
    describe: 'Skip the stages: no scoring calls, features or clustering',
    parse: boolean,
    flag: true,
  }),
  training: option({
    group: 'What',
    describe: 'Trainings to time, separated by commas: sizes from train --list-sizes, or model for --model',
    parse: list(choice([...SIZE_NAMES, 'model']), 'sizes'),
  }),
  'train-batch': option({
    group: 'What',
    describe: 'Images per training step',
    parse: integer(1, 65536),
    shownDefault: "the size's; of --model 1, on a GPU 8",
  }),
  'gradient-checkpointing': option({
    group: 'What',
    describe: 'Recompute activations in the backward pass: less memory, a third more time',
    parse: boolean,
    flag: true,
  }),
  'pipeline-model': option({ group: 'What', describe: 'Model folder for timing the whole pipeline', parse: path }),
  'pipeline-data': option({ group: 'What', describe: 'Dataset for timing the whole pipeline', parse: path }),
  'pipeline-samples': option({
    group: 'What',
    describe: 'Noise and timestep samples per image of the pipeline',
    parse: integer(1, 1_000_000),
    fallback: 10,
  }),
  diffusers: option({
    group: 'Comparison',
    describe: 'Python with torch and diffusers to compare with, timed in turn',
    parse: path,
  }),
  'diffusers-compile': option({
    group: 'Comparison',
    describe: 'Also time diffusers compiled, in this mode of torch.compile',
    parse: choice(COMPILE_MODES),
    choices: COMPILE_MODES,
  }),
  reference: option({
    group: 'Comparison',
    describe: "Also time the reference implementation's whole loop with --diffusers, on the images of --pipeline-data",
    parse: boolean,
    flag: true,
  }),
  'reference-dtype': option({
    group: 'Comparison',
    describe: 'dtype of the reference implementation',
    parse: choice(['fp32', 'bf16', 'fp16']),
    choices: ['fp32', 'bf16', 'fp16'],
    shownDefault: 'that of --dtype',
  }),
  top: option({
    group: 'Comparison',
    describe: 'Patches per label in each ranking',
    parse: integer(1, 999_999),
    fallback: 1000,
  }),
  ablate: option({
    group: 'Comparison',
    describe:
      'Optimizations to measure, separated by commas, each against an engine that has it disabled; all measures every one that applies to the device',
    parse: list(choice(['all', ...OPTIMIZATIONS]), 'optimizations'),
    choices: ['all', ...OPTIMIZATIONS],
  }),
  compare: option({
    group: 'Comparison',
    describe: 'Earlier report to compare with; exit code 1 if a utilization fell by more than --tolerance',
    parse: path,
  }),
  tolerance: option({
    group: 'Comparison',
    describe: 'Allowed loss of utilization, as 5% or 0.05',
    parse: portion,
    shownDefault: '5%',
  }),
  summary: option({
    group: 'Output',
    describe: 'File for Markdown tables; auto appends to the GitHub job summary (GITHUB_STEP_SUMMARY)',
    parse: path,
  }),
  device: option({ group: 'Device', describe: 'auto, cpu, cuda or cuda:N', parse: device, fallback: 'auto' }),
  threads: DEVICE.threads,
  disable: option({
    group: 'Device',
    describe:
      'Optimizations to disable in everything but the whole pipeline, separated by commas; names as for --ablate',
    parse: list(choice(OPTIMIZATIONS), 'optimizations'),
  }),
} satisfies OptionTable;

export const INSPECTED = {
  path: option({
    group: 'What',
    positional: true,
    required: true,
    describe: 'Model folder, dataset or run folder',
    parse: path,
  }),
  ...TABLES,
  variant: option({
    group: 'What',
    describe: 'Weight variant of a model to read where a component has it',
    parse: variant,
  }),
} satisfies OptionTable;

export const EXPORT = {
  table: option({
    group: 'What',
    describe: 'Table to export',
    parse: choice(['patches', 'clusters', 'images']),
    choices: ['patches', 'clusters', 'images'],
    fallback: 'patches',
  }),
  format: option({
    group: 'Output',
    describe: 'Format to write',
    parse: choice(['json', 'csv', 'parquet']),
    choices: ['json', 'csv', 'parquet'],
    shownDefault: 'csv; with --json, json',
  }),
  out: option({ group: 'Output', describe: 'File to write', parse: path, shownDefault: 'stdout' }),
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
    describe: 'Column with the label that a box is typical of',
    parse: text,
    shownDefault: "city, else label, else the image's label",
  }),
  'box-frame': boxFrame,
  'control-run': option({
    group: 'What',
    describe: 'Control: another run of the same images, such as one scanned with --untrained',
    parse: path,
  }),
  dataset: option({
    group: 'What',
    describe: 'Where the dataset is now, if it has moved',
    parse: path,
    shownDefault: "the run's dataset",
  }),
  smooth: option({
    group: 'Scoring',
    describe: 'Side of the box filter over a map, px, odd',
    parse: integer(1, 999),
    shownDefault: '5',
  }),
  'no-color-baseline': option({
    group: 'Scoring',
    describe: 'Skip the color baseline',
    parse: boolean,
    flag: true,
  }),
  bootstrap: option({
    group: 'Scoring',
    describe: 'Bootstrap resamples for the confidence intervals; 0 disables them',
    parse: integer(0, 1_000_000),
    shownDefault: '1000',
  }),
  seed: option({ group: 'Scoring', describe: 'Seed of the bootstrap', parse: integer(0), shownDefault: '0' }),
  'grid-images': option({
    group: 'Output',
    describe: 'Images per label in the grid of maps',
    parse: integer(0, 100),
    shownDefault: '4',
  }),
  png: option({ group: 'Output', describe: 'Also write the grid of maps as maps.png', parse: boolean, flag: true }),
} satisfies OptionTable;

/** Defaults are those of src/tools/demo and src/tools/world: here they are only shown. */
export const DEMO = {
  out: option({
    group: 'Run folder',
    describe: 'Output directory of the demo: new, or one to resume',
    parse: path,
    shownDefault: 'demo-run',
  }),
  full: option({
    group: 'What',
    describe: 'Continue with translation, consistent changes and localization',
    parse: boolean,
    flag: true,
  }),
  'translated-images': option({
    group: 'What',
    describe: 'With --full: images per city to translate to the other cities',
    parse: integer(1, 1_000_000),
    shownDefault: '3',
  }),
  'data-only': option({
    group: 'What',
    describe: 'Only draw the synthetic dataset, into this new folder',
    parse: path,
  }),
  model: option({
    group: 'What',
    describe: 'Model trained on images of the synthetic dataset',
    parse: path,
    shownDefault: "the package's",
  }),
  variant: SCAN.variant,
  'images-per-label': option({
    group: 'Images',
    describe: 'Images per city',
    parse: integer(2, 1_000_000),
    shownDefault: '40; with --data-only 250, held-out ones included',
  }),
  size: option({
    group: 'Images',
    describe: 'Side of the images, px',
    parse: integer(32, 1024),
    shownDefault: '64',
  }),
  holdout: option({
    group: 'Images',
    describe: 'With --data-only: fraction of the images held out',
    parse: fraction,
    shownDefault: '0.2',
  }),
  seed: option({
    group: 'Images',
    describe: 'Seed of the dataset and of the noise',
    parse: integer(0),
    shownDefault: '0',
  }),
  samples: option({
    group: 'Scoring',
    describe: 'Noise and timestep samples per image',
    parse: integer(1, 1_000_000),
    shownDefault: '16',
  }),
  clusters: option({ group: 'Mining', describe: 'Clusters per city', parse: integer(1, 100_000), shownDefault: '8' }),
  bootstrap: option({
    group: 'Scoring',
    describe: 'Bootstrap resamples for the confidence intervals; 0 disables them',
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
    describe: 'Model folder in the diffusers layout, with safetensors weights',
    parse: path,
  }),
  variant: SCAN.variant,
  out: option({ group: 'Output', required: true, describe: 'Output directory: new, or one to resume', parse: path }),
  labels: option({
    group: 'What',
    describe: 'Labels to sample; repeat the option, or separate the labels of a class model by commas',
    parse: labels,
    shownDefault: 'all labels of a class model',
  }),
  count: option({
    group: 'What',
    describe: 'Images per label',
    parse: integer(1, 1_000_000),
    alias: 'n',
    shownDefault: '8',
  }),
  prompt: option({ group: 'Prompts', describe: SCAN.prompt.describe, parse: text, shownDefault: '"{label}"' }),
  'null-prompt': option({
    group: 'Prompts',
    describe: 'Prompt that guidance leads away from',
    parse: text,
    shownDefault: '""',
  }),
  size: option({
    group: 'Images',
    describe: 'Side of the square images, px',
    parse: integer(8, 16384),
    shownDefault: "the model's sample size",
  }),
  'inference-steps': option({
    group: 'Sampling',
    describe: 'DDIM sampling steps',
    parse: integer(1, 100_000),
    shownDefault: '50',
  }),
  'guidance-scale': option({
    group: 'Sampling',
    describe: 'Guidance scale (classifier-free guidance); 1 disables guidance',
    parse: atLeastZero,
    shownDefault: '7.5 for text, 3 for classes',
  }),
  seed: option({
    group: 'Sampling',
    describe: 'Seed of the noise; image i of every label starts from the same noise',
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
  out: option({
    group: 'Run folder',
    required: true,
    describe: 'Output directory: new, or one to resume',
    parse: path,
  }),
  to: option({
    group: 'What',
    describe: 'Target labels, separated by commas',
    parse: labels,
    shownDefault: 'all labels of the dataset',
  }),
  'inversion-steps': option({
    group: 'Sampling',
    describe: 'DDIM inversion steps, from the image to noise',
    parse: integer(1, 100_000),
    shownDefault: '999',
  }),
  'inference-steps': option({
    group: 'Sampling',
    describe: 'DDIM sampling steps, at timesteps of the inversion',
    parse: integer(1, 100_000),
    shownDefault: '50',
  }),
  'guidance-scale': option({
    group: 'Sampling',
    describe: 'Guidance scale (classifier-free guidance) of the target label; 1 disables guidance',
    parse: atLeastZero,
    shownDefault: '7.5',
  }),
  'guidance-range': option({
    group: 'Sampling',
    describe: 'Range of timesteps with guidance, as fractions of the noise schedule',
    parse: fractions,
    shownDefault: '0,1; of pixel models 0,0.4',
  }),
  negative: option({
    group: 'Sampling',
    describe: "What guidance leads away from: source (the image's label) or null (the unconditional prompt)",
    parse: choice(['source', 'null']),
    choices: ['source', 'null'],
    shownDefault: 'source',
  }),
  'feature-fraction': option({
    group: 'Sampling',
    describe: 'Fraction of the steps that keep the features of the source image',
    parse: upToOne,
    shownDefault: '0.8',
  }),
  'attention-fraction': option({
    group: 'Sampling',
    describe: 'Fraction of the steps that keep the self-attention of the source image',
    parse: upToOne,
    shownDefault: '0.5',
  }),
  'feature-layers': option({
    group: 'Sampling',
    describe: 'Resnet blocks whose features are kept, separated by commas; up_blocks.1 means the whole block',
    parse: list(text, 'module paths'),
    shownDefault: "the paper's",
  }),
  'attention-layers': option({
    group: 'Sampling',
    describe: 'Self-attention layers to keep, separated by commas',
    parse: list(text, 'module paths'),
    shownDefault: "the paper's",
  }),
  preset: option({
    group: 'Prompts',
    describe: "The paper's prompts and image size for a kind of dataset",
    parse: choice(PRESET_NAMES),
    choices: PRESET_NAMES,
  }),
  prompt: SCAN.prompt,
  'null-prompt': option({
    group: 'Prompts',
    describe: 'With --negative null: prompt that guidance leads away from',
    parse: text,
    shownDefault: '""',
  }),
  size: SCAN.size,
  limit: option({
    group: 'Images',
    describe: 'Translate only this many images per label',
    parse: integer(1),
    shownDefault: 'all',
  }),
  evaluate: option({
    group: 'Scoring',
    describe: 'Measure with the model how much structure is kept and how well the target label is recognized',
    parse: boolean,
    flag: true,
  }),
  boxes: option({
    group: 'Scoring',
    describe: 'With --evaluate: boxes of known elements, to measure where the changes are',
    parse: path,
  }),
  samples: option({
    group: 'Scoring',
    describe: 'With --evaluate: noise and timestep samples per image',
    parse: integer(1, 1_000_000),
    shownDefault: '16',
  }),
  't-range': option({
    group: 'Scoring',
    describe: 'With --evaluate: range of timesteps to sample, as fractions of the noise schedule',
    parse: fractions,
    shownDefault: '0.1,0.7',
  }),
  'shard-size': option({
    group: 'Run folder',
    describe: 'Images per shard; finished shards survive an interruption',
    parse: integer(1, 1_000_000),
    shownDefault: '16',
  }),
  ...SHARD,
  workers: SCAN.workers,
  devices: SCAN.devices,
  ...DEVICE,
  batch: option({ ...batch, shownDefault: 'auto' }),
} satisfies OptionTable;

const dtypes = ['fp32', 'bf16', 'fp16'] as const;

const fold: Parser<1 | 2> = (raw) => {
  const value = integer(1, 2)(raw);
  return value === 1 ? 1 : 2;
};

/** Defaults are those of src/stages/train: here they are only shown. What a training begins with, a resumed one knows. */
export const TRAIN = {
  dataset: option({ group: 'What', positional: true, parse: path, describe: DATASET.dataset.describe }),
  ...TABLES,
  out: option({ group: 'Run folder', describe: 'Output directory, which becomes the model folder', parse: path }),
  from: option({ group: 'What', describe: 'Fine-tune the UNet of this model folder', parse: path }),
  new: option({
    group: 'What',
    describe: 'Train a model of this size from scratch',
    parse: choice(SIZE_NAMES),
    choices: SIZE_NAMES,
  }),
  vae: option({ group: 'What', describe: 'With --new: model folder whose VAE encodes the images', parse: path }),
  'text-encoder': option({
    group: 'What',
    describe: 'With --new: model folder whose text encoder reads the prompts',
    parse: path,
    shownDefault: 'labels as classes',
  }),
  variant: option({
    group: 'What',
    describe: 'Weight variant to read from --from, --vae and --text-encoder where a component has it',
    parse: variant,
  }),
  fold: option({
    group: 'What',
    describe: 'With --new: factor of the pixel unshuffle before the UNet',
    parse: fold,
    choices: ['1', '2'],
    shownDefault: '2 for pixels, 1 for latents',
  }),
  'list-sizes': option({ group: 'What', describe: 'List the sizes for --new and exit', parse: boolean, flag: true }),
  resume: option({
    group: 'Run folder',
    describe: 'Resume the training in --out exactly',
    parse: boolean,
    flag: true,
  }),
  prompt: SCAN.prompt,
  'null-prompt': SCAN['null-prompt'],
  drop: option({
    group: 'Prompts',
    describe: 'Probability of training an image with the unconditional prompt (label dropout)',
    parse: upToOne,
    shownDefault: '0.05',
  }),
  size: option({
    group: 'Images',
    describe: 'Side of the random crops, px',
    parse: integer(8, 16384),
    shownDefault: "the model's",
  }),
  flips: option({ group: 'Images', describe: 'Flip half of the images horizontally', parse: boolean, flag: true }),
  validation: option({
    group: 'Images',
    describe: "Fraction of each label's images held out for validation",
    parse: fraction,
    shownDefault: '0.05',
  }),
  steps: option({ group: 'Training', describe: 'Training steps', parse: integer(1), shownDefault: "the size's; 5000" }),
  epochs: option({
    group: 'Training',
    describe: 'Epochs over the training images, instead of --steps',
    parse: positive,
  }),
  'train-batch': option({
    group: 'Training',
    describe: 'Images per training step',
    parse: integer(1, 65536),
    shownDefault: "the size's; 8",
  }),
  'gradient-accumulation-steps': option({
    group: 'Training',
    describe: 'Forward and backward passes per training step',
    parse: integer(1, 65536),
    shownDefault: '1',
  }),
  'learning-rate': option({
    group: 'Training',
    describe: 'Peak learning rate',
    parse: positive,
    shownDefault: "the size's; 1e-5",
  }),
  'lr-schedule': option({
    group: 'Training',
    describe: 'Learning-rate schedule after the warm-up',
    parse: choice(['constant', 'linear', 'cosine']),
    choices: ['constant', 'linear', 'cosine'],
    shownDefault: 'cosine; constant with --from',
  }),
  'warmup-steps': option({
    group: 'Training',
    describe: 'Steps of linear warm-up',
    parse: integer(0),
    shownDefault: '100; 0 with --from',
  }),
  'weight-decay': option({
    group: 'Training',
    describe: 'Weight decay of AdamW',
    parse: atLeastZero,
    shownDefault: '0.01',
  }),
  'max-grad-norm': option({
    group: 'Training',
    describe: 'Maximum gradient norm; 0 disables clipping',
    parse: atLeastZero,
    shownDefault: '1',
  }),
  ema: option({
    group: 'Training',
    describe: 'Decay of the exponential moving average of the weights; 0 disables it',
    parse: fraction,
    shownDefault: '0.999; 0 with --from',
  }),
  'train-t-range': option({
    group: 'Training',
    describe: 'Range of timesteps to sample, as fractions of the noise schedule',
    parse: fractions,
    shownDefault: '0,1',
  }),
  wide: option({
    group: 'Training',
    describe: 'Fraction of the timesteps sampled from the whole schedule despite --train-t-range',
    parse: upToOne,
    shownDefault: '0',
  }),
  'min-snr': option({
    group: 'Training',
    describe: 'Gamma of Min-SNR loss weighting; 0 disables it',
    parse: atLeastZero,
    shownDefault: '0',
  }),
  'lora-rank': option({
    group: 'Training',
    describe: 'Rank of the LoRA updates of the attention projections; 0 trains all weights',
    parse: integer(0, 65536),
    shownDefault: '0',
  }),
  'lora-alpha': option({
    group: 'Training',
    describe: 'LoRA alpha: the updates are scaled by alpha / rank',
    parse: atLeastZero,
    shownDefault: 'the rank',
  }),
  'gradient-checkpointing': option({
    group: 'Device',
    describe: 'Recompute activations in the backward pass: less memory, a third more time',
    parse: boolean,
    flag: true,
  }),
  seed: option({
    group: 'Training',
    describe: 'Seed of image order, crops, noise and initial weights',
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
    describe: 'Checkpoints to keep besides the best',
    parse: integer(1),
    shownDefault: '2',
  }),
  use: option({
    group: 'Run folder',
    describe: 'Weights to export to the model folder',
    parse: choice(['last', 'best']),
    choices: ['last', 'best'],
    shownDefault: 'last',
  }),
  'save-dtype': option({
    group: 'Run folder',
    describe: 'dtype of the saved model',
    parse: choice(dtypes),
    choices: dtypes,
    shownDefault: 'fp32',
  }),
  'sample-every': option({
    group: 'Output',
    describe: 'Steps between image grids; 0 disables them',
    parse: integer(0),
    shownDefault: 'a quarter of the steps',
  }),
  'sample-count': option({
    group: 'Output',
    describe: 'Images per label in an image grid',
    parse: integer(1, 64),
    shownDefault: '4',
  }),
  'sample-inference-steps': option({
    group: 'Output',
    describe: 'DDIM sampling steps of an image grid',
    parse: integer(1, 1000),
    shownDefault: '25',
  }),
  'sample-guidance-scale': option({
    group: 'Output',
    describe: 'Guidance scale of an image grid',
    parse: positive,
    shownDefault: '3',
  }),
  ...DEVICE,
  dtype: option({
    group: 'Device',
    describe: 'dtype of the activations; weights stay in fp32',
    parse: choice(dtypes),
    choices: dtypes,
    shownDefault: 'fp32',
  }),
} satisfies OptionTable;

export const SETUP = {
  cuda: option({ group: 'Set-up', describe: 'Build with CUDA for NVIDIA GPUs', parse: boolean, flag: true }),
  'no-cuda': option({
    group: 'Set-up',
    describe: 'Build for the CPU only',
    parse: boolean,
    flag: true,
    shownDefault: 'as the last time, at first without CUDA',
  }),
  libtorch: option({
    group: 'Set-up',
    describe: 'LibTorch folder to use, like the variable LIBTORCH',
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
