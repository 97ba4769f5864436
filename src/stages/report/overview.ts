// What the overview shows of all labels: for runs with --all-labels how typical each cluster's patches, and each label's images, are under every label.
import { orderedLabels } from '../../data/label-order.js';
import { readMaps } from '../../runs/maps.js';
import type { Run } from '../../runs/run.js';
import { imageKey } from '../../runs/run.js';
import type { ImageRow, MinedPatchRow } from '../../runs/columns.js';
import { readTable } from '../../runs/tables.js';
import type { TypicalityMap } from '../../web/heatmap.js';
import type { LabelView } from './layout.js';

/** Patches of a cluster that its profile is the mean of. */
const PROFILED = 24;

export interface Overview {
  /** places of the labels in the order they are shown in; `ordered`: they are numbers or decades */
  order: number[];
  ordered: boolean;
  /** by label and cluster: [mean typicality, standard error] under each label; null without --all-labels or maps */
  profiles: ([number, number] | null)[][][] | null;
  /** mean typicality of the images of each label (row) under each label (column); null without --all-labels */
  matrix: (number | null)[][] | null;
}

/** @param shardOf the shard that scored an image (imageKey) */
export async function overviewOf(
  run: Run,
  views: readonly LabelView[],
  shardOf: ReadonlyMap<string, number>,
): Promise<Overview> {
  const labels = views.map(({ label }) => label);
  const positions = orderedLabels(labels);
  const all = run.manifest.options.allLabels && labels.length > 1;
  const matrix = all ? await matrixOf(run, labels) : null;
  return {
    order: positions
      ? positions.map(({ label }) => labels.indexOf(label))
      : matrix
        ? bySimilarity(matrix)
        : [...labels.keys()],
    ordered: positions !== null,
    profiles: all && run.manifest.options.maps ? profilesOf(run, views, shardOf) : null,
    matrix,
  };
}

async function matrixOf(run: Run, labels: readonly string[]): Promise<(number | null)[][]> {
  const sums = labels.map(() => labels.map(() => ({ sum: 0, count: 0 })));
  for (let shard = 0; shard < run.manifest.shards; shard++) {
    const columns = ['label', 'condition', 'typicality'];
    for (const row of await readTable<ImageRow>(run.shardFile(shard, 'images.parquet'), columns)) {
      const cell = sums[labels.indexOf(row.label)]?.[labels.indexOf(row.condition)];
      if (cell) Object.assign(cell, { sum: cell.sum + row.typicality, count: cell.count + 1 });
    }
  }
  return sums.map((row) => row.map(({ sum, count }) => (count > 0 ? Number((sum / count).toPrecision(5)) : null)));
}

/** The order in which neighbors have like rows and columns: by the first principal component of the rows, by power iteration. */
export function bySimilarity(matrix: readonly (readonly (number | null)[])[]): number[] {
  const n = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...matrix.map((other) => other[i] ?? null)].map((value) => value ?? 0));
  const width = 2 * n;
  for (let column = 0; column < width; column++) {
    const mean = rows.reduce((sum, row) => sum + (row[column] as number), 0) / n;
    for (const row of rows) row[column] = (row[column] as number) - mean;
  }
  const dot = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
  let score = Array.from({ length: n }, (_, i) => Math.sin(i + 1));
  for (let round = 0; round < 200; round++) {
    const direction = Array.from({ length: width }, (_, c) =>
      rows.reduce((sum, row, i) => sum + (row[c] as number) * (score[i] as number), 0),
    );
    const next = rows.map((row) => dot(row, direction));
    const norm = Math.sqrt(dot(next, next));
    if (norm === 0) return [...matrix.keys()];
    score = next.map((value) => value / norm);
  }
  const order = [...matrix.keys()].sort((a, b) => (score[a] as number) - (score[b] as number) || a - b);
  return (order[0] as number) > (order[n - 1] as number) ? order.reverse() : order;
}

function profilesOf(
  run: Run,
  views: readonly LabelView[],
  shardOf: ReadonlyMap<string, number>,
): ([number, number] | null)[][][] {
  const chosen = views.flatMap((view, label) =>
    view.clusters.flatMap(({ members }, cluster) =>
      members.slice(0, PROFILED).map((tile) => ({ label, cluster, patch: view.patches[tile] as MinedPatchRow })),
    ),
  );
  const values = views.map((view) => view.clusters.map(() => views.map(() => [] as number[])));
  const shards = new Map<number, typeof chosen>();
  for (const one of chosen) {
    const shard = shardOf.get(imageKey({ path: one.patch.image, label: one.patch.label }));
    if (shard !== undefined) shards.set(shard, [...(shards.get(shard) ?? []), one]);
  }
  const cell = run.manifest.model.kind === 'latent' ? run.manifest.model.vaeFactor : 1;
  for (const [shard, ones] of shards) {
    for (const [under, { label: condition }] of views.entries()) {
      const maps = readMaps(run, shard, condition, [...new Set(ones.map(({ patch }) => patch.image))]);
      for (const { label, cluster, patch } of ones) {
        const map = maps.get(patch.image);
        if (map) values[label]?.[cluster]?.[under]?.push(meanIn(map, patch, cell));
      }
    }
  }
  return values.map((clusters) =>
    clusters.map((labels) =>
      labels.map((own) => {
        if (own.length === 0) return null;
        const mean = own.reduce((sum, value) => sum + value, 0) / own.length;
        const squares = own.reduce((sum, value) => sum + (value - mean) ** 2, 0);
        const error = Math.sqrt(squares / Math.max(1, own.length - 1) / own.length);
        return [Number(mean.toPrecision(5)), Number(error.toPrecision(3))];
      }),
    ),
  );
}

/** The mean of the map's cells whose centers are in the patch; `cell` pixels a side. */
function meanIn({ values, width, height }: TypicalityMap, { row, column, patch }: MinedPatchRow, cell: number): number {
  const range = (from: number, cells: number): [number, number] => {
    const first = Math.max(0, Math.min(cells - 1, Math.round(from / cell)));
    return [first, Math.max(first + 1, Math.min(cells, Math.round((from + patch) / cell)))];
  };
  const [top, bottom] = range(row, height);
  const [left, right] = range(column, width);
  let sum = 0;
  for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) sum += values[y * width + x] as number;
  return sum / ((bottom - top) * (right - left));
}
