// What a demo is asked for, what it tells on the way, and what it says at the end.
import type { CotypicalitySummary } from '../../stages/cotypicality/options.js';
import type { EvaluateSummary } from '../../stages/evaluate/options.js';
import type { MineEvent, MineSummary } from '../../stages/mine/options.js';
import type { Dtype } from '../../engine/types.js';
import type { LocalizeSummary } from '../../stages/localize/options.js';
import type { ScanEvent, ScanSummary } from '../../stages/scan/options.js';
import type { Quality, TranslateSummary } from '../../stages/translate/options.js';
import type { Progress } from '../../util/hooks.js';

export interface DemoOptions {
  /** the demo's folder: new, empty, or one that a demo made; default 'demo-run' */
  out?: string;
  /** a model folder that knows the six cities; default: the one that comes with the package */
  model?: string;
  /** weights to read where a part of it has them */
  variant?: string;
  /** images per city; default 40 */
  imagesPerLabel?: number;
  /** of their sides in pixels; default 64 */
  size?: number;
  /** draws of noise and timestep an image; default 16 */
  samples?: number;
  /** of the world, of the scan's noises and of the intervals; default 0 */
  seed?: number;
  /** clusters per city; default 8 */
  clusters?: number;
  /** times the images are drawn again for the intervals; default 1000 */
  bootstrap?: number;
  /** go on to translation, consistent changes and localization, and a page that links them all; default false */
  full?: boolean;
  /** with `full`: images a city that are translated to the others; default 3 */
  translatedImages?: number;

  /** default 'auto' */
  device?: string;
  /** default 'fp32' */
  dtype?: Dtype;
  /** CPU threads; default: all cores */
  threads?: number;
}

export const DEMO_STAGES = [
  'world',
  'scan',
  'mine',
  'control',
  'evaluate',
  'report',
  'translate',
  'cotypicality',
  'localize',
] as const;
export type DemoStage = (typeof DEMO_STAGES)[number];

export type DemoEvent =
  | { type: 'stage'; stage: DemoStage }
  /** of what has no events of its own kind */
  | { type: 'progress'; event: Progress }
  | { type: 'scan'; event: ScanEvent }
  | { type: 'mine'; event: MineEvent };

/** A kind that is planted in its city, and whether the mining found it there. */
export interface DemoElement {
  slot: string;
  kind: string;
  /** of it in its city's images */
  boxes: number;
  /** of the first 50 patches of the city, those on it; fraction of its boxes that these 50, and that all ranked patches, are on */
  patches50: number;
  /** of the first 50 patches of the diverse ranking, those on it */
  diverse50: number;
  recall50: number;
  recall: number;
  /** mean typicality of the pixels in its boxes */
  typicality: number | null;
}

/** The figures of a city, or their mean over the cities; null if one cannot be computed. */
export interface DemoFigures {
  /** fraction of the pixels that belong to planted elements typical of the city: the average precision of a map that knows nothing */
  fraction: number | null;
  averagePrecision: number | null;
  /** average precision of a network of the same shape with random weights, and of colors alone */
  untrained: number | null;
  color: number | null;
  /** fraction of the images whose highest pixel is on a planted element */
  pointing: number | null;
  /** of the first 50 patches (or as many as there are), the share on a planted element: center in a box or IoU above 0.1; the center alone; of random patches */
  precision50: number | null;
  center50: number | null;
  random50: number | null;
  /** of the first 50 patches of the diverse ranking */
  diverse50: number | null;
}

export interface DemoCity extends DemoFigures {
  city: string;
  images: number;
  boxes: number;
  elements: DemoElement[];
}

export interface DemoSummary {
  /** absolute, as all paths here */
  out: string;
  model: string;
  world: { path: string; boxes: string; images: number; seed: number };
  cities: DemoCity[];
  mean: DemoFigures;
  /** the page to look at; images beside their maps with the boxes, null if none could be drawn */
  report: string;
  grid: string | null;
  /** each stage by itself */
  scan: ScanSummary;
  mine: MineSummary;
  control: ScanSummary;
  evaluation: EvaluateSummary;
  /** null unless asked for */
  full: DemoFull | null;
  seconds: number;
}

/** What `full` adds. */
export interface DemoFull {
  translation: TranslateSummary & { quality: Quality };
  cotypicality: CotypicalitySummary;
  localization: LocalizeSummary;
  /** the page that links all reports */
  page: string;
}
