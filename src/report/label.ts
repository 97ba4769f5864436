// One label of the report: its sprite sheets, context pictures and heat maps drawn, and its data file written.
import { access } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { asDiffmineError, DiffmineError } from '../errors';
import type { Run } from '../run/run';
import type { ReportFolder } from './folder';
import { commonScale, paint, strength, type TypicalityMap } from './heatmap';
import type { LabelView, PatchRow } from './layout';
import { readMaps } from './maps';
import { contextSize, cutTile, decode, encodeContext, encodeOverlay, SpriteSheet, TILES_A_SHEET, type Decoded } from './pictures';
import { scriptOf } from './script';

/** What drawing a label needs to know of its run. */
export interface DrawContext {
  run: Run;
  folder: ReportFolder;
  /** the pictures' folder */
  root: string;
  /** a picture's number in the manifest */
  numberOf: ReadonlyMap<string, number>;
  /** pictures that could not be read, with the reason; grows */
  missing: Map<string, string>;
  signal?: AbortSignal | undefined;
  onPicture: () => void;
}

const PICTURES_AT_ONCE = 3;
const digits = (value: number, places: number): number => Number(value.toFixed(places));
const precise = (value: number | null): number | null => (value === null ? null : Number(value.toPrecision(6)));

/** The tiles of each picture, by the shard that scored it. */
function byShard(view: LabelView, context: DrawContext): Map<number, Map<string, number[]>> {
  const shards = new Map<number, Map<string, number[]>>();
  view.patches.forEach((patch, tile) => {
    const number = context.numberOf.get(patch.image);
    if (number === undefined) {
      throw new DiffmineError('RUN_INVALID', `mine/patches.parquet names the picture "${patch.image}", which is not in manifest.json.`, 'Run `diffmine mine` again.');
    }
    const shard = Math.floor(number / context.run.manifest.options.shardSize);
    const pictures = shards.get(shard) ?? new Map<string, number[]>();
    shards.set(shard, pictures);
    const tiles = pictures.get(patch.image);
    if (tiles) tiles.push(tile);
    else pictures.set(patch.image, [tile]);
  });
  return new Map([...shards].sort(([a], [b]) => a - b));
}

/**
 * Draws label number `index` and writes `data/label-NNN.js`.
 * @returns how many of its pictures have a heat map
 */
export async function drawLabel(view: LabelView, index: number, prompt: string | null, context: DrawContext): Promise<number> {
  const { model, options } = context.run.manifest;
  /** scored pixels that a cell of a map covers */
  const cell = model.kind === 'latent' ? model.vaeFactor : 1;
  const shards = byShard(view, context);
  const mapsOf = (shard: number, pictures: ReadonlyMap<string, unknown>): Map<string, TypicalityMap> =>
    options.maps ? readMaps(context.run, shard, view.label, [...pictures.keys()]) : new Map();

  const strengths: number[] = [];
  for (const [shard, pictures] of shards) {
    for (const map of mapsOf(shard, pictures).values()) strengths.push(strength(map));
  }
  const scale = commonScale(strengths);

  const sheets = Array.from({ length: Math.ceil(view.patches.length / TILES_A_SHEET) }, (_, i) =>
    new SpriteSheet(Math.min(TILES_A_SHEET, view.patches.length - i * TILES_A_SHEET)));
  const pictureData: unknown[] = [];
  const pictureOf = new Map<string, number>();
  for (const [shard, pictures] of shards) {
    const maps = mapsOf(shard, pictures);
    for (const image of pictures.keys()) {
      pictureOf.set(image, pictureData.length);
      pictureData.push(null);
    }
    await each([...pictures], PICTURES_AT_ONCE, async ([image, tiles]) => {
      if (context.signal?.aborted) throw new DiffmineError('CANCELLED', 'The report was cancelled; an earlier report is kept.');
      const boxes = tiles.map((tile) => view.patches[tile] as PatchRow);
      const first = boxes[0] as PatchRow;
      const number = context.numberOf.get(image) as number;
      const picture = await open(image, boxes, context);
      let painted = false;
      if (picture) {
        for (const [i, tile] of tiles.entries()) {
          sheets[Math.floor(tile / TILES_A_SHEET)]?.put(tile % TILES_A_SHEET, await cutTile(picture, boxes[i] as PatchRow));
        }
        const contextName = `pictures/${number}.webp`;
        if (!context.folder.has(contextName)) await context.folder.write('pictures', contextName, await encodeContext(picture));
        const map = maps.get(image);
        if (map && scale > 0) {
          const { width, height } = contextSize(picture.sourceWidth, picture.sourceHeight);
          // source pixels per scored pixel follow from a patch's two sizes, also where the picture was cut to a multiple
          const across = ((cell * first.width) / first.patch) * (width / picture.sourceWidth);
          const down = ((cell * first.height) / first.patch) * (height / picture.sourceHeight);
          const overlay = paint(map, scale, width, height, { width: across, height: down });
          await context.folder.write('maps', `maps/${index}-${number}.webp`, await encodeOverlay(overlay, width, height));
          painted = true;
        }
      }
      pictureData[pictureOf.get(image) as number] = [
        number, image, first.label, picture?.sourceWidth ?? 0, picture?.sourceHeight ?? 0, painted ? 2 : picture ? 1 : 0,
      ];
      context.onPicture();
    });
  }
  for (const [i, sheet] of sheets.entries()) await context.folder.write('sprites', `sprites/${index}-${i}.webp`, await sheet.encode());

  const column = <Value>(of: (patch: PatchRow) => Value): Value[] => view.patches.map(of);
  const data = {
    label: view.label,
    prompt,
    scale: precise(scale),
    clusters: view.clusters.map((cluster) => ({ ...cluster, median: precise(cluster.median), inertia: precise(cluster.inertia) })),
    lists: view.lists,
    pictures: pictureData,
    patches: {
      picture: column((patch) => pictureOf.get(patch.image)),
      list: column((patch) => patch.list),
      rank: column((patch) => patch.rank),
      x: column((patch) => digits(patch.x, 2)),
      y: column((patch) => digits(patch.y, 2)),
      width: column((patch) => digits(patch.width, 2)),
      height: column((patch) => digits(patch.height, 2)),
      typicality: column((patch) => precise(patch.typicality)),
      error: column((patch) => precise(patch.standard_error)),
      samples: column((patch) => patch.samples),
      cluster: column((patch) => patch.cluster),
      distance: column((patch) => precise(patch.distance)),
    },
  };
  await context.folder.write('page', `data/label-${index}.js`, scriptOf('diffmine.label', index, data));
  return pictureData.filter((entry) => Array.isArray(entry) && entry[5] === 2).length;
}

/** The decoded picture; null, and listed in `missing`, where it cannot be read. */
async function open(image: string, boxes: readonly PatchRow[], context: DrawContext): Promise<Decoded | null> {
  if (context.missing.has(image)) return null;
  const file = resolve(context.root, image);
  try {
    if (!file.startsWith(context.root.endsWith(sep) ? context.root : context.root + sep)) throw new Error('its path leads out of the data set');
    await access(file).catch(() => {
      throw new Error('not found');
    });
    return await decode(file, Math.min(...boxes.map((box) => Math.min(box.width, box.height))));
  } catch (error) {
    context.missing.set(image, asDiffmineError(error).message.split('\n')[0] as string);
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
