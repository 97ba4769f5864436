// Exports tables: patches and clusters of the mining, images of the scan, as JSON, CSV or Parquet.
import type { Writable } from 'node:stream';
import { DiffmineError } from '../../util/errors.js';
import { readMine } from '../../runs/mining.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { Run } from '../../runs/run.js';
import { CLUSTER_SCHEMA, imageSchema, MINED_PATCH_SCHEMA } from '../../runs/schema.js';
import type { ExportFormat, ExportTable } from './options.js';
import { encodeTable, readTable, type Cell, type Row, type Schema } from '../../runs/tables.js';

export { EXPORT_FORMATS, EXPORT_TABLES, type ExportFormat, type ExportTable } from './options.js';

/** Columns of the exported patches, in their documented order; `list` and what places a patch in the scored image come last. */
const PATCH_ORDER = [
  'image',
  'label',
  'condition',
  'rank',
  'x',
  'y',
  'width',
  'height',
  'typicality',
  'standard_error',
  'samples',
  'cluster',
  'list',
  'distance',
  'row',
  'column',
  'patch',
];

async function load(run: Run, table: ExportTable): Promise<{ rows: Row[]; schema: Schema }> {
  if (table === 'images') {
    const rows: Row[] = [];
    for await (const row of run.images()) rows.push(row);
    return { rows, schema: imageSchema(run.manifest.dataset.columns) };
  }
  if (!(await readMine(run))) {
    throw new DiffmineError(
      'RUN_INVALID',
      `${run.path} is not mined: it has no ${table}.`,
      'Mine it first: diffmine mine RUN. The images table needs no mining.',
    );
  }
  if (table === 'clusters') return { rows: await readTable(run.mineFile('clusters.parquet')), schema: CLUSTER_SCHEMA };
  const schema = PATCH_ORDER.flatMap((name) => MINED_PATCH_SCHEMA.filter(([column]) => column === name));
  return { rows: await readTable(run.mineFile('patches.parquet')), schema };
}

/** RFC 4180: a field with a comma, a quote or a line break is quoted, quotes are doubled; null is empty. */
function csvField(cell: Cell): string {
  if (cell === null) return '';
  const text = String(cell);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows as CSV with a header line. */
export function toCsv(rows: readonly Row[], schema: Schema): string {
  const lines = rows.map((row) => schema.map(([name]) => csvField(row[name] ?? null)).join(','));
  return [schema.map(([name]) => csvField(name)).join(','), ...lines].map((line) => `${line}\r\n`).join('');
}

/** Rows as a JSON array, a row per line. */
export function toJson(rows: readonly Row[], schema: Schema): string {
  const lines = rows.map((row) =>
    JSON.stringify(Object.fromEntries(schema.map(([name]) => [name, row[name] ?? null]))),
  );
  return lines.length === 0 ? '[]\n' : `[\n${lines.join(',\n')}\n]\n`;
}

export interface ExportOptions {
  run: string;
  table: ExportTable;
  format: ExportFormat;
  /** a file, or a stream */
  out: string | Writable;
}

/**
 * Writes a table of a run to a file or stream. Returns the number of rows.
 *
 * @throws RUN_INVALID if the run has no such table yet
 */
export async function exportTable({ run, table, format, out }: ExportOptions): Promise<number> {
  const { rows, schema } = await load(await Run.open(run), table);
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
