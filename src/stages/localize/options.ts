// What a localization is asked for, what it tells on the way, and what it says.
import type { BoxFormat, BoxFrame, MarkCounts } from '../../data/boxes/index.js';
import type { Figure } from '../../metrics/bootstrap.js';
import type { ScanEvent, ScanOptions, ScanSummary } from '../scan/options.js';
import type { Progress } from '../../util/hooks.js';

export interface LocalizeOptions extends Omit<
  ScanOptions,
  'patch' | 'perImage' | 'maps' | 'allLabels' | 'untrained' | 'localize' | 'only'
> {
  /** labels that images are mapped under: each its own ('A|B' has two), every label of the model (of a text model, of the dataset), or these; default 'own' */
  labels?: 'own' | 'all' | readonly string[];
  /** another model to make the same maps with, such as the one before fine-tuning; 'untrained': the same model with random weights of `seed` */
  baseline?: string;
  /** boxes or masks of what is known to be in the images: a CSV, NIH's BBox_List_2017.csv, a COCO .json, a folder of PNGs */
  boxes?: string;
  /** map only images that boxes or masks are of */
  onlyMarked?: boolean;
  /** default 'auto' */
  boxFormat?: BoxFormat;
  /** what they are drawn on: the upright image, or the stored one; default 'auto': as their sizes and places say */
  boxFrame?: BoxFrame;
  /** standard deviation of the Gaussian over the maps: below 1 a fraction of the short side, else pixels of the scored image; 0 is none; default 1/16 */
  blur?: number;
  /** times the images are drawn again for the intervals; 0 is none; default 1000 */
  bootstrap?: number;
  /** images drawn a label, those with boxes first; default 100 */
  overlays?: number | 'all';
}

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
  /** of the marked images' pixels, those inside: the average precision of a map that knows nothing */
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
  scan: ScanSummary;
  baseline: ScanSummary | null;
  /** null while shards are missing, as with `shard`; the images are in localize.json */
  result: Omit<Localization, 'images'> | null;
  /** of the page; null as `result` */
  page: string | null;
}
