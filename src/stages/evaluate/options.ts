// What an evaluation is asked for, and what it says.
import type { BoxFrame } from '../../data/boxes/index.js';
import type { Progress } from '../../util/hooks.js';

export type { Figure } from '../../metrics/bootstrap.js';
export type {
  PrecisionAt,
  PixelMetrics,
  Metrics,
  RegionTypicality,
  LabelEvaluation,
  KindEvaluation,
  Control,
  MapGrid,
  EvaluateSummary,
} from '../../runs/evaluation.js';

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

export type EvaluateEvent = Progress<'evaluate' | 'color' | 'resample' | 'draw'>;

/** The k of P@k. */
export const AT = [10, 50, 100] as const;
