// Options that decide the numbers of a scan and of what follows it. Runs record them (runs/manifest.ts, runs/mining.ts).
import * as fields from './fields.js';
import { LOSSES, RANKINGS, SAMPLERS } from './names.js';
import { option, optionsOf } from './option.js';

export const SIZE = {
  size: option(fields.wordOr('source', fields.whole(8, 16384)).optional(), {
    group: 'Images',
    description: 'Short side to resize larger images to, px; source keeps the size',
    shown: "the model's sample size",
  }),
  sizeRule: option(fields.oneOf(['floor', 'ceil']).default('floor'), {
    group: 'Images',
    description: 'How the long side of a resized image is rounded',
  }),
};

export const PATCH = option(fields.whole(1, 16384).optional(), {
  group: 'Images',
  description: 'Side of a patch in the scored image, px',
  shown: 'short side / 8',
});

const RANGE_SHOWN =
  'the part of the schedule that the model was trained on; if that is all of it or unknown, 0.1,0.7 (DiT 0.1,0.5; flow models 0.25,0.75)';

/** How much noise an image is scored with, and which: what decides the numbers. */
export const NOISE = {
  samples: option(fields.whole(1, 1_000_000).default(100), {
    group: 'Scoring',
    description: 'Noise and timestep samples per image',
  }),
  tRange: option(fields.range().optional(), {
    group: 'Scoring',
    description:
      'Range of timesteps to sample, as fractions of the noise schedule; for flow models, range of the fraction of noise',
    shown: RANGE_SHOWN,
  }),
  sampler: option(fields.oneOf(SAMPLERS).default('stratified'), {
    group: 'Scoring',
    description:
      'stratified spreads the timesteps evenly over the range; reference draws them independently, as the reference implementation does',
  }),
  seed: option(fields.whole(0).default(0), { group: 'Scoring', description: 'Seed of noise and timesteps' }),
};

/** Of scans: measured on a few images before the run begins. */
export const TIMESTEPS = {
  tRange: option(fields.wordOr('auto', fields.range()).optional(), {
    group: 'Scoring',
    description:
      'Range of timesteps to sample, as fractions of the noise schedule (for flow models, range of the fraction of noise); auto takes the range where the loss difference is clearest (its size divided by its standard deviation), measured on a few images',
    shown: RANGE_SHOWN,
  }),
  tWeights: option(fields.oneOf(['none', 'sqrt', 'inverse']).default('none'), {
    group: 'Scoring',
    description:
      'Weight samples by timestep: none, sqrt (1 / √s) or inverse (1 / s), with s the standard deviation of the loss difference at the timestep, measured on a few images',
  }),
};

/** Of what the model predicts. */
export const LOSS = option(fields.oneOf(LOSSES).default('squared'), {
  group: 'Scoring',
  description:
    'Denoising loss: squared as in the paper, absolute, or huber (squared for errors well below 0.1, absolute for errors well above; the noise has standard deviation 1)',
});

export const CONTRAST = {
  loss: LOSS,
  allLabels: option(fields.flag().default(false), {
    group: 'Scoring',
    description: 'Score each image under every label, not only its own',
  }),
  against: option(fields.text().optional(), {
    group: 'Scoring',
    description:
      'What a label is contrasted with: others (the other labels, on average), null (the unconditional prompt, as in the paper) or one LABEL',
    shown: 'others; null with a single label, or if images have several labels',
  }),
  othersPerSample: option(fields.wordOr('all', fields.whole(1, 1_000_000)).default(1), {
    group: 'Scoring',
    description:
      'With `against` others: number of other labels that each sample is contrasted with, taken in turn; all contrasts every sample with the mean of all other labels',
  }),
};

export const RACE = {
  race: option(fields.race().default(false), {
    group: 'Scoring',
    description:
      'Score in rounds, and after each round drop images that are unlikely to hold one of the `top` patches of their label; with the value half, the worse half of the images instead',
  }),
  raceRisk: option(fields.belowOne().optional(), {
    group: 'Scoring',
    description: "Fraction of a label's `top` patches that `race` may miss",
    shown: '0.01',
  }),
};

export const UNTRAINED = option(fields.flag().default(false), {
  group: 'Scoring',
  description: 'Use random UNet weights, for a control run (evaluate --control-run)',
});

export const PER_IMAGE = option(fields.whole(1, 10_000).default(5), {
  group: 'Scoring',
  description: 'Non-overlapping patches to keep per image in each list (top, bottom, random)',
});

export const MAPS = option(fields.flag().default(true), {
  group: 'Run directory',
  description: 'Store typicality maps',
  negated: 'Do not store typicality maps',
});

export const CHECKSUM = option(fields.flag().default(false), {
  group: 'Run directory',
  description: 'Detect changed images by their content, not only by size and time; reads all files',
});

export const TUNE = option(fields.flag().default(false), {
  group: 'Device',
  description:
    'On a GPU: turn on cuDNN benchmark mode; results may then differ by rounding if the work is divided differently',
});

/** DIFT features. */
export const FEATURES = {
  diftT: option(fields.whole(0, 100_000).optional(), {
    group: 'Mining',
    description: 'Timestep of the DIFT features',
    shown: '161; for flow models (Stable Diffusion 3) 260',
  }),
  upBlock: option(fields.whole(0, 255).optional(), {
    group: 'Mining',
    description: 'UNet up block, or block of a transformer, to take the features from',
    shown: '1; for a transformer the block half-way',
  }),
  ensemble: option(fields.whole(1, 1024).default(8), {
    group: 'Mining',
    description: 'Noise samples averaged for the features of an image',
  }),
};

export const RESTARTS = option(fields.whole(1, 10_000).default(10), {
  group: 'Mining',
  description: 'k-means restarts; the best one is kept',
});

/** Patches of a ranking; up to DuckDB's limit of min(..., K). */
export const TOP_PATCHES = fields.whole(1, 999_999).default(1000);

/** How patches are ranked and clustered. */
export const MINING = optionsOf('mine', {
  clusters: option(fields.wordOr('auto', fields.whole(1, 100_000)).default('auto'), {
    group: 'Mining',
    description: 'Clusters per label; auto makes one per 25 patches, at most 32',
  }),
  top: option(TOP_PATCHES, { group: 'Mining', description: 'Patches per label in each ranking' }),
  rank: option(fields.oneOf(RANKINGS).default('top'), { group: 'Mining', description: 'Ranking to cluster' }),
  ...FEATURES,
  restarts: RESTARTS,
  diverse: option(fields.flag().default(false), {
    group: 'Mining',
    description: 'Add a fourth ranking, diverse, with fewer patches of the same element',
  }),
  recenter: option(fields.flag().default(false), {
    group: 'Mining',
    description: 'Move patches to where their typicality map is strongest, by at most half a patch',
  }),
  minContrast: option(fields.belowOne().default(0), {
    group: 'Mining',
    description: 'Minimum RMS contrast of a patch, from 0 to 1; about 0.04 drops flat, black and white patches',
  }),
  groupBy: option(fields.text().optional(), {
    group: 'Mining',
    description: 'How images are grouped: a column of the dataset, folder, or a regular expression on the path',
  }),
  maxPerGroup: option(fields.whole(1).optional(), {
    group: 'Mining',
    description: 'Maximum patches of one group in a ranking; needs `groupBy`',
    shown: 'unlimited',
  }),
  evidenceImages: option(fields.whole(0, 10_000).default(50), {
    group: 'Mining',
    description:
      'Images per label set aside to test the clusters on, at most a quarter of the images; 0 skips the test',
  }),
  trends: option(fields.flag().default(false), {
    group: 'Mining',
    description:
      'For labels that are numbers or decades: cluster the patches of all labels together into elements, and count each element in every label',
  }),
  elements: option(fields.wordOr('auto', fields.whole(2, 10_000)).default('auto'), {
    group: 'Mining',
    description: 'With `trends`: number of elements; auto makes one per 10 patches, at most 256',
  }),
  trendImages: option(fields.whole(5, 100_000).default(200), {
    group: 'Mining',
    description: 'With `trends`: images per label that are searched for the elements',
  }),
  keepDuplicates: option(fields.flag().default(false), {
    group: 'Mining',
    description: 'Rank all images of a group of near-duplicates, instead of one',
  }),
});
