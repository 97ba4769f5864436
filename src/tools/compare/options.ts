// What a comparison of two runs is asked for, and what it says.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { MOVED_DATASET } from '../../options/shared.js';
import { MINED_LISTS } from '../../runs/columns.js';
import type { Progress } from '../../util/hooks.js';

export const COMPARE = optionsOf('compare', {
  list: option(fields.oneOf(MINED_LISTS).default('top'), {
    group: 'Input',
    description: 'Ranking whose patches are compared',
  }),
  at: option(fields.list(fields.whole(1), 'whole numbers of at least 1').default([10, 50, 100, 500]), {
    group: 'Comparison',
    description: 'Values of K for the overlap of the top K patches, separated by commas',
  }),
  iou: option(fields.upToOne().default(0.5), {
    group: 'Comparison',
    description: 'Minimum intersection over union of two boxes in an image to count as the same patch',
  }),
  movers: option(fields.whole(0, 100).default(8), {
    group: 'Comparison',
    description: 'Patches that moved most, per label and run',
  }),
  out: option(fields.path().default('compare'), {
    group: 'Output',
    description: 'Folder for index.html and compare.json: new, empty, or an earlier comparison, which is replaced',
  }),
  dataset: MOVED_DATASET,
});

export interface CompareOptions extends z.input<typeof COMPARE> {
  /** a run that `mine` has finished */
  run: string;
  /** the run it is compared with, mined too */
  other: string;
}

export type CompareEvent = Progress<'compare'>;

export const COMPARE_FORMAT = 'diffmine-compare-1';

/** What two runs have in common of something, and Spearman's rank correlation over it; null for fewer than 3, or all equal. */
export interface Correlation {
  common: number;
  spearman: number | null;
}

/** Of the first k patches of both rankings. */
export interface Overlap {
  k: number;
  /** patches in both, as a fraction of k; null where a ranking has fewer */
  fraction: number | null;
}

/** A patch's place in a ranking. */
export interface Ranked {
  rank: number;
  typicality: number;
}

/** A patch that one run ranks higher than the other. Boxes are in pixels of the source image. */
export interface Mover {
  image: string;
  x: number;
  y: number;
  width: number;
  height: number;
  /** null: not in the ranking */
  run: Ranked | null;
  other: Ranked | null;
  /** of the page; null without movers, or if the image could not be read */
  tile: string | null;
}

export interface LabelComparison {
  label: string;
  images: Correlation;
  /** of the compared ranking */
  patches: Correlation;
  /** of the random patches: both runs have drawn the same ones if images, sizes and seed are the same */
  random: Correlation;
  /** length of the rankings */
  ranked: { run: number; other: number };
  overlap: Overlap[];
  /** by how many times the rank is larger in the other run, descending */
  movers: { run: Mover[]; other: Mover[] };
}

export interface CompareSummary {
  format: typeof COMPARE_FORMAT;
  version: string;
  /** of the folder, absolute */
  path: string;
  /** of index.html, absolute */
  page: string;
  run: { path: string; fingerprint: string };
  other: { path: string; fingerprint: string };
  options: { list: string; at: number[]; iou: number };
  /** options, model and dataset that differ, as JSON has them; null: not set */
  differences: { name: string; run: unknown; other: unknown }[];
  /** over labels */
  mean: { images: number | null; patches: number | null; random: number | null; overlap: Overlap[] };
  labels: LabelComparison[];
  /** labels that only one of the runs has */
  only: { run: string[]; other: string[] };
  /** images that could not be read for the page */
  missing: { image: string; reason: string }[];
}
