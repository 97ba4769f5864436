// mine.json: how a run was mined.
import { readFile } from 'node:fs/promises';
import type { Run } from '../../runs/run.js';
import type { MinedCondition, MineSettings } from './options.js';

export const MINE_FORMAT = 'diffmine-mine-2';

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
    const record = JSON.parse(await readFile(run.mineFile('mine.json'), 'utf8')) as MineRecord;
    return record.format === MINE_FORMAT ? record : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
