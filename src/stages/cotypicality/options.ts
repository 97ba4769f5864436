// Options, events and summary of the search for consistent changes.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { FEATURES, MAPS, NOISE, PATCH, RESTARTS, SIZE } from '../../options/scoring.js';
import { BATCH, DEVICE, MODEL, OUT, PRESET, PROMPTS, shardSize, SPLIT } from '../../options/shared.js';
import type { PipelineEvent } from '../../pipeline/options.js';

/** How features are reduced before they are clustered. */
export const PROJECTIONS = ['umap', 'pca', 'none'] as const;
export type Projection = (typeof PROJECTIONS)[number];

/** How places are grouped; recorded in clusters.json. */
export const GROUPING = optionsOf('cotypicality', {
  maxPlaces: option(fields.whole(1, 10_000_000).default(10_000), {
    group: 'Mining',
    description: 'Places to cluster in total, the most co-typical ones',
  }),
  clusters: option(fields.wordOr('auto', fields.whole(1, 100_000)).default('auto'), {
    group: 'Mining',
    description: 'Number of clusters; auto makes one per 25 places, at most 32',
  }),
  projection: option(fields.oneOf(PROJECTIONS).default('umap'), {
    group: 'Mining',
    description: "Dimensionality reduction of each label's features before clustering",
  }),
  dimensions: option(fields.whole(1, 4096).default(32), {
    group: 'Mining',
    description: 'Dimensions per label after the reduction',
  }),
  neighbors: option(fields.whole(2, 1000).default(15), {
    group: 'Mining',
    description: 'Neighbors per place in UMAP',
  }),
  restarts: RESTARTS,
});

export interface GroupSettings extends z.output<typeof GROUPING> {}

export const COTYPICALITY = optionsOf('cotypicality', {
  parallel: option(fields.path(), {
    group: 'Input',
    description: 'Output of translate: LABEL/NAME/source.png and LABEL/NAME/TARGET_LABEL.png',
  }),
  ...MODEL,
  ...OUT,
  labels: option(fields.labels().optional(), {
    group: 'Input',
    description: 'Labels to compare, separated by commas',
    shown: 'all',
  }),
  boxes: option(fields.path().optional(), {
    group: 'Input',
    description: 'Boxes in the source images to compare the clusters with',
  }),
  preset: PRESET,
  ...PROMPTS,
  ...SIZE,
  patch: PATCH,
  ...NOISE,
  seed: option(fields.whole(0).default(0), {
    group: 'Scoring',
    description: 'Seed of noise, timesteps, projection and k-means',
  }),
  places: option(fields.whole(1, 10_000).default(5), {
    group: 'Scoring',
    description: 'Non-overlapping places to keep per sequence (an image with its translations)',
  }),
  ...GROUPING.shape,
  ...FEATURES,
  rows: option(fields.whole(1, 1000).default(8), {
    group: 'Output',
    description: 'Sequences shown per cluster on the page',
  }),
  maps: MAPS,
  shardSize: shardSize('Sequences'),
  ...SPLIT,
  ...DEVICE,
  batch: BATCH,
});

/** What a search for consistent changes is asked for. With `shard`, places are grouped when all shards are finished. */
export interface CotypicalityOptions extends z.input<typeof COTYPICALITY> {}

export type CotypicalityEvent =
  /** of scoring; its images are sequences */
  | PipelineEvent
  /** labels whose features are projected, of both lists where there are boxes */
  | { type: 'project'; done: number; total: number }
  /** sequences drawn for the page */
  | { type: 'report'; done: number; total: number };

/** How far clusters agree with the known elements at their places. */
export interface Agreement {
  /** places compared */
  places: number;
  /** fraction of them that lie on an element */
  onElement: number;
  /** fraction of all places whose element is the most frequent one of their cluster; places without an element count as misses */
  purity: number;
  /** the same of the places on elements alone */
  purityOnElements: number;
  /** what both would be on average if elements were assigned to clusters at random */
  chance: number;
  chanceOnElements: number;
}

export interface TruthRecord {
  /** name of the file */
  boxes: string;
  /** by column of the file: slot (what corresponds across labels) and kind, as far as it has them */
  columns: Record<string, { top: Agreement; random: Agreement }>;
}

export interface GroupedCluster {
  size: number;
  /** different sequences among its places */
  sequences: number;
  medianCotypicality: number;
  inertia: number;
  /** of a change between two labels (changes.ts), the pair that changes most */
  mostChanged: { labels: [string, string]; change: number } | null;
}

export interface CotypicalitySummary {
  /** of the run, absolute */
  path: string;
  /** all shards of the run are finished, and its places are grouped */
  complete: boolean;
  resumed: boolean;
  labels: string[];
  sequences: number;
  /** of finished shards */
  scored: number;
  skipped: number;
  shards: { total: number; done: number; here: number };
  /** UNet calls of this call */
  unetCalls: number;
  seconds: number;
  device: string;
  /** places that were grouped */
  places: number;
  clusters: GroupedCluster[];
  /** what was done in the end, after falling back */
  projection: { asked: Projection; done: Projection; dimensions: number };
  truth: TruthRecord | null;
  /** things worth knowing, such as fewer places than clusters */
  notes: string[];
  /** of index.html; null until the run is complete */
  page: string | null;
}
