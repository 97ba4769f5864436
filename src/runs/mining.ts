// mine.json: options and results of mining.
import { readFile } from 'node:fs/promises';
import { count } from '../web/html.js';
import type { z } from 'zod';
import type { Shape } from '../metrics/trend.js';
import type { Confounds } from '../data/confounds.js';
import type { Run } from './run.js';
import type { MINING } from '../options/scoring.js';

export const MINE_FORMAT = 'diffmine-mine-5';

/** What decides the results; recorded in mine.json. */
export interface MineSettings extends Omit<z.output<typeof MINING>, 'groupBy' | 'maxPerGroup' | 'upBlock' | 'diftT'> {
  upBlock: number;
  diftT: number;
  groupBy: string | null;
  maxPerGroup: number | null;
  /** in the scored image, px; other than the scan's: ranked from the maps, without standard errors */
  patch: number;
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
/** Labels named in a warning. */
const SHOWN = 20;

/** What a label's clustered list comes from, where that is few groups or few images: '3 groups of images'; else undefined. */
function fewSources({ patches, images, groups }: MinedCondition): string | undefined {
  const few = (what: { effective: number } | null): boolean =>
    what !== null && what.effective < Math.min(FEW, patches / 2);
  if (few(groups)) return `${count(groups?.count ?? 0, 'group')} of images`;
  return few(images) ? count(images.count, 'image') : undefined;
}

/** A warning that names the labels whose clustered lists come from few groups or few images; none where all come from many. */
export function concentrations(conditions: readonly MinedCondition[]): string[] {
  const few = conditions.flatMap((one) => {
    const from = fewSources(one);
    return from === undefined ? [] : [`${one.condition} (${from})`];
  });
  if (few.length === 0) return [];
  const shown = few.length > SHOWN ? [...few.slice(0, SHOWN), `${few.length - SHOWN} more`] : few;
  return [
    `Most patches of ${few.length === 1 ? 'this label' : 'these labels'} come from few images: ${shown.join(', ')}. What they share may be the background or the lighting.`,
  ];
}

/** The same warning of one label; null where its patches come from many. */
export function concentration(one: MinedCondition): string | null {
  const { patches } = one;
  const from = fewSources(one);
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
  /** properties of whole images that may tell labels apart; null with one label */
  confounds: Confounds | null;
  /** elements of all labels by their course; null without `trends` */
  trends: Record<Shape, number> | null;
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
