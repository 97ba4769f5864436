// One label of the report: its sprite sheets, context images and heat maps drawn, and its data file written.
import { imageFile, openImage } from '../../data/index.js';
import { asDiffmineError, DiffmineError, reasonAlone } from '../../util/errors.js';
import { contrastWords, mapEnds, mapMeaning, quoted, type Contrast } from '../../runs/contrast-words.js';
import { imageKey, type Run } from '../../runs/run.js';
import type { MinedPatchRow } from '../../runs/columns.js';
import type { ReportFolder } from '../../web/folder.js';
import { commonScale, paint, strength, type TypicalityMap } from '../../web/heatmap.js';
import type { LabelView } from './layout.js';
import { readMaps } from '../../runs/maps.js';
import {
  contextSize,
  cutTile,
  decode,
  encodeContext,
  encodeMap,
  SpriteSheet,
  TILES_PER_SHEET,
  type Decoded,
} from '../../web/sprites.js';
import { scriptOf } from '../../web/script.js';

/** What drawing a label needs to know of its run. */
export interface DrawContext {
  run: Run;
  folder: ReportFolder;
  contrast: Contrast;
  /** the images' folder */
  root: string;
  /** an image's number in the run's list */
  numberOf: ReadonlyMap<string, number>;
  /** the shard that scored an image (imageKey: the same file may stand under two labels) */
  shardOf: ReadonlyMap<string, number>;
  /** the quality sprite sheets have come down to, to keep within their budget */
  quality: number;
  /** of images that were read, in source pixels; grows */
  sizes: Map<string, [width: number, height: number]>;
  /** images that could not be read, with the reason; grows */
  missing: Map<string, string>;
  signal?: AbortSignal | undefined;
  onImage: () => void;
}

const IMAGES_AT_ONCE = 3;
const hundredths = (value: number): number => Math.round(value * 100) / 100;
const precise = (value: number | null): number | null => (value === null ? null : Number(value.toPrecision(6)));

/** The tiles of each image, by the shard that scored it. */
function byShard(view: LabelView, context: DrawContext): Map<number, Map<string, number[]>> {
  const shards = new Map<number, Map<string, number[]>>();
  view.patches.forEach((patch, tile) => {
    const shard = context.shardOf.get(imageKey({ path: patch.image, label: patch.label }));
    if (shard === undefined) {
      throw new DiffmineError(
        'RUN_INVALID',
        `mine/patches.parquet names the image "${patch.image}", which is not in index.parquet.`,
        'Run `diffmine mine` again.',
      );
    }
    const images = shards.get(shard) ?? new Map<string, number[]>();
    shards.set(shard, images);
    const tiles = images.get(patch.image);
    if (tiles) tiles.push(tile);
    else images.set(patch.image, [tile]);
  });
  return new Map([...shards].sort(([a], [b]) => a - b));
}

/** An image as the page knows it: number, path, label, size (0 where unknown), and 0: no image, 1: an image, 2: and its heat map. */
type ImageData = [number: number, image: string, label: string, width: number, height: number, has: 0 | 1 | 2];

/**
 * Draws label number `index` and writes `data/label-INDEX.js`.
 * @returns how many of its images have a heat map
 */
export async function drawLabel(
  view: LabelView,
  index: number,
  prompt: string | null,
  context: DrawContext,
): Promise<number> {
  const shards = byShard(view, context);
  const mapsOf = (shard: number, images: ReadonlyMap<string, unknown>): Map<string, TypicalityMap> =>
    context.run.manifest.options.maps
      ? readMaps(context.run, shard, view.label, [...images.keys()])
      : new Map<string, TypicalityMap>();
  // maps are read twice, for the common scale and to be painted: those of a label may be more than memory holds
  const strengths: number[] = [];
  for (const [shard, images] of shards) {
    for (const map of mapsOf(shard, images).values()) strengths.push(strength(map));
  }
  const scale = commonScale(strengths);

  const sheets = Array.from(
    { length: Math.ceil(view.patches.length / TILES_PER_SHEET) },
    (_, i) => new SpriteSheet(Math.min(TILES_PER_SHEET, view.patches.length - i * TILES_PER_SHEET)),
  );
  const drawn = new Map<string, ImageData>(
    [...shards.values()].flatMap((images) => [...images.keys()].map((image) => [image, [0, image, '', 0, 0, 0]])),
  );
  for (const [shard, images] of shards) {
    const maps = mapsOf(shard, images);
    await each([...images], IMAGES_AT_ONCE, async ([image, tiles]) => {
      if (context.signal?.aborted)
        throw new DiffmineError('CANCELLED', 'The report was cancelled; an earlier report is kept.');
      const patches = tiles.map((tile) => view.patches[tile] as MinedPatchRow);
      const decoded = await open(image, patches, context);
      if (decoded) {
        for (const tile of tiles) {
          sheets[Math.floor(tile / TILES_PER_SHEET)]?.put(
            tile % TILES_PER_SHEET,
            await cutTile(decoded, view.patches[tile] as MinedPatchRow),
          );
        }
      }
      drawn.set(image, await drawImage(decoded, patches[0] as MinedPatchRow, maps.get(image), scale, index, context));
      context.onImage();
    });
  }
  for (const [i, sheet] of sheets.entries()) {
    const { bytes, quality } = await sheet.encode(context.quality);
    context.quality = quality;
    await context.folder.write('sprites', `sprites/${index}-${i}.webp`, bytes);
  }
  await context.folder.write(
    'page',
    `data/label-${index}.js`,
    scriptOf('diffmine.label', index, labelData(view, prompt, scale, drawn, context)),
  );
  return [...drawn.values()].filter(([, , , , , has]) => has === 2).length;
}

/** Writes an image's context image (once for all labels) and its heat map under this label. */
async function drawImage(
  image: Decoded | null,
  patch: MinedPatchRow,
  map: TypicalityMap | undefined,
  scale: number,
  index: number,
  { run, folder, numberOf, sizes }: DrawContext,
): Promise<ImageData> {
  const number = numberOf.get(patch.image) as number;
  if (!image) return [number, patch.image, patch.label, 0, 0, 0];
  const { sourceWidth, sourceHeight } = image;
  sizes.set(patch.image, [sourceWidth, sourceHeight]);
  const name = `images/${number}.webp`;
  if (!folder.has(name)) await folder.write('images', name, await encodeContext(image));
  if (!map || !(scale > 0)) return [number, patch.image, patch.label, sourceWidth, sourceHeight, 1];

  const { width, height } = contextSize(sourceWidth, sourceHeight);
  // a map's cell covers this many scored pixels; how many of the source's one of those is follows from the patch's two sizes, also where the
  // image was cut to a multiple before scoring
  const { kind, vaeFactor } = run.manifest.model;
  const cell = (kind === 'latent' ? vaeFactor : 1) / patch.patch;
  const painting = paint(map, scale, width, height, {
    width: (cell * patch.width * width) / sourceWidth,
    height: (cell * patch.height * height) / sourceHeight,
  });
  await folder.write('maps', `maps/${index}-${number}.webp`, await encodeMap(painting, width, height));
  return [number, patch.image, patch.label, sourceWidth, sourceHeight, 2];
}

/** What is said of a label's maps. */
function labelWords(contrast: Contrast, label: string): object {
  return {
    ends: mapEnds(contrast, label),
    map: `Typicality map of the image for ${quoted(label)} against ${contrastWords(contrast).rival}. ${mapMeaning(contrast, quoted(label))}`,
  };
}

/** What the page is told of a label. Patches come as columns: a thousand rows of keys would be half of the file. */
function labelData(
  view: LabelView,
  prompt: string | null,
  scale: number,
  drawn: ReadonlyMap<string, ImageData>,
  context: DrawContext,
): object {
  const placeOf = new Map([...drawn.keys()].map((image, place) => [image, place]));
  const column = <Value>(of: (patch: MinedPatchRow) => Value): Value[] => view.patches.map(of);
  return {
    label: view.label,
    prompt,
    scale: precise(scale),
    clusters: view.clusters.map(({ number, size, median, members, evidence }) => ({
      number,
      size,
      median: precise(median),
      members,
      evidence: evidence && { ...evidence, auroc: evidence.auroc.map((value) => value && hundredths(value)) },
    })),
    words: labelWords(context.contrast, view.label),
    lists: view.lists,
    images: [...drawn.values()],
    patches: {
      image: column((patch) => placeOf.get(patch.image)),
      list: column((patch) => patch.list),
      rank: column((patch) => patch.rank),
      x: column((patch) => hundredths(patch.x)),
      y: column((patch) => hundredths(patch.y)),
      width: column((patch) => hundredths(patch.width)),
      height: column((patch) => hundredths(patch.height)),
      typicality: column((patch) => precise(patch.typicality)),
      error: column((patch) => precise(patch.standard_error)),
      samples: column((patch) => patch.samples),
      cluster: column((patch) => patch.cluster),
      distance: column((patch) => precise(patch.distance)),
    },
  };
}

/** The decoded image; null, and listed in `missing`, where it cannot be read. */
async function open(image: string, boxes: readonly MinedPatchRow[], context: DrawContext): Promise<Decoded | null> {
  if (context.missing.has(image)) return null;
  try {
    return await decode(
      await openImage(imageFile(context.root, image)),
      Math.min(...boxes.map((box) => Math.min(box.width, box.height))),
    );
  } catch (error) {
    context.missing.set(image, reasonAlone(asDiffmineError(error)).split('\n')[0] as string);
    return null;
  }
}

/** Runs `work` on every item, `atOnce` at a time; stops at the first error, when those under way have ended. */
async function each<Item>(items: readonly Item[], atOnce: number, work: (item: Item) => Promise<void>): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async (): Promise<void> => {
    while (next < items.length && !failed) {
      const item = items[next++] as Item;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
