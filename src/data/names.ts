// Names of files as text. A file system's names are bytes, which need not be UTF-8 (archives from Windows, old disks): each byte that is not becomes
// %xHH. Different files then have different names, and each name can be printed, stored, and turned back into the bytes that open the file.
import { isUtf8 } from 'node:buffer';
import path from 'node:path';
import { isRemote, PLACE } from './bytes/names.js';

/**
 * What stands for a byte: %x80 ... %xFF, %x25 for a percent sign that would otherwise read as one of these, and %x23 for a # that would read as a place in a
 * container.
 */
const ESCAPE = /%x(2[35]|[89A-F][0-9A-F])/g;

/** Text as a name: only a percent sign or # that would read as something else changes. */
export function nameOfText(text: string): string {
  const escaped = text.includes('%x') ? text.replace(ESCAPE, (_, hex: string) => `%x25x${hex}`) : text;
  return escaped.includes('#') ? escaped.replace(PLACE, (place) => place.replace('#', '%x23')) : escaped;
}

/** The name of a file's bytes. */
export function nameOfBytes(bytes: Buffer): string {
  if (isUtf8(bytes)) return nameOfText(bytes.toString('utf8'));
  let name = '';
  for (let at = 0; at < bytes.length;) {
    let end = at;
    for (let length = characterAt(bytes, end); length > 0; length = characterAt(bytes, end)) end += length;
    name += nameOfText(bytes.toString('utf8', at, end));
    if (end < bytes.length) name += `%x${(bytes[end] as number).toString(16).toUpperCase()}`;
    at = end + 1;
  }
  return name;
}

/** Bytes of the character at a place; 0 if there is none. */
function characterAt(bytes: Buffer, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.length; ++length)
    if (isUtf8(bytes.subarray(at, at + length))) return length;
  return 0;
}

/** What opens the file of a name: a string, or bytes where the name has bytes that are not UTF-8. */
export function systemPath(name: string): string | Buffer {
  if (!name.includes('%x')) return name;
  const parts: Buffer[] = [];
  let at = 0;
  for (const { index, 0: escape, 1: hex } of name.matchAll(ESCAPE)) {
    parts.push(Buffer.from(name.slice(at, index)), Buffer.from([parseInt(hex as string, 16)]));
    at = index + escape.length;
  }
  const bytes = Buffer.concat([...parts, Buffer.from(name.slice(at))]);
  return isUtf8(bytes) ? bytes.toString('utf8') : bytes;
}

/** The text of a name, without its escapes; of bytes that are not UTF-8 the name itself. */
export function textOfName(name: string): string {
  const place = systemPath(name);
  return typeof place === 'string' ? place : name;
}

/** The file of an image of a dataset, as a name. `..` stays, as what it means after a link is for the file system to say. */
export function imageFile(root: string, image: string): string {
  return path.isAbsolute(image) || isRemote(image) ? image : root.endsWith('/') ? root + image : `${root}/${image}`;
}
