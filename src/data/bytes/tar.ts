// The members of a tar archive (ustar, GNU and pax) and where their bytes lie. Only headers are read: members are skipped, not streamed, so that an
// archive of large images is listed without reading them.
import { DiffmineError } from '../../util/errors.js';
import { nameOfBytes } from '../names.js';
import type { ByteSource } from './byte-source.js';

export interface TarMember {
  /** as a name (names.ts), forward slashes, without a leading './' */
  name: string;
  /** of its bytes in the archive */
  begin: number;
  size: number;
}

const BLOCK = 512;
/** Bytes that are read at once: the headers of small members come with those before; behind large ones only the header is read. */
const WINDOW = 2 ** 18;
const LARGE = 2 ** 15;
/** Longer names are not names. */
const MOST_NAME = 2 ** 16;

/** Reads forward through a window. */
class Window {
  private begin = 0;
  private bytes: Buffer = Buffer.alloc(0);

  constructor(private readonly source: ByteSource) {}

  /** @param ahead bytes to read at once where these are not there yet */
  async read(begin: number, length: number, ahead = WINDOW): Promise<Buffer> {
    if (begin < this.begin || begin + length > this.begin + this.bytes.length) {
      this.bytes = await this.source.read(begin, begin + Math.max(ahead, length));
      this.begin = begin;
    }
    return this.bytes.subarray(begin - this.begin, begin - this.begin + length);
  }
}

/** Text up to the first NUL. */
function textAt(header: Buffer, begin: number, length: number): Buffer {
  const field = header.subarray(begin, begin + length);
  const end = field.indexOf(0);
  return end < 0 ? field : field.subarray(0, end);
}

/** An octal number, or one in base 256 where the first bit is set; NaN for neither. */
function numberAt(header: Buffer, begin: number, length: number): number {
  const field = header.subarray(begin, begin + length);
  if ((field[0] ?? 0) & 0x80) {
    let value = (field[0] ?? 0) & 0x7f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    return value;
  }
  const text = textAt(header, begin, length).toString('latin1').trim();
  return text === '' ? 0 : /^[0-7]+$/.test(text) ? parseInt(text, 8) : NaN;
}

function hasChecksum(header: Buffer): boolean {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 0x20 : (header[i] ?? 0);
  return sum === numberAt(header, 148, 8);
}

/** The records "LENGTH KEY=VALUE\n" of a pax header. */
function paxOf(bytes: Buffer): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 ? NaN : Number(bytes.toString('latin1', at, space));
    if (!(length > space - at) || at + length > bytes.length) break;
    const record = bytes.subarray(space + 1, at + length - 1);
    const equals = record.indexOf(0x3d);
    if (equals > 0) found.set(record.toString('latin1', 0, equals), record.subarray(equals + 1));
    at += length;
  }
  return found;
}

/**
 * The regular files of an archive, in its order.
 *
 * @throws DATASET_INVALID if it is not a tar archive, or is cut short
 */
export async function* tarMembers(source: ByteSource): AsyncGenerator<TarMember, void, undefined> {
  const invalid = (what: string, hint?: string): DiffmineError =>
    new DiffmineError('DATASET_INVALID', `'${source.name}' ${what}.`, hint);
  const window = new Window(source);
  let longName: Buffer | undefined;
  let pax = new Map<string, Buffer>();
  let before = 0;
  for (let at = 0; at + BLOCK <= source.size;) {
    const header = await window.read(at, BLOCK, before > LARGE ? 8 * BLOCK : WINDOW);
    if (header.every((byte) => byte === 0)) return;
    if (!hasChecksum(header)) {
      throw at === 0
        ? invalid(
            header[0] === 0x1f && header[1] === 0x8b ? 'is compressed' : 'is not a tar archive',
            'Shards must be plain tar files, so that images can be read from any place: gunzip compressed ones.',
          )
        : invalid(`is damaged at byte ${at}: there is no header of a member`);
    }
    const paxSize = pax.get('size');
    const size = paxSize ? Number(paxSize.toString('latin1')) : numberAt(header, 124, 12);
    if (!Number.isSafeInteger(size) || size < 0) throw invalid(`is damaged at byte ${at}: a member has no size`);
    const begin = at + BLOCK;
    if (begin + size > source.size)
      throw invalid(
        `is cut short: a member needs ${begin + size} bytes, the file has ${source.size}`,
        'Copy it again.',
      );
    const type = String.fromCharCode(header[156] ?? 0);
    if (type === 'L' || type === 'x') {
      const bytes = Buffer.from(await window.read(begin, Math.min(size, type === 'L' ? MOST_NAME : 2 ** 20)));
      if (type === 'L') longName = textAt(bytes, 0, bytes.length);
      else pax = paxOf(bytes);
    } else if (type !== 'g' && type !== 'K') {
      const prefix = header.toString('latin1', 257, 262) === 'ustar' ? textAt(header, 345, 155) : Buffer.alloc(0);
      const own = textAt(header, 0, 100);
      const name =
        longName ?? pax.get('path') ?? (prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), own]) : own);
      if (type === '0' || type === '\0' || type === '7')
        yield { name: nameOfBytes(name).replace(/^(\.?\/)+/, ''), begin, size };
      longName = undefined;
      pax = new Map();
    }
    before = size;
    at = begin + Math.ceil(size / BLOCK) * BLOCK;
  }
}
