// The best K patches of each condition and list, over all shards, found by DuckDB: min(struct, K) keeps K rows a group and never sorts the table.
import { LISTS, type ListName, type PatchRow } from '../run/schema';
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
    const rows = await query<PatchRow>(`
      WITH candidates AS (
        SELECT *, CAST(regexp_extract(filename, '([0-9]+)[/\\\\]patches.parquet$', 1) AS INTEGER) AS shard
        FROM ${sqlFiles(files, ', filename = true, file_row_number = true')}
        WHERE list = ${sqlText(list)}
      ), best AS (
        SELECT unnest(min({
          k: ${key(list, options.seed)}, s: shard, n: file_row_number, image: image, label: label, condition: condition, place: place, x: x, y: y,
          width: width, height: height, r: "row", c: "column", patch: patch, typicality: typicality, standard_error: standard_error, samples: samples
        }, ${top})) AS b
        FROM candidates GROUP BY condition
      )
      SELECT b.image AS image, b.label AS label, b.condition AS condition, ${sqlText(list)} AS list, b.place AS place, b.x AS x, b.y AS y, b.width AS width,
        b.height AS height, b.r AS "row", b.c AS "column", b.patch AS patch, b.typicality AS typicality, b.standard_error AS standard_error, b.samples AS samples
      FROM best ORDER BY b.condition, b.k, b.s, b.n`);
    for (const row of rows) rankings.get(row.condition)?.[list].push(row);
  }
  return rankings;
}
