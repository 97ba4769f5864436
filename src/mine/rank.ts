// The best K patches of each condition and list, over all shards, found by DuckDB: min(struct, K) keeps K rows a group and never sorts the table.
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

/** @param top patches a condition and list */
export async function rank(run: Run, top: number): Promise<Rankings> {
  const { conditions, options, shards } = run.manifest;
  const rankings: Rankings = new Map(conditions.map((condition) => [condition, { top: [], least: [], random: [] }]));
  const files = Array.from({ length: shards }, (_, shard) => run.shardFile(shard, 'patches.parquet'));
  for (const list of LISTS) {
    const candidates = `(
      SELECT *, file_index AS shard FROM ${sqlFiles(files, ', file_row_number = true')} WHERE list = ${sqlText(list)}
    )`;
    // the groups hold nothing but the key and where the row lies; the rows themselves are fetched at the end
    const rows = await query<PatchRow>(`
      WITH best AS (
        SELECT unnest(min({k: ${key(list, options.seed)}, s: shard, n: file_row_number}, ${top})) AS b FROM ${candidates} GROUP BY condition
      )
      SELECT ${PATCH_SCHEMA.map(([name]) => `c."${name}"`).join(', ')}
      FROM ${candidates} AS c JOIN best ON c.shard = best.b.s AND c.file_row_number = best.b.n
      ORDER BY c.condition, best.b.k, c.shard, c.file_row_number`);
    for (const row of rows) rankings.get(row.condition)?.[list].push(row);
  }
  return rankings;
}
