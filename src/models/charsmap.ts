// SentencePiece's normalization, which tokenizer.json calls Precompiled: a table of replacements, found by a trie over UTF-8 bytes.
import { DiffmineError } from '../util/errors.js';

/** Longer characters (in bytes) are not looked up as a whole, but each of their code points. */
const LONG = 6;

/**
 * Reads a table.
 *
 * @param table base64: the trie's size in bytes (u32), the trie (units of 32 bits, little-endian), and the replacements, each ended by a zero byte
 * @param file named in errors
 * @returns the function that normalizes a text
 * @throws MODEL_INVALID
 */
export function charsmap(table: string, file: string): (text: string) => string {
  const bytes = Buffer.from(table, 'base64');
  const size = bytes.length < 4 ? NaN : bytes.readUInt32LE(0);
  if (!(size >= 4 && size % 4 === 0 && 4 + size <= bytes.length))
    throw new DiffmineError('MODEL_INVALID', `'${file}' has a damaged precompiled_charsmap.`);
  const trie = Uint32Array.from({ length: size / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i));
  const replacements = bytes.subarray(4 + size);
  const replaced = (part: string): string | undefined => {
    const place = shortestMatch(trie, Buffer.from(part));
    if (place === undefined || place >= replacements.length) return undefined;
    const end = replacements.indexOf(0, place);
    return replacements.toString('utf8', place, end < 0 ? replacements.length : end);
  };
  const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
  const normalized = ({ segment }: { segment: string }): string =>
    (Buffer.byteLength(segment) < LONG ? replaced(segment) : undefined) ??
    Array.from(segment, (one) => replaced(one) ?? one).join('');
  return (text) => Array.from(graphemes.segment(text), normalized).join('');
}

/** The value of the shortest key that `bytes` begin with. The trie is a double array, its units packed as in darts-clone. */
function shortestMatch(trie: Uint32Array, bytes: Uint8Array): number | undefined {
  const at = (place: number): number => trie[place] ?? 0;
  const child = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);
  let place = child(at(0));
  for (const byte of bytes) {
    if (byte === 0) return undefined;
    place ^= byte;
    const unit = at(place);
    if ((unit & 0x800000ff) >>> 0 !== byte) return undefined;
    place ^= child(unit);
    if ((unit & 0x100) !== 0) return at(place) & 0x7fffffff;
  }
  return undefined;
}
