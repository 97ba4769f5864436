// Options of an export.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { MOVED_DATASET } from '../../options/shared.js';
import { MINED_LISTS } from '../../runs/columns.js';

export const EXPORT_TABLES = ['patches', 'clusters', 'images', 'maps'] as const;
export type ExportTable = (typeof EXPORT_TABLES)[number];
/** Tables that have places in images. */
export type AnnotationTable = Exclude<ExportTable, 'images'>;

export const TABLE_FORMATS = ['json', 'csv', 'parquet'] as const;
export const ANNOTATION_FORMATS = ['coco', 'cvat', 'datumaro', 'fiftyone', 'yolo'] as const;
export const EXPORT_FORMATS = [...TABLE_FORMATS, ...ANNOTATION_FORMATS, 'png'] as const;
export type TableFormat = (typeof TABLE_FORMATS)[number];
export type AnnotationFormat = (typeof ANNOTATION_FORMATS)[number];
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** Which rows are exported. */
const ROWS = {
  list: option(fields.oneOf(MINED_LISTS).optional(), {
    group: 'Input',
    description: 'Ranking to export patches of',
    shown: 'all; with `crops`, top',
  }),
  labels: option(fields.labels().optional(), {
    group: 'Input',
    description: 'Labels to export, separated by commas',
    shown: 'all',
    alias: 'label',
  }),
  top: option(fields.whole(1).optional(), {
    group: 'Input',
    description: 'Patches, images or clusters per label, best first',
    shown: 'all; with `crops`, 20',
  }),
};

export const EXPORT = optionsOf('export', {
  table: option(fields.oneOf(EXPORT_TABLES).default('patches'), {
    group: 'Input',
    description:
      'What to export: patches, clusters, images or maps; annotations of clusters are the boxes of their patches, those of maps are masks',
  }),
  ...ROWS,
  format: option(fields.oneOf(EXPORT_FORMATS).optional(), {
    group: 'Output',
    description:
      'Format to write: a table (json, csv, parquet), annotations (coco, cvat; as folders datumaro, fiftyone, yolo), or a folder of heat maps (png)',
    shown: 'csv; with --json, json; for maps, coco',
  }),
  out: option(fields.path().optional(), {
    group: 'Output',
    description: 'File to write; for datumaro, fiftyone, yolo and png a folder, new or empty',
    shown: 'stdout',
  }),
  threshold: option(fields.aboveZero().optional(), {
    group: 'Output',
    description: 'For masks of maps: minimum typicality of the pixels inside a mask',
    shown: "half of the label's color scale in the report",
  }),
  dataset: MOVED_DATASET,
});

export const CROPS = optionsOf('exportCrops', {
  crops: option(fields.path(), {
    group: 'Output',
    description: 'Folder for the patches as PNG images, an index and an image grid per label; must be new or empty',
  }),
  ...ROWS,
  margin: option(fields.atLeastZero().default(0), {
    group: 'Output',
    description: 'With `crops`: margin to show around each patch, as a fraction of its side',
  }),
  dataset: MOVED_DATASET,
});

export interface CropsOptions extends z.input<typeof CROPS> {
  /** a run that `mine` has finished */
  run: string;
}
