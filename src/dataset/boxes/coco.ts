// Boxes in COCO's JSON: { images: [{ id, file_name, width, height }], annotations: [{ image_id, category_id, bbox: [x, y, w, h] }], categories: [{ id, name }] }.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../../errors';
import { coordinate, pictureName, type BoxFile, type TruthBox } from './rows';

const SHAPE = 'A COCO file has images (id, file_name), annotations (image_id, category_id, bbox as [x, y, w, h]) and categories (id, name).';

type Row = Record<string, unknown>;

/**
 * Boxes by `bbox`; outlines beside them are passed over. Categories are what boxes are typical of.
 *
 * @throws DATASET_INVALID where the file cannot be read or an entry cannot be used: an annotation that has an outline (polygons or RLE) alone, too
 */
export async function cocoBoxes(file: string): Promise<BoxFile> {
  const name = path.basename(file);
  const invalid = (what: string, hint = SHAPE, cause?: unknown): DiffmineError => new DiffmineError('DATASET_INVALID', what, hint, { cause });
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw invalid(`The boxes '${file}' cannot be read.`, SHAPE, cause);
  });
  let root: Row;
  try {
    root = JSON.parse(text.replace(/^\uFEFF/, '')) as Row;
  } catch (cause) {
    throw invalid(`${name} is not JSON (${(cause as Error).message}).`, SHAPE, cause);
  }
  const list = (key: string): Row[] => {
    const found = root?.[key];
    if (!Array.isArray(found)) throw invalid(`${name} is no COCO file: it has no list '${key}'.`);
    return found as Row[];
  };
  const ids = <T>(key: string, value: (row: Row, where: string) => T): Map<unknown, T> => new Map(list(key).map((row, i) => [row?.['id'], value(row, `${name}, ${key}[${i}]`)]));
  const word = (row: Row, key: string, where: string): string => {
    const value = row?.[key];
    if (typeof value !== 'string' || value === '') throw invalid(`${where}: '${key}' is missing.`);
    return value;
  };
  const images = ids('images', (row, where) => {
    const { width, height } = row;
    const sized = typeof width === 'number' && typeof height === 'number' && width > 0 && height > 0;
    return { image: pictureName(word(row, 'file_name', where)), ...(sized ? { frame: { width, height } } : {}) };
  });
  const categories = ids('categories', (row, where) => word(row, 'name', where));

  const boxes = list('annotations').map((row, i): TruthBox => {
    const where = `${name}, annotations[${i}]`;
    const image = images.get(row?.['image_id']);
    if (!image) throw invalid(`${where}: there is no image ${JSON.stringify(row?.['image_id'])}.`);
    const category = categories.get(row['category_id']);
    if (category === undefined) throw invalid(`${where}: there is no category ${JSON.stringify(row['category_id'])}.`);
    const box = row['bbox'];
    if (!Array.isArray(box) || box.length !== 4) {
      const outline = row['segmentation'] !== undefined && (box === undefined || (Array.isArray(box) && box.length === 0));
      throw invalid(
        outline ? `${where} has an outline, but no 'bbox'.` : `${where}: 'bbox' is ${JSON.stringify(box ?? null)}.`,
        outline ? 'Polygons and RLE are not read: add each outline\'s bbox, or draw the outlines as mask PNGs and give their folder.' : SHAPE,
      );
    }
    const [x, y, w, h] = box as unknown[];
    return {
      ...image, typicalOf: category,
      x: coordinate(x, -Infinity, where, 'x'), y: coordinate(y, -Infinity, where, 'y'), width: coordinate(w, 0, where, 'w'), height: coordinate(h, 0, where, 'h'),
    };
  });
  return { boxes, naming: 'name' };
}
