// What the report shows of a run, and in which order: the mined tables turned into one view per label.
// Pure: no files, no images.
import { separates, type ClusterRow, type MinedListName, type MinedPatchRow } from '../../runs/columns.js';

export interface LabelView {
  label: string;
  /** every patch that has a tile, in tile order: clusters first (members by distance), then the rest of the lists by rank */
  patches: MinedPatchRow[];
  /** by number, as in the tables; `members` index `patches` */
  clusters: {
    number: number;
    size: number;
    median: number;
    members: number[];
    /** [AUROC, low, high], and whether the cluster tells its label from the others; null where that was not measured */
    evidence: { auroc: (number | null)[]; separates: boolean | null } | null;
  }[];
  /** `total` mined, of which `shown` (indices of `patches`, by rank) have a tile */
  lists: Record<MinedListName, { total: number; shown: number[] }>;
}

const byRank = (a: MinedPatchRow, b: MinedPatchRow): number => a.rank - b.rank;
const byDistance = (a: MinedPatchRow, b: MinedPatchRow): number =>
  (a.distance ?? Infinity) - (b.distance ?? Infinity) || byRank(a, b);

/**
 * One view per label, in the order of `labels`; labels without a mined patch come with empty lists.
 * Clustered patches are shown whole; of a list that was not clustered the first `controls` by rank, to bound the report's size.
 */
export function layOut(
  labels: readonly string[],
  patches: readonly MinedPatchRow[],
  clusters: readonly ClusterRow[],
  controls: number,
): LabelView[] {
  const rowsOf = groupBy(patches, (row) => row.condition);
  const clustersOf = groupBy(clusters, (row) => row.condition);
  const known = new Set(labels);
  const extra = [...rowsOf.keys()].filter((condition) => !known.has(condition));
  return [...labels, ...extra].map((label) =>
    layOutLabel(label, rowsOf.get(label) ?? [], clustersOf.get(label) ?? [], controls),
  );
}

function layOutLabel(label: string, rows: MinedPatchRow[], clusterRows: ClusterRow[], controls: number): LabelView {
  const shown: MinedPatchRow[] = [];
  const tileOf = new Map<MinedPatchRow, number>();
  const place = (row: MinedPatchRow): number => {
    let tile = tileOf.get(row);
    if (tile === undefined) {
      tile = shown.push(row) - 1;
      tileOf.set(row, tile);
    }
    return tile;
  };

  const members = groupBy(
    rows.filter((row) => row.cluster !== null),
    (row) => row.cluster as number,
  );
  const clusters = [...clusterRows]
    .sort((a, b) => a.cluster - b.cluster)
    .map((row) => ({
      number: row.cluster,
      size: row.size,
      median: row.median_typicality,
      evidence:
        (row.auroc ?? null) === null
          ? null
          : { auroc: [row.auroc, row.auroc_low, row.auroc_high], separates: separates(row) },
      members: (members.get(row.cluster) ?? []).sort(byDistance).map(place),
    }));

  const list = (name: MinedListName): { total: number; shown: number[] } => {
    const all = rows.filter((row) => row.list === name).sort(byRank);
    const clustered = all.some((row) => row.cluster !== null);
    return { total: all.length, shown: (clustered ? all : all.slice(0, controls)).map(place) };
  };
  return {
    label,
    clusters,
    lists: { top: list('top'), diverse: list('diverse'), random: list('random'), bottom: list('bottom') },
    patches: shown,
  };
}

function groupBy<Row, Key>(rows: readonly Row[], key: (row: Row) => Key): Map<Key, Row[]> {
  const groups = new Map<Key, Row[]>();
  for (const row of rows) {
    const group = groups.get(key(row));
    if (group) group.push(row);
    else groups.set(key(row), [row]);
  }
  return groups;
}
