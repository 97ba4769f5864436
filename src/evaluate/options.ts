// What an evaluation is asked for, and what it says.

export interface EvaluateOptions {
  /** the file of boxes */
  boxes: string;
  /** side of the box mean over pixels, odd; 1 is none; default 5 */
  smooth?: number;
  /** times the pictures are drawn anew for the intervals; 0 is none; default 1000 */
  bootstrap?: number;
  /** of the resampling; default 0 */
  seed?: number;
  /** column with the label a box is typical of; default `city` where there is one, else a box counts for its picture's label */
  typicalColumn?: string;
}

export interface EvaluateHooks {
  signal?: AbortSignal;
  onProgress?: (event: { stage: 'evaluate' | 'resample'; done: number; total: number }) => void;
}

/** A figure and its 95 % interval over pictures; null where it cannot be computed, or nothing was resampled. */
export interface Figure {
  value: number | null;
  low: number | null;
  high: number | null;
}

/** P@k: the share of the first k patches that are on a typical element. */
export interface PrecisionAt {
  k: number;
  /** the centre is in a box of such an element, or IoU with one is above 0.1 */
  hit: Figure;
  /** the centre is */
  centre: Figure;
}

export interface Metrics {
  averagePrecision: Figure;
  /** share of the pictures with a typical element whose highest pixel is on one */
  pointing: Figure;
  /** of the ranking by typicality, and of random patches as its control */
  top: PrecisionAt[];
  random: PrecisionAt[];
}

export interface LabelEvaluation extends Metrics {
  label: string;
  pictures: number;
  /** boxes of elements typical of the label in its own pictures */
  boxes: number;
  /** share of pixels in such boxes: the average precision of a map that knows nothing */
  share: number | null;
  /** mean typicality of pixels in such boxes, in boxes of what is typical of other labels, and elsewhere */
  typicality: { own: number | null; others: number | null; rest: number | null };
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

export interface EvaluateSummary {
  run: string;
  /** `used`: in pictures of the run */
  boxes: { path: string; rows: number; used: number };
  options: { smooth: number; bootstrap: number; seed: number; typicalColumn: string | null };
  /** over the labels that have the figure; `share` of typical pixels likewise */
  mean: Metrics & { share: number | null };
  labels: LabelEvaluation[];
  kinds: KindEvaluation[];
  /** what could not be computed, and why */
  notes: string[];
}

/** The k of P@k. */
export const AT = [10, 50, 100] as const;
