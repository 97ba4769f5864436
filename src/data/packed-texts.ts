// A list of strings packed in UTF-8, and its sorting: for millions of paths, for which JavaScript's strings need too much memory.
import { compareCodePoints } from './order.js';

/** Text is kept in buffers of this many bytes; a longer text gets its own buffer. */
const CHUNK = 2 ** 20;
/** Bytes that are compared at once: 257^6 is below 2^53. */
const DIGITS = 6;

type Numbers = Uint32Array | Int32Array | Float64Array;

/** Room for element `index`: the array itself, or a longer copy. */
export function roomFor<T extends Numbers>(array: T, index: number): T {
  if (index < array.length) return array;
  const larger = new (array.constructor as new (length: number) => T)(Math.max(1024, 2 * array.length, index + 1));
  larger.set(array);
  return larger;
}

/** A list of strings in UTF-8. */
export class Texts {
  length = 0;
  private readonly chunks: Buffer[] = [];
  private used = CHUNK;
  /** chunk x CHUNK + offset */
  private starts = new Float64Array(0);
  private lengths = new Uint32Array(0);
  /** those with lone surrogates, which UTF-8 has no bytes for */
  private readonly illFormed = new Map<number, string>();

  add(text: string): number {
    const bytes = Buffer.byteLength(text);
    if (this.used + bytes > CHUNK) {
      this.chunks.push(Buffer.allocUnsafeSlow(Math.max(CHUNK, bytes)));
      this.used = 0;
    }
    const chunk = this.chunks.length - 1;
    (this.chunks[chunk] as Buffer).write(text, this.used);
    const index = this.length++;
    this.starts = roomFor(this.starts, index);
    this.lengths = roomFor(this.lengths, index);
    this.starts[index] = chunk * CHUNK + this.used;
    this.lengths[index] = bytes;
    this.used += bytes;
    if (/\p{Surrogate}/u.test(text)) this.illFormed.set(index, text);
    return index;
  }

  get(index: number): string {
    const start = this.starts[index] as number;
    const offset = start % CHUNK;
    return (
      this.illFormed.get(index) ??
      (this.chunks[(start - offset) / CHUNK] as Buffer).toString(
        'utf8',
        offset,
        offset + (this.lengths[index] as number),
      )
    );
  }

  /** The texts' numbers by code point, which is the order of UTF-8's bytes; equal ones by number. */
  sorted(): Uint32Array {
    const order = Uint32Array.from({ length: this.length }, (_, i) => i);
    if (this.illFormed.size > 0) return order.sort((a, b) => this.compare(a, b) || a - b);
    multikeyQuicksort(
      order,
      (index, depth) => this.digits(index, depth),
      (a, b) => this.compare(a, b) || a - b,
    );
    return order;
  }

  /** Bytes depth ... depth + DIGITS of a text as a number that orders as they do; 0 past the end. */
  private digits(index: number, depth: number): number {
    const left = (this.lengths[index] as number) - depth;
    if (left <= 0) return 0;
    const start = this.starts[index] as number;
    const offset = start % CHUNK;
    const chunk = this.chunks[(start - offset) / CHUNK] as Buffer;
    let value = 0;
    for (let i = 0; i < DIGITS; i += 1)
      value = value * 257 + (i < left ? (chunk[offset + depth + i] as number) + 1 : 0);
    return value;
  }

  /** By code point. */
  compare(a: number, b: number): number {
    if (this.illFormed.size > 0 && (this.illFormed.has(a) || this.illFormed.has(b)))
      return compareCodePoints(this.get(a), this.get(b));
    const [x, y] = [this.starts[a] as number, this.starts[b] as number];
    const [i, j] = [x % CHUNK, y % CHUNK];
    return (this.chunks[(x - i) / CHUNK] as Buffer).compare(
      this.chunks[(y - j) / CHUNK] as Buffer,
      j,
      j + (this.lengths[b] as number),
      i,
      i + (this.lengths[a] as number),
    );
  }
}

/**
 * Sorts numbers of texts by Bentley's and Sedgewick's multikey quicksort, DIGITS bytes at a time: a comparison of whole texts reads common prefixes again and again.
 *
 * @param digits 0: the text has ended
 * @param compare of whole texts, for short stretches and equal texts
 */
function multikeyQuicksort(
  order: Uint32Array,
  digits: (index: number, depth: number) => number,
  compare: (a: number, b: number) => number,
): void {
  const keys = new Float64Array(order.length);
  const swap = (i: number, j: number): void => {
    const [index, key] = [order[i] as number, keys[i] as number];
    order[i] = order[j] as number;
    keys[i] = keys[j] as number;
    order[j] = index;
    keys[j] = key;
  };
  const stretches: [begin: number, end: number, depth: number, known: boolean][] = [[0, order.length, 0, false]];
  for (let next = stretches.pop(); next; next = stretches.pop()) {
    const [begin, end, depth, known] = next;
    if (end - begin < 12) {
      order.subarray(begin, end).sort(compare);
      continue;
    }
    if (!known) for (let i = begin; i < end; i += 1) keys[i] = digits(order[i] as number, depth);
    const [a, b, c] = [keys[begin] as number, keys[(begin + end) >> 1] as number, keys[end - 1] as number];
    const pivot = Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
    let [low, high] = [begin, end];
    for (let i = begin; i < high;) {
      const key = keys[i] as number;
      if (key < pivot) swap(low++, i++);
      else if (key > pivot) swap(i, --high);
      else i += 1;
    }
    stretches.push([begin, low, depth, true], [high, end, depth, true]);
    if (pivot % 257 === 0) order.subarray(low, high).sort();
    else stretches.push([low, high, depth + DIGITS, false]);
  }
}
