// Parses CSV (RFC 4180) into records. Spaces around fields and column names are removed; a quoted field keeps the spaces inside its quotes.
import path from 'node:path';
import { DiffmineError } from '../../util/errors.js';
import { decodeFile, type TextOptions } from './decode.js';

export interface CsvRecord {
  fields: string[];
  /** where it begins, from 1 */
  line: number;
}

export interface CsvTable {
  /** the file's name, without its folder */
  name: string;
  /** trimmed; empty for an empty file */
  header: string[];
  records: CsvRecord[];
}

/** A record longer than this (UTF-16 units) is taken for a quote that is not closed, or for a file that is not text. */
const LONGEST_RECORD = 16 * 2 ** 20;
const QUOTES =
  'Put fields that contain the separator, a quote or a line break in double quotes, and double the quotes inside ("").';

const isBlank = (unit: number): boolean => unit === 32 || unit === 9;

/** Takes text in pieces, returns the records that are complete. Empty lines are skipped. */
export class CsvParser {
  private rest = '';

  /** UTF-16 unit between fields */
  private readonly separator: number;

  /**
   * @param name of the file, for errors
   * @param delimiter between fields
   * @param line of the first unit of `rest`
   */
  constructor(
    private readonly name: string,
    private readonly delimiter = ',',
    private line = 1,
  ) {
    this.separator = delimiter.charCodeAt(0);
  }

  /** @throws DATASET_INVALID naming the line */
  push(piece: string): CsvRecord[] {
    return this.take(this.rest + piece, false);
  }

  /** @throws as push */
  end(): CsvRecord[] {
    return this.take(this.rest, true);
  }

  private take(text: string, final: boolean): CsvRecord[] {
    const records: CsvRecord[] = [];
    const next = (unit: string, from: number): number => {
      const found = text.indexOf(unit, from);
      return found === -1 ? text.length : found;
    };
    let [at, newline, carriage, quote] = [0, -1, -1, -1];
    while (at < text.length) {
      if (newline < at) newline = next('\n', at);
      if (carriage < at) carriage = next('\r', at);
      if (quote < at) quote = next('"', at);
      const end = Math.min(newline, carriage);
      if (quote < end || (end === text.length && !final)) {
        // quotes may hold line breaks; without a line break the record is not complete
        const record = quote < end ? this.quoted(text, at, final) : undefined;
        if (!record) {
          if (final) throw this.invalid('a quote is opened and not closed');
          if (text.length - at > LONGEST_RECORD)
            throw this.invalid('the record is longer than 16 million characters: is a quote not closed?');
          break;
        }
        records.push({ fields: record.fields, line: this.line });
        for (let i = at; i < record.end; ++i) {
          const unit = text.charCodeAt(i);
          if (unit === 10 || (unit === 13 && text.charCodeAt(i + 1) !== 10)) ++this.line;
        }
        at = record.end;
        continue;
      }
      if (end === carriage && end + 1 === text.length && !final) break; // perhaps CR LF
      const fields = text.slice(at, end).split(this.delimiter);
      for (let i = 0; i < fields.length; ++i) fields[i] = (fields[i] as string).trim();
      if (fields.length > 1 || fields[0] !== '') records.push({ fields, line: this.line });
      at = end === carriage && newline === end + 1 ? end + 2 : end + 1;
      ++this.line;
    }
    this.rest = text.slice(at);
    return records;
  }

  /** A record with quotes. Undefined where the text ends before it does. */
  private quoted(text: string, from: number, final: boolean): { fields: string[]; end: number } | undefined {
    const fields: string[] = [];
    for (let at = from; ;) {
      let i = at;
      while (this.isPadding(text.charCodeAt(i))) ++i;
      if (text.charCodeAt(i) === 34) {
        let value = '';
        for (let begin = i + 1; ;) {
          const close = text.indexOf('"', begin);
          if (close === -1 || (close + 1 === text.length && !final)) return undefined;
          if (text.charCodeAt(close + 1) === 34) {
            value += text.slice(begin, close + 1);
            begin = close + 2;
          } else {
            value += text.slice(begin, close);
            i = close + 1;
            break;
          }
        }
        while (this.isPadding(text.charCodeAt(i))) ++i;
        fields.push(value);
      } else {
        while (
          i < text.length &&
          text.charCodeAt(i) !== this.separator &&
          text.charCodeAt(i) !== 10 &&
          text.charCodeAt(i) !== 13
        )
          ++i;
        fields.push(text.slice(at, i).trim());
      }
      const unit = text.charCodeAt(i);
      if (unit === this.separator) at = i + 1;
      else if (unit === 10) return { fields, end: i + 1 };
      else if (unit === 13) {
        if (i + 1 === text.length && !final) return undefined;
        return { fields, end: text.charCodeAt(i + 1) === 10 ? i + 2 : i + 1 };
      } else if (i >= text.length) return final ? { fields, end: text.length } : undefined;
      else throw this.invalid('text follows a closing quote');
    }
  }

  /** Spaces around a field; a tab that separates fields is none. */
  private isPadding(unit: number): boolean {
    return isBlank(unit) && unit !== this.separator;
  }

  private invalid(what: string): DiffmineError {
    return new DiffmineError('DATASET_INVALID', `${this.name}, line ${this.line}: ${what}.`, QUOTES);
  }
}

export type Delimiter = ',' | ';' | '\t';

/**
 * What separates the fields of a table: tabs in a .tsv; else what its first line has most of outside quotes: commas, or semicolons or tabs, as spreadsheets
 * write in some languages.
 *
 * @param file its name
 * @param text its beginning
 */
export function delimiterOf(file: string, text: string): Delimiter {
  if (/\.tsv$/i.test(file)) return '\t';
  const line = text.slice(0, /[\r\n]/.exec(text)?.index ?? text.length).replace(/"[^"]*(?:"|$)/g, '');
  const times = (one: Delimiter): number => line.split(one).length;
  return ([',', ';', '\t'] as const).reduce((best, one) => (times(one) > times(best) ? one : best));
}

/** What spreadsheets may write before the header. */
const SEPARATOR_LINE = /^"?sep=([,;\t])"?\r?\n/i;

/**
 * Records of a CSV file as they are read, some at a time; the first is the header. Throws as decodeFile and CsvParser.
 *
 * @param onDelimiter is told what separates the fields, before the first records
 */
export async function* csvRecords(
  file: string,
  options: TextOptions = {},
  onDelimiter?: (delimiter: Delimiter) => void,
): AsyncGenerator<CsvRecord[]> {
  let parser: CsvParser | undefined;
  for await (const piece of decodeFile(file, options)) {
    if (piece === '') continue;
    let text = piece;
    if (!parser) {
      const told = SEPARATOR_LINE.exec(text);
      text = text.slice(told?.[0].length ?? 0);
      const delimiter = (told?.[1] as Delimiter | undefined) ?? delimiterOf(file, text);
      onDelimiter?.(delimiter);
      parser = new CsvParser(path.basename(file), delimiter, told ? 2 : 1);
    }
    yield parser.push(text);
  }
  if (parser) yield parser.end();
}

/** A CSV file as a whole. Throws as csvRecords; records may have more or fewer fields than the header. */
export async function readCsv(file: string, options: TextOptions = {}): Promise<CsvTable> {
  const records: CsvRecord[] = [];
  for await (const some of csvRecords(file, options)) for (const record of some) records.push(record);
  const [first, ...rest] = records;
  return { name: path.basename(file), header: (first?.fields ?? []).map((column) => column.trim()), records: rest };
}
