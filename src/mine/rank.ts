// The best K patches of each condition and list, over all shards, found by DuckDB: min_by(row, key, K) keeps K rows a group, in order, and never sorts the table.
import { LISTS, PATCH_SCHEMA, type ListName, type PatchRow } from '../run/schema';
import type { Run } from '../run/run';
import { query, sqlFiles, sqlText } from '../run/tables';

/** Ranked patches: by condition, then list, best first. */
export type Rankings = Map<string, Record<ListName, PatchRow[]>>;

/**
 * What a list is ordered by, ascending. The random list is in an order of its own, fixed by the seed: by md5 of seed, condition, picture and place.
 * Ties go by the pictures' order, then place: a shard's rows are written in that order.
 */
function key(list: ListName, seed: number): string {
  if (list === 'top') return '-typicality';
  if (list === 'least') return 'typicality';
  return `md5(concat_ws('/', ${sqlText(String(seed))}, condition, label, image, place))`;
}

const COLUMNS = PATCH_SCHEMA.map(([name]) => `"${name}": "${name}"`).join(', ');

/** @param top patches a condition and list */
export async function rank(run: Run, top: number): Promise<Rankings> {
  const { conditions, options, shards } = run.manifest;
  const rankings: Rankings = new Map(conditions.map((condition) => [condition, { top: [], least: [], random: [] }]));
  const files = Array.from({ length: shards }, (_, shard) => run.shardFile(shard, 'patches.parquet'));
  for (const list of LISTS) {
    const rows = await query<PatchRow>(`
      SELECT b.* FROM (
        SELECT unnest(min_by({${COLUMNS}}, {k: ${key(list, options.seed)}, s: file_index, n: file_row_number}, ${top})) AS b
        FROM ${sqlFiles(files, ', file_row_number = true')} WHERE list = ${sqlText(list)} GROUP BY condition
      )`);
    for (const row of rows) rankings.get(row.condition)?.[list].push(row);
  }
  return rankings;
}
