// Options, events and summary of mining. The options that run has as well are MINING in src/options/scoring.ts.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { MINING } from '../../options/scoring.js';
import { DEVICE, MOVED_DATASET, RUN_BATCH } from '../../options/shared.js';
import type { MinedCondition, MineSettings } from '../../runs/mining.js';
import type { Shape } from '../../metrics/trend.js';
import type { ListName } from '../../runs/columns.js';

export type { MinedCondition, MineSettings };

export const MINE = optionsOf('mine', {
  ...MINING.shape,
  patch: option(fields.whole(1, 16384).optional(), {
    group: 'Mining',
    description:
      "Side of a patch in the resized image, px; a side other than the scan's is scored from the stored typicality maps",
    shown: "the run's",
  }),
  model: option(fields.path().optional(), {
    group: 'Input',
    description: 'Where the model is now, if it has moved',
    shown: "the run's",
  }),
  variant: option(fields.variant().optional(), {
    group: 'Input',
    description: 'Weight variant to read, such as fp16 or non_ema, for components that have it',
    shown: "the run's",
  }),
  dataset: MOVED_DATASET,
  imageRoot: option(fields.path().optional(), {
    group: 'Input',
    description: "Folder that a table's relative image paths start from",
    shown: "the run's",
  }),
  device: option(fields.device().optional(), {
    group: 'Device',
    description: 'Device to compute on: auto, cpu, cuda or cuda:N',
    shown: "the run's",
  }),
  batch: RUN_BATCH,
  threads: DEVICE.threads,
});

export interface MineOptions extends z.input<typeof MINE> {
  /** a run that `scan` has finished */
  run: string;
}

export type MineEvent =
  /** the model is being fetched from the Hugging Face hub: megabytes */
  | { type: 'download'; done: number; total: number }
  | { type: 'load'; done: number; total: number }
  /** images compared, to count near-duplicates once */
  | { type: 'compare'; done: number; total: number }
  /** shards whose patches of another size were selected from the maps */
  | { type: 'patches'; done: number; total: number }
  | { type: 'rank'; condition: string; patches: number }
  /** images whose features were computed */
  | { type: 'features'; done: number; total: number; rate: number; secondsLeft: number }
  /** images whose features were computed for trends */
  | { type: 'trends'; done: number; total: number }
  | { type: 'cluster'; condition: string; done: number; total: number; clusters: number; inertia: number };

export interface MineSummary {
  /** of the run, absolute; its folder mine/ was written */
  path: string;
  rank: ListName;
  conditions: MinedCondition[];
  /** that the clustered patches come from */
  images: number;
  /** elements of all labels by their course; null without `trends` */
  trends: Record<Shape, number> | null;
  /** as asked for: 'auto' chose them by the number of patches */
  clusters: number | 'auto';
  /** patches whose features an earlier mining had computed */
  reusedFeatures: number;
  seconds: number;
  /** whether the run had already been mined with these options, so that nothing was done */
  reused: boolean;
  /** notes, such as fewer patches than clusters */
  notes: string[];
}
