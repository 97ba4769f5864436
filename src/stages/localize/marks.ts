// Boxes and masks of the images of a run, by label.
import { scoredSize, type SizeOptions } from '../../data/index.js';
import {
  maskOf,
  placeMarks,
  readMarks,
  type BoxFormat,
  type MarkCounts,
  type Marked,
  type MarkedImage,
  type PlaceOptions,
} from '../../data/boxes/index.js';
import { checkLabels } from '../../data/boxes/labels.js';
import { sharesLabel, splitLabels } from '../../data/labels.js';
import { measureImage } from '../../data/read-image.js';
import { prefetch } from '../../data/prefetch.js';
import { DiffmineError } from '../../util/errors.js';
import type { RunOptions } from '../../runs/manifest.js';
import type { ImageRow } from '../../runs/columns.js';

/** A marked image: its path and its labels. */
interface Where {
  file: string;
  labels: string[];
}

export class Marks {
  /** numbers of rotated, clipped and ignored ones, from place() */
  counts: MarkCounts = { turned: 0, clipped: 0, outside: 0, empty: 0 };

  private constructor(
    readonly path: string,
    /** by image */
    private found: ReadonlyMap<string, readonly Marked[]>,
    private readonly where: ReadonlyMap<string, Where>,
    /** entries of the file, and those of images of the dataset */
    readonly count: number,
    readonly used: number,
    /** what is to be told of the file */
    readonly notes: string[],
  ) {}

  /**
   * Reads boxes or masks and finds those of a dataset's images.
   *
   * @throws DATASET_INVALID if they cannot be read, or none is of such an image
   */
  static async read(
    path: string,
    format: BoxFormat | undefined,
    { images, root }: { images: Iterable<{ path: string; file: string; label: string }>; root: string },
  ): Promise<Marks> {
    const table = await readMarks(path, format);
    const found = table.assign(pathsOf(images), path, root);
    if (found.size === 0) {
      const [first] = images;
      throw new DiffmineError(
        'DATASET_INVALID',
        `No box or mask of ${path} belongs to an image of the dataset.`,
        `It names ${JSON.stringify([...table.keys()][0] ?? '')}; the dataset has names such as ${JSON.stringify(first?.path ?? '')}.`,
      );
    }
    const where = new Map<string, Where>();
    for (const image of images) {
      const seen = where.get(image.path);
      if (seen) seen.labels.push(image.label);
      else if (found.has(image.path)) where.set(image.path, { file: image.file, labels: [image.label] });
    }
    const sum = (lists: Iterable<readonly Marked[]>): number =>
      [...lists].reduce((total, marks) => total + marks.length, 0);
    return new Marks(path, found, where, sum(table.values()), sum(found.values()), [...table.notes]);
  }

  /** The images they are of. */
  get images(): string[] {
    return [...this.found.keys()];
  }

  /** Labels that they name, sorted. */
  get labels(): string[] {
    return [
      ...new Set(
        [...this.found.values()].flatMap((marks) =>
          marks.flatMap(({ label }) => (label === undefined ? [] : splitLabels(label))),
        ),
      ),
    ].sort();
  }

  /**
   * Matches them to their images, whose headers are read. Images that cannot be read are left to the scan, which skips them.
   *
   * @param mapped the labels that images are mapped under
   * @throws DATASET_INVALID if they do not fit their images, cover nothing, or are of other labels
   */
  async place(sizes: SizeOptions, mapped: readonly string[], options: PlaceOptions = {}): Promise<void> {
    const { signal } = options;
    const load = async ([path]: readonly [string, readonly Marked[]]): Promise<
      MarkedImage<Marked>['scored'] & { file: string }
    > => {
      const { file } = this.where.get(path) as Where;
      const source = await measureImage(file);
      return { ...scoredSize(source, sizes), sourceWidth: source.width, sourceHeight: source.height, file };
    };
    const marked: MarkedImage<Marked>[] = [];
    for await (const {
      item: [image, marks],
      value,
    } of prefetch(this.found, load, () => 0, { signal })) {
      if (value) marked.push({ image, marks, file: value.file, scored: value });
    }
    if (marked.length === 0) return;
    const bare = [...this.found].flatMap(([path, marks]) =>
      marks.some(({ label }) => label === undefined) ? (this.where.get(path)?.labels ?? []) : [],
    );
    checkLabels(this.path, [...new Set([...this.labels, ...bare])], mapped);
    const { images, counts, notes } = await placeMarks(this.path, marked, options);
    this.found = images;
    this.counts = counts;
    this.notes.push(...notes);
  }

  /**
   * A mask of the scored pixels inside boxes or masks of `row.condition`; undefined if there are none. Annotations without a label count for the image's own.
   *
   * @throws DATASET_INVALID for a mask that cannot be read
   */
  async inside(row: ImageRow, { size, sizeRule }: RunOptions): Promise<Uint8Array | undefined> {
    const wanted = (this.found.get(row.image) ?? []).filter(
      ({ label, imageLabel }) =>
        sharesLabel(label ?? row.label, row.condition) &&
        (imageLabel === undefined || sharesLabel(imageLabel, row.label)),
    );
    if (wanted.length === 0) return undefined;
    const source = { width: row.source_width, height: row.source_height };
    const { resized } = scoredSize(source, { size, rule: sizeRule, multiple: 1, patch: 1 });
    const plain = wanted.map(({ label: _label, ...mark }) => mark);
    const mask = await maskOf(plain, row.condition, {
      width: row.width,
      height: row.height,
      sourceWidth: source.width,
      sourceHeight: source.height,
      resized,
    });
    return mask.includes(1) ? mask : undefined;
  }
}

function* pathsOf(images: Iterable<{ path: string }>): Generator<string> {
  for (const { path } of images) yield path;
}

/** The edge around the pixels that are inside, as an SVG path in units of pixels. */
export function edgeOf(mask: Uint8Array, width: number, height: number): string {
  const at = (x: number, y: number): number =>
    x >= 0 && y >= 0 && x < width && y < height ? (mask[y * width + x] as number) : 0;
  const path: string[] = [];
  /** straight runs of edges along one line */
  const runs = (length: number, edge: (i: number) => boolean, draw: (from: number, count: number) => string): void => {
    for (let i = 0; i < length; i++) {
      if (!edge(i)) continue;
      const from = i;
      while (i < length && edge(i)) i++;
      path.push(draw(from, i - from));
    }
  };
  for (let y = 0; y <= height; y++)
    runs(
      width,
      (x) => at(x, y) !== at(x, y - 1),
      (x, n) => `M${x} ${y}h${n}`,
    );
  for (let x = 0; x <= width; x++)
    runs(
      height,
      (y) => at(x, y) !== at(x - 1, y),
      (y, n) => `M${x} ${y}v${n}`,
    );
  return path.join('');
}
