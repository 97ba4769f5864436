// Options that several stages have: one name, one meaning, one default.
import * as fields from './fields.js';
import { BOX_FRAMES, DTYPE_CHOICES, PRESET_NAMES } from './names.js';
import { option, type About } from './option.js';

/** How a dataset's tables and lists are read. */
export const TABLES = {
  encoding: option(fields.encoding().optional(), {
    group: 'Dataset',
    description: "Text encoding of the dataset's tables and lists, such as windows-1252, shift_jis or gbk",
    shown: 'utf-8',
  }),
  imageRoot: option(fields.path().optional(), {
    group: 'Dataset',
    description: "Folder that a table's relative image paths start from",
    shown: "the table's folder",
  }),
  imageColumn: option(fields.text().optional(), {
    group: 'Dataset',
    description: "Column of a table with the image's path, or its bytes in Parquet",
    shown: 'image, else path or file_name',
  }),
  labelColumn: option(fields.text().optional(), {
    group: 'Dataset',
    description: 'Column of a table with the label',
    shown: 'label',
  }),
  labelFrom: option(fields.text().optional(), {
    group: 'Dataset',
    description:
      "Where labels come from: folder, a regular expression on the image's path whose group is the label, or a column (in tar shards an ending such as cls, or a field of the .json)",
    shown: 'folders or the label column',
  }),
  bin: option(fields.bin().optional(), {
    group: 'Dataset',
    description: 'Bins that numeric labels are put into: START:STOP:STEP such as 1920:2000:10, or q4 for quartiles',
  }),
  map: option(fields.path().optional(), {
    group: 'Dataset',
    description:
      'File that renames labels: YAML or JSON {old: new}, or a CSV or TSV of two columns; an empty new name leaves the label out',
  }),
  sample: option(fields.whole(1).optional(), {
    group: 'Dataset',
    description: 'Use only this many images of each label, chosen at random',
  }),
  sampleSeed: option(fields.whole(0).optional(), {
    group: 'Dataset',
    description: 'Seed of the random choice of `sample`',
    shown: '0',
  }),
  limit: option(fields.whole(1).optional(), {
    group: 'Dataset',
    description: 'Use only this many images, spread evenly over the dataset',
  }),
};

export const DATASET_DESCRIPTION =
  'Folder with one folder of images per label, a table (.csv, .tsv, .jsonl, .parquet) with the columns image (or path) and label, WebDataset .tar shards, Parquet with image bytes, or a pattern of such files';

export const DATASET = {
  dataset: option(fields.path(), { group: 'Input', description: DATASET_DESCRIPTION }),
  ...TABLES,
};

/** Of scans; `train` has its own, which decides the split. */
export const HOLDOUT = option(fields.belowOne().optional(), {
  group: 'Images',
  description:
    'Use only the held-out images, those that train keeps out with the same fraction (by a hash of their names); 0 uses all images',
  shown: "the model's holdout for this dataset, else 0",
});

/** Of stages on a run, which knows its dataset. */
export const MOVED_DATASET = option(fields.path().optional(), {
  group: 'Input',
  description: 'Where the dataset is now, if it has moved',
  shown: "the run's dataset",
});

export const MODEL = {
  model: option(fields.path(), {
    group: 'Input',
    description:
      'Model: a folder in the diffusers layout with safetensors weights, an original checkpoint (FILE.safetensors), or owner/name[@revision][:variant] of the Hugging Face hub',
  }),
  variant: option(fields.variant().optional(), {
    group: 'Input',
    description: 'Weight variant to read, such as fp16 or non_ema, for components that have it',
  }),
  t5: option(fields.flag().default(true), {
    group: 'Input',
    description: 'Use T5, the third text encoder of Stable Diffusion 3, if the model has it',
    negated: 'Leave out T5, the third text encoder of Stable Diffusion 3',
  }),
  vae: option(fields.path().optional(), {
    group: 'Input',
    description:
      "VAE to use instead of the model's: a .safetensors file, a folder, or owner/name of the Hugging Face hub",
  }),
  lora: option(fields.paths().optional(), {
    group: 'Input',
    description: 'LoRA to add to the weights, FILE or FILE:SCALE; may be given several times',
  }),
  prediction: option(fields.oneOf(['epsilon', 'v_prediction']).optional(), {
    group: 'Input',
    description: 'What a checkpoint of Stable Diffusion 2.x predicts, if the file does not say',
  }),
  tokenizer: option(fields.path().optional(), {
    group: 'Input',
    description: 'Folder with the tokenizer of a checkpoint',
    shown: "CLIP's",
  }),
};

export const OUT = {
  out: option(fields.path(), {
    group: 'Run directory',
    description: 'Output directory of the run: new, or one to resume',
  }),
};

export const BOX_FRAME = option(fields.oneOf(BOX_FRAMES).default('auto'), {
  group: 'Input',
  description:
    'Whether boxes and masks refer to the upright image or to the image as stored, before its EXIF orientation is applied',
});

export const PRESET = option(fields.oneOf(PRESET_NAMES).optional(), {
  group: 'Prompts',
  description: "Prompts, image size, patch size and timesteps of one of the paper's datasets",
});

export const PROMPTS = {
  prompt: option(fields.text().default('{label}'), {
    group: 'Prompts',
    description: 'Prompt template; {label} is the label, {words} the label with spaces for underscores',
  }),
  nullPrompt: option(fields.text().default(''), {
    group: 'Prompts',
    description: 'Null prompt: the unconditional prompt, without a label',
  }),
};

export const BOOTSTRAP = option(fields.whole(0, 1_000_000).default(1000), {
  group: 'Scoring',
  description: 'Bootstrap resamples for the confidence intervals; 0 disables them',
});

/** Of stages that make images. */
export const IMAGE_DTYPE = option(fields.oneOf(DTYPE_CHOICES).default('auto'), {
  group: 'Device',
  description:
    'dtype of the UNet or transformer; auto is fp32; fp16 on a CPU needs hardware support (see diffmine doctor)',
});

/** Of commands that run long. */
export const DRY_RUN = option(fields.flag().default(false), {
  group: 'Run directory',
  description: 'Print what would be done, what it costs and where it would be written; compute and write nothing',
});

/** What is computed with. */
export const DEVICE = {
  device: option(fields.device().default('auto'), {
    group: 'Device',
    description: 'Device to compute on: auto, cpu, cuda or cuda:N',
  }),
  dtype: option(fields.oneOf(DTYPE_CHOICES).default('auto'), {
    group: 'Device',
    description:
      'dtype of the UNet or transformer; auto is bf16 on a CPU that multiplies in bf16, fp32 elsewhere; fp16 on a CPU needs hardware support (see diffmine doctor)',
  }),
  threads: option(fields.whole(1, 1024).optional(), {
    group: 'Device',
    description: 'CPU threads per process',
    shown: 'all cores',
  }),
};

const BATCH_ABOUT: About = {
  group: 'Device',
  description: 'UNet inputs per forward pass; auto chooses by free memory',
};
const batch = fields.wordOr('auto', fields.whole(1, 65536));

export const BATCH = option(batch.default('auto'), BATCH_ABOUT);
/** Of stages on a run. */
export const RUN_BATCH = option(batch.optional(), { ...BATCH_ABOUT, shown: "the run's" });

/** How sharded work is divided. Results are the same for any division on one kind of device. */
export const SPLIT = {
  shard: option(fields.part().optional(), {
    group: 'Run directory',
    description:
      'Run only part i/n of the shards, such as 0/8 for the first of eight; auto (or auto/n) in a job array starts with the part of its own task, then takes any shards that are left',
  }),
  workers: option(fields.whole(1, 256).optional(), {
    group: 'Device',
    description: 'Worker processes on this machine',
    shown: '1',
  }),
  devices: option(fields.devices().optional(), {
    group: 'Device',
    description:
      'Devices for one worker process each, separated by commas; 0,1 are the first two GPUs. Replaces `device` and `workers`',
  }),
  queue: option(fields.queue().optional(), {
    group: 'Run directory',
    description:
      'Hand the shards to the workers (diffmine worker) of this Redis or PostgreSQL server; without a URL, the server in DIFFMINE_QUEUE',
  }),
};

/** @param items of a stage: 'Images' */
export const shardSize = (items: string) =>
  option(fields.wordOr('auto', fields.whole(1, 1_000_000)).default('auto'), {
    group: 'Run directory',
    description: `${items} per shard, the unit in which work is divided and saved; auto: as many as take about a minute`,
  });
