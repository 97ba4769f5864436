// Exports patches as images: cut from the source at its own resolution, named by label, rank and score, with an index and an image grid per label.
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import { imageFile, openImage, prefetch } from '../../data/index.js';
import { undecodable } from '../../data/open-image.js';
import type { Image } from '../../engine/types.js';
import { writeGrid } from '../../models/grid.js';
import { safeNames } from '../../runs/names.js';
import { Run } from '../../runs/run.js';
import { withLocalRun, withoutMaps } from '../../runs/store/copy.js';
import { imageRoot } from '../../runs/scored.js';
import type { MinedPatchRow } from '../../runs/columns.js';
import type { Row, Schema } from '../../runs/tables.js';
import { resolved } from '../../options/check.js';
import { because, DiffmineError, reasonAlone } from '../../util/errors.js';
import { groupBy } from '../../util/group.js';
import type { Hooks, Progress } from '../../util/hooks.js';
import { count } from '../../web/html.js';
import { toCsv } from './csv.js';
import { checkNewFolder, writeNewFolder } from './folder.js';
import { CROPS, type CropsOptions } from './options.js';
import { labelsOf, PATCH_COLUMNS, patchesOf } from './rows.js';

export type CropsEvent = Progress<'crops'>;

export interface CropsSummary {
  /** of the folder, absolute */
  path: string;
  labels: number;
  /** images written */
  crops: number;
  /** source images that could not be read, each once: their patches are left out */
  missing: { image: string; reason: string }[];
}

const INDEX = 'index.csv';
const GRID = 'grid.png';
const DEFAULT_TOP = 20;
/** Longest side of a crop on an image grid, px. */
const TILE = 160;
/** A place of an image grid whose image could not be read. */
const BLANK: Image = { pixels: Buffer.alloc(3 * TILE * TILE, 0xd8), width: TILE, height: TILE };
/** A box may reach beyond its image by the rounding of its numbers, px. */
const SLACK = 1;

const COLUMNS: Schema = [
  ['file', 'STRING'],
  ...PATCH_COLUMNS,
  ['crop_x', 'INT32'],
  ['crop_y', 'INT32'],
  ['crop_width', 'INT32'],
  ['crop_height', 'INT32'],
];

/** In pixels of the source image. */
interface Region {
  left: number;
  top: number;
  width: number;
  height: number;
}

/**
 * Writes patches of a mined run as PNG images into a new folder:
 * LABEL/LABEL-LIST-RANK-SCORE.png, LABEL/grid.png (rank by rank, row by row) and index.csv. The folder appears when it is complete.
 *
 * @throws RUN_INVALID if the run is not mined; INVALID_ARGUMENT for a folder that is not empty, or an unknown label; IMAGE_UNREADABLE if no image can be read
 */
export async function exportCrops(options: CropsOptions, hooks: Hooks<CropsEvent> = {}): Promise<CropsSummary> {
  return withLocalRun(options.run, hooks, { reads: withoutMaps, makes: [], lock: '' }, async (run, local) =>
    cropsOf({ ...options, run }, local),
  );
}

async function cropsOf({ run: runPath, ...given }: CropsOptions, hooks: Hooks<CropsEvent>): Promise<CropsSummary> {
  const { crops, list = 'top', labels, top = DEFAULT_TOP, margin, dataset } = resolved(CROPS, given);
  const run = await Run.open(runPath);
  const patches = await patchesOf(run, { list, labels, top });
  const root = imageRoot(run, dataset);
  const target = resolve(crops);
  await checkNewFolder(crops, 'crops');
  // of all labels of the run, whatever part is exported: a label has the same name in each export
  const names = safeNames(run.manifest.conditions, [INDEX, GRID]);
  const digits = String(Math.max(1, ...patches.map(({ rank }) => rank))).length;
  const nameOf = (patch: MinedPatchRow): string => {
    const label = names.get(patch.condition) as string;
    const rank = String(patch.rank).padStart(digits, '0');
    return `${label}/${label}-${list}-${rank}-${patch.typicality.toPrecision(4)}.png`;
  };
  const wanted = labelsOf(run, labels);
  const written = new Map<MinedPatchRow, { region: Region; thumbnail: Image }>();
  const missing: CropsSummary['missing'] = [];
  const images = groupBy(patches, ({ image }) => image);
  let rows: Row[] = [];
  const fill = async (folder: string): Promise<void> => {
    for (const label of wanted) await mkdir(join(folder, names.get(label) as string));
    const decoded = prefetch(
      images,
      async ([first]) => decodeWhole(imageFile(root, (first as MinedPatchRow).image)),
      ({ pixels }) => pixels.byteLength,
      { signal: hooks.signal, ahead: 2 },
    );
    let done = 0;
    for await (const { item, value, error } of decoded) {
      const { image } = item[0] as MinedPatchRow;
      const reason = error ? reasonAlone(error) : sizeChanged(value, item);
      if (value && reason === undefined) {
        for (const patch of item) {
          const region = regionOf(patch, margin, value);
          const crop = raw(value).extract(region);
          await writeFile(join(folder, nameOf(patch)), await crop.clone().png().toBuffer());
          written.set(patch, { region, thumbnail: await shrunk(crop) });
        }
      } else {
        missing.push({ image, reason: (reason ?? '').split('\n')[0] as string });
        hooks.onLog?.(
          because(`Cannot cut ${count(item.length, 'patch', 'patches')} from`, image, missing.at(-1)?.reason ?? ''),
        );
      }
      hooks.onProgress?.({ type: 'crops', done: ++done, total: images.length });
    }
    if (written.size === 0 && patches.length > 0)
      throw new DiffmineError(
        'IMAGE_UNREADABLE',
        `None of the ${count(images.length, 'image')} could be read below ${root}.`,
        'If the images have moved, name their folder with `dataset`.',
      );
    for (const label of wanted) {
      const tiles = patches
        .filter(({ condition }) => condition === label)
        .map((patch) => written.get(patch)?.thumbnail ?? BLANK);
      if (tiles.length > 0) await drawGrid(join(folder, names.get(label) as string, GRID), tiles);
    }
    rows = [...patches].flatMap((patch): Row[] => {
      const region = written.get(patch)?.region;
      if (!region) return [];
      const { left, top: begin, width, height } = region;
      return [{ ...patch, file: nameOf(patch), crop_x: left, crop_y: begin, crop_width: width, crop_height: height }];
    });
    await writeFile(join(folder, INDEX), toCsv(rows, COLUMNS));
  };
  await writeNewFolder(crops, 'crops', fill);
  return { path: target, labels: wanted.length, crops: rows.length, missing };
}

/** Upright RGB at the size of the source. */
async function decodeWhole(file: string): Promise<Image> {
  const { image } = await openImage(file);
  try {
    const { data, info } = await image.removeAlpha().raw().toBuffer({ resolveWithObject: true });
    return { pixels: data, width: info.width, height: info.height };
  } catch (cause) {
    throw await undecodable(file, cause);
  }
}

const raw = ({ pixels, width, height }: Image): Sharp =>
  sharp(pixels, { raw: { width, height, channels: 3 }, limitInputPixels: false });

/** Why boxes do not belong to the image; undefined where they lie in it. */
function sizeChanged(image: Image | undefined, patches: readonly MinedPatchRow[]): string | undefined {
  const [right, bottom] = [
    Math.max(...patches.map(({ x, width }) => x + width)),
    Math.max(...patches.map(({ y, height }) => y + height)),
  ];
  return !image || (right <= image.width + SLACK && bottom <= image.height + SLACK)
    ? undefined
    : `has changed since the scan: it is ${image.width} x ${image.height} px, and a patch reaches to ${Math.round(right)}, ${Math.round(bottom)}.`;
}

/** The patch's box and its margin, to whole pixels, inside the image. */
function regionOf({ x, y, width, height }: MinedPatchRow, margin: number, image: Image): Region {
  const along = (begin: number, length: number, side: number): [number, number] => {
    const first = Math.max(0, Math.min(side - 1, Math.round(begin - margin * length)));
    const end = Math.max(first + 1, Math.min(side, Math.round(begin + length + margin * length)));
    return [first, end - first];
  };
  const [left, across] = along(x, width, image.width);
  const [top, down] = along(y, height, image.height);
  return { left, top, width: across, height: down };
}

/** The crop for an image grid: small ones are enlarged. */
async function shrunk(crop: Sharp): Promise<Image> {
  const { data, info } = await crop
    .clone()
    .resize(TILE, TILE, { fit: 'inside' })
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { pixels: data, width: info.width, height: info.height };
}

/** About as wide as high, best first. */
async function drawGrid(file: string, tiles: readonly Image[]): Promise<void> {
  const columns = Math.ceil(Math.sqrt(tiles.length));
  const rows = Array.from({ length: Math.ceil(tiles.length / columns) }, (_, row) =>
    tiles.slice(row * columns, (row + 1) * columns),
  );
  await writeGrid(file, rows, { scale: 1 });
}
