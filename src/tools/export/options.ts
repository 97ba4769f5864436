// What an export is asked for.
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';

export const EXPORT_TABLES = ['patches', 'clusters', 'images'] as const;
export const EXPORT_FORMATS = ['json', 'csv', 'parquet'] as const;
export type ExportTable = (typeof EXPORT_TABLES)[number];
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export const EXPORT = optionsOf('export', {
  table: option(fields.oneOf(EXPORT_TABLES).default('patches'), { group: 'What', description: 'Table to export' }),
  format: option(fields.oneOf(EXPORT_FORMATS).optional(), {
    group: 'Output',
    description: 'Format to write',
    shown: 'csv; with --json, json',
  }),
  out: option(fields.path().optional(), { group: 'Output', description: 'File to write', shown: 'stdout' }),
});
