// Boxes in CSV files: the project's own columns, and NIH's BBox_List_2017.csv.
import { count } from '../../web/html.js';
import { DiffmineError } from '../../util/errors.js';
import { readCsv as readRecords } from '../text/index.js';
import { coordinate, imageName, utf8, type BoxFile, type TruthBox } from './rows.js';

const COLUMNS =
  'A file of boxes has the columns image, x, y and w, h (or width, height). Optional: label, kind, slot, and a column with the label that a box is typical of.';

interface CsvFile {
  /** without its folder */
  name: string;
  header: string[];
  rows: { record: string[]; where: string }[];
}

/** A CSV file as text. @throws DATASET_INVALID if it cannot be read */
export async function readCsv(file: string): Promise<CsvFile> {
  const { name, header, records } = await utf8(readRecords(file), COLUMNS);
  return {
    name,
    header,
    rows: records.map(({ fields, line }) => ({ record: fields, where: `${name}, line ${line}` })),
  };
}

/**
 * One row per box: image (or path), x, y, w, h (or width, height); label, kind, slot optional.
 *
 * @param typicalColumn the column with the label a box is typical of; default `city`, else `label`, else a box is typical of its image's label
 * @throws DATASET_INVALID if a row cannot be used (the line is named); INVALID_ARGUMENT for a typical column that is not there
 */
export function csvBoxes({ name, header, rows }: CsvFile, typicalColumn?: string): BoxFile {
  const listed = header
    .filter((one) => one !== '')
    .map((one) => `'${one}'`)
    .join(', ');
  const column = (...names: string[]): string | undefined => names.find((one) => header.includes(one));
  const image = column('image', 'path');
  const width = column('w', 'width');
  const height = column('h', 'height');
  if (header.includes('Finding Labels')) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `${name} lists the findings of images, not boxes.`,
      'The boxes of ChestX-ray14 are in BBox_List_2017.csv.',
    );
  }
  if (image === undefined || width === undefined || height === undefined || !column('x') || !column('y')) {
    const corners = ['x1', 'xmin', 'x_min', 'left'].find((one) => header.includes(one));
    throw new DiffmineError(
      'DATASET_INVALID',
      `${name} is not a file of boxes: it has ${listed || 'no header'}.`,
      corners ? `${COLUMNS} Its boxes are given by two corners: use w = x2 - x1 and h = y2 - y1.` : COLUMNS,
    );
  }
  const twice = header.find((one, i) => one !== '' && header.indexOf(one) < i);
  if (twice !== undefined) throw new DiffmineError('DATASET_INVALID', `${name} has two columns '${twice}'.`, COLUMNS);
  if (typicalColumn !== undefined && !header.includes(typicalColumn)) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${name} has no column '${typicalColumn}'; there is ${listed}.`,
      'Give the column with the label that a box is typical of: `typicalColumn` NAME.',
    );
  }
  const typical = typicalColumn ?? column('city');

  const boxes = rows.map(({ record, where }) => {
    if (record.length !== header.length)
      throw new DiffmineError(
        'DATASET_INVALID',
        `${where}: ${count(record.length, 'field')}, but the header names ${header.length}.`,
      );
    const text = (from: string | undefined): string | undefined =>
      from === undefined ? undefined : record[header.indexOf(from)] || undefined;
    const number = (from: string, min: number): number => coordinate(text(from), min, where, from);
    const name = text(image);
    if (name === undefined) throw new DiffmineError('DATASET_INVALID', `${where}: '${image}' is empty.`, COLUMNS);
    const more = {
      label: text(column('label')),
      typicalOf: text(typical),
      kind: text(column('kind')),
      slot: text(column('slot')),
    };
    return {
      image: imageName(name),
      x: number('x', -Infinity),
      y: number('y', -Infinity),
      width: number(width, 0),
      height: number(height, 0),
      ...Object.fromEntries(Object.entries(more).filter(([, value]) => value !== undefined)),
    };
  });
  return { boxes, naming: 'path' };
}

/** NIH's images, whose pixels the boxes are in. */
const NIH_SIDE = 1024;
/** The one label that NIH's two files spell differently: here as Data_Entry has it. */
const NIH_LABELS: Record<string, string> = { Infiltrate: 'Infiltration' };

/** Whether a header is that of BBox_List_2017.csv. */
export function isNihHeader(header: readonly string[]): boolean {
  return header[0] === 'Image Index' && header[1] === 'Finding Label';
}

/**
 * BBox_List_2017.csv of ChestX-ray8 and ChestX-ray14. Its header is `Image Index,Finding Label,Bbox [x,y,w,h],,,`, unquoted: the fourth to the sixth
 * cell are 'y', 'w' and 'h]', or (where a spreadsheet has quoted it) empty. So the numbers are taken by their place, the third cell to the sixth.
 *
 * @throws DATASET_INVALID if it is another file, or a row cannot be used
 */
export function nihBoxes({ name, header, rows }: CsvFile): BoxFile {
  if (!isNihHeader(header) || !/^bbox\b/i.test(header[2] ?? '')) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `${name} is not NIH's list of boxes: its header is ${JSON.stringify(header.join(','))}.`,
      'BBox_List_2017.csv begins with: Image Index,Finding Label,Bbox [x,y,w,h]',
    );
  }
  const boxes = rows.map(({ record, where }): TruthBox => {
    const [image, finding, x, y, w, h] = record;
    if (!image || !finding)
      throw new DiffmineError('DATASET_INVALID', `${where}: the image or its finding is missing.`);
    return {
      image: imageName(image),
      typicalOf: NIH_LABELS[finding] ?? finding,
      x: coordinate(x, -Infinity, where, 'x'),
      y: coordinate(y, -Infinity, where, 'y'),
      width: coordinate(w, 0, where, 'w'),
      height: coordinate(h, 0, where, 'h'),
      frame: { width: NIH_SIDE, height: NIH_SIDE },
    };
  });
  return { boxes, naming: 'name' };
}
