// Matches boxes and masks to their images: in source pixels, upright, clipped to the image. Annotations of other sizes are errors, those that cover
// nothing are counted. Every command that takes boxes uses this.
import { BOX_FRAMES } from '../../options/names.js';
import sharp from 'sharp';
import { DiffmineError } from '../../util/errors.js';
import { imageInput } from '../open-image.js';
import { prefetch } from '../prefetch.js';
import type { Size } from '../read-image.js';
import { fits, otherFrame, readFrame, swapped, swapsSides, type Reading } from './frame.js';
import { clipped, coversPixel, type Box } from './geometry.js';
import { scoredEdges, type ScoredImage } from './marks.js';

import { maskName, measureMask, readMask } from './masks.js';
import type { Drawn } from './outline.js';
import { scaleInto, type Marked } from './rows.js';

/** An image with its annotations. */
export interface MarkedImage<Mark extends Marked> {
  /** path in the dataset */
  image: string;
  /** path on disk, to read its EXIF orientation; the file may no longer exist */
  file: string;
  scored: ScoredImage;
  marks: readonly Mark[];
}

/** Counts of boxes (or masks) by what was done with them. */
export interface MarkCounts {
  /** drawn on the stored image, rotated upright by its EXIF orientation */
  turned: number;
  /** extend beyond their image, and are clipped */
  clipped: number;
  /** lie outside their image, and are ignored */
  outside: number;
  /** smaller than a pixel of the scored image */
  empty: number;
}

export interface Placed<Mark extends Marked> {
  /** by image: boxes in source pixels, clipped; those outside are left out */
  images: Map<string, Mark[]>;
  counts: MarkCounts;
  /** notes for the user */
  notes: string[];
}

export { BOX_FRAMES };
/** The image that boxes and masks were drawn on: upright, or stored (before its EXIF orientation is applied). `auto`: decided by their sizes and positions. */
export type BoxFrame = (typeof BOX_FRAMES)[number];

export interface PlaceOptions {
  frame?: BoxFrame;
  signal?: AbortSignal | undefined;
}

/** The EXIF orientation of an image, from its header; undefined if it cannot be read. */
async function orientationOf(file: string): Promise<number | undefined> {
  try {
    const { orientation = 1 } = await sharp(await imageInput(file), { limitInputPixels: false }).metadata();
    return orientation;
  } catch {
    return undefined;
  }
}

/** Values of items, read several at a time. */
async function readAll<Item, Value>(
  items: readonly Item[],
  load: (item: Item) => Promise<Value>,
  signal: AbortSignal | undefined,
): Promise<Map<Item, Value>> {
  const found = new Map<Item, Value>();
  for await (const { item, value, error } of prefetch(items, load, () => 0, { signal })) {
    if (error) throw error;
    found.set(item, value);
  }
  return found;
}

/**
 * @param location the file or folder that they are from, for messages
 * @throws DATASET_INVALID if sizes do not fit the images, coordinates are normalized, or nothing covers a pixel
 */
export async function placeMarks<Mark extends Marked>(
  location: string,
  images: readonly MarkedImage<Mark>[],
  options: PlaceOptions = {},
): Promise<Placed<Mark>> {
  const { frame: drawnOn = 'auto', signal } = options;
  checkUnits(location, images);
  const frames = await readFrames(images, drawnOn, signal);
  if (drawnOn === 'auto') checkEvidence(location, frames);
  const stored = drawnOn === 'auto' ? storedFile(frames) : { all: drawnOn === 'stored', none: true };
  const counts: MarkCounts = { turned: 0, clipped: 0, outside: 0, empty: 0 };
  const placed = new Map<string, Mark[]>();
  const examples: Partial<Record<keyof MarkCounts, string>> = {};
  let [total, covering, unsure, fractions] = [0, 0, 0, 0];
  const masks: (string | Drawn)[] = [];
  for (const { image, scored, marks } of images) {
    const source = { width: scored.sourceWidth, height: scored.sourceHeight };
    const kept: Mark[] = [];
    for (const mark of marks) {
      total += 1;
      const frame = frames.get(mark);
      const turn =
        frame && (frame.reading === 'stored' || (stored.all && frame.orientation > 1)) ? frame.orientation : 1;
      if (turn > 1) counts.turned += 1;
      else if (frame && frame.orientation > 1 && keepsSize(frame) && !stored.none) unsure += 1;
      if (mark.mask !== undefined) {
        masks.push(mark.mask);
        kept.push({ ...mark, turn });
        continue;
      }
      const whole = frame ? scaleInto(mark.box as Box, frame.size, source, turn) : (mark.box as Box);
      const box = clipped(whole, source);
      const note = (count: keyof MarkCounts): void => {
        counts[count] += 1;
        examples[count] ??=
          `${image} (${source.width} x ${source.height} px): x ${short(whole.x)}, y ${short(whole.y)}, w ${short(whole.width)}, h ${short(whole.height)}`;
      };
      if (!box) {
        note('outside');
        continue;
      }
      if (box !== whole) note('clipped');
      if (coversPixel(scoredEdges(box, scored), scored)) covering += 1;
      else {
        note('empty');
        if (isNormalized(mark.box as Box)) fractions += 1;
      }
      const inside: Mark = { ...mark, box: { x: box.x, y: box.y, width: box.width, height: box.height } };
      delete inside.frame;
      kept.push(inside);
    }
    if (kept.length > 0) placed.set(image, kept);
  }
  const hint =
    cornersHint(images, counts) ??
    'Boxes are x, y (of the upper left corner), w and h in pixels of the upright source image.';
  if (covering === 0 && !(await anyInside(masks))) {
    const why = [
      ...(counts.outside > 0 ? [`${counts.outside} lie outside their images, such as ${examples.outside}`] : []),
      ...(counts.empty > 0 ? [`${counts.empty} are too small, such as ${examples.empty}`] : []),
      ...(masks.length > 0 ? [`${masks.length} masks are zero everywhere`] : []),
    ];
    throw new DiffmineError(
      'DATASET_INVALID',
      `None of the ${total} boxes or masks of ${location} covers a pixel: ${why.join('; ')}.`,
      hint,
    );
  }
  const notes = [
    ...(counts.turned > 0
      ? [
          `${counts.turned} of ${total} boxes or masks refer to images as stored, and were rotated upright by the EXIF orientation.`,
        ]
      : []),
    ...(unsure > 0
      ? [
          `${unsure} boxes or masks are for images whose EXIF orientation does not change their size; they are taken to be upright (if not: \`boxFrame\` stored).`,
        ]
      : []),
    ...(counts.outside > 0
      ? [
          `${counts.outside} of ${total} boxes lie outside their images and are ignored, such as ${examples.outside}. ${hint}`,
        ]
      : []),
    ...(counts.empty > 0
      ? [
          `${counts.empty} of ${total} boxes are too small to cover a pixel of the scored image, such as ${examples.empty}.${fractions > 0 ? ` ${fractions} look normalized: their coordinates are between 0 and 1. Boxes are in pixels.` : ''}`,
        ]
      : []),
    ...(counts.clipped > 0
      ? [
          `${counts.clipped} of ${total} boxes extend beyond their images and are clipped, such as ${examples.clipped}.${counts.outside > 0 ? '' : ` ${hint}`}`,
        ]
      : []),
  ];
  return { images: placed, counts, notes };
}

const short = (value: number): string => String(Number(value.toPrecision(6)));

interface Frame {
  image: string;
  size: Size;
  source: Size;
  reading: Reading;
  orientation: number;
}

/** Frames of boxes (from their file) and masks (their size). @throws DATASET_INVALID for a frame that does not fit its image */
async function readFrames<Mark extends Marked>(
  images: readonly MarkedImage<Mark>[],
  drawnOn: BoxFrame,
  signal: AbortSignal | undefined,
): Promise<Map<Mark, Frame>> {
  const framed =
    drawnOn === 'stored'
      ? images
      : images.filter(({ marks }) => marks.some(({ frame, mask }) => frame !== undefined || mask !== undefined));
  const orientations = await readAll(framed, ({ file }) => orientationOf(file), signal);
  const masks = await readAll(
    [...new Set(framed.flatMap(({ marks }) => marks.flatMap(({ mask }) => mask ?? [])))],
    measureMask,
    signal,
  );
  const found = new Map<Mark, Frame>();
  for (const one of framed) {
    const { image, file, scored } = one;
    const orientation = orientations.get(one);
    if (orientation === undefined && drawnOn === 'stored')
      throw new DiffmineError(
        'DATASET_INVALID',
        `The image '${file}' cannot be read: its EXIF orientation is needed for \`boxFrame\` stored.`,
        'If the images have moved, give their folder: `dataset`.',
      );
    const source = { width: scored.sourceWidth, height: scored.sourceHeight };
    for (const mark of one.marks) {
      const given = mark.mask === undefined ? mark.frame : masks.get(mark.mask);
      const frame = frameOn(drawnOn, given, source, orientation ?? 1, mark.mask === undefined);
      if (frame === null)
        throw otherFrame(
          mark.mask === undefined ? 'The boxes belong to an image of' : `The mask ${maskName(mark.mask)} has`,
          given as Size,
          source,
          image,
        );
      if (frame) found.set(mark, { image, source, orientation: orientation ?? 1, ...frame });
    }
  }
  return found;
}

/** @returns null for the frame of another image; undefined if there is none */
function frameOn(
  drawnOn: BoxFrame,
  given: Size | undefined,
  source: Size,
  orientation: number,
  isBox: boolean,
): { size: Size; reading: Reading } | null | undefined {
  const turned = swapsSides(orientation);
  if (!given)
    return drawnOn === 'stored'
      ? { size: turned ? swapped(source) : source, reading: turned ? 'stored' : 'upright' }
      : undefined;
  if (drawnOn === 'upright') {
    if (readFrame(given, source, 1)) return { size: given, reading: 'upright' };
    // sizes read from the file without its orientation, beside boxes drawn on the upright image
    return isBox && turned && readFrame(swapped(given), source, 1)
      ? { size: swapped(given), reading: 'upright' }
      : null;
  }
  const reading = readFrame(given, source, orientation);
  return reading === undefined || (drawnOn === 'stored' && turned && reading === 'upright')
    ? null
    : { size: given, reading };
}

/**
 * The size of a stored image does not prove that the boxes were drawn on it: some tools write sizes without the EXIF orientation and show the image with
 * it. A box that fits only the stored image does.
 *
 * @throws DATASET_INVALID if no box does, or another says the opposite
 */
function checkEvidence(location: string, frames: ReadonlyMap<Marked, Frame>): void {
  let [stored, upright] = [0, 0];
  let example: Frame | undefined;
  for (const [{ box }, frame] of frames) {
    if (!box || frame.reading !== 'stored') continue;
    example ??= frame;
    const [asStored, asUpright] = [fits(box, frame.size), fits(box, swapped(frame.size))];
    if (asStored && !asUpright) stored += 1;
    if (asUpright && !asStored) upright += 1;
  }
  if (!example || (stored > 0 && upright === 0)) return;
  const { image, size, source } = example;
  throw new DiffmineError(
    'DATASET_INVALID',
    `${location} has the sizes of images as stored (${image}: ${size.width} x ${size.height} px, upright ${source.width} x ${source.height}), ` +
      (stored > 0
        ? 'but boxes of both the stored and the upright images.'
        : upright > 0
          ? 'but boxes of the upright images.'
          : 'and its boxes fit both the stored and the upright images.'),
    'Give the orientation that the boxes were drawn on: `boxFrame` stored or `boxFrame` upright (evaluate and localize).',
  );
}

/** Whether the stored and the upright image have the same size: orientations 2, 3 and 4 swap no sides, and squares have equal ones. */
const keepsSize = ({ reading, orientation }: Frame): boolean => !swapsSides(orientation) || reading === 'square';

/**
 * A tool either applies EXIF orientations or it does not. If sizes show for some images that it did not (`stored`), and for none that it did, the same is
 * assumed for images whose size does not show it.
 *
 * @returns all: nothing was upright; none: sizes show that everything was
 */
function storedFile(frames: ReadonlyMap<unknown, Frame>): { all: boolean; none: boolean } {
  const telling = [...frames.values()].filter((frame) => frame.orientation > 1 && !keepsSize(frame));
  const stored = telling.filter(({ reading }) => reading === 'stored').length;
  return { all: stored > 0 && stored === telling.length, none: telling.length > 0 && stored === 0 };
}

/** Whether coordinates are fractions, with room for boxes that reach a little beyond their image. */
const isNormalized = ({ x, y, width, height }: Box): boolean =>
  [x, y, width, height].every((value) => value > -0.05 && value < 1.05);

/** @throws DATASET_INVALID if all coordinates of a file are fractions of the image's size */
function checkUnits<Mark extends Marked>(location: string, images: readonly MarkedImage<Mark>[]): void {
  const boxes = images.flatMap(({ marks }) => marks.flatMap(({ box }) => box ?? []));
  const isWhole = ({ x, y, width, height }: Box): boolean => [x, y, width, height].every(Number.isInteger);
  if (boxes.every(isWhole) || !boxes.every(isNormalized)) return;
  throw new DiffmineError(
    'DATASET_INVALID',
    `The boxes of ${location} are normalized: all their coordinates are between 0 and 1.`,
    "Boxes are in pixels: multiply x and w by the image's width, y and h by its height. YOLO's x and y are the center: subtract w / 2 and h / 2.",
  );
}

/** A hint for boxes that extend beyond their images, but would all fit if they were corners (x1, y1, x2, y2). */
function cornersHint<Mark extends Marked>(
  images: readonly MarkedImage<Mark>[],
  counts: MarkCounts,
): string | undefined {
  const boxes = images.flatMap(({ scored, marks }) =>
    marks.flatMap(({ box, frame }) =>
      box ? [{ box, size: frame ?? { width: scored.sourceWidth, height: scored.sourceHeight } }] : [],
    ),
  );
  const corners = boxes.every(
    ({ box, size }) =>
      box.x >= 0 &&
      box.y >= 0 &&
      box.width > box.x &&
      box.height > box.y &&
      box.width <= size.width + 1 &&
      box.height <= size.height + 1,
  );
  if (!corners || 2 * (counts.clipped + counts.outside) < boxes.length) return undefined;
  return 'They look like corners x1, y1, x2, y2: w is x2 - x1 and h is y2 - y1.';
}

/** Whether some mask is not zero everywhere. */
async function anyInside(masks: readonly (string | Drawn)[]): Promise<boolean> {
  for (const mask of masks) if ((await readMask(mask)).inside.includes(1)) return true;
  return false;
}
