// What an evaluation is asked for, and what it says.
import type { BoxFrame, MarkCounts } from '../../data/boxes/index.js';
import type { Figure } from '../../metrics/bootstrap.js';

export interface EvaluateOptions {
  /** the file of boxes: a CSV, NIH's BBox_List_2017.csv or a COCO .json */
  boxes: string;
  /** side of the box mean over pixels, odd; 1 is none; default 5 */
  smooth?: number;
  /** times the images are drawn again for the intervals; 0 is none; default 1000 */
  bootstrap?: number;
  /** of the resampling; default 0 */
  seed?: number;
  /** column with the label a box is typical of; default `city`, else `label`, else a box is typical of its image's label */
  typicalColumn?: string;
  /** what the boxes are drawn on: the upright image, or the stored one; default 'auto': as their sizes and places say */
  boxFrame?: BoxFrame;
  /** another run of the same images, to show beside it: one scanned with `untrained`, say */
  controlRun?: string;
  /** the baseline of colors, from the images alone; default true */
  colorBaseline?: boolean;
  /** the folder of the source images, if they moved since the scan */
  dataset?: string;
  /** images a label on the grid of maps; 0 draws none; default 4 */
  gridImages?: number;
  /** the grid as maps.png, too; default false */
  png?: boolean;
}

export interface EvaluateHooks {
  signal?: AbortSignal;
  onProgress?: (event: { stage: 'evaluate' | 'color' | 'resample' | 'draw'; done: number; total: number }) => void;
  /** a sentence worth telling */
  log?: (sentence: string) => void;
}

/** P@k: the fraction of the first k patches that are on a typical element. */
export interface PrecisionAt {
  k: number;
  /** the centre is in a box of such an element, or IoU with one is above 0.1 */
  hit: Figure;
  /** the centre is */
  centre: Figure;
}

/** What is asked of maps. */
export interface PixelMetrics {
  averagePrecision: Figure;
  /** average precision as a multiple of the fraction of typical pixels, which a map that knows nothing has */
  lift: number | null;
  /** fraction of the images with a typical element whose highest pixel is on one */
  pointing: Figure;
}

export interface Metrics extends PixelMetrics {
  /** of the ranking by typicality, and of random patches as its control */
  top: PrecisionAt[];
  random: PrecisionAt[];
}

/** Mean typicality of pixels in boxes of what is typical of the label, in boxes of what is typical of others only, and elsewhere. */
export interface RegionTypicality {
  own: number | null;
  others: number | null;
  rest: number | null;
}

export interface LabelEvaluation extends Metrics {
  label: string;
  images: number;
  /** boxes of elements typical of the label in its own images */
  boxes: number;
  /** fraction of pixels in such boxes: the average precision of a map that knows nothing */
  fraction: number | null;
  typicality: RegionTypicality;
  /** patches in the ranking; P@k is over fewer than k where it is shorter */
  patches: number;
}

/** An element, in the images of the label that it is typical of. */
export interface KindEvaluation {
  label: string;
  kind: string;
  slot?: string;
  boxes: number;
  /** fraction of its boxes that a patch of the whole ranking hits, and of its first 50 */
  recall: number | null;
  recall50: number | null;
  /** of the first 50 patches, those that hit such a box */
  patches50: number | null;
  /** mean typicality of the pixels in its boxes */
  typicality: number | null;
}

/** The same figures of something that ought not to do as well. Labels in the evaluation's order. */
export interface Control<Figures> {
  mean: Figures;
  labels: (Figures & { label: string })[];
}

/** The grid of images beside their maps: a row a label, cells of equal size, each an image and its map. */
export interface MapGrid {
  /** of a cell, px */
  cell: { width: number; height: number };
  columns: number;
  /** colors of the boxes, CSS */
  colors: { own: string; others: string };
  /** `scale`: typicality of the map's strongest color */
  rows: { label: string; scale: number; images: { image: string; own: number; others: number }[] }[];
}

export interface EvaluateSummary {
  run: string;
  /** what the run's labels were compared with: `null`, `others` or a label */
  against: string;
  /** whether the run had random weights */
  untrained: boolean;
  /** `used`: of images of the run; of these, how many were turned, clipped, or cover nothing */
  boxes: { path: string; rows: number; used: number } & MarkCounts;
  options: { smooth: number; bootstrap: number; seed: number; typicalColumn: string | null };
  /** over the labels that have the figure; `share` of typical pixels and typicality likewise; lift: of the means */
  mean: Metrics & { fraction: number | null; typicality: RegionTypicality };
  labels: LabelEvaluation[];
  kinds: KindEvaluation[];
  controls: {
    /** colors alone, without a model; null where images cannot be read, or it was not wanted */
    color: Control<PixelMetrics> | null;
    /** another run; `untrained`: of random weights */
    run: (Control<Metrics> & { path: string; untrained: boolean }) | null;
  };
  /** null without maps, or images to be read */
  grid: MapGrid | null;
  /** what could not be computed, and why */
  notes: string[];
}

/** The k of P@k. */
export const AT = [10, 50, 100] as const;

export type { Figure };
