// What an export is asked for.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { MOVED_DATASET } from '../../options/shared.js';
import { MINED_LISTS } from '../../runs/schema.js';

export const EXPORT_TABLES = ['patches', 'clusters', 'images'] as const;
export const EXPORT_FORMATS = ['json', 'csv', 'parquet'] as const;
export type ExportTable = (typeof EXPORT_TABLES)[number];
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** Which rows are exported. */
const ROWS = {
  list: option(fields.oneOf(MINED_LISTS).optional(), {
    group: 'What',
    description: 'Ranking to export patches of',
    shown: 'all; with `crops`, top',
  }),
  labels: option(fields.labels().optional(), {
    group: 'What',
    description: 'Labels to export; may be repeated',
    shown: 'all',
    alias: 'label',
  }),
  top: option(fields.whole(1).optional(), {
    group: 'What',
    description: 'Patches, images or clusters per label, best first',
    shown: 'all; with `crops`, 20',
  }),
};

export const EXPORT = optionsOf('export', {
  table: option(fields.oneOf(EXPORT_TABLES).default('patches'), { group: 'What', description: 'Table to export' }),
  ...ROWS,
  format: option(fields.oneOf(EXPORT_FORMATS).optional(), {
    group: 'Output',
    description: 'Format to write',
    shown: 'csv; with --json, json',
  }),
  out: option(fields.path().optional(), { group: 'Output', description: 'File to write', shown: 'stdout' }),
});

export const CROPS = optionsOf('exportCrops', {
  crops: option(fields.path(), {
    group: 'Output',
    description: 'Folder for the patches as PNG images, an index and an image grid per label; must be new or empty',
  }),
  ...ROWS,
  margin: option(fields.atLeastZero().default(0), {
    group: 'Output',
    description: 'With `crops`: what to show around each patch, as a fraction of its side',
  }),
  dataset: MOVED_DATASET,
});

export interface CropsOptions extends z.input<typeof CROPS> {
  /** a run that `mine` has finished */
  run: string;
}
