// mine.json: options and results of mining.
import { readFile } from 'node:fs/promises';
import { count } from '../web/html.js';
import type { Run } from './run.js';
import type { ListName } from './schema.js';

export const MINE_FORMAT = 'diffmine-mine-3';

/** What decides the results; recorded in mine.json. */
export interface MineSettings {
  /** patches a condition in each list; default 1000 */
  top: number;
  /** default 32 */
  clusters: number;
  /** starts of k-means; default 10 */
  restarts: number;
  /** the list that is clustered; default 'top' */
  rank: ListName;
  /** DIFT; defaults 161, 1 and 8 */
  timestep: number;
  upBlock: number;
  ensemble: number;
  /** near-duplicate images are ranked like any other; default false: they count once */
  keepDuplicates: boolean;
  /** smallest RMS contrast of a patch, 0 to 1; default 0: all */
  minContrast: number;
  /** what images belong together: a further column of the dataset, `folder`, or a regular expression on the path; default null */
  groupBy: string | null;
  /** patches of one group in a ranking, at most; default null: any number */
  maxPerGroup: number | null;
  /** the `diverse` list as well; default false */
  diverse: boolean;
  /** patches are moved to where their map is strongest; default false */
  recenter: boolean;
}

/** Candidates that a ranking passed by, by reason. */
export interface Dropped {
  /** of images nearly the same as one before */
  duplicates: number;
  contrast: number;
  /** of groups that had their number already */
  groups: number;
}

export interface MinedCondition {
  condition: string;
  /** ranked patches of the clustered list */
  patches: number;
  clusters: number;
  inertia: number;
  /** that the clustered list comes from; `effective`: as if they had equally many of its patches, 1 / sum of squared fractions */
  images: { count: number; effective: number };
  /** the same of its groups; null without groupBy */
  groups: { count: number; effective: number } | null;
  dropped: Dropped;
}

/** Fewer effective images, or groups, than this are few: what they share may be a place or a light. */
const FEW = 10;

/** A warning where a label's clustered list comes from few groups or few images; else null. */
export function concentration({ patches, images, groups }: MinedCondition): string | null {
  const few = (what: { effective: number } | null): boolean =>
    what !== null && what.effective < Math.min(FEW, patches / 2);
  const from = few(groups)
    ? `${count(groups?.count ?? 0, 'group')} of images`
    : few(images)
      ? count(images.count, 'image')
      : undefined;
  return from === undefined
    ? null
    : `These ${count(patches, 'patch', 'patches')} come from ${from}, most of them from fewer: what they share may be the background or the lighting.`;
}

/** mine.json */
export interface MineRecord {
  format: typeof MINE_FORMAT;
  /** of the run */
  fingerprint: string;
  options: MineSettings & { device: 'cpu' | 'cuda'; batch: number };
  conditions: MinedCondition[];
  images: number;
  notes: string[];
}

/** Reads mine.json; undefined where the run is not mined. */
export async function readMine(run: Run): Promise<MineRecord | undefined> {
  try {
    const record = JSON.parse(await readFile(run.mineFile('mine.json'), 'utf8')) as Partial<MineRecord> | null;
    return record?.format === MINE_FORMAT ? (record as MineRecord) : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
