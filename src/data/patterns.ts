// Locations that name several files: {00000..00999}, {a,b}, *, ** and ?.
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { walk } from './boxes/walk.js';
import { DiffmineError } from '../util/errors.js';
import { entriesOf, factsOf } from './files.js';
import { litter } from './ignored.js';
import { imageFile, nameOfText } from './names.js';

/** Files that one pair of braces may stand for. */
const MOST = 1_000_000;

const SIGN = /[*?{]/;

const hasPattern = (text: string): boolean => SIGN.test(text);

/** Whether a location is a pattern: it has its signs, and nothing lies there by that name. */
export async function isPattern(location: string): Promise<boolean> {
  return hasPattern(location) && !(await stat(location).catch(() => undefined));
}

/** The folder that names of images start at: of a pattern the part before its first sign, of a file its folder. Absolute. */
export function rootOf(location: string, kind: 'folder' | 'file' | 'pattern'): string {
  const absolute = path.resolve(location);
  if (kind === 'folder') return absolute;
  if (kind === 'file') return path.dirname(absolute);
  const sign = absolute.search(SIGN);
  return sign < 0 ? absolute : path.dirname(`${absolute.slice(0, sign)}x`);
}

/** 'a{00..02}b{x,y}' -> 'a00bx', 'a00by', ... @throws INVALID_ARGUMENT for more than a million */
export function expandBraces(text: string): string[] {
  const found = /\{([^{}]*)\}/.exec(text);
  if (!found) return [text];
  const [whole, inner = ''] = found;
  const [before, after] = [text.slice(0, found.index), text.slice(found.index + whole.length)];
  const range = /^(\d+)\.\.(\d+)$/.exec(inner);
  let choices = inner.split(',');
  if (range) {
    const [first, last] = [Number(range[1]), Number(range[2])];
    const count = Math.abs(last - first) + 1;
    if (count > MOST)
      throw new DiffmineError('INVALID_ARGUMENT', `The pattern ${text} stands for ${count} files.`, 'Use * instead.');
    const width = Math.max(range[1]?.length ?? 0, range[2]?.length ?? 0);
    const isPadded = range[1]?.startsWith('0') === true || range[2]?.startsWith('0') === true;
    choices = Array.from({ length: count }, (_, i) =>
      String(first + (last < first ? -i : i)).padStart(isPadded ? width : 0, '0'),
    );
  } else if (choices.length === 1) {
    // braces of a file's own name
    return expandBraces(after).map((rest) => before + whole + rest);
  }
  return choices.flatMap((choice) => expandBraces(`${before}${choice}${after}`));
}

export const regexOf = (segment: string): RegExp =>
  new RegExp(
    `^${segment
      .replace(/[.+^$()|[\]\\{}]/g, '\\$&')
      .replaceAll('*', '[^/]*')
      .replaceAll('?', '[^/]')}$`,
    'u',
  );

/**
 * The files of a pattern, absolute names (names.ts), by code point; a pattern of braces alone in its own order.
 *
 * @throws DATASET_INVALID for files of braces that are missing, or if there are none
 */
export async function filesOf(location: string): Promise<string[]> {
  const expanded = expandBraces(nameOfText(path.resolve(location)));
  const found: string[] = [];
  const missing: string[] = [];
  for (const one of expanded) {
    if (/[*?]/.test(one)) found.push(...(await matching(one)));
    else if ((await factsOf(one)) === 'absent') missing.push(one);
    else found.push(one);
  }
  if (missing.length > 0 && (expanded.length > 1 || found.length === 0)) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `${missing.length} of the ${expanded.length} files of '${location}' are missing, such as '${missing[0]}'.`,
      'Give the numbers that are there, or * for all files.',
    );
  }
  if (found.length === 0)
    throw new DiffmineError(
      'DATASET_INVALID',
      `No file matches '${location}'.`,
      'Quote the pattern, so that the shell passes it on as it is.',
    );
  return [...new Set(found)];
}

/** Files of an absolute pattern with * and ?. */
async function matching(pattern: string): Promise<string[]> {
  const segments = pattern.split('/').slice(1);
  let places = [''];
  for (const [i, segment] of segments.entries()) {
    const isLast = i === segments.length - 1;
    if (segment === '**') {
      const rest = segments.slice(i + 1);
      const tail = new RegExp(
        `(^|/)${rest.map((one) => (one === '**' ? '.*' : regexOf(one).source.slice(1, -1))).join('/')}$`,
        'u',
      );
      const all = await Promise.all(
        places.map(async (place) => (await walk(place)).files.map((file) => ({ file, whole: `${place}/${file}` }))),
      );
      return all
        .flat()
        .filter(({ file }) => tail.test(file) && !file.split('/').some(litter))
        .map(({ whole }) => whole)
        .sort();
    }
    const next: string[] = [];
    for (const place of places) {
      if (!/[*?]/.test(segment)) {
        next.push(`${place}/${segment}`);
        continue;
      }
      const is = regexOf(segment);
      for (const { name } of await entriesOf(place === '' ? '/' : place).catch(() => []))
        if (is.test(name) && litter(name) === undefined) next.push(imageFile(place === '' ? '/' : place, name));
    }
    const facts = await Promise.all(next.map(factsOf));
    places = next.filter((_, n) => (isLast ? typeof facts[n] === 'object' : facts[n] === 'folder')).sort();
  }
  return places;
}
