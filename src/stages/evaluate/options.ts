// What an evaluation is asked for, and what it says.
import type { BoxFrame, MarkCounts } from '../../data/boxes/index.js';
import type { Figure } from '../../metrics/bootstrap.js';

export interface EvaluateOptions {
  /** the file of boxes: a CSV, NIH's BBox_List_2017.csv or a COCO .json */
  boxes: string;
  /** side of the box mean over pixels, odd; 1 is none; default 5 */
  smooth?: number;
  /** times the pictures are drawn anew for the intervals; 0 is none; default 1000 */
  bootstrap?: number;
  /** of the resampling; default 0 */
  seed?: number;
  /** column with the label a box is typical of; default `city`, else `label`, else a box is typical of its image's label */
  typicalColumn?: string;
  /** what the boxes are drawn on: the upright image, or the stored one; default 'auto': as their sizes and places say */
  boxFrame?: BoxFrame;
  /** another run of the same pictures, to show beside it: one scanned with `untrained`, say */
  control?: string;
  /** the baseline of colours, from the pictures alone; default true */
  colour?: boolean;
  /** the folder of the source pictures, if they moved since the scan */
  pictures?: string;
  /** pictures a label on the sheet of maps; 0 draws none; default 4 */
  perLabel?: number;
  /** the sheet as maps.png, too; default false */
  png?: boolean;
}

export interface EvaluateHooks {
  signal?: AbortSignal;
  onProgress?: (event: { stage: 'evaluate' | 'colour' | 'resample' | 'draw'; done: number; total: number }) => void;
  /** a sentence worth telling */
  log?: (sentence: string) => void;
}

/** P@k: the share of the first k patches that are on a typical element. */
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
  /** average precision as a multiple of the share of typical pixels, which a map that knows nothing has */
  lift: number | null;
  /** share of the pictures with a typical element whose highest pixel is on one */
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
  pictures: number;
  /** boxes of elements typical of the label in its own pictures */
  boxes: number;
  /** share of pixels in such boxes: the average precision of a map that knows nothing */
  share: number | null;
  typicality: RegionTypicality;
  /** patches in the ranking; P@k is over fewer than k where it is shorter */
  patches: number;
}

/** An element, in the pictures of the label that it is typical of. */
export interface KindEvaluation {
  label: string;
  kind: string;
  slot?: string;
  boxes: number;
  /** share of its boxes that a patch of the whole ranking hits, and of its first 50 */
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

/** The sheet of pictures beside their maps: a row a label, cells of equal size, each a picture and its map. */
export interface MapSheet {
  /** of a cell, px */
  cell: { width: number; height: number };
  columns: number;
  /** colours of the boxes, CSS */
  colours: { own: string; others: string };
  /** `scale`: typicality of the map's strongest colour */
  rows: { label: string; scale: number; pictures: { image: string; own: number; others: number }[] }[];
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
  mean: Metrics & { share: number | null; typicality: RegionTypicality };
  labels: LabelEvaluation[];
  kinds: KindEvaluation[];
  controls: {
    /** colours alone, without a model; null where pictures cannot be read, or it was not wanted */
    colour: Control<PixelMetrics> | null;
    /** another run; `untrained`: of random weights */
    run: (Control<Metrics> & { path: string; untrained: boolean }) | null;
  };
  /** null without maps, or pictures to be read */
  sheet: MapSheet | null;
  /** what could not be computed, and why */
  notes: string[];
}

/** The k of P@k. */
export const AT = [10, 50, 100] as const;

export type { Figure };
