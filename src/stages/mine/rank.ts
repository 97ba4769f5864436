// The best K patches of each condition and list, over all shards, found by DuckDB: min_by(row, key, K) keeps K rows per group and never sorts the table.
import { asDiffmineError, DiffmineError } from '../../util/errors.js';
import type { Manifest } from '../../runs/manifest.js';
import { LISTS, PATCH_SCHEMA, type ListName, type PatchRow } from '../../runs/columns.js';
import type { Run } from '../../runs/run.js';
import { sqlFiles, sqlText, withDuckDB } from '../../runs/tables.js';

/** Ranked patches: by condition, then list, best first. */
export type Rankings = Map<string, Record<ListName, PatchRow[]>>;

/**
 * What lists are ordered by, ascending: k, then h. The random list is in an order of its own, fixed by the seed: by md5 of seed, condition, image and
 * place. Ties go by the images' order, then place: a shard's rows are written in that order.
 */
function keys(seed: number): string {
  const random = `md5(concat_ws('/', ${sqlText(String(seed))}, condition, label, image, place))`;
  return (
    `CASE list WHEN 'top' THEN -typicality WHEN 'bottom' THEN typicality ELSE 0 END AS k, ` +
    `CASE list WHEN 'random' THEN ${random} ELSE '' END AS h`
  );
}

const COLUMNS = PATCH_SCHEMA.map(([name]) => `"${name}"`).join(', ');
/**
 * Rows that can be ranked. Of a race only those of images that got all samples: others have scores of another spread; their lowest would win a
 * ranking from below, so there is none.
 */
function rankable({ race, samples }: Manifest['options']): string {
  const lists = LISTS.filter((list) => !(race && list === 'bottom'));
  return `list IN (${lists.map(sqlText).join(', ')})${race ? ` AND samples = ${samples}` : ''}`;
}

/** Tables that one question is asked of: a query that names all of a large run takes minutes to plan. */
const TOGETHER = 1024;
/** Questions whose best rows are kept before the best of these are found. */
const PENDING = 4;

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
  const ranked = withDuckDB(async (connection) => {
    // Which rows are the best, by shard s and row n, which are the order of ties as well: a row has a dozen columns, of which most are not wanted.
    await connection.run('CREATE TABLE best (c VARCHAR, l VARCHAR, b STRUCT(k DOUBLE, h VARCHAR, s BIGINT, n BIGINT))');
    const bestOf = (rows: string): string =>
      `SELECT c, l, unnest(min_by({k: k, h: h, s: s, n: n}, {k: k, h: h, s: s, n: n}, ${top})) AS b FROM (${rows}) GROUP BY c, l`;
    const compact = async (): Promise<void> => {
      await connection.run(`CREATE TABLE next AS ${bestOf('SELECT c, l, b.k, b.h, b.s, b.n FROM best')}`);
      await connection.run('DROP TABLE best');
      await connection.run('ALTER TABLE next RENAME TO best');
    };
    for (let first = 0, pending = 0; first < files.length; first += together) {
      const from = sqlFiles(files.slice(first, first + together), ', file_row_number = true');
      const rows = `SELECT condition AS c, list AS l, ${keys(options.seed)}, file_index + ${first} AS s, file_row_number AS n FROM ${from} WHERE ${rankable(options)}`;
      await connection.run(`INSERT INTO best ${bestOf(rows)}`);
      pending += 1;
      if (pending < PENDING && first + together < files.length) continue;
      await compact();
      pending = 1;
    }
    await connection.run(
      `CREATE TABLE chosen AS SELECT row_number() OVER (PARTITION BY c, l ORDER BY b) AS position, b.s AS s, b.n AS n FROM best`,
    );
    await connection.run('DROP TABLE best');
    const wanted = await connection.runAndReadAll('SELECT DISTINCT s::INTEGER FROM chosen ORDER BY 1');
    const shards = wanted.getRows().map(([shard]) => Number(shard));
    const none = sqlFiles(files.slice(0, 1), ', file_row_number = true');
    await connection.run(`CREATE TABLE ranked AS SELECT NULL::BIGINT AS position, ${COLUMNS} FROM ${none} LIMIT 0`);
    for (let first = 0; first < shards.length; first += together) {
      const some = shards.slice(first, first + together);
      const from = sqlFiles(
        some.map((shard) => files[shard] as string),
        ', file_row_number = true',
      );
      await connection.run(
        `INSERT INTO ranked SELECT position, ${COLUMNS} FROM ${from} JOIN chosen ON s = [${some.join(', ')}][(file_index + 1)::BIGINT] AND n = file_row_number`,
      );
    }
    const found = await connection.stream(`SELECT ${COLUMNS} FROM ranked ORDER BY position`);
    for await (const rows of found.yieldRowObjectJs())
      for (const row of rows as PatchRow[]) rankings.get(row.condition)?.[row.list].push(row);
  });
  await ranked.catch((error: unknown) => {
    if (asDiffmineError(error).code === 'IO') throw error; // a full disk
    throw new DiffmineError(
      'RUN_INVALID',
      `The patches of ${run.path} cannot be read: ${(error as Error).message}`,
      'Remove the named shard folder and scan again: only that shard is repeated.',
      { cause: error },
    );
  });
  return rankings;
}
