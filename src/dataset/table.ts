// A data set as a table: CSV or JSONL, with a picture's path and its label in each row. Paths are relative to the table's folder and may
// not leave it, so that a table from elsewhere cannot make a report show other files.
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'csv-parse';
import { DiffmineError } from '../errors';
import type { DatasetOptions, Found } from './dataset';
import { ImageListBuilder, type DatasetImage } from './images';

/** A row as text, and the line it ends on (from 1). */
interface Row {
  line: number;
  values: Map<string, string>;
}

const COLUMNS = 'A table needs the columns image (or path) and label; other columns are carried along.';
const RELATIVE = "Paths are relative to the table's folder and stay below it: put the table beside or above the pictures.";

/** The columns in use, or DATASET_INVALID naming those that are not there. */
function pickColumns(present: ReadonlySet<string>, options: DatasetOptions, where: string): { image: string; label: string } {
  const image = options.imageColumn ?? (present.has('image') || !present.has('path') ? 'image' : 'path');
  const label = options.labelColumn ?? 'label';
  const missing = [image, label].filter((name) => !present.has(name));
  if (missing.length > 0) {
    const listed = [...present].map((name) => `'${name}'`).join(', ') || 'nothing';
    throw new DiffmineError('DATASET_INVALID', `${where}: no ${missing.map((name) => `'${name}'`).join(' and no ')}; there is ${listed}.`, COLUMNS);
  }
  return { image, label };
}

/**
 * A picture under a label counts once: where rows repeat the pair (boxes of one picture, say), the first is kept.
 *
 * @param file absolute
 * @throws DATASET_INVALID naming file and line
 */
export async function readTable(file: string, options: DatasetOptions): Promise<Found> {
  const extension = path.extname(file).toLowerCase();
  const rows = extension === '.csv' ? csvRows(file, options) : extension === '.jsonl' || extension === '.ndjson' ? jsonRows(file) : undefined;
  if (!rows) throw new DiffmineError('DATASET_INVALID', `'${file}' is neither a folder nor a .csv or .jsonl table.`, COLUMNS);

  const root = path.dirname(file);
  const realRoot = await realpath(root);
  const images = new ImageListBuilder();
  for await (const { line, values } of rows) {
    const where = `${path.basename(file)}, line ${line}`;
    const fail = (what: string, hint?: string): DiffmineError => new DiffmineError('DATASET_INVALID', `${where}: ${what}.`, hint);
    const columns = pickColumns(new Set(values.keys()), options, where);
    const image = values.get(columns.image) as string;
    const label = values.get(columns.label) as string;
    if (image === '') throw fail(`'${columns.image}' is empty`);
    if (label === '') throw fail(`'${columns.label}' is empty`, 'Every picture needs a label; leave out rows without one.');

    const picture = await locate(root, realRoot, image, fail);
    const extra = [...values].filter(([name]) => name !== columns.image && name !== columns.label);
    images.add({ ...picture, label, ...(extra.length > 0 && { extra: Object.fromEntries(extra) }) });
  }
  if (images.length === 0) throw new DiffmineError('DATASET_INVALID', `The table '${file}' has no rows.`, COLUMNS);
  return { images, ignored: 0, warnings: [] };
}

/** The file a row names: it exists and lies below `root`, also once symbolic links are followed. */
async function locate(root: string, realRoot: string, name: string, fail: (what: string, hint?: string) => DiffmineError): Promise<Pick<DatasetImage, 'path' | 'file' | 'bytes'>> {
  if (path.isAbsolute(name) || path.win32.isAbsolute(name)) throw fail(`the path '${name}' is absolute`, RELATIVE);
  if (name.includes('\0')) throw fail('the path has a NUL character');
  const file = path.join(root, name);
  const climbs = (base: string, target: string): boolean => {
    const relative = path.relative(base, target);
    return relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative);
  };
  if (climbs(root, file)) throw fail(`the path '${name}' climbs out of the table's folder`, RELATIVE);
  const real = await realpath(file).catch(() => undefined);
  if (real === undefined) throw fail(`there is no file '${name}'`, RELATIVE);
  if (climbs(realRoot, real)) throw fail(`the path '${name}' climbs out of the table's folder through a link`, RELATIVE);
  const status = await stat(real);
  if (!status.isFile()) throw fail(`'${name}' is no file`);
  return { path: path.relative(root, file).split(path.sep).join('/'), file, bytes: status.size };
}

async function* csvRows(file: string, options: DatasetOptions): AsyncGenerator<Row> {
  const source = createReadStream(file);
  const parser = source.pipe(parse({ bom: true, info: true, skip_empty_lines: true, relax_column_count: true }));
  source.on('error', (error) => parser.destroy(error));
  let header: string[] | undefined;
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      const where = `${path.basename(file)}, line ${info.lines}`;
      if (!header) {
        header = record.map((name) => name.trim());
        const twice = header.find((name, i) => header?.indexOf(name) !== i);
        if (twice !== undefined) throw new DiffmineError('DATASET_INVALID', `${where}: the column '${twice}' comes twice.`, 'Rename one of them.');
        pickColumns(new Set(header), options, where);
      } else if (record.length !== header.length) {
        throw new DiffmineError('DATASET_INVALID', `${where}: ${record.length} fields, but the header names ${header.length}.`, 'Put fields that hold a comma in double quotes.');
      } else {
        yield { line: info.lines, values: new Map(header.map((name, i) => [name, record[i] as string])) };
      }
    }
  } catch (error) {
    if (error instanceof DiffmineError) throw error;
    throw new DiffmineError('DATASET_INVALID', `The table '${file}' cannot be read: ${(error as Error).message}.`, 'Quotes inside a quoted field are doubled ("").', { cause: error });
  } finally {
    source.destroy();
  }
}

async function* jsonRows(file: string): AsyncGenerator<Row> {
  let line = 0;
  for await (const text of lines(file)) {
    ++line;
    const trimmed = text.trim();
    if (trimmed !== '') yield { line, values: jsonValues(trimmed, `${path.basename(file)}, line ${line}`) };
  }
}

/** Lines of a UTF-8 file, less the byte order mark. (node:readline also splits at U+2028, which JSON strings may hold.) */
async function* lines(file: string): AsyncGenerator<string> {
  let rest = '';
  let first = true;
  try {
    for await (const chunk of createReadStream(file, 'utf8') as AsyncIterable<string>) {
      rest += first ? chunk.replace(/^\uFEFF/, '') : chunk;
      first = false;
      const complete = rest.split('\n');
      rest = complete.pop() as string;
      yield* complete;
    }
  } catch (error) {
    throw new DiffmineError('DATASET_INVALID', `The table '${file}' cannot be read: ${(error as Error).message}.`, undefined, { cause: error });
  }
  yield rest;
}

/** One JSONL object as text: strings as they are, null left out, the rest as JSON writes it. */
function jsonValues(text: string, where: string): Map<string, string> {
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch (cause) {
    throw new DiffmineError('DATASET_INVALID', `${where}: not JSON (${(cause as Error).message}).`, 'JSONL has one object a line: {"image": "a.jpg", "label": "1920"}', { cause });
  }
  if (typeof row !== 'object' || row === null || Array.isArray(row)) {
    throw new DiffmineError('DATASET_INVALID', `${where}: not an object.`, 'JSONL has one object a line: {"image": "a.jpg", "label": "1920"}');
  }
  const values = Object.entries(row).filter(([, value]) => value !== null);
  return new Map(values.map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]));
}
