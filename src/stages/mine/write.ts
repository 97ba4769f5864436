// What mining found, written: mine.json, the tables, the features.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromFloat32, writeSafetensors } from '../../engine/index.js';
import type { Confounds } from '../../data/confounds.js';
import type { Tensor } from '../../engine/types.js';
import type { Clustering } from '../../pipeline/cluster.js';
import { MINE_FORMAT, type MinedCondition, type MineRecord } from '../../runs/mining.js';
import type { Run } from '../../runs/run.js';
import {
  CLUSTER_SCHEMA,
  ELEMENT_SCHEMA,
  MINED_LISTS,
  MINED_PATCH_SCHEMA,
  TREND_PATCH_SCHEMA,
  TREND_SCHEMA,
  type ClusterRow,
  type MinedListName,
  type MinedPatchRow,
  type PatchRow,
} from '../../runs/columns.js';
import { SHAPES, type Shape } from '../../metrics/trend.js';
import type { Trends } from './trends.js';
import type { Evidence } from './evidence.js';
import { writeTable } from '../../runs/tables.js';

/** What was found of one condition. */
export interface Mined {
  condition: string;
  lists: Record<MinedListName, PatchRow[]>;
  /** of the clustered list */
  facts: Pick<MinedCondition, 'images' | 'groups' | 'dropped'>;
  clustering: Clustering;
  /** by cluster; empty where it was not measured */
  evidence: Evidence[];
  /** F32 [patches, F] of the clustered list */
  features: Tensor;
}

export interface Found {
  mined: Mined[];
  /** that the clustered patches come from */
  images: number;
  /** patches whose features an earlier mining had computed */
  reusedFeatures: number;
  confounds: Confounds | null;
  trends: Trends | null;
  notes: string[];
}

export function recordOf(
  run: Run,
  recorded: MineRecord['options'],
  { mined, images, confounds, trends, notes }: Found,
): MineRecord {
  return {
    format: MINE_FORMAT,
    fingerprint: run.manifest.fingerprint,
    options: recorded,
    conditions: mined.map(({ condition, facts, clustering: { assignment, clusters, inertia } }) => ({
      condition,
      patches: assignment.length,
      clusters: clusters.length,
      inertia,
      ...facts,
    })),
    images,
    confounds,
    trends: trends && shapesOf(trends),
    notes,
  };
}

export async function write(folder: string, run: Run, recorded: MineRecord['options'], found: Found): Promise<void> {
  const patches = found.mined.flatMap(({ lists, clustering }) =>
    MINED_LISTS.flatMap((list) => {
      const clustered = list === recorded.rank ? clustering : undefined;
      // `place` is not a column of this table
      return lists[list].map((row, index): MinedPatchRow => ({
        ...row,
        list,
        rank: index + 1,
        cluster: clustered?.assignment[index] ?? null,
        distance: clustered?.distances[index] ?? null,
      }));
    }),
  );
  const clusters = found.mined.flatMap(({ condition, clustering, evidence }) =>
    clustering.clusters.map(({ size, medianTypicality, inertia }, index): ClusterRow => ({
      condition,
      cluster: index,
      size,
      median_typicality: medianTypicality,
      inertia,
      ...evidenceRow(evidence[index]),
    })),
  );
  const tensors: Record<string, Tensor> = {};
  for (const { condition, features, clustering } of found.mined) {
    const made = clustering.clusters.length;
    if (made === 0) continue;
    tensors[`features.${condition}`] = features;
    tensors[`centers.${condition}`] = fromFloat32([made, features.shape[1] ?? 0], clustering.centers);
  }
  await writeTable(join(folder, 'patches.parquet'), patches, MINED_PATCH_SCHEMA);
  await writeTable(join(folder, 'clusters.parquet'), clusters, CLUSTER_SCHEMA);
  if (found.trends) {
    await writeTable(join(folder, 'elements.parquet'), found.trends.elements, ELEMENT_SCHEMA);
    await writeTable(join(folder, 'trends.parquet'), found.trends.curves, TREND_SCHEMA);
    await writeTable(join(folder, 'trend-patches.parquet'), found.trends.patches, TREND_PATCH_SCHEMA);
  }
  writeSafetensors(join(folder, 'features.safetensors'), tensors);
  await writeFile(join(folder, 'mine.json'), `${JSON.stringify(recordOf(run, recorded, found), null, 1)}\n`);
}

function shapesOf({ elements }: Trends): Record<Shape, number> {
  return Object.fromEntries(
    SHAPES.map((shape) => [shape, elements.filter((one) => one.shape === shape).length]),
  ) as Record<Shape, number>;
}

function evidenceRow(
  evidence: Evidence | undefined,
): Pick<ClusterRow, 'auroc' | 'auroc_low' | 'auroc_high' | 'evidence_own' | 'evidence_others'> {
  const { value = null, low = null, high = null } = evidence?.auroc ?? {};
  return {
    auroc: value,
    auroc_low: low,
    auroc_high: high,
    evidence_own: evidence?.own ?? null,
    evidence_others: evidence?.others ?? null,
  };
}
