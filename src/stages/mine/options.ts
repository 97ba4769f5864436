// What mining is asked for, what it tells on the way, and what it says at the end.
import type { MinedCondition, MineSettings } from '../../runs/mining.js';
import type { ListName } from '../../runs/schema.js';

export type { MinedCondition, MineSettings };

export interface MineOptions extends Partial<MineSettings> {
  /** where the model is now, if not where the manifest says */
  model?: string;
  /** its variant of weights; default: the run's */
  variant?: string;
  /** where the dataset is now, if not where the manifest says */
  dataset?: string;
  /** of a table: the folder that relative image paths start at, if it is another by now */
  imageRoot?: string;
  /** 'auto', 'cpu', 'cuda', 'cuda:1'; default: the kind of device the run was scanned on */
  device?: string;
  threads?: number;
  /** UNet rows a forward pass; default: the manifest's */
  batch?: number | 'auto';
}

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
