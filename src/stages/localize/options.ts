// Options, events and summary of a localization.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { BOX_FORMATS } from '../../options/names.js';
import { option, optionsOf } from '../../options/option.js';
import { BOOTSTRAP, BOX_FRAME } from '../../options/shared.js';
import { SCAN } from '../scan/options.js';
import type { MarkCounts } from '../../data/boxes/index.js';
import type { Figure } from '../../metrics/bootstrap.js';
import type { ScanEvent, ScanSummary } from '../scan/options.js';
import type { Progress } from '../../util/hooks.js';

const SCORING = SCAN.omit({
  against: true,
  labels: true,
  holdout: true,
  patch: true,
  perImage: true,
  maps: true,
  allLabels: true,
  untrained: true,
  race: true,
  raceRisk: true,
  top: true,
}).shape;

export const LOCALIZE = optionsOf('localize', {
  ...SCORING,
  labels: option(fields.ownAllOrLabels().default('own'), {
    group: 'Input',
    description: "Labels to map each image under, separated by commas; own: the image's own labels, all: every label",
  }),
  // Findings in one image often come together, so that the other labels would hide what is to be found.
  against: option(fields.text().default('null'), {
    group: 'Scoring',
    description:
      'What a label is contrasted with: null (the unconditional prompt), others (the other labels, on average) or one LABEL',
  }),
  baseline: option(fields.path().optional(), {
    group: 'Input',
    description: 'Second model to compare with, or untrained for random weights',
  }),
  boxes: option(fields.path().optional(), {
    group: 'Input',
    description: 'Boxes or masks to compare with: a CSV, BBox_List_2017.csv, a COCO .json or a folder of PNG masks',
  }),
  onlyMarked: option(fields.flag().default(false), {
    group: 'Input',
    description: 'Map only images that have boxes or masks',
  }),
  boxFormat: option(fields.oneOf(BOX_FORMATS).default('auto'), { group: 'Input', description: 'Format of `boxes`' }),
  boxFrame: BOX_FRAME,
  // the paper's: 32 px at 512
  blur: option(fields.atLeastZero().default(1 / 16), {
    group: 'Scoring',
    description: 'Sigma of the Gaussian blur of a map: below 1 a fraction of the short side, else px; 0 disables it',
  }),
  bootstrap: BOOTSTRAP,
  overlays: option(fields.wordOr('all', fields.whole(0)).default(100), {
    group: 'Output',
    description: 'Images per label to draw with their map on top, images with boxes first; all draws every image',
  }),
});

export interface LocalizeOptions extends z.input<typeof LOCALIZE> {}

export type LocalizeEvent =
  /** scoring with the model, or with the baseline */
  ({ of: 'model' | 'baseline' } & ScanEvent) | Progress<'maps'> | Progress<'resample'> | Progress<'draw'>;

/** What a label's maps are worth against boxes or masks. Formulas: docs/explanation/metrics.md. */
export interface MapFigures<Value = Figure> {
  /** average precision over all thresholds of the heat maps' pixels: of a label's images pooled, of one image its own */
  averagePrecision: Value;
  /** the paper's AUC-PR: of each image's unblurred map at 1000 fixed thresholds; of a label their mean */
  paperAucPr: Value;
  /** fraction of the images whose heat map is highest inside; of one image 0 or 1 */
  pointing: Value;
  /** largest intersection over union that a threshold gives each image's heat map; of a label their mean */
  bestIou: Value;
}

export interface LabelLocalization {
  label: string;
  /** mapped under it */
  images: number;
  /** of these, with a pixel inside a box or mask of the label: what the figures are over */
  marked: number;
  /** of the marked images' pixels, those inside: the average precision of a constant map */
  fraction: number | null;
  /** typicality of the overlays' strongest color */
  scale: number;
  baselineScale: number | null;
  /** null without boxes */
  model: MapFigures | null;
  baseline: MapFigures | null;
  /** model less baseline, with intervals of its own: both are computed over the same drawn images */
  difference: MapFigures | null;
}

/** One image's map under one label, of one model. */
export interface MapResult {
  /** mean of the map */
  typicality: number;
  /** the PNG, relative to localize/; null where it was not drawn */
  overlay: string | null;
  /** null where the image is not marked */
  figures: MapFigures<number> | null;
}

export interface ImageLocalization {
  image: string;
  /** as the dataset has it */
  label: string;
  /** scored */
  width: number;
  height: number;
  maps: {
    label: string;
    /** fraction of the image's pixels inside; null where none is marked */
    fraction: number | null;
    model: MapResult;
    baseline: MapResult | null;
  }[];
}

export interface Localization {
  model: { path: string };
  baseline: { path: string; untrained: boolean } | null;
  /** `used`: of images of the run; of these, how many were turned, clipped, or cover nothing */
  boxes: ({ path: string; marks: number; used: number } & MarkCounts) | null;
  options: { against: string; blur: number; bootstrap: number; seed: number };
  labels: LabelLocalization[];
  /** over the labels that have the figures */
  mean: Pick<LabelLocalization, 'fraction' | 'model' | 'baseline' | 'difference'>;
  images: ImageLocalization[];
  /** what could not be computed or drawn, and why */
  notes: string[];
}

export interface LocalizeSummary {
  /** of the run, absolute */
  path: string;
  scan: ScanSummary;
  baseline: ScanSummary | null;
  /** null while shards are missing, as with `shard`; the images are in localize.json */
  result: Omit<Localization, 'images'> | null;
  /** of the page; null as `result` */
  page: string | null;
}
