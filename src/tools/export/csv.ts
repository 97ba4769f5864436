// Tables as CSV.
import type { Cell, Row, Schema } from '../../runs/tables.js';

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
