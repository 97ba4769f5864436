// mine.json: options and results of mining.
import { readFile } from 'node:fs/promises';
import type { Run } from './run.js';
import type { ListName } from './schema.js';

export const MINE_FORMAT = 'diffmine-mine-2';

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
}

export interface MinedCondition {
  condition: string;
  /** ranked patches of the clustered list */
  patches: number;
  clusters: number;
  inertia: number;
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
