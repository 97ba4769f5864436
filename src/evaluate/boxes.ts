// Boxes of what is known to be in pictures: a CSV with a row a box, in pixels of the upright source picture.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'csv-parse/sync';
import { DiffmineError } from '../errors';

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A box of a file. */
export interface TruthBox extends Box {
  /** the picture's name in the data set */
  image: string;
  /** of the picture, where the file says it: the same file may stand under two labels */
  label?: string;
  /** what it is typical of; undefined: of its picture's label */
  typicalOf?: string;
  kind?: string;
  slot?: string;
}

const COLUMNS = 'A file of boxes has the columns image, x, y and w, h (or width, height); label, kind, slot and the label a box is typical of are optional.';

/**
 * Reads a file of boxes.
 *
 * @param typicalColumn the column with the label a box is typical of; default `city` where there is one, else a box counts for its picture's label
 * @throws DATASET_INVALID where it cannot be read or a row cannot be used (the line is named); INVALID_ARGUMENT for a typical column that is not there
 */
export async function readBoxes(file: string, typicalColumn?: string): Promise<TruthBox[]> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new DiffmineError('DATASET_INVALID', `The boxes '${file}' cannot be read.`, COLUMNS, { cause });
  });
  let records: { record: string[]; info: { lines: number } }[];
  try {
    records = parse(bytes, { bom: true, info: true, skip_empty_lines: true, relax_column_count: true }) as unknown as typeof records;
  } catch (cause) {
    throw new DiffmineError('DATASET_INVALID', `The boxes '${file}' cannot be read: ${(cause as Error).message}.`, COLUMNS, { cause });
  }
  const name = path.basename(file);
  const header = (records[0]?.record ?? []).map((column) => column.trim());
  const column = (...names: string[]): string | undefined => names.find((one) => header.includes(one));
  const image = column('image', 'path');
  const width = column('w', 'width');
  const height = column('h', 'height');
  if (image === undefined || width === undefined || height === undefined || !column('x') || !column('y')) {
    throw new DiffmineError('DATASET_INVALID', `${name} is no file of boxes: it has ${header.map((one) => `'${one}'`).join(', ') || 'no header'}.`, COLUMNS);
  }
  if (typicalColumn !== undefined && !header.includes(typicalColumn)) {
    throw new DiffmineError('INVALID_ARGUMENT', `${name} has no column '${typicalColumn}'; there is ${header.map((one) => `'${one}'`).join(', ')}.`, 'Name the column with the label that a box is typical of.');
  }
  const typical = typicalColumn ?? column('city');

  return records.slice(1).map(({ record, info }) => {
    const where = `${name}, line ${info.lines}`;
    if (record.length !== header.length) throw new DiffmineError('DATASET_INVALID', `${where}: ${record.length} fields, but the header names ${header.length}.`);
    const text = (from: string | undefined): string | undefined => (from === undefined ? undefined : record[header.indexOf(from)] || undefined);
    const number = (from: string, least: number): number => {
      const value = Number(text(from) ?? NaN);
      if (!Number.isFinite(value) || value < least) throw new DiffmineError('DATASET_INVALID', `${where}: '${from}' is ${JSON.stringify(text(from) ?? '')}.`, 'Boxes are in pixels of the source picture.');
      return value;
    };
    const picture = text(image);
    if (picture === undefined) throw new DiffmineError('DATASET_INVALID', `${where}: '${image}' is empty.`, COLUMNS);
    const more = { label: text(column('label')), typicalOf: text(typical), kind: text(column('kind')), slot: text(column('slot')) };
    return {
      image: path.posix.normalize(picture.replaceAll('\\', '/')), x: number('x', -Infinity), y: number('y', -Infinity), width: number(width, 0), height: number(height, 0),
      ...(Object.fromEntries(Object.entries(more).filter(([, value]) => value !== undefined)) as typeof more),
    };
  });
}

/** Whether the centre of `patch` lies in `box`: its left and upper edges count, the others do not. */
export function centreIn(patch: Box, box: Box): boolean {
  const x = patch.x + patch.width / 2;
  const y = patch.y + patch.height / 2;
  return x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height;
}

/** Intersection over union. */
export function iou(a: Box, b: Box): number {
  const across = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const down = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  if (across <= 0 || down <= 0) return 0;
  return (across * down) / (a.width * a.height + b.width * b.height - across * down);
}
