// The scored images of a run, with the boxes that lie in them.
import { imageFile, scoredSize } from '../../data/index.js';
import {
  boxMask,
  isOfImage,
  labelOf,
  placeMarks,
  tableOf,
  type Box,
  type BoxFile,
  type BoxFrame,
  type Marked,
  type MarkCounts,
  type TruthBox,
} from '../../data/boxes/index.js';
import { checkLabels } from '../../data/boxes/labels.js';
import { sharesLabel } from '../../data/labels.js';
import { imageKey, type Run } from '../../runs/run.js';
import type { ImageRow } from '../../runs/columns.js';
import { readTable } from '../../runs/tables.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import type { EvaluateEvent } from './options.js';

/** A scored image with what is in it. */
export interface Image {
  /** in all images of the run */
  index: number;
  image: string;
  label: string;
  shard: number;
  width: number;
  height: number;
  /** scored pixels a source pixel, across and down */
  scale: [number, number];
  boxes: TruthBox[];
}

/** A file of boxes. */
export interface Truth extends BoxFile {
  path: string;
  /** what they are drawn on; default 'auto' */
  frame?: BoxFrame | undefined;
}

/** What became of a file's boxes. */
export interface BoxesUsed extends MarkCounts {
  /** of images of the run */
  used: number;
  /** sentences worth telling */
  notes: string[];
}

/** @param root the folder of the source images @throws DATASET_INVALID for boxes that do not fit the images, or meet none; CANCELLED */
export async function readImages(
  run: Run,
  truth: Truth,
  root: string,
  { signal }: Hooks<EvaluateEvent>,
): Promise<{ images: Image[]; used: BoxesUsed }> {
  const { size, sizeRule } = run.manifest.options;
  const found = new Map<
    string,
    Image & { source: { width: number; height: number }; resized: { width: number; height: number } }
  >();
  for (let shard = 0; shard < run.manifest.shards; shard++) {
    const rows = await readTable<ImageRow>(run.shardFile(shard, 'images.parquet'), [
      'image',
      'label',
      'source_width',
      'source_height',
      'width',
      'height',
    ]);
    for (const { image, label, source_width: across, source_height: down, width, height } of rows) {
      const key = imageKey({ path: image, label });
      if (found.has(key)) continue; // scored under several labels
      const source = { width: across, height: down };
      const { resized } = scoredSize(source, { size, rule: sizeRule, multiple: 1, patch: 1 });
      found.set(key, {
        index: found.size,
        image,
        label,
        shard,
        width,
        height,
        scale: [resized.width / across, resized.height / down],
        boxes: [],
        source,
        resized,
      });
    }
  }
  const byImage = new Map([...found.values()].map((image) => [image.image, image]));
  const assigned = tableOf(truth, (box): Marked & { truth: TruthBox } => ({
    box,
    truth: box,
    ...(box.frame ? { frame: box.frame } : {}),
  })).assign(byImage.keys(), truth.path, root);
  const used = [...assigned.values()].reduce((sum, marks) => sum + marks.length, 0);
  if (used === 0) {
    const [first] = byImage.keys();
    if (truth.boxes.length === 0) throw new DiffmineError('DATASET_INVALID', `${truth.path} has no boxes.`);
    throw new DiffmineError(
      'DATASET_INVALID',
      `No box of ${truth.path} belongs to an image of the run.`,
      `The boxes name ${JSON.stringify(truth.boxes[0]?.image ?? '')}; the images of the run have names such as ${JSON.stringify(first ?? '')}.`,
    );
  }
  const marked = [...assigned].map(([image, marks]) => {
    const { width, height, source, resized } = byImage.get(image) as NonNullable<ReturnType<typeof byImage.get>>;
    return {
      image,
      file: imageFile(root, image),
      scored: { width, height, sourceWidth: source.width, sourceHeight: source.height, resized },
      marks,
    };
  });
  const {
    images: placed,
    counts,
    notes,
  } = await placeMarks(truth.path, marked, { frame: truth.frame ?? 'auto', signal });
  const images = [...found.values()].map(({ source: _source, resized: _resized, ...image }) => ({
    ...image,
    boxes: (placed.get(image.image) ?? []).flatMap(({ box, truth: row }) =>
      isOfImage(row, image.label) ? [{ ...row, ...box }] : [],
    ),
  }));
  const shown = new Set(images.flatMap((image) => image.boxes.map((box) => typicalOf(box, image))));
  // with none left, the column `label` is that of no image
  checkLabels(
    truth.path,
    shown.size > 0 ? [...shown] : [...new Set(truth.boxes.flatMap(({ label }) => label ?? []))],
    run.manifest.conditions,
  );
  return { images, used: { used, ...counts, notes } };
}

export const typicalOf = (box: TruthBox, image: Image): string => labelOf(box, image.label);
/** The image's boxes of what is typical of `label`. */
export const typical = (image: Image, label: string): TruthBox[] =>
  image.boxes.filter((box) => sharesLabel(typicalOf(box, image), label));
/** Those of what is typical of other labels. */
export const typicalOfOthers = (image: Image, label: string): TruthBox[] =>
  image.boxes.filter((box) => !sharesLabel(typicalOf(box, image), label));
/** Boxes in the scored image's pixels. */
export const scored = ({ scale }: Image, boxes: readonly Box[]): Box[] =>
  boxes.map((box) => ({
    x: box.x * scale[0],
    y: box.y * scale[1],
    width: box.width * scale[0],
    height: box.height * scale[1],
  }));
/** The scored pixels that lie in boxes. */
export const maskIn = (image: Image, boxes: readonly Box[]): Uint8Array =>
  boxMask(scored(image, boxes), image.width, image.height);
