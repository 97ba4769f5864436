// A dataset as a table: CSV, TSV or JSONL, with an image's path and its label in each row. Paths are read as given: absolute ones, `..` and links included (hub
// caches, git-annex and most people's tables need them). Relative ones start at the table's folder, or at `imageRoot`.
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { count } from '../web/html.js';
import { DiffmineError } from '../util/errors.js';
import { formatJson, parseJson } from '../util/json.js';
import type { DatasetOptions } from './options.js';
import { classNamer } from './class-names.js';
import { factsOfAll } from './files.js';
import { Listing } from './listing.js';
import { byPath, labelRule, unlabeledWarning } from './label-source.js';
import { imageFile, nameOfText, systemPath } from './names.js';
import { isRemote } from './bytes/names.js';
import { similarPath, useOtherForms } from './similar.js';
import { ParquetFile, type Leaf } from './bytes/parquet.js';
import { openSource } from './bytes/source.js';
import { cellText, labelProblem, listedLabel } from './table-labels.js';
import { csvRecords, textLines, type Delimiter } from './text/index.js';

/** A row as text: `values` by column, and the line it begins on (from 1). */
interface Row {
  line: number;
  values: readonly (string | undefined)[];
}

/** Rows that share their columns. */
interface Rows {
  columns: readonly string[];
  rows: Row[];
}

const COLUMNS =
  'A table needs the columns image (or path, file_name) and label; `imageColumn` and `labelColumn` name others. Other columns are copied to the results.';

interface Places {
  image: number;
  /** undefined: labels are parts of paths */
  label: number | undefined;
  /** the other columns */
  extra: [name: string, place: number][];
}

/** Positions of the needed columns; DATASET_INVALID names missing ones. */
function placesOf(columns: readonly string[], options: DatasetOptions, where: string, separated: boolean): Places {
  const image = imageColumnOf(columns, options);
  const label = labelColumnOf(options);
  const missing = [image, label].filter((name) => name !== undefined && !columns.includes(name));
  if (missing.length > 0) {
    const listed = columns.map((name) => `'${name}'`).join(', ') || 'nothing';
    throw new DiffmineError(
      'DATASET_INVALID',
      `${where}: no ${missing.map((name) => `'${name}'`).join(' and no ')}; there is ${listed}.`,
      columns.length === 1 && separated
        ? `There is only one column. A .csv is separated by commas, semicolons or tabs, a .tsv by tabs. ${COLUMNS}`
        : COLUMNS,
    );
  }
  return {
    image: columns.indexOf(image),
    label: label === undefined ? undefined : columns.indexOf(label),
    extra: columns.flatMap((name, i): [string, number][] =>
      name === '' || name === image || name === label ? [] : [[name, i]],
    ),
  };
}

const imageColumnOf = (columns: readonly string[], { imageColumn }: DatasetOptions): string =>
  imageColumn ?? ['image', 'path', 'file_name'].find((name) => columns.includes(name)) ?? 'image';

/** Undefined: labels are parts of paths. */
function labelColumnOf(options: DatasetOptions): string | undefined {
  const rule = labelRule(options) ?? { column: 'label' };
  return 'column' in rule ? rule.column : undefined;
}

/** Endings of compressed archives and tables. */
const COMPRESSED = /\.(?:gz|tgz|bz2|xz|zst|zip|7z)$/i;

/**
 * If several rows have the same image and label (such as boxes of one image), only the first is kept.
 *
 * @param file absolute
 * @param root where relative paths start, as a name (names.ts)
 * @throws DATASET_INVALID naming file and line
 */
export async function readTable(file: string, root: string, options: DatasetOptions): Promise<Listing> {
  const extension = path.extname(file).toLowerCase();
  const separators: Delimiter[] = [];
  const tables =
    extension === '.csv' || extension === '.tsv'
      ? csvRows(file, options, (one) => separators.push(one))
      : extension === '.jsonl' || extension === '.ndjson'
        ? jsonRows(file, options)
        : extension === '.parquet'
          ? parquetRows(file, options)
          : undefined;
  if (!tables)
    throw new DiffmineError(
      'DATASET_INVALID',
      `'${file}' is neither a folder nor a .csv, .tsv, .jsonl or .parquet table nor a .tar archive.`,
      COMPRESSED.test(file)
        ? 'Decompress it: images are read from any place, which a compressed file does not allow.'
        : COLUMNS,
    );
  const rule = labelRule(options);
  const unlabeled: string[] = [];
  const name = path.basename(file);
  const found = new Listing();
  for await (const { columns, rows } of tables) {
    if (rows.length === 0) continue;
    const places = placesOf(columns, options, `${name}, line ${rows[0]?.line}`, /^\.[ct]sv$/.test(extension));
    const imageColumn = columns[places.image] as string;
    const failure =
      (line: number) =>
      (what: string, hint?: string): DiffmineError =>
        new DiffmineError('DATASET_INVALID', `${name}, line ${line}: ${what}.`, hint);
    const paths: string[] = [];
    for (const { line, values } of rows)
      paths.push(await nameOf(root, values[places.image] ?? '', imageColumn, failure(line)));
    const facts = await factsOfAll(paths.map((image) => imageFile(root, image)));
    await useOtherForms(root, paths, facts);
    const lost = facts.findIndex((one) => typeof one !== 'object');
    const similar = facts[lost] === 'absent' ? await similarPath(root, paths[lost] as string) : undefined;
    rows.forEach(({ line, values }, i) => {
      const image = paths[i] as string;
      const file = facts[i];
      if (typeof file !== 'object')
        throw unfound(values[places.image] as string, file === 'folder', similar, root, options, failure(line));
      const given = places.label === undefined ? byPath(rule, image) : values[places.label];
      const label = (given ?? '').trim();
      if (label === '' && places.label === undefined) {
        unlabeled.push(image);
        return;
      }
      if (label === '')
        throw failure(line)(
          `'${columns[places.label as number]}' is empty`,
          'Every image needs a label; leave out rows without one.',
        );
      const problem = labelProblem(label);
      if (problem !== undefined)
        throw failure(line)(
          `the label ${JSON.stringify(label)} has ${problem}`,
          'Such a label cannot be written to files or prompts: fix the table.',
        );
      const extra = places.extra.flatMap(([column, place]) =>
        values[place] === undefined ? [] : [[column, values[place]]],
      );
      found.add({
        path: image,
        file: imageFile(root, image),
        label,
        ...file,
        ...(extra.length > 0 ? { extra: Object.fromEntries(extra) as Record<string, string> } : {}),
      });
    });
  }
  for (const separator of separators)
    if (separator !== ',' && extension === '.csv')
      found.warnings.push(`${name}: fields are separated by ${separator === ';' ? 'semicolons' : 'tabs'}.`);
  if (unlabeled.length > 0) found.warnings.push(unlabeledWarning(unlabeled, rule));
  if (found.count === 0) throw new DiffmineError('DATASET_INVALID', `The table '${file}' has no rows.`, COLUMNS);
  return found;
}

/** `a/./b//c` -> `a/b/c`; `..` stays: after a link it is not the folder before it. */
const tidy = (name: string): string =>
  /\/\/|(^|\/)\.\//.test(name) ? name.replace(/\/{2,}/g, '/').replace(/(^|\/)(\.\/)+/g, '$1') : name;

/** The name of an image in runs: relative to `root` if it is below it, else as given. */
async function nameOf(
  root: string,
  given: string,
  column: string,
  fail: (what: string, hint?: string) => DiffmineError,
): Promise<string> {
  if (given === '') throw fail(`'${column}' is empty`, 'Every row needs an image; leave out rows without one.');
  if (given.includes('\0')) throw fail('the path has a NUL character', 'No file has such a name: fix the table.');
  const name = isRemote(given) ? nameOfText(given) : tidy(/^file:/i.test(given) ? fileOfUrl(given, fail) : given);
  const below = name.startsWith(`${root}/`) ? name.slice(root.length + 1) : name;
  if (!/[^/]\/\.\.(\/|$)/.test(below)) return below;
  const plain = path.posix.normalize(below);
  return (await same(imageFile(root, below), imageFile(root, plain))) ? plain : below;
}

/** 'file:///data/a%20b.jpg' -> '/data/a b.jpg' */
function fileOfUrl(url: string, fail: (what: string, hint?: string) => DiffmineError): string {
  try {
    return fileURLToPath(url);
  } catch {
    throw fail(`'${url}' is not the URL of a file here`, 'Write file:///FOLDER/IMAGE, or the path by itself.');
  }
}

function unfound(
  given: string,
  isFolder: boolean,
  similar: string | undefined,
  root: string,
  { imageRoot }: DatasetOptions,
  fail: (what: string, hint?: string) => DiffmineError,
): DiffmineError {
  if (isFolder) return fail(`'${given}' is a folder, not an image`, 'Write a row for each image, with its path.');
  if (given.includes('\\'))
    return fail(
      `there is no file '${given}'`,
      'This is a Windows path: use forward slashes, and `imageRoot` for the folder that relative paths start at.',
    );
  if (given.startsWith('~'))
    return fail(`there is no file '${given}'`, 'A ~ is not read as the home folder here: write the whole path.');
  if (similar !== undefined)
    return fail(`there is no file '${given}'`, `There is '${similar}': upper and lower case are different files here.`);
  return fail(
    `there is no file '${given}'`,
    imageRoot === undefined
      ? `Relative paths start at the table's folder ('${root}'); \`imageRoot\` DIR sets another folder.`
      : `Relative paths start at \`imageRoot\` ('${root}').`,
  );
}

async function same(a: string, b: string): Promise<boolean> {
  const [one, other] = await Promise.all(
    [a, b].map(async (file) => stat(systemPath(file), { bigint: true }).catch(() => undefined)),
  );
  return one !== undefined && other !== undefined && one.dev === other.dev && one.ino === other.ino;
}

async function* csvRows(
  file: string,
  options: DatasetOptions,
  onDelimiter: (delimiter: Delimiter) => void,
): AsyncGenerator<Rows> {
  const name = path.basename(file);
  let columns: string[] | undefined;
  for await (const records of csvRecords(file, options, onDelimiter)) {
    const rows: Row[] = [];
    for (const { fields, line } of records) {
      if (!columns) {
        columns = fields.map((column) => column.trim());
        // spreadsheets write a separator for each column that was ever used
        const twice = columns.find((column, i) => column !== '' && columns?.indexOf(column) !== i);
        if (twice !== undefined)
          throw new DiffmineError(
            'DATASET_INVALID',
            `${name}, line ${line}: there are two columns '${twice}'.`,
            'Rename one of them.',
          );
        placesOf(columns, options, `${name}, line ${line}`, true);
      } else if (fields.length !== columns.length) {
        throw new DiffmineError(
          'DATASET_INVALID',
          `${name}, line ${line}: ${count(fields.length, 'field')}, but the header names ${columns.length}.`,
          'Put fields that contain the separator (a comma, a semicolon or a tab) in double quotes.',
        );
      } else {
        rows.push({ line, values: fields });
      }
    }
    if (columns) yield { columns, rows };
  }
}

/** The rows of a Parquet table of paths, one row group at a time. */
async function* parquetRows(name: string, options: DatasetOptions): AsyncGenerator<Rows> {
  const source = await openSource(nameOfText(name));
  try {
    const file = await ParquetFile.open(source);
    const columns = file.leaves.map(({ path: column }) => column);
    const [image, label] = [imageColumnOf(columns, options), labelColumnOf(options)];
    const named = classNamer(file);
    // lists are read as labels alone: others may be long, such as embeddings; some programs do not say that bytes are text
    const leaves = file.leaves
      .filter(({ isBinary, isList, path: column }) => column === label || (!isList && (!isBinary || column === image)))
      .map((leaf) => ({ ...leaf, isBinary: false }));
    for (const group of file.groups) {
      const columns: ArrayLike<unknown>[] = [];
      for (const leaf of leaves) columns.push(await file.values(group, leaf));
      yield {
        columns: leaves.map(({ path: column }) => column),
        rows: Array.from({ length: group.rows }, (_, row) => ({
          line: group.row + row + 1,
          values: columns.map((values, i) => cellText(named((leaves[i] as Leaf).path, values[row]))),
        })),
      };
    }
  } finally {
    await source.close();
  }
}

const OBJECT = 'JSONL has one object per line: {"image": "a.jpg", "label": "1920"}';

async function* jsonRows(file: string, options: DatasetOptions): AsyncGenerator<Rows> {
  const name = path.basename(file);
  for await (const lines of textLines(file, options)) {
    // rows in a row with the same keys make one table
    let table: Rows | undefined;
    for (const { text, line } of lines) {
      const entries = jsonEntries(text, `${name}, line ${line}`, options);
      const columns = entries.map(([column]) => column);
      if (
        !table ||
        columns.length !== table.columns.length ||
        columns.some((column, i) => column !== table?.columns[i])
      ) {
        if (table) yield table;
        table = { columns, rows: [] };
      }
      table.rows.push({ line, values: entries.map(([, value]) => value) });
    }
    if (table) yield table;
  }
}

/** One JSONL object as text: strings as they are, null left out, a list of labels as A|B, other values as Python's JSON writes them. */
function jsonEntries(text: string, where: string, options: DatasetOptions): [column: string, value: string][] {
  let row: unknown;
  try {
    row = parseJson(text);
  } catch (cause) {
    throw new DiffmineError('DATASET_INVALID', `${where}: not JSON (${(cause as Error).message}).`, OBJECT, { cause });
  }
  if (typeof row !== 'object' || row === null || Array.isArray(row))
    throw new DiffmineError('DATASET_INVALID', `${where}: not an object.`, OBJECT);
  const labelColumn = labelColumnOf(options);
  const imageColumn = imageColumnOf(Object.keys(row), options);
  return Object.entries(row as Record<string, unknown>)
    .filter(([, value]) => value !== null)
    .map(([column, value]) => {
      if (column === labelColumn) {
        const label = listedLabel(value);
        if ('problem' in label)
          throw new DiffmineError('DATASET_INVALID', `${where}: '${column}' ${label.problem}.`, label.hint);
        return [column, label.label];
      }
      if (column === imageColumn && typeof value !== 'string')
        throw new DiffmineError(
          'DATASET_INVALID',
          `${where}: '${column}' is ${JSON.stringify(value)}, not a path.`,
          OBJECT,
        );
      return [column, typeof value === 'string' ? value : formatJson(value)];
    });
}
