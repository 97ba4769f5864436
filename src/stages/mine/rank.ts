// The best K patches of each condition and list, over all shards, found by DuckDB: min_by(row, key, K) keeps K rows per group and never sorts the table.
import { DiffmineError } from '../../util/errors.js';
import type { Manifest } from '../../runs/manifest.js';
import { LISTS, PATCH_SCHEMA, type ListName, type PatchRow } from '../../runs/schema.js';
import type { Run } from '../../runs/run.js';
import { sqlFiles, sqlText, withDuckDB } from '../../runs/tables.js';

/** Ranked patches: by condition, then list, best first. */
export type Rankings = Map<string, Record<ListName, PatchRow[]>>;

/**
 * What a list is ordered by, ascending. The random list is in an order of its own, fixed by the seed: by md5 of seed, condition, image and place.
 * Ties go by the images' order, then place: a shard's rows are written in that order.
 */
function key(list: ListName, seed: number): string {
  if (list === 'top') return '-typicality';
  if (list === 'bottom') return 'typicality';
  return `md5(concat_ws('/', ${sqlText(String(seed))}, condition, label, image, place))`;
}

const COLUMNS = PATCH_SCHEMA.map(([name]) => `"${name}"`).join(', ');
/**
 * Rows of a list that can be ranked. Of a race only those of images that got all samples: others have scores of another spread; their lowest would win a
 * ranking from below, so there is none.
 */
function rankable(list: ListName, { race, samples }: Manifest['options']): string {
  const rows = `list = ${sqlText(list)}`;
  if (!race) return rows;
  return list === 'bottom' ? 'false' : `${rows} AND samples = ${samples}`;
}

/** Tables that one question is asked of: a query that names all of a large run takes minutes to plan. */
const TOGETHER = 1024;

const tablesOf = (run: Run): string[] =>
  Array.from({ length: run.manifest.shards }, (_, shard) => run.shardFile(shard, 'patches.parquet'));

/**
 * @param top patches per condition and list
 * @param files tables of candidates, one per shard; default: those of the scan
 * @throws RUN_INVALID where a shard's table is missing or damaged
 */
export async function rank(
  run: Run,
  top: number,
  together = TOGETHER,
  files: readonly string[] = tablesOf(run),
): Promise<Rankings> {
  const { conditions, options } = run.manifest;
  const rankings: Rankings = new Map(conditions.map((condition) => [condition, { top: [], bottom: [], random: [] }]));
  const parts = Array.from({ length: Math.ceil(files.length / together) }, (_, part) => part * together);
  const from = (first: number): string => sqlFiles(files.slice(first, first + together), ', file_row_number = true');
  const ranked = withDuckDB(async (connection) => {
    // Which rows are the best, by shard s and row n, which are the order of ties as well: a row has a dozen columns, of which most are not wanted.
    await connection.run('CREATE TABLE chosen (position BIGINT, s BIGINT, n BIGINT)');
    for (const list of LISTS) {
      for (const first of parts) {
        const rows = `SELECT condition AS c, ${key(list, options.seed)} AS k, file_index + ${first} AS s, file_row_number AS n FROM ${from(first)} WHERE ${rankable(list, options)}`;
        // with the best of those before
        const all = first === 0 ? rows : `${rows} UNION ALL SELECT c, b.k, b.s, b.n FROM best`;
        await connection.run(
          `CREATE TABLE next AS SELECT c, unnest(min_by({k: k, s: s, n: n}, {k: k, s: s, n: n}, ${top})) AS b FROM (${all}) GROUP BY c`,
        );
        await connection.run('DROP TABLE IF EXISTS best');
        await connection.run('ALTER TABLE next RENAME TO best');
      }
      await connection.run(
        `INSERT INTO chosen SELECT row_number() OVER (PARTITION BY c ORDER BY b.k, b.s, b.n), b.s, b.n FROM best`,
      );
      await connection.run('DROP TABLE best');
    }
    await connection.run(`CREATE TABLE ranked AS SELECT NULL::BIGINT AS position, ${COLUMNS} FROM ${from(0)} LIMIT 0`);
    for (const first of parts) {
      await connection.run(
        `INSERT INTO ranked SELECT position, ${COLUMNS} FROM ${from(first)} p JOIN chosen ON s = file_index + ${first} AND n = file_row_number`,
      );
    }
    const found = await connection.stream(`SELECT ${COLUMNS} FROM ranked ORDER BY position`);
    for await (const rows of found.yieldRowObjectJs())
      for (const row of rows as PatchRow[]) rankings.get(row.condition)?.[row.list].push(row);
  });
  await ranked.catch((error: unknown) => {
    throw new DiffmineError(
      'RUN_INVALID',
      `The patches of ${run.path} cannot be read: ${(error as Error).message}`,
      'Remove the named shard folder and scan again: only that shard is repeated.',
      { cause: error },
    );
  });
  return rankings;
}
