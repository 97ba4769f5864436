// How well the clusters of places agree with boxes of known elements.
import { inSource, isOfImage, tableOf, type BoxFile, type TruthBox } from '../../data/boxes/index.js';
import type { Size } from '../../data/index.js';
import type { Clustering } from '../../pipeline/cluster.js';
import type { Sequence } from '../../runs/parallel.js';
import { DiffmineError } from '../../util/errors.js';
import type { Listed } from './lists.js';
import type { TruthRecord } from './options.js';
import { agreement, hitBox } from './purity.js';
import type { PlaceList, PlaceRow } from './schema.js';

/** Clusters of both lists against boxes in the source images, which are named as in the dataset, or as the sequence. */
export function compareWithBoxes(
  file: string,
  truth: BoxFile,
  { sizes, sequences }: { sizes: ReadonlyMap<string, Size>; sequences: ReadonlyMap<string, Sequence> },
  lists: Record<PlaceList, Listed>,
  made: ReadonlyMap<PlaceList, Clustering>,
  seed: number,
): TruthRecord {
  const bare = (name: string): string => name.replace(/\.[^./]+$/, '');
  const { boxes } = truth;
  const table = tableOf({ ...truth, boxes: boxes.map((box) => ({ ...box, image: bare(box.image) })) }, (box) => box);
  const rows = [...lists.top.rows, ...lists.random.rows];
  const byImage = table.assign(new Set(rows.map((row) => bare(row.image))), file);
  const bySequence = table.assign(
    new Set(rows.filter((row) => !byImage.has(bare(row.image))).map((row) => row.sequence)),
    file,
  );
  const boxesOf = (row: PlaceRow): TruthBox[] => {
    const own = (byImage.get(bare(row.image)) ?? bySequence.get(row.sequence) ?? []).filter((box) =>
      isOfImage(box, row.label),
    );
    const [size, origin] = [sizes.get(row.sequence), sequences.get(row.sequence)?.origin];
    if (!size) return own;
    const [across, down] = origin
      ? [origin.resized.width / origin.width, origin.resized.height / origin.height]
      : [1, 1];
    const placed = own
      .map((box) => inSource(box, origin ?? size))
      .map((box) => ({
        ...box,
        x: box.x * across,
        y: box.y * down,
        width: box.width * across,
        height: box.height * down,
      }));
    const outside = origin ? undefined : placed.find((box) => box.x >= size.width + 1 || box.y >= size.height + 1);
    if (!outside) return placed;
    throw new DiffmineError(
      'DATASET_INVALID',
      `${file}: a box of ${outside.image} begins at ${outside.x}, ${outside.y}, outside its source image of ${size.width} x ${size.height} px.`,
      "Without a manifest of translate, boxes are in pixels of the sequence's source.png.",
    );
  };
  if (lists.top.rows.every((row) => boxesOf(row).length === 0)) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `${file} has no box in a source image of this run.`,
      'Boxes must name images by their path in the translated dataset, or by LABEL/NAME.',
    );
  }
  const columns: TruthRecord['columns'] = {};
  for (const column of ['slot', 'kind', 'typicalOf'] as const) {
    if (!boxes.some((box) => box[column] !== undefined)) continue;
    if (column === 'typicalOf' && Object.keys(columns).length > 0) continue;
    const of = (list: PlaceList): TruthRecord['columns'][string]['top'] =>
      agreement(
        made.get(list)?.assignment ?? [],
        lists[list].rows.map((row) => {
          const near = boxesOf(row);
          const hit = hitBox(row, near);
          return hit === undefined ? undefined : near[hit]?.[column];
        }),
        seed,
      );
    columns[column] = { top: of('top'), random: of('random') };
  }
  if (Object.keys(columns).length === 0) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `${file} does not say what its boxes show.`,
      'It needs a column slot or kind.',
    );
  }
  return { boxes: file, columns };
}
