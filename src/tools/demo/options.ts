// Options, events and summary of the demo.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { BOOTSTRAP, DEVICE, MODEL } from '../../options/shared.js';
import type { CotypicalitySummary } from '../../stages/cotypicality/options.js';
import type { EvaluateSummary } from '../../stages/evaluate/options.js';
import type { MineEvent, MineSummary } from '../../stages/mine/options.js';
import type { LocalizeSummary } from '../../stages/localize/options.js';
import type { ScanEvent, ScanSummary } from '../../stages/scan/options.js';
import type { Quality, TranslateSummary } from '../../stages/translate/options.js';
import type { Progress } from '../../util/hooks.js';

export const DEMO = optionsOf('demo', {
  out: option(fields.path().default('demo-run'), {
    group: 'Run directory',
    description: 'Output directory of the demo: new, or one to resume',
  }),
  full: option(fields.flag().default(false), {
    group: 'Input',
    description: 'Continue with translation, consistent changes and localization',
  }),
  translatedImages: option(fields.whole(1, 1_000_000).default(3), {
    group: 'Input',
    description: 'With `full`: images per city to translate to the other cities',
  }),
  model: option(fields.path().optional(), {
    group: 'Input',
    description: 'Model trained on images of the synthetic dataset',
    shown: "the package's",
  }),
  variant: MODEL.variant,
  imagesPerLabel: option(fields.whole(2, 1_000_000).default(40), { group: 'Images', description: 'Images per city' }),
  size: option(fields.whole(32, 1024).default(64), { group: 'Images', description: 'Side of the images, px' }),
  seed: option(fields.whole(0).default(0), {
    group: 'Images',
    description: 'Seed of the dataset and of the noise',
  }),
  samples: option(fields.whole(1, 1_000_000).default(16), {
    group: 'Scoring',
    description: 'Noise and timestep samples per image',
  }),
  clusters: option(fields.wordOr('auto', fields.whole(1, 100_000)).default(8), {
    group: 'Mining',
    description: 'Clusters per city; auto makes one per 25 patches, at most 32',
  }),
  bootstrap: BOOTSTRAP,
  ...DEVICE,
});

/** The synthetic dataset alone. */
export const DATA_ONLY = optionsOf('demo', {
  dataOnly: option(fields.path().optional(), {
    group: 'Input',
    description: 'Only draw the synthetic dataset, into this new folder',
  }),
  ordered: option(fields.flag().default(false), {
    group: 'Input',
    description: 'With `dataOnly`: labels are eight decades, over which the planted kinds come and go',
  }),
  imagesPerLabel: option(DEMO.shape.imagesPerLabel, {
    group: 'Images',
    description: 'Images per city or decade',
    shown: '40; with `dataOnly` 250, held-out ones included',
  }),
  size: DEMO.shape.size,
  holdout: option(fields.belowOne().optional(), {
    group: 'Images',
    description: 'With `dataOnly`: fraction of the images held out',
    shown: '0.2',
  }),
  seed: DEMO.shape.seed,
});

export interface DemoOptions extends z.input<typeof DEMO> {}

/** In the order in which the demo runs them. */
export const DEMO_STAGES = [
  'world',
  'scan',
  'mine',
  'control',
  'evaluate',
  'report',
  'translate',
  'cotypicality',
  'localize',
] as const;
export type DemoStage = (typeof DEMO_STAGES)[number];

export type DemoEvent =
  | { type: 'stage'; stage: DemoStage }
  /** of what has no events of its own kind */
  | { type: 'progress'; event: Progress }
  | { type: 'scan'; event: ScanEvent }
  | { type: 'mine'; event: MineEvent };

/** A kind that is planted in its city, and whether the mining found it there. */
export interface DemoElement {
  slot: string;
  kind: string;
  /** of it in its city's images */
  boxes: number;
  /** of the first 50 patches of the city, those on it; fraction of its boxes that these 50, and that all ranked patches, are on */
  patches50: number;
  /** of the first 50 patches of the diverse ranking, those on it */
  diverse50: number;
  recall50: number;
  recall: number;
  /** mean typicality of the pixels in its boxes */
  typicality: number | null;
}

/** The figures of a city, or their mean over the cities; null if one cannot be computed. */
export interface DemoFigures {
  /** fraction of the pixels that belong to planted elements typical of the city: the average precision of a constant map */
  fraction: number | null;
  averagePrecision: number | null;
  /** average precision of a network of the same shape with random weights, and of colors alone */
  untrained: number | null;
  color: number | null;
  /** fraction of the images whose highest pixel is on a planted element */
  pointing: number | null;
  /** of the first 50 patches (or as many as there are), the share on a planted element: center in a box or IoU above 0.1; the center alone; of random patches */
  precision50: number | null;
  center50: number | null;
  random50: number | null;
  /** of the first 50 patches of the diverse ranking */
  diverse50: number | null;
}

export interface DemoCity extends DemoFigures {
  city: string;
  images: number;
  boxes: number;
  elements: DemoElement[];
}

export interface DemoSummary {
  /** of the folder, absolute as all paths here */
  path: string;
  model: string;
  world: { path: string; boxes: string; images: number; seed: number };
  cities: DemoCity[];
  mean: DemoFigures;
  /** the page to look at; images beside their maps with the boxes, null if none could be drawn */
  page: string;
  grid: string | null;
  /** each stage by itself */
  scan: ScanSummary;
  mine: MineSummary;
  control: ScanSummary;
  evaluation: EvaluateSummary;
  /** null unless asked for */
  full: DemoFull | null;
  seconds: number;
}

/** What `full` adds. */
export interface DemoFull {
  translation: TranslateSummary & { quality: Quality };
  cotypicality: CotypicalitySummary;
  localization: LocalizeSummary;
  /** the page that links all reports */
  page: string;
}
