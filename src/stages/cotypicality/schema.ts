// The columns of the tables of consistent changes (docs/reference/formats/consistent-changes.md).
import { PLACE_COLUMNS } from '../../runs/columns.js';
import type { Row, Schema } from '../../runs/tables.js';

export const PLACE_LISTS = ['top', 'random'] as const;
export type PlaceList = (typeof PLACE_LISTS)[number];

/** A place of a sequence: x, y, width, height in pixels of its source image; row, column, patch in pixels of the scored images. */
export interface PlaceRow extends Row {
  /** LABEL/NAME */
  sequence: string;
  /** the source image's path in the dataset */
  image: string;
  /** the source's */
  label: string;
  list: PlaceList;
  /** from 1, in its sequence and list */
  place: number;
  x: number;
  y: number;
  width: number;
  height: number;
  row: number;
  column: number;
  patch: number;
  /** the median over labels of the patch's typicality */
  cotypicality: number;
  samples: number;
}

export const PLACE_SCHEMA: Schema = [
  ['sequence', 'STRING'],
  ['image', 'STRING'],
  ['label', 'STRING'],
  ['list', 'STRING'],
  ['place', 'INT32'],
  ...PLACE_COLUMNS,
  ['cotypicality', 'DOUBLE'],
  ['samples', 'INT32'],
];

/** A place in one image of its sequence. */
export interface ScoreRow extends Row {
  sequence: string;
  list: PlaceList;
  place: number;
  /** the label the image shows and was scored under */
  condition: string;
  typicality: number;
  standard_error: number | null;
}

export const SCORE_SCHEMA: Schema = [
  ['sequence', 'STRING'],
  ['list', 'STRING'],
  ['place', 'INT32'],
  ['condition', 'STRING'],
  ['typicality', 'DOUBLE'],
  ['standard_error', 'DOUBLE'],
];

/** A ranked place. `cluster` and `distance` are null in a list that was not clustered. */
export interface GroupedPlaceRow extends PlaceRow {
  /** from 1, in its list: `top` by descending co-typicality, `random` in the sequences' order */
  rank: number;
  cluster: number | null;
  distance: number | null;
}

export const GROUPED_PLACE_SCHEMA: Schema = [
  ...PLACE_SCHEMA,
  ['rank', 'INT32'],
  ['cluster', 'INT32'],
  ['distance', 'DOUBLE'],
];

export interface GroupRow extends Row {
  /** from 0, by descending median co-typicality */
  cluster: number;
  size: number;
  /** different ones among its places */
  sequences: number;
  median_cotypicality: number;
  inertia: number;
}

export const GROUP_SCHEMA: Schema = [
  ['cluster', 'INT32'],
  ['size', 'INT32'],
  ['sequences', 'INT32'],
  ['median_cotypicality', 'DOUBLE'],
  ['inertia', 'DOUBLE'],
];

/** What changes between two labels at the places of a cluster; cluster null: at all places. */
export interface ChangeRow extends Row {
  label_a: string;
  label_b: string;
  cluster: number | null;
  places: number;
  /** mean distance of the two labels' features at these places */
  distance: number;
  /** the same as a multiple of that at random places */
  change: number;
}

export const CHANGE_SCHEMA: Schema = [
  ['label_a', 'STRING'],
  ['label_b', 'STRING'],
  ['cluster', 'INT32'],
  ['places', 'INT32'],
  ['distance', 'DOUBLE'],
  ['change', 'DOUBLE'],
];
