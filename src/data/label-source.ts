// Where labels come from (`labelFrom`), and what becomes of them: bins of numbers, other names, and how many images of each are kept.
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { evenly } from '../util/evenly.js';
import { sha256 } from '../util/sha256.js';
import { plainPath } from './bytes/names.js';
import { ImageListBuilder, type ImageList } from './images.js';
import { SEPARATOR, splitLabels } from './labels.js';
import { textOfName } from './names.js';
import type { DatasetSource } from './options.js';
import { readCsv, readText, type TextOptions } from './text/index.js';

/** A column, or a part of the image's path. */
export type LabelRule = { column: string } | { path: (image: string) => string | undefined; shown: string };

/** The first folder of a path below the dataset: 'a/b/c.jpg' -> 'a'; in containers, of the path inside. */
export function folderOf(image: string): string | undefined {
  const inside = image.includes('#') ? image.replace(/^.*\.(?:tar|parquet)#[^/]*\//i, '') : image;
  const [first, ...rest] = inside.replace(/^\/+/, '').split('/');
  return rest.length > 0 && first !== undefined ? textOfName(first) : undefined;
}

/**
 * What `labelFrom` and `labelColumn` ask for; undefined: nothing.
 *
 * @throws INVALID_ARGUMENT for both, or an invalid regular expression, or one without a group
 */
export function labelRule({ labelFrom, labelColumn }: DatasetSource): LabelRule | undefined {
  if (labelFrom !== undefined && labelColumn !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      '`labelFrom` and `labelColumn` both name the label.',
      'Give one of them.',
    );
  if (labelColumn !== undefined) return { column: labelColumn };
  if (labelFrom === undefined) return undefined;
  if (labelFrom === 'folder') return { path: folderOf, shown: 'the folder' };
  if (!labelFrom.includes('(')) return { column: labelFrom };
  let expression: RegExp;
  try {
    expression = new RegExp(labelFrom, 'u');
  } catch (cause) {
    throw new DiffmineError('INVALID_ARGUMENT', `\`labelFrom\`: ${(cause as Error).message}.`, undefined, { cause });
  }
  if (new RegExp(`${labelFrom}|`, 'u').exec('')?.length === 1)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`labelFrom\` ${labelFrom} has no group.`,
      'Put the part that is the label in parentheses: ([0-9]{4})_',
    );
  return {
    path: (image) => {
      const found = expression.exec(plainPath(image));
      const label = found?.groups?.['label'] ?? found?.[1];
      return label === undefined ? undefined : textOfName(label);
    },
    shown: `/${labelFrom}/`,
  };
}

/** The label that a rule finds in a path. */
export const byPath = (rule: LabelRule | undefined, image: string): string | undefined =>
  rule && 'path' in rule ? rule.path(image) : undefined;

/** 'N images have no label by RULE and are left out' */
export function unlabeledWarning(images: readonly string[], rule: LabelRule | undefined): string {
  const from = rule && 'path' in rule ? rule.shown : 'their column';
  return `${images.length} ${images.length === 1 ? 'image has' : 'images have'} no label by ${from} and ${images.length === 1 ? 'is' : 'are'} left out, such as ${images[0]}.`;
}

/** Whether anything is asked for that `relabelled` does. */
export const changesLabels = ({ bin, map, limit, sample }: DatasetSource): boolean =>
  [bin, map, limit, sample].some((value) => value !== undefined);

/** Bins of numbers: a label is the lower edge of its bin; of quantiles, LOWEST-HIGHEST. */
function binner(bin: string, images: ImageList): (label: string, image: string) => string | undefined {
  const numberOf = (label: string, image: string): number => {
    const value = label.trim() === '' ? NaN : Number(label);
    if (Number.isFinite(value)) return value;
    throw new DiffmineError(
      'DATASET_INVALID',
      `The label ${JSON.stringify(label)} of ${image} is no number, so it is in no bin.`,
      'Leave `bin` out, or take the labels from a column of numbers (`labelColumn`).',
    );
  };
  const quantiles = /^q(\d+)$/.exec(bin)?.[1];
  if (quantiles !== undefined) {
    const values = images.map(({ label, path: image }) => numberOf(label, image)).sort((a, b) => a - b);
    const count = Number(quantiles);
    const edges = Array.from(
      { length: count - 1 },
      (_, i) => values[Math.floor(((i + 1) * values.length) / count)] ?? 0,
    );
    const binOf = (value: number): number => edges.filter((edge) => value >= edge).length;
    const range = new Map<number, [low: number, high: number]>();
    for (const value of values) {
      const [low] = range.get(binOf(value)) ?? [value];
      range.set(binOf(value), [low, value]);
    }
    const names = new Map(
      [...range].map(([number, [low, high]]) => [number, low === high ? `${low}` : `${low}-${high}`]),
    );
    return (label, image) => names.get(binOf(numberOf(label, image)));
  }
  const [start, stop, step] = bin.split(':').map(Number) as [number, number, number];
  return (label, image) => {
    const value = numberOf(label, image);
    if (value < start || value >= stop) return undefined;
    // steps such as 0.1 have no exact multiples
    return String(Number((start + Math.floor((value - start) / step + 1e-9) * step).toPrecision(12)));
  };
}

/** What labels are compared by: file systems, keyboards and tables write "é" as one character or as two. */
const keyOf = (label: string): string => label.trim().normalize('NFC');

/**
 * New names by the keys of old ones, from JSON, YAML ({ old: new }), CSV or TSV (old,new); empty or null: the label's images are left out.
 *
 * @throws INVALID_ARGUMENT if the file is none of these, or has two names for a label
 */
async function readMap(file: string, encoding: TextOptions): Promise<Map<string, string>> {
  const invalid = (why: string, cause?: unknown): DiffmineError =>
    new DiffmineError(
      'INVALID_ARGUMENT',
      `The map of labels '${file}' ${why}.`,
      'It is JSON or YAML, {"old": "new"}, or a .csv or .tsv with two columns and no header. An empty name leaves the label out.',
      { cause },
    );
  const wrong = (cause: unknown): never => {
    const { message, hint } = cause as DiffmineError;
    throw new DiffmineError('INVALID_ARGUMENT', message, hint, { cause });
  };
  const entries: [unknown, unknown][] = [];
  if (/\.[ct]sv$/i.test(file)) {
    const { header, records } = await readCsv(file, encoding).catch(wrong);
    for (const fields of [header, ...records.map((record) => record.fields)]) {
      if (fields.length !== 2)
        throw invalid(`has a row of ${fields.length} ${fields.length === 1 ? 'field' : 'fields'}`);
      entries.push([fields[0], fields[1]]);
    }
  } else {
    const text = await readText(file, encoding).catch(wrong);
    const { readYaml } = await import('../util/yaml.js'); // 70 modules, which few need
    let root: unknown;
    try {
      root = readYaml(text, () => true);
    } catch (cause) {
      throw invalid(`is not valid YAML: ${(cause as Error).message.split('\n')[0]}`, cause);
    }
    if (typeof root !== 'object' || root === null || Array.isArray(root)) throw invalid('has no names');
    entries.push(...Object.entries(root));
  }
  const names = new Map<string, string>();
  for (const [before, after] of entries) {
    if (after !== null && typeof after !== 'string')
      throw invalid(`has ${JSON.stringify(after)} for ${JSON.stringify(before)}`);
    const key = keyOf(String(before));
    const name = (after ?? '').trim();
    if ((names.get(key) ?? name) !== name)
      throw invalid(
        `has two names for ${JSON.stringify(key)}: ${JSON.stringify(names.get(key))} and ${JSON.stringify(name)}`,
      );
    names.set(key, name);
  }
  return names;
}

/**
 * Bins, renames, and takes a part of the images, in this order. Returns notes about what is left out.
 *
 * @throws DATASET_INVALID for a label that is in no bin because it is no number, or if no image is left; INVALID_ARGUMENT for a map that cannot be read
 */
export async function relabelled(
  images: ImageList,
  { bin, map, limit, sample, sampleSeed = 0, encoding }: DatasetSource,
): Promise<{ images: ImageList; notes: string[] }> {
  const notes: string[] = [];
  let list = images;
  const keep = (rename: (label: string, image: string) => string | undefined, why: string): void => {
    const builder = new ImageListBuilder();
    const left: string[] = [];
    for (const image of list) {
      const label = rename(image.label, image.path);
      if (label === undefined || label === '') left.push(image.path);
      else builder.add({ ...image, label });
    }
    if (left.length > 0)
      notes.push(
        `${left.length} ${left.length === 1 ? 'image is' : 'images are'} left out (${why}), such as ${left[0]}.`,
      );
    list = builder.build().images;
  };
  if (bin !== undefined) keep(binner(bin, list), `\`bin\` ${bin}`);
  if (map !== undefined) {
    const names = await readMap(map, { encoding });
    const present = new Set(
      [...list.countByLabel().keys()].flatMap((label) => [label, ...splitLabels(label)].map(keyOf)),
    );
    const unused = [...names.keys()].filter((name) => !present.has(name));
    if (unused.length > 0)
      notes.push(
        `The map of labels names ${unused
          .map((name) => JSON.stringify(name))
          .slice(0, 5)
          .join(', ')}${unused.length > 5 ? ` and ${unused.length - 5} more` : ''}, which no image has.`,
      );
    keep(
      (label) =>
        names.get(keyOf(label)) ??
        [...new Set(splitLabels(label).map((one) => names.get(keyOf(one)) ?? one))]
          .filter((one) => one !== '')
          .join(SEPARATOR),
      `\`map\` ${path.basename(map)}`,
    );
  }
  if (sample !== undefined) {
    const chosen = new Set<number>();
    const byLabel = new Map<string, { index: number; key: string }[]>();
    for (let index = 0; index < list.length; index++) {
      const own = byLabel.get(list.label(index)) ?? [];
      own.push({ index, key: sha256(`${sampleSeed} ${list.path(index)}`) });
      byLabel.set(list.label(index), own);
    }
    for (const own of byLabel.values())
      for (const { index } of own.sort((a, b) => (a.key < b.key ? -1 : 1)).slice(0, sample)) chosen.add(index);
    list = list.filter((index) => chosen.has(index));
  }
  if (limit !== undefined && limit < list.length) {
    const chosen = new Set(
      evenly(
        Array.from({ length: list.length }, (_, i) => i),
        limit,
      ),
    );
    list = list.filter((index) => chosen.has(index));
  }
  if (list.length === 0)
    throw new DiffmineError('DATASET_INVALID', 'No image of the dataset is left.', notes.join(' ') || undefined);
  return { images: list, notes };
}
