// What mining is asked for, what it tells on the way, and what it says at the end.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { MINING } from '../../options/scoring.js';
import { DEVICE, MOVED_DATASET, RUN_BATCH } from '../../options/shared.js';
import type { MinedCondition, MineSettings } from '../../runs/mining.js';
import type { ListName } from '../../runs/schema.js';

export type { MinedCondition, MineSettings };

export const MINE = optionsOf('mine', {
  ...MINING.shape,
  model: option(fields.path().optional(), {
    group: 'What',
    description: 'Where the model is now, if it has moved',
    shown: "the run's",
  }),
  variant: option(fields.variant().optional(), {
    group: 'What',
    description: 'Weight variant to read where a component has it, such as fp16 or non_ema',
    shown: "the run's",
  }),
  dataset: MOVED_DATASET,
  imageRoot: option(fields.path().optional(), {
    group: 'What',
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

export interface MineOptions extends z.input<typeof MINE> {}

export type MineEvent =
  | { type: 'load'; done: number; total: number }
  /** images compared, to count near-duplicates once */
  | { type: 'compare'; done: number; total: number }
  | { type: 'rank'; condition: string; patches: number }
  /** pictures whose patches' features were taken */
  | { type: 'features'; done: number; total: number; rate: number; secondsLeft: number }
  | { type: 'cluster'; condition: string; done: number; total: number; clusters: number; inertia: number };

export interface MineSummary {
  run: string;
  rank: ListName;
  conditions: MinedCondition[];
  /** images features were taken of */
  images: number;
  seconds: number;
  /** whether the run was mined with these options before, so that nothing was done */
  reused: boolean;
  /** things worth knowing, such as fewer patches than clusters */
  notes: string[];
}
