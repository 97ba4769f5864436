// Turns labels and image names into names of files and folders that work on any system.
import { sha256 } from '../util/sha256.js';

/**
 * The name of a map in maps.safetensors: CONDITION/PATH, the condition with %25 and %2F instead of % and /. The first / ends the condition, so that no
 * two maps have one name.
 */
export function mapName(condition: string, path: string): string {
  return `${condition.replaceAll('%', '%25').replaceAll('/', '%2F')}/${path}`;
}

/** Names that mean a device on Windows. */
const DEVICES = /^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$/i;
const LONGEST_NAME = 200;

const escape = (char: string): string => `%${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(2, '0')}`;

/**
 * A text as the name of a file or folder: itself if it can be, else with %XX instead of what cannot; cut, with a hash, where too long.
 *
 * @param reserved names with another meaning in the folder, in lower case
 */
export function safeName(text: string, reserved: readonly string[] = []): string {
  const safe = Array.from(text, (char) =>
    char < ' ' || char === '\x7f' || '<>:"/\\|?*%'.includes(char) ? escape(char) : char,
  ).join('');
  const ends = safe.replace(/^[. ]|[. ]$/g, escape);
  const name = DEVICES.test(ends) || reserved.includes(ends.toLowerCase()) ? ends.replace(/^./, escape) : ends;
  return Buffer.byteLength(name) <= LONGEST_NAME
    ? name
    : `${Array.from(name).slice(0, 40).join('')}-${sha256(text).slice(0, 16)}`;
}

/** The text that `safeName` made a name of; one that was cut stays as it is. */
export function unsafeName(name: string): string {
  return name.replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

/**
 * Texts as names of files or folders, no two of which are one name on any system: some do not tell A from a, or the two ways to write é.
 *
 * @param reserved as for `safeName`
 */
export function safeNames(texts: readonly string[], reserved: readonly string[] = []): Map<string, string> {
  const taken = new Set<string>();
  const take = (name: string): boolean => {
    const key = name.normalize('NFC').toLowerCase();
    return !taken.has(key) && Boolean(taken.add(key));
  };
  const names = new Map<string, string>();
  for (const text of new Set(texts)) {
    const name = safeName(text, reserved);
    names.set(text, name);
    // an ending that depends on the text alone
    for (let length = 8; !take(names.get(text) as string); length += 8)
      names.set(text, `${name}-${sha256(text).slice(0, length)}`);
  }
  return names;
}
