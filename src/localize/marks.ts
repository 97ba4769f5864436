// What is known to be in the pictures of a run, label by label.
import { scoredSize } from '../dataset';
import { maskOf, readMarks, type BoxFormat, type Marked } from '../dataset/boxes';
import { splitLabels } from '../dataset/labels';
import { DiffmineError } from '../errors';
import type { RunOptions } from '../run/manifest';
import type { ImageRow } from '../run/schema';

export class Marks {
  private constructor(
    readonly path: string,
    private readonly table: ReadonlyMap<string, Marked[]>,
    /** entries of the file, and those of pictures of the data set */
    readonly count: number,
    readonly used: number,
    /** the pictures they are of */
    readonly pictures: readonly string[],
    /** labels that entries of these pictures name */
    readonly labels: readonly string[],
  ) {}

  /**
   * Reads boxes or masks and finds those of a data set's pictures.
   *
   * @throws DATASET_INVALID where they cannot be read, or none is of such a picture
   */
  static async read(path: string, format: BoxFormat | undefined, images: readonly { path: string; label: string }[]): Promise<Marks> {
    const table = await readMarks(path, format);
    const used = new Map<unknown, Marked>();
    const pictures = new Set<string>();
    for (const { path: name } of images) {
      for (const mark of table.get(name) ?? []) {
        used.set(mark.mask ?? mark, mark);
        pictures.add(name);
      }
    }
    if (used.size === 0) {
      throw new DiffmineError(
        'DATASET_INVALID', `${path} marks nothing in any picture of the data set.`,
        `It names ${JSON.stringify([...table.keys()][0] ?? '')}; the data set's pictures are named as ${JSON.stringify(images[0]?.path ?? '')}.`,
      );
    }
    const count = [...table.values()].reduce((sum, marks) => sum + marks.length, 0);
    const labels = new Set([...used.values()].flatMap(({ label }) => (label === undefined ? [] : splitLabels(label))));
    return new Marks(path, table, count, used.size, [...pictures], [...labels].sort());
  }

  /**
   * The scored pixels of a picture inside what is marked as `row.condition`; undefined where that is none. What names no label counts for the picture's own.
   *
   * @throws DATASET_INVALID for a mask that cannot be read or has other proportions than its picture
   */
  async inside(row: ImageRow, { size, sizeRule }: RunOptions): Promise<Uint8Array | undefined> {
    const own = splitLabels(row.label);
    const wanted = (this.table.get(row.image) ?? []).filter(({ label }) => (label === undefined ? own : splitLabels(label)).includes(row.condition));
    if (wanted.length === 0) return undefined;
    const source = { width: row.source_width, height: row.source_height };
    const { resized } = scoredSize(source, { size, rule: sizeRule, multiple: 1, patch: 1 });
    const plain = wanted.map(({ label: _label, ...mark }) => mark);
    const mask = await maskOf(plain, row.condition, { width: row.width, height: row.height, sourceWidth: source.width, sourceHeight: source.height, resized });
    return mask.includes(1) ? mask : undefined;
  }
}

/** The edge around the pixels that are inside, as an SVG path in units of pixels. */
export function edgeOf(mask: Uint8Array, width: number, height: number): string {
  const at = (x: number, y: number): number => (x >= 0 && y >= 0 && x < width && y < height ? (mask[y * width + x] as number) : 0);
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
  for (let y = 0; y <= height; y++) runs(width, (x) => at(x, y) !== at(x, y - 1), (x, n) => `M${x} ${y}h${n}`);
  for (let x = 0; x <= width; x++) runs(height, (y) => at(x, y) !== at(x - 1, y), (y, n) => `M${x} ${y}v${n}`);
  return path.join('');
}
