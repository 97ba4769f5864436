// What a search for consistent changes is asked for, what it tells on the way, and what it says at the end.
import type { Dtype, SamplerName } from '../../engine/types.js';
import type { PipelineEvent, SplitOptions } from '../../pipeline/options.js';

export const PROJECTIONS = ['umap', 'pca', 'none'] as const;
export type Projection = (typeof PROJECTIONS)[number];

/** How places are grouped; recorded in clusters.json. */
export interface GroupSettings {
  /** places in all, the most co-typical ones; default 10,000, as in the paper */
  top: number;
  /** default 32 */
  clusters: number;
  /** starts of k-means; default 10 */
  restarts: number;
  /** how each label's features are brought down to `dimensions`; default 'umap' */
  projection: Projection;
  /** default 32 */
  dimensions: number;
  /** of a place, that UMAP looks at; default 15 */
  neighbors: number;
}

/** What a search for consistent changes is asked for. With `shard`, places are grouped when all shards are finished. */
export interface CotypicalityOptions extends Partial<GroupSettings>, SplitOptions {
  /** a parallel dataset: what `translate` wrote, or a folder of its layout */
  parallel: string;
  /** a diffusers folder */
  model: string;
  /** weights to read where a part has them: 'fp16' for diffusion_pytorch_model.fp16.safetensors */
  variant?: string;
  /** the run folder: new, empty, or that of the same run */
  out: string;
  /** only these labels; default: all of the parallel dataset */
  labels?: string[];

  /** as those of a scan */
  preset?: string;
  prompt?: string;
  nullPrompt?: string;
  size?: number | 'source';
  sizeRule?: 'floor' | 'ceil';
  patch?: number;
  samples?: number;
  seed?: number;
  tRange?: readonly [number, number];
  sampler?: SamplerName;
  batch?: number | 'auto';
  dtype?: Dtype;
  /** keep each image's mean map; default true */
  maps?: boolean;
  /** sequences a shard; default 16 */
  shardSize?: number;

  /** non-overlapping places of each list a sequence; default 5 */
  places?: number;
  /** DIFT; defaults 161, 1 and 8 */
  timestep?: number;
  upBlock?: number;
  ensemble?: number;

  /** a CSV of boxes in the source images, which clusters are compared with */
  boxes?: string;
  /** sequences a cluster on the page; default 8 */
  rows?: number;
}

export type CotypicalityEvent =
  /** of scoring; its images are sequences */
  | PipelineEvent
  /** labels whose features are projected, of both lists where there are boxes */
  | { type: 'project'; done: number; total: number }
  /** sequences drawn for the page */
  | { type: 'report'; done: number; total: number };

/** How far clusters agree with what is known to be at their places (purity.ts). */
export interface Agreement {
  /** places compared */
  places: number;
  /** fraction of them that lie on an element */
  onElement: number;
  /** fraction of all places whose element is the commonest of their cluster; a place on no element never is */
  purity: number;
  /** the same of the places on elements alone */
  purityOnElements: number;
  /** what both would be on average if elements were dealt out to the clusters at random */
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
  run: string;
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
  report: string | null;
}
