// The columns of a run's tables (docs/reference/formats/run.md).
import type { Shape } from '../metrics/trend.js';
import type { Row, Schema } from './tables.js';

/** The lists of candidates that a scan keeps of each image; ranked patches may be in `diverse`, too. */
export const LISTS = ['top', 'bottom', 'random'] as const;
export type ListName = (typeof LISTS)[number];
/** The lists of a mined run: `diverse` is there after mine --diverse only. */
export const MINED_LISTS = [...LISTS, 'diverse'] as const;
export type MinedListName = (typeof MINED_LISTS)[number];

/** An image under one condition. */
export interface ImageRow extends Row {
  image: string;
  label: string;
  condition: string;
  source_width: number;
  source_height: number;
  width: number;
  height: number;
  typicality: number;
  samples: number;
}

export const IMAGE_SCHEMA: Schema = [
  ['image', 'STRING'],
  ['label', 'STRING'],
  ['condition', 'STRING'],
  ['source_width', 'INT32'],
  ['source_height', 'INT32'],
  ['width', 'INT32'],
  ['height', 'INT32'],
  ['typicality', 'DOUBLE'],
  ['samples', 'INT32'],
];

/**
 * The names that a dataset's further columns have in a table: their own where they are free, else with `input_` before them as often as it takes. DuckDB
 * and others do not tell `Width` from `width`: neither do these names.
 *
 * @param schema the table's own columns
 * @returns by the columns' own names, in their order
 */
export function carriedNames(schema: Schema, columns: readonly string[]): Map<string, string> {
  const taken = new Set(['__proto__', ...schema.map(([name]) => name.toLowerCase())]); // rows are objects
  const names = new Map<string, string>();
  const take = (column: string, name: string): boolean => {
    if (name === '' || taken.has(name.toLowerCase())) return false;
    taken.add(name.toLowerCase());
    names.set(column, name);
    return true;
  };
  const left = columns.filter((column) => !take(column, column));
  for (const column of left) for (let name = `input_${column}`; !take(column, name);) name = `input_${name}`;
  return new Map(columns.map((column) => [column, names.get(column) as string]));
}

/** A table with the dataset's further columns. */
export function withCarried(schema: Schema, columns: readonly string[]): Schema {
  return [...schema, ...[...carriedNames(schema, columns).values()].map((name) => [name, 'STRING'] as const)];
}

/** The images table of a dataset with these further columns. */
export function imageSchema(columns: readonly string[]): Schema {
  return withCarried(IMAGE_SCHEMA, columns);
}

/** A file that a shard was scored from, or tried to; in the order of the list. */
export interface ContentRow extends Row {
  image: string;
  label: string;
  /** of its bytes; null where it could not be read */
  sha256: string | null;
}

export const CONTENT_SCHEMA: Schema = [
  ['image', 'STRING'],
  ['label', 'STRING'],
  ['sha256', 'STRING'],
];

/** Where a patch is: x, y, width, height in source pixels; row, column, patch in pixels of the scored image. */
export const PLACE_COLUMNS = [
  ['x', 'DOUBLE'],
  ['y', 'DOUBLE'],
  ['width', 'DOUBLE'],
  ['height', 'DOUBLE'],
  ['row', 'INT32'],
  ['column', 'INT32'],
  ['patch', 'INT32'],
] as const satisfies Schema;

/** A scored patch, at a place of PLACE_COLUMNS. */
interface ScoredPatchRow extends Row {
  image: string;
  label: string;
  condition: string;
  list: MinedListName;
  x: number;
  y: number;
  width: number;
  height: number;
  row: number;
  column: number;
  patch: number;
  typicality: number;
  standard_error: number | null;
  samples: number;
}

/** A candidate patch. */
export interface PatchRow extends ScoredPatchRow {
  list: ListName;
  /** from 1, in its image and list */
  place: number;
}

export const PATCH_SCHEMA: Schema = [
  ['image', 'STRING'],
  ['label', 'STRING'],
  ['condition', 'STRING'],
  ['list', 'STRING'],
  ['place', 'INT32'],
  ...PLACE_COLUMNS,
  ['typicality', 'DOUBLE'],
  ['standard_error', 'DOUBLE'],
  ['samples', 'INT32'],
];

/** A ranked patch. `cluster` and `distance` are null in lists that were not clustered. */
export interface MinedPatchRow extends ScoredPatchRow {
  /** from 1, in its condition and list */
  rank: number;
  cluster: number | null;
  /** to the cluster's center */
  distance: number | null;
}

export const MINED_PATCH_SCHEMA: Schema = [
  ['image', 'STRING'],
  ['label', 'STRING'],
  ['condition', 'STRING'],
  ['list', 'STRING'],
  ['rank', 'INT32'],
  ...PLACE_COLUMNS,
  ['typicality', 'DOUBLE'],
  ['standard_error', 'DOUBLE'],
  ['samples', 'INT32'],
  ['cluster', 'INT32'],
  ['distance', 'DOUBLE'],
];

/** A row of mine/earlier.parquet: a patch of an earlier mining whose features are kept, under the name of the settings that they follow from. */
export interface EarlierRow extends Row {
  settings: string;
  condition: string;
  label: string;
  image: string;
  row: number;
  column: number;
  patch: number;
}

export const EARLIER_SCHEMA: Schema = [
  ['settings', 'STRING'],
  ['condition', 'STRING'],
  ['label', 'STRING'],
  ['image', 'STRING'],
  ['row', 'INT32'],
  ['column', 'INT32'],
  ['patch', 'INT32'],
];

export interface ClusterRow extends Row {
  condition: string;
  /** from 0, by descending median typicality */
  cluster: number;
  size: number;
  median_typicality: number;
  /** sum of its members' squared distances to the center */
  inertia: number;
  /** AUROC of the cluster's best match in an image: held-out images of the label against images of other labels; null if there are too few */
  auroc: number | null;
  auroc_low: number | null;
  auroc_high: number | null;
  /** held-out images of the label */
  evidence_own: number | null;
  evidence_others: number | null;
}

/** Whether a cluster tells its label from the others; null where that was not measured. */
export const separates = ({ auroc_low: low }: Pick<ClusterRow, 'auroc_low'>): boolean | null =>
  low === null ? null : low > 0.5;

export const CLUSTER_SCHEMA: Schema = [
  ['condition', 'STRING'],
  ['cluster', 'INT32'],
  ['size', 'INT32'],
  ['median_typicality', 'DOUBLE'],
  ['inertia', 'DOUBLE'],
  ['auroc', 'DOUBLE'],
  ['auroc_low', 'DOUBLE'],
  ['auroc_high', 'DOUBLE'],
  ['evidence_own', 'INT32'],
  ['evidence_others', 'INT32'],
];

/** An element of all labels together, by how clear its course over them is. */
export interface ElementRow extends Row {
  /** from 0, the clearest first */
  element: number;
  /** ranked patches */
  size: number;
  median_typicality: number;
  shape: Shape;
  /** how much better its course fits than a constant, in standard errors */
  clarity: number;
  /** how often a constant has so clear a course by chance */
  p: number;
  /** the label where its course is highest */
  peak: string;
}

export const ELEMENT_SCHEMA: Schema = [
  ['element', 'INT32'],
  ['size', 'INT32'],
  ['median_typicality', 'DOUBLE'],
  ['shape', 'STRING'],
  ['clarity', 'DOUBLE'],
  ['p', 'DOUBLE'],
  ['peak', 'STRING'],
];

/** How common an element is in a label. */
export interface TrendRow extends Row {
  element: number;
  label: string;
  /** the label's number */
  position: number;
  /** looked at */
  images: number;
  /** of these, with the element */
  fraction: number;
  standard_error: number;
}

export const TREND_SCHEMA: Schema = [
  ['element', 'INT32'],
  ['label', 'STRING'],
  ['position', 'DOUBLE'],
  ['images', 'INT32'],
  ['fraction', 'DOUBLE'],
  ['standard_error', 'DOUBLE'],
];

/** A patch that matches an element, the best of its label first. */
export interface TrendPatchRow extends Row {
  element: number;
  label: string;
  /** from 1, in its element and label */
  rank: number;
  image: string;
  x: number;
  y: number;
  width: number;
  height: number;
  row: number;
  column: number;
  patch: number;
  match: number;
  /** 1 where it matches well enough to count, else 0 */
  found: number;
}

export const TREND_PATCH_SCHEMA: Schema = [
  ['element', 'INT32'],
  ['label', 'STRING'],
  ['rank', 'INT32'],
  ['image', 'STRING'],
  ...PLACE_COLUMNS,
  ['match', 'DOUBLE'],
  ['found', 'INT32'],
];
