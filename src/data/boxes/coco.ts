// Boxes and outlines in COCO's JSON: { images: [{ id, file_name, width, height }], annotations: [{ image_id, category_id, bbox: [x, y, w, h], segmentation }], categories: [{ id, name }] }.
import path from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { parseJson } from '../../util/json.js';
import { readText } from '../text/index.js';
import { outlineOf } from './outline.js';
import { boundsOf } from './rle.js';
import { coordinate, imageName, shown, utf8, type BoxFile, type TruthBox } from './rows.js';

const SHAPE =
  'A COCO file has images (id, file_name), annotations (image_id, category_id, bbox as [x, y, w, h] or a segmentation) and categories (id, name).';

type Row = Record<string, unknown>;

/**
 * Boxes by `bbox`, else by the bounds of the outline; outlines (polygons, RLE) where masks are wanted. Categories are what boxes are typical of.
 *
 * @throws DATASET_INVALID if the file cannot be read or an entry cannot be used
 */
export async function cocoBoxes(file: string): Promise<BoxFile> {
  const name = path.basename(file);
  const invalid = (what: string, hint = SHAPE, cause?: unknown): DiffmineError =>
    new DiffmineError('DATASET_INVALID', what, hint, { cause });
  const text = await utf8(readText(file), SHAPE);
  let root: Row | null;
  try {
    root = parseJson(text) as Row | null;
  } catch (cause) {
    throw invalid(`${name} is not JSON (${(cause as Error).message}).`, SHAPE, cause);
  }
  const list = (key: string): (Row | null)[] => {
    const found = root?.[key];
    if (!Array.isArray(found)) throw invalid(`${name} is not a COCO file: it has no list '${key}'.`);
    return found as (Row | null)[];
  };
  /** A table by id, as text: some tools write 7 in one table and "7" in another. Rows without an id are only allowed where nothing refers to them. */
  const byId = <T>(key: string, value: (row: Row | null, where: string) => T, idRequired = true): Map<string, T> => {
    const found = new Map<string, T>();
    const places = new Map<string, number>();
    list(key).forEach((row, i) => {
      const where = `${name}, ${key}[${i}]`;
      const id = row?.['id'];
      if ((id === undefined || id === null) && !idRequired) {
        value(row, where);
        return;
      }
      if (typeof id !== 'string' && !(typeof id === 'number' && Number.isFinite(id)))
        throw invalid(`${where}: 'id' is ${id === undefined ? 'missing' : shown(id)}.`);
      const first = places.get(String(id));
      if (first !== undefined)
        throw invalid(
          `${name}: ${key}[${first}] and ${key}[${i}] have the same id ${JSON.stringify(id)}${namesOf(list(key)[first], row)}.`,
          Number.isInteger(id) && !Number.isSafeInteger(id)
            ? 'Numbers beyond 2^53 lose digits: write such ids as strings.'
            : 'Ids are unique in each table.',
        );
      places.set(String(id), i);
      found.set(String(id), value(row, where));
    });
    return found;
  };
  const word = (row: Row | null, key: string, where: string): string => {
    const value = row?.[key];
    if (typeof value !== 'string' || value === '') throw invalid(`${where}: '${key}' is missing.`);
    return value;
  };
  const images = byId('images', (row, where) => {
    const frame = frameOf(row, where);
    return { image: imageName(word(row, 'file_name', where)), ...(frame ? { frame } : {}) };
  });
  const categories = byId('categories', (row, where) => word(row, 'name', where));
  byId('annotations', () => undefined, false);

  const boxes = list('annotations').map((row, i): TruthBox => {
    const where = `${name}, annotations[${i}]`;
    const image = images.get(String(row?.['image_id']));
    if (!row || !image) throw invalid(`${where}: there is no image ${JSON.stringify(row?.['image_id'])}.`);
    const category = categories.get(String(row['category_id']));
    if (category === undefined) throw invalid(`${where}: there is no category ${JSON.stringify(row['category_id'])}.`);
    const isBoxed = Array.isArray(row['bbox']) && row['bbox'].length > 0;
    // polygons cannot be drawn without the size of their image: the box is used
    const isDrawable = !isBoxed || image.frame !== undefined || !Array.isArray(row['segmentation']);
    const outline = isDrawable ? outlineOf(row['segmentation'], image.frame, where) : undefined;
    const named = { ...image, typicalOf: category, ...(outline ? { outline } : {}) };
    const box = row['bbox'];
    if (outline && !isBoxed) {
      const bounds = boundsOf(outline.draw(), outline);
      if (!bounds) throw invalid(`${where}: its segmentation covers no pixel.`, 'Remove it.');
      return { ...named, ...bounds, frame: { width: outline.width, height: outline.height } };
    }
    if (!Array.isArray(box) || box.length !== 4)
      throw invalid(`${where}: 'bbox' is ${JSON.stringify(row['bbox'] ?? null)}.`);
    const [x, y, w, h] = box as unknown[];
    return {
      ...named,
      x: coordinate(x, -Infinity, where, 'x'),
      y: coordinate(y, -Infinity, where, 'y'),
      width: coordinate(w, 0, where, 'w'),
      height: coordinate(h, 0, where, 'h'),
    };
  });
  return { boxes, naming: 'name' };
}

/** The size of an image; tools write 0 or null if they do not know it. */
function frameOf(row: Row | null, where: string): TruthBox['frame'] {
  const [width, height] = ['width', 'height'].map((key) => {
    const value = row?.[key] ?? 0;
    const side = coordinate(value, 0, where, key);
    if (side > 0 && side < 1)
      throw new DiffmineError('DATASET_INVALID', `${where}: '${key}' is ${side}.`, 'Sizes are in pixels.');
    return side;
  }) as [number, number];
  return width > 0 && height > 0 ? { width, height } : undefined;
}

/** What two rows of a table are about, for a reader who has thousands of them. */
function namesOf(...rows: (Row | null | undefined)[]): string {
  const names = rows.map(
    (row) => row?.['file_name'] ?? row?.['name'] ?? (row?.['bbox'] ? `bbox ${JSON.stringify(row['bbox'])}` : undefined),
  );
  return names.every((one) => typeof one === 'string') ? ` (${names.join(' and ')})` : '';
}
