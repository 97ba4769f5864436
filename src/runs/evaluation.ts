// RUN/evaluate: the results of an evaluation, kept in the run for its report.
//
//   evaluate/evaluation.json     EvaluationRecord
//   evaluate/maps.webp           images beside their maps (grid.ts); absent without them
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MarkCounts } from '../data/boxes/index.js';
import type { Figure } from '../metrics/bootstrap.js';
import type { MineRecord } from './mining.js';
import { readMine } from './mining.js';
import { canonicalJson, type Json } from './fingerprint.js';
import type { Run } from './run.js';

export const EVALUATION_FORMAT = 'diffmine-evaluation-3';
export const EVALUATION_FILE = 'evaluation.json';
export const GRID_FILE = 'maps.webp';

/** P@k: the fraction of the first k patches that hit a typical element. */
export interface PrecisionAt {
  k: number;
  /** by center in a box of such an element, or IoU with one above 0.1 */
  hit: Figure;
  /** by center only */
  center: Figure;
}

/** Figures of maps. */
export interface PixelMetrics {
  averagePrecision: Figure;
  /** average precision divided by the fraction of typical pixels, which is the average precision of a constant map */
  lift: number | null;
  /** fraction of the images with a typical element whose highest pixel is on one */
  pointing: Figure;
}

export interface Metrics extends PixelMetrics {
  /** of the ranking by typicality, and of random patches as a control */
  top: PrecisionAt[];
  random: PrecisionAt[];
  /** of the diverse ranking; empty without `mine --diverse` */
  diverse: PrecisionAt[];
}

/** Mean typicality of pixels in boxes typical of the label, in boxes typical of other labels only, and elsewhere. */
export interface RegionTypicality {
  own: number | null;
  others: number | null;
  rest: number | null;
}

export interface LabelEvaluation extends Metrics {
  label: string;
  images: number;
  /** boxes of elements typical of the label in its own images */
  boxes: number;
  /** fraction of pixels in such boxes: the average precision of a constant map */
  fraction: number | null;
  typicality: RegionTypicality;
  /** patches in the ranking; P@k is over fewer than k if it is shorter */
  patches: number;
}

/** A kind of element, in the images of the label that it is typical of. */
export interface KindEvaluation {
  label: string;
  kind: string;
  slot?: string;
  boxes: number;
  /** fraction of its boxes that a patch of the whole ranking hits, and of its first 50 */
  recall: number | null;
  recall50: number | null;
  /** number of the first 50 patches that hit such a box */
  patches50: number | null;
  /** the same of the diverse ranking; null without `mine --diverse` */
  diverseRecall50: number | null;
  diversePatches50: number | null;
  /** mean typicality of the pixels in its boxes */
  typicality: number | null;
}

/** The same figures for a control. Labels in the evaluation's order. */
export interface Control<Figures> {
  mean: Figures;
  labels: (Figures & { label: string })[];
}

/** The grid of images beside their maps: a row per label, cells of equal size, each an image and its map. */
export interface MapGrid {
  /** of a cell, px */
  cell: { width: number; height: number };
  columns: number;
  /** colors of the boxes, CSS */
  colors: { own: string; others: string };
  /** `scale`: typicality of the map's strongest color */
  rows: { label: string; scale: number; images: { image: string; own: number; others: number }[] }[];
}

export interface EvaluateSummary {
  /** of what was written, the run's folder evaluate/; absolute */
  path: string;
  /** the run that was evaluated */
  run: string;
  /** what the run's labels were compared with: `null`, `others` or a label */
  against: string;
  /** whether the run has random weights */
  untrained: boolean;
  /** `used`: boxes of images in the run; of these, how many were rotated, clipped, or cover no pixel */
  boxes: { path: string; rows: number; used: number } & MarkCounts;
  options: { smooth: number; bootstrap: number; seed: number; typicalColumn: string | null };
  /** over the labels that have the figure; `share` of typical pixels and typicality likewise; lift: of the means */
  mean: Metrics & { fraction: number | null; typicality: RegionTypicality };
  labels: LabelEvaluation[];
  kinds: KindEvaluation[];
  controls: {
    /** the color baseline; null if images cannot be read, or it is disabled */
    color: Control<PixelMetrics> | null;
    /** another run; `untrained`: with random weights */
    run: (Control<Metrics> & { path: string; untrained: boolean }) | null;
  };
  /** null without maps, or if images cannot be read */
  grid: MapGrid | null;
  /** what could not be computed, and why */
  notes: string[];
}

export interface EvaluationRecord extends Omit<EvaluateSummary, 'path'> {
  format: typeof EVALUATION_FORMAT;
  version: string;
  /** the run's */
  fingerprint: string;
  /** how the run was mined; null if it was not */
  mine: MineRecord['options'] | null;
}

export const evaluationFolder = (run: Run): string => join(run.path, 'evaluate');

/** The evaluation of the run as it is mined now; undefined if there is none, or only one of an earlier mining. */
export async function readEvaluation(run: Run): Promise<EvaluationRecord | undefined> {
  let record: Partial<EvaluationRecord> | null;
  try {
    record = JSON.parse(
      await readFile(join(evaluationFolder(run), EVALUATION_FILE), 'utf8'),
    ) as Partial<EvaluationRecord> | null;
  } catch {
    return undefined;
  }
  if (record?.format !== EVALUATION_FORMAT || record.fingerprint !== run.manifest.fingerprint) return undefined;
  const mined = (await readMine(run))?.options ?? null;
  return canonicalJson(record.mine as unknown as Json) === canonicalJson(mined as unknown as Json)
    ? (record as EvaluationRecord)
    : undefined;
}
