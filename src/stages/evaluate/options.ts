// Options, events and summary of an evaluation.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { BOOTSTRAP, BOX_FRAME, MOVED_DATASET } from '../../options/shared.js';
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

export const EVALUATE = optionsOf('evaluate', {
  boxes: option(fields.path(), {
    group: 'Input',
    description:
      "Boxes: a CSV with the columns image, x, y, w, h in pixels of the source image (label, kind, slot, city optional), NIH's BBox_List_2017.csv or a COCO .json",
  }),
  typicalColumn: option(fields.text().optional(), {
    group: 'Input',
    description: 'Column with the label that a box is typical of',
    shown: "city, else label, else the image's label",
  }),
  boxFrame: BOX_FRAME,
  controlRun: option(fields.path().optional(), {
    group: 'Input',
    description: 'Control: another run of the same images, such as one scanned with `untrained`',
  }),
  dataset: MOVED_DATASET,
  smooth: option(fields.odd(1, 999).default(5), {
    group: 'Scoring',
    description: 'Side of the box filter over a map, px, odd',
  }),
  colorBaseline: option(fields.flag().default(true), {
    group: 'Scoring',
    description: 'Compare with a baseline that knows the colors of the images alone',
    negated: 'Skip the color baseline',
  }),
  bootstrap: BOOTSTRAP,
  seed: option(fields.whole(0).default(0), { group: 'Scoring', description: 'Seed of the bootstrap' }),
  gridImages: option(fields.whole(0, 100).default(4), {
    group: 'Output',
    description: 'Images per label in the grid of maps',
  }),
  png: option(fields.flag().default(false), {
    group: 'Output',
    description: 'Also write the grid of maps as maps.png',
  }),
});

export interface EvaluateOptions extends z.input<typeof EVALUATE> {
  /** a run that `scan` has finished */
  run: string;
}

export type EvaluateEvent = Progress<'evaluate' | 'color' | 'resample' | 'draw'>;

/** The k of P@k. */
export const AT = [10, 50, 100] as const;
