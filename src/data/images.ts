// The images of a dataset, packed: text as UTF-8 in buffers, numbers in typed arrays. With one JavaScript object per image, 10 million images would need
// too much memory. Objects are created on access.
import { compareCodePoints } from './order.js';
import { roomFor, Texts } from './packed-texts.js';

/** One image under one label. */
export interface DatasetImage {
  /** name in runs: path relative to the dataset, forward slashes */
  path: string;
  /** absolute */
  file: string;
  label: string;
  /** size of the file */
  bytes: number;
  /** modification time of the file, ms; undefined if the reader did not ask */
  mtime?: number;
  /** of the file's content, hex, if it was asked for */
  sha256?: string;
  /** other columns of the table */
  extra?: Record<string, string>;
}

/** Folders that files are written relative to; files of further ones are kept whole. */
const MOST_BASES = 4096;

/** Interned strings, by number. */
class Table {
  readonly names: string[] = [];
  private readonly numbers = new Map<string, number>();

  add(name: string): number {
    let number = this.numbers.get(name);
    if (number === undefined) {
      number = this.names.push(name) - 1;
      this.numbers.set(name, number);
    }
    return number;
  }

  find(name: string): number | undefined {
    return this.numbers.get(name);
  }
}

/** Data shared by all lists of one dataset. */
class Store {
  readonly paths = new Texts();
  readonly labels = new Table();
  readonly bases = new Table();
  readonly files = new Texts();
  /** sets of further columns, as JSON */
  readonly shapes = new Table();
  /** the values of further columns, as JSON arrays */
  readonly extras = new Texts();
  labelOf = new Uint32Array(0);
  /** number of the base that the path follows, or -1 - number in `files` */
  fileOf = new Int32Array(0);
  bytesOf = new Float64Array(0);
  mtimeOf = new Float64Array(0);
  /** 1 + number in `extras`; 0: none */
  extraOf = new Uint32Array(0);
  shapeOf = new Uint32Array(0);
  /** 32 bytes each, zeros where unknown; empty until one is known */
  sha256Of = Buffer.alloc(0);

  get length(): number {
    return this.paths.length;
  }

  add({ path, file, label, bytes, mtime, extra }: DatasetImage): void {
    const index = this.paths.add(path);
    this.labelOf = roomFor(this.labelOf, index);
    this.fileOf = roomFor(this.fileOf, index);
    this.bytesOf = roomFor(this.bytesOf, index);
    this.mtimeOf = roomFor(this.mtimeOf, index);
    this.labelOf[index] = this.labels.add(label);
    this.fileOf[index] = this.place(path, file);
    this.bytesOf[index] = bytes;
    this.mtimeOf[index] = mtime ?? NaN;
    const columns = extra ? Object.keys(extra) : [];
    if (columns.length === 0) return;
    const number = this.extras.add(JSON.stringify(Object.values(extra ?? {})));
    this.extraOf = roomFor(this.extraOf, index);
    this.extraOf[index] = number + 1;
    this.shapeOf = roomFor(this.shapeOf, number);
    this.shapeOf[number] = this.shapes.add(JSON.stringify(columns));
  }

  private place(path: string, file: string): number {
    if (file.endsWith(path)) {
      const base = file.slice(0, file.length - path.length);
      if (this.bases.names.length < MOST_BASES || this.bases.find(base) !== undefined) return this.bases.add(base);
    }
    return -1 - this.files.add(file);
  }

  file(index: number): string {
    const place = this.fileOf[index] as number;
    return place < 0 ? this.files.get(-1 - place) : (this.bases.names[place] as string) + this.paths.get(index);
  }

  /** Number of the set of further columns; undefined: none. */
  shape(index: number): number | undefined {
    const number = this.extraOf[index] ?? 0;
    return number === 0 ? undefined : this.shapeOf[number - 1];
  }

  columns(shape: number): string[] {
    return JSON.parse(this.shapes.names[shape] as string) as string[];
  }

  extra(index: number): Record<string, string> | undefined {
    const shape = this.shape(index);
    if (shape === undefined) return undefined;
    const values = JSON.parse(this.extras.get((this.extraOf[index] as number) - 1)) as string[];
    return Object.fromEntries(this.columns(shape).map((column, i) => [column, values[i] as string]));
  }

  image(index: number): DatasetImage {
    const mtime = this.mtimeOf[index] as number;
    const extra = this.extra(index);
    return {
      path: this.paths.get(index),
      file: this.file(index),
      label: this.labels.names[this.labelOf[index] as number] as string,
      bytes: this.bytesOf[index] as number,
      ...(Number.isNaN(mtime) ? {} : { mtime }),
      ...this.sha256(index),
      ...(extra ? { extra } : {}),
    };
  }

  sha256(index: number): { sha256?: string } {
    const sha256 = this.sha256Of.toString('hex', 32 * index, 32 * index + 32);
    return /[1-9a-f]/.test(sha256) ? { sha256 } : {};
  }

  setSha256(index: number, sha256: string): void {
    if (this.sha256Of.length === 0) this.sha256Of = Buffer.alloc(32 * this.length);
    this.sha256Of.write(sha256, 32 * index, 'hex');
  }
}

/** A reader's list while it grows, in any order. */
export class ImageListBuilder implements Iterable<DatasetImage> {
  private readonly store = new Store();

  get length(): number {
    return this.store.length;
  }

  /** An image that occurs twice under one label is kept once: the first one. */
  add(image: DatasetImage): void {
    this.store.add(image);
  }

  *[Symbol.iterator](): Iterator<DatasetImage> {
    for (let i = 0; i < this.store.length; i += 1) yield this.store.image(i);
  }

  /** The list by path, then label, both by code point, and how many images came again under the same label. */
  build(): { images: ImageList; repeated: number } {
    const { store } = this;
    const ranks = ranksOf(store.labels.names);
    const compare = (a: number, b: number): number =>
      store.paths.compare(a, b) ||
      (ranks[store.labelOf[a] as number] as number) - (ranks[store.labelOf[b] as number] as number);
    let ascending = true;
    for (let i = 1; i < store.length && ascending; i += 1) ascending = compare(i - 1, i) < 0;
    if (ascending) return { images: new ImageList(store), repeated: 0 };
    const order = store.paths.sorted();
    // the labels of one path
    for (let i = 0; i < order.length;) {
      let end = i + 1;
      while (end < order.length && store.paths.compare(order[i] as number, order[end] as number) === 0) end += 1;
      if (end - i > 1) order.subarray(i, end).sort((a, b) => compare(a, b) || a - b);
      i = end;
    }
    let kept = 0;
    for (let i = 0; i < order.length; i += 1)
      if (i === 0 || compare(order[kept - 1] as number, order[i] as number) !== 0) order[kept++] = order[i] as number;
    return { images: new ImageList(store, order.subarray(0, kept)), repeated: order.length - kept };
  }
}

/** The place of each label among all, by code point. */
function ranksOf(labels: readonly string[]): Uint32Array {
  const ranks = new Uint32Array(labels.length);
  [...labels.keys()]
    .sort((a, b) => compareCodePoints(labels[a] as string, labels[b] as string))
    .forEach((label, rank) => (ranks[label] = rank));
  return ranks;
}

/** Images by path, then label, both by code point. Parts of a list share its memory. */
export class ImageList implements Iterable<DatasetImage> {
  readonly length: number;

  /** @internal @param order numbers in the store; default: as they are */
  constructor(
    private readonly store: Store,
    private readonly order?: Uint32Array,
    private readonly begin = 0,
    end = order?.length ?? store.length,
  ) {
    this.length = end - begin;
  }

  /** A list of these images, sorted. */
  static from(images: Iterable<DatasetImage>): ImageList {
    const builder = new ImageListBuilder();
    for (const image of images) builder.add(image);
    return builder.build().images;
  }

  private number(index: number): number {
    if (!(index >= 0 && index < this.length)) throw new RangeError(`There is no image ${index} of ${this.length}.`);
    return this.order ? (this.order[this.begin + index] as number) : this.begin + index;
  }

  /** The image at a place. */
  at(index: number): DatasetImage {
    return this.store.image(this.number(index));
  }

  /** Relative to the dataset. */
  path(index: number): string {
    return this.store.paths.get(this.number(index));
  }

  /** Label at a place. */
  label(index: number): string {
    return this.store.labels.names[this.store.labelOf[this.number(index)] as number] as string;
  }

  /** Size of the file in bytes. */
  bytes(index: number): number {
    return this.store.bytesOf[this.number(index)] as number;
  }

  /** Modification time of the file, ms; NaN if the reader did not ask. */
  mtime(index: number): number {
    return this.store.mtimeOf[this.number(index)] as number;
  }

  /** Absolute. */
  file(index: number): string {
    return this.store.file(this.number(index));
  }

  /** Checksum of the file's content, if it was computed. */
  sha256(index: number): string | undefined {
    return this.store.sha256(this.number(index)).sha256;
  }

  /** Stores the checksum of a file's content, for all lists of this dataset. */
  setSha256(index: number, sha256: string): void {
    this.store.setSha256(this.number(index), sha256);
  }

  *[Symbol.iterator](): Iterator<DatasetImage> {
    for (let i = 0; i < this.length; i += 1) yield this.at(i);
  }

  /** As an array's map. */
  map<T>(make: (image: DatasetImage, index: number) => T): T[] {
    return Array.from({ length: this.length }, (_, i) => make(this.at(i), i));
  }

  /** As an array's slice, of non-negative places. */
  slice(begin: number, end = this.length): ImageList {
    const last = Math.min(end, this.length);
    return new ImageList(this.store, this.order, this.begin + Math.min(begin, last), this.begin + last);
  }

  /** Those images whose place in this list is kept. */
  filter(keep: (index: number) => boolean): ImageList {
    const kept = new Uint32Array(this.length);
    let count = 0;
    for (let i = 0; i < this.length; i += 1) if (keep(i)) kept[count++] = this.number(i);
    return count === this.length ? this : new ImageList(this.store, kept.slice(0, count));
  }

  /** Images of each label, labels by code point. */
  countByLabel(): Map<string, number> {
    const { labels, labelOf } = this.store;
    const counts = new Float64Array(labels.names.length);
    for (let i = 0; i < this.length; i += 1)
      counts[labelOf[this.number(i)] as number] = (counts[labelOf[this.number(i)] as number] as number) + 1;
    return new Map(
      labels.names
        .map((label, i) => [label, counts[i] as number] as const)
        .filter(([, count]) => count > 0)
        .sort(([a], [b]) => compareCodePoints(a, b)),
    );
  }

  /** Names of the other columns that any image has, by code point. */
  columns(): string[] {
    const shapes = new Set<number>();
    if (this.store.shapes.names.length > 0)
      for (let i = 0; i < this.length; i += 1) shapes.add(this.store.shape(this.number(i)) ?? -1);
    shapes.delete(-1);
    return [...new Set([...shapes].flatMap((shape) => this.store.columns(shape)))].sort(compareCodePoints);
  }

  /** The image of this path and label. */
  find(path: string, label: string): DatasetImage | undefined {
    let [low, high] = [0, this.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const order = compareCodePoints(this.path(middle), path) || compareCodePoints(this.label(middle), label);
      if (order === 0) return this.at(middle);
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return undefined;
  }
}
