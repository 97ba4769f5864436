// JSON as Python and editors write it: json.dump writes NaN, Infinity and -Infinity, which JSON.parse refuses, and Windows editors begin files with
// a byte-order mark. Everything else is as strict as JSON.parse.

/** A string, or a number that only Python writes. Strings come first, so that nothing inside of one is taken for a number. */
const STRING_OR_NUMBER = /"(?:[^"\\]+|\\.)*"?|(?<![\w.+-])(-?Infinity|NaN)(?![\w.+-]|\s*:)/gs;

/**
 * Parses JSON that may have NaN, Infinity and -Infinity instead of numbers, and may begin with a byte-order mark.
 *
 * @throws SyntaxError, of JSON.parse
 */
export function parseJson(text: string): unknown {
  const json = text.startsWith('\uFEFF') ? text.slice(1) : text;
  try {
    return JSON.parse(json);
  } catch (error) {
    const marker = unusedCharacter(json);
    let found = false as boolean; // set in a callback
    // 1e999 is JSON for Infinity. NaN has no such number: it becomes a string that is in no other place. Lengths stay, for positions in messages.
    const rewritten = json.replace(STRING_OR_NUMBER, (whole, number?: string) => {
      if (number === undefined) return whole;
      found = true;
      return number === 'NaN' ? `"${marker}"` : number.replace('Infinity', '1e999   ');
    });
    if (!found) throw error;
    try {
      return JSON.parse(rewritten, (_, value: unknown) => (value === marker ? NaN : value));
    } catch (real) {
      throw new SyntaxError(
        (real as Error).message.replaceAll(`"${marker}"`, 'NaN').replaceAll('1e999   ', 'Infinity'),
      );
    }
  }
}

/** JSON as Python reads and writes it: numbers that are not finite stay what they are, where JSON.stringify makes null of them. */
export function formatJson(value: unknown, indent?: number): string {
  if (value === undefined) return 'undefined';
  const marker = unusedCharacter(JSON.stringify(value));
  const text = JSON.stringify(
    value,
    (_, one: unknown) => (typeof one === 'number' && !Number.isFinite(one) ? `${marker}${one}` : one),
    indent,
  );
  return text.replace(new RegExp(`"${marker}(NaN|-?Infinity)"`, 'g'), '$1');
}

/**
 * The text of a JSON file: UTF-8, or UTF-16 where the file begins with its byte-order mark (PowerShell's `>` writes that).
 *
 * @throws TypeError for bytes that are not of that encoding
 */
export function decodeJson(bytes: Uint8Array): string {
  const [first, second] = bytes;
  const encoding =
    first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : 'utf-8';
  return new TextDecoder(encoding, { fatal: true }).decode(bytes);
}

/** A character of the private use area that the text does not have, written out or as an escape. */
function unusedCharacter(text: string): string {
  const lower = text.toLowerCase();
  for (let code = 0xe000; code <= 0xf8ff; ++code) {
    const character = String.fromCharCode(code);
    if (!text.includes(character) && !lower.includes(`\\u${code.toString(16)}`)) return character;
  }
  throw new SyntaxError('The text has NaN beside every character of the private use area.');
}
