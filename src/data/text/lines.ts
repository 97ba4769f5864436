// Text files line by line: JSONL tables, lists of names.
import path from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { decodeFile, type TextOptions } from './decode.js';

export interface TextLine {
  /** without spaces around it; never empty */
  text: string;
  /** from 1 */
  line: number;
}

/** A line longer than this (UTF-16 units) is taken for a file that is not lines of text. */
const LONGEST_LINE = 16 * 2 ** 20;

/** Lines of a file as they are read, some at a time, less empty ones. They end with LF or CR LF: JSON strings may hold U+2028. Throws as decodeFile. */
export async function* textLines(file: string, options: TextOptions = {}): AsyncGenerator<TextLine[]> {
  let rest = '';
  let line = 0;
  const take = (texts: string[]): TextLine[] =>
    texts.map((text) => ({ text: text.trim(), line: ++line })).filter(({ text }) => text !== '');
  for await (const piece of decodeFile(file, options)) {
    const [end = '', ...others] = piece.split('\n');
    rest += end; // what is before is not read again: a line may be of many pieces
    const next = others.pop();
    if (next !== undefined) {
      yield take([rest, ...others]);
      rest = next;
    }
    if (rest.length > LONGEST_LINE) {
      throw new DiffmineError(
        'DATASET_INVALID',
        `${path.basename(file)}, line ${line + 1}: the line is longer than 16 million characters.`,
        'JSONL has one object per line.',
      );
    }
  }
  yield take([rest]);
}

/** All lines of a file, with where they stand: 'list.txt, line 3'. Throws as decodeFile. */
export async function readLines(file: string, options: TextOptions = {}): Promise<{ text: string; where: string }[]> {
  const name = path.basename(file);
  const lines: { text: string; where: string }[] = [];
  for await (const some of textLines(file, options))
    for (const { text, line } of some) lines.push({ text, where: `${name}, line ${line}` });
  return lines;
}
