// Exports tables: patches and clusters of the mining, images of the scan, as JSON, CSV or Parquet.
import type { Writable } from 'node:stream';
import { writeFileAtomic } from '../../runs/atomic.js';
import { Run } from '../../runs/run.js';
import { toCsv } from './csv.js';
import type { ExportTable, TableFormat } from './options.js';
import { encodeTable, type Row, type Schema } from '../../runs/tables.js';
import { withLocalRun, withoutMaps } from '../../runs/store/copy.js';
import { load, type Selection } from './rows.js';

export { toCsv } from './csv.js';
export { EXPORT_FORMATS, EXPORT_TABLES, type ExportFormat, type ExportTable } from './options.js';

/** Rows as a JSON array, a row per line. */
export function toJson(rows: readonly Row[], schema: Schema): string {
  const lines = rows.map((row) =>
    JSON.stringify(Object.fromEntries(schema.map(([name]) => [name, row[name] ?? null]))),
  );
  return lines.length === 0 ? '[]\n' : `[\n${lines.join(',\n')}\n]\n`;
}

/** The rows: of one ranking, of some labels, the first `top` of each. */
export interface ExportOptions extends Selection {
  run: string;
  table: Exclude<ExportTable, 'maps'>;
  format: TableFormat;
  /** a file, or a stream */
  out: string | Writable;
}

/**
 * Writes a table of a run to a file or stream. Returns the number of rows.
 *
 * @throws RUN_INVALID if the run has no such table yet; INVALID_ARGUMENT for a label or list that the run does not have
 */
export async function exportTable({ run, table, format, out, ...selection }: ExportOptions): Promise<number> {
  const { rows, schema } = await withLocalRun(run, {}, { reads: withoutMaps, makes: [], lock: '' }, async (folder) =>
    load(await Run.open(folder), table, selection),
  );
  const data =
    format === 'parquet'
      ? await encodeTable(rows, schema)
      : format === 'csv'
        ? toCsv(rows, schema)
        : toJson(rows, schema);
  if (typeof out === 'string') await writeFileAtomic(out, data);
  else await new Promise<void>((resolve, reject) => out.write(data, (error) => (error ? reject(error) : resolve())));
  return rows.length;
}
