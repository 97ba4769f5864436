// Decodes text files: strict UTF-8, or the encoding that the user gives. Invalid bytes are an error that names the line. They never become U+FFFD, which
// could merge two labels.
import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import path from 'node:path';
import { TextDecoder } from 'node:util';
import { DiffmineError } from '../../util/errors.js';

export interface TextOptions {
  /** any name that the Encoding Standard knows: windows-1252, latin1, shift_jis, gbk, utf-16le, ...; default strict UTF-8 */
  encoding?: string | undefined;
}

/** Bytes read at once. */
const CHUNK = 256 * 1024;
const NAMES = 'windows-1252, latin1, iso-8859-2, shift_jis, gbk, big5, euc-kr, utf-16le';
const UTF8_BOM = Buffer.from([0xef, 0xbb, 0xbf]);

/**
 * The standard's name of an encoding: 'latin1' -> 'windows-1252'.
 *
 * @throws INVALID_ARGUMENT for one that is not known
 */
export function encodingName(name: string): string {
  try {
    return new TextDecoder(name).encoding;
  } catch (cause) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `Unknown encoding ${JSON.stringify(name)}.`,
      `Known encodings: utf-8, ${NAMES} and the others of the WHATWG Encoding Standard.`,
      { cause },
    );
  }
}

/** U+0080 ... U+009F as windows-1252 has them. Some versions of Node decode these bytes as latin1 (nodejs/node#56542). */
const C1 =
  '\u20ac\x81\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\x8d\u017d\x8f\x90\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\x9d\u017e\u0178';

/** Decodes a file chunk by chunk. */
class Decoder {
  private readonly encoding: string;
  private readonly decoder: TextDecoder;
  /** lines complete before the current chunk */
  private lines = 0;
  /** the bytes after the last newline so far, to say which line is wrong */
  private pending = Buffer.alloc(0);
  private first = true;

  constructor(
    private readonly file: string,
    private readonly options: TextOptions,
  ) {
    this.encoding = encodingName(options.encoding ?? 'utf-8');
    this.decoder = new TextDecoder(this.encoding, { fatal: true });
  }

  /** @param bytes empty at the end */
  decode(bytes: Buffer, last: boolean): string {
    if (this.first && bytes.length > 0) this.begin(bytes);
    let text: string;
    try {
      text = this.decoder.decode(bytes, { stream: !last });
    } catch (cause) {
      throw this.wrongBytes(Buffer.concat([this.pending, bytes]), cause);
    }
    const newline = bytes.lastIndexOf(10);
    if (newline === -1)
      this.pending = this.pending.length < CHUNK ? Buffer.concat([this.pending, bytes]) : this.pending;
    else {
      for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1)) ++this.lines;
      this.pending = Buffer.from(bytes.subarray(newline + 1));
    }
    return this.encoding === 'windows-1252'
      ? text.replace(/[\x80-\x9f]/g, (char) => C1[char.charCodeAt(0) - 0x80] as string)
      : text;
  }

  /** Recognizes what is certainly another encoding than the one in use. */
  private begin(bytes: Buffer): void {
    this.first = false;
    const name = path.basename(this.file);
    const found =
      bytes[0] === 0xff && bytes[1] === 0xfe
        ? 'utf-16le'
        : bytes[0] === 0xfe && bytes[1] === 0xff
          ? 'utf-16be'
          : this.options.encoding === undefined
            ? likelyUtf16(bytes)
            : undefined;
    if (found !== undefined && found !== this.encoding) {
      throw new DiffmineError(
        'DATASET_INVALID',
        `${name} is UTF-16 (${found}), not ${this.encoding === 'utf-8' ? 'UTF-8' : this.encoding}.`,
        `Read it with \`encoding\` ${found}, or save it as UTF-8.`,
      );
    }
    if (this.encoding !== 'utf-8' && bytes.subarray(0, 3).equals(UTF8_BOM)) {
      throw new DiffmineError(
        'DATASET_INVALID',
        `${name} begins with the byte-order mark of UTF-8; it is not ${this.encoding}.`,
        'Leave out `encoding`.',
      );
    }
  }

  private wrongBytes(bytes: Buffer, cause: unknown): DiffmineError {
    const name = path.basename(this.file);
    if (this.encoding !== 'utf-8') {
      const text = new TextDecoder(this.encoding).decode(bytes);
      const before = text.slice(0, Math.max(0, text.indexOf('\ufffd')));
      return new DiffmineError(
        'DATASET_INVALID',
        `${name}, line ${this.lines + before.split('\n').length}: not ${this.encoding}.`,
        `Give the encoding with \`encoding\`, such as ${NAMES}.`,
        { cause },
      );
    }
    let line = this.lines + 1;
    let wrong = bytes;
    for (let at = 0; at <= bytes.length; ++line) {
      const end = bytes.indexOf(10, at) === -1 ? bytes.length : bytes.indexOf(10, at);
      wrong = bytes.subarray(at, end);
      if (!isUtf8(wrong)) break;
      at = end + 1;
    }
    return new DiffmineError(
      'DATASET_INVALID',
      `${name}, line ${line}: not UTF-8 (${quoteBytes(wrong)}).`,
      `Save it as UTF-8, or give its encoding: \`encoding\` windows-1252 (or ${NAMES.split(', ').slice(1).join(', ')}).`,
      { cause },
    );
  }
}

/** Text in which every other byte is zero. */
function likelyUtf16(bytes: Buffer): string | undefined {
  const looked = Math.min(bytes.length, 512) & ~1;
  let [even, odd] = [0, 0];
  for (let i = 0; i < looked; i += 2) {
    if (bytes[i] === 0) ++even;
    if (bytes[i + 1] === 0) ++odd;
  }
  if (looked < 8 || Math.max(even, odd) < looked / 4) return undefined;
  return odd > 4 * even ? 'utf-16le' : even > 4 * odd ? 'utf-16be' : undefined;
}

/** The bytes around the first that is not UTF-8: "Z\xFCrich". */
function quoteBytes(bytes: Buffer): string {
  let at = 0;
  while (at < bytes.length && isUtf8(bytes.subarray(0, at + 1))) ++at;
  // inside a character of several bytes a prefix is not UTF-8 either: continue to the byte that no following one can complete
  for (let length = 2; length <= 4; ++length) {
    if (at + length <= bytes.length && isUtf8(bytes.subarray(0, at + length)))
      return quoteBytes(bytes.subarray(at + length));
  }
  let from = Math.max(0, at - 12);
  while (from < at && ((bytes[from] ?? 0) & 0xc0) === 0x80) ++from;
  const shown = [
    bytes.subarray(from, at).toString('utf8'),
    ...Array.from(bytes.subarray(at, at + 12), (byte) =>
      byte >= 0x20 && byte < 0x7f
        ? String.fromCharCode(byte)
        : `\\x${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    ),
  ];
  return `"${shown.join('')}"`;
}

const unreadable = (file: string, cause: unknown): DiffmineError =>
  new DiffmineError('DATASET_INVALID', `'${file}' cannot be read: ${reasonOf(cause)}.`, undefined, { cause });

function reasonOf(cause: unknown): string {
  const { code, message } = cause as { code?: unknown; message?: unknown };
  if (code === 'EACCES' || code === 'EPERM') return 'permission denied';
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EISDIR') return 'it is a folder';
  return String(message ?? cause);
}

/**
 * A text file in pieces, without its byte-order mark.
 *
 * @throws DATASET_INVALID if it cannot be read, or for bytes that are not of the encoding (the line is named); INVALID_ARGUMENT for an unknown encoding
 */
export async function* decodeFile(file: string, options: TextOptions = {}): AsyncGenerator<string> {
  const decoder = new Decoder(file, options);
  const stream = createReadStream(file, { highWaterMark: CHUNK });
  try {
    for await (const bytes of stream as AsyncIterable<Buffer>) yield decoder.decode(bytes, false);
  } catch (cause) {
    throw cause instanceof DiffmineError ? cause : unreadable(file, cause);
  } finally {
    stream.destroy();
  }
  yield decoder.decode(Buffer.alloc(0), true);
}

/** A whole text file. Throws as decodeFile. */
export async function readText(file: string, options: TextOptions = {}): Promise<string> {
  const pieces: string[] = [];
  for await (const piece of decodeFile(file, options)) pieces.push(piece);
  return pieces.join('');
}
