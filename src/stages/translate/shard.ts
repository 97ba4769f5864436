// One shard of a translation: its images inverted, sampled under every target label, and written.
import { join } from 'node:path';
import sharp from 'sharp';
import { readImage, type ImageList, type ReadImage, type SizeOptions } from '../../data/index.js';
import { DiffmineError, reasonAlone } from '../../util/errors.js';
import { chunks, groupBy } from '../../util/group.js';
import type { ModelFolder } from '../../models/index.js';
import type { Engine } from '../../engine/index.js';
import { fromFloat32 } from '../../engine/tensor.js';
import type { Image } from '../../engine/types.js';
import type { ShardContext, ShardCounts } from '../../pipeline/stage.js';
import { removeLeftovers, writeFileAtomic } from '../../runs/atomic.js';
import { contentOf } from '../../data/checksums.js';
import { channelsOf } from '../../models/denoiser.js';
import { toImages } from '../../models/images.js';
import type { TranslationFolder } from './folder.js';
import {
  reconstructionFile,
  sourceFile,
  targetFile,
  type ShardLines,
  type TranslatedLine,
} from '../../runs/parallel.js';
import {
  invertImages,
  samplePlugAndPlay,
  type InjectedDenoise,
  type PlugAndPlay,
  type Source,
} from './plug-and-play.js';
import { targetsOf } from './resolve.js';
import { makeFolder } from '../../util/paths.js';

/** Maximum bytes of latents that the inversions of one call keep. */
const KEPT_BYTES = 256 * 2 ** 20;

/** What shards are translated with. */
export interface Translating {
  folder: TranslationFolder;
  model: ModelFolder;
  sizes: SizeOptions;
  engine: Engine;
  denoise: InjectedDenoise;
  /** by label: the row of its condition */
  rows: ReadonlyMap<string, number>;
  nullRow: number;
  settings: PlugAndPlay;
  /** UNet calls of an image, by its place in the manifest */
  expectedOf: (place: number) => number;
  /** that are translated, in order */
  images: ImageList;
}

type Context = Translating & ShardContext;

/** An image with its place in the manifest. */
interface Item {
  place: number;
  label: string;
  path: string;
  image: ReadImage;
  sha256: string | null;
}

/**
 * Translates a shard's images and records that they are finished.
 *
 * @throws NUMERICS naming the images; OUT_OF_MEMORY if the batch does not fit; CANCELLED
 */
export async function translateShard(
  translating: Translating,
  shard: number,
  context: ShardContext,
): Promise<ShardCounts> {
  const { translated, skipped } = await translateImages({ ...translating, ...context }, shard);
  const { batch, notes } = context;
  await translating.folder.finishShard(shard, { record: { shard, batch, notes: [...notes] }, translated, skipped });
  return { done: translated.length, skipped: skipped.length };
}

async function translateImages(context: Context, shard: number): Promise<Omit<ShardLines, 'record'>> {
  const { folder, sizes, images, meter, signal } = context;
  const items: Item[] = [];
  const skipped: ShardLines['skipped'] = [];
  for (const place of folder.shardPlaces(shard)) {
    const image = images.at(place);
    try {
      const [decoded, sha256] = await Promise.all([readImage(image.file, sizes), contentOf(image.file)]);
      items.push({ place, label: image.label, path: image.path, image: decoded, sha256 });
    } catch (error) {
      if (!(error instanceof DiffmineError && error.code === 'IMAGE_UNREADABLE')) throw error;
      const sha256 = await contentOf(image.file);
      skipped.push({ image: image.path, label: image.label, reason: reasonAlone(error), sha256 });
      meter.drop(context.expectedOf(place));
      meter.image(image.path, reasonAlone(error));
    }
  }
  const lines = new Map<number, TranslatedLine>();
  for (const group of groupBy(items, ({ image: { width, height } }) => `${width}x${height}`)) {
    for (const together of chunks(group, imagesTogether(context, group[0] as Item))) {
      if (signal?.aborted) throw new DiffmineError('CANCELLED', 'The translation was cancelled.');
      for (const [place, line] of await translateTogether(context, together)) lines.set(place, line);
    }
  }
  return { translated: [...lines].sort(([a], [b]) => a - b).map(([, line]) => line), skipped };
}

/** Images inverted at once: a batch of them, if the latents that are kept fit into memory. */
function imagesTogether({ model, settings, batch }: Context, { image }: Item): number {
  const cells = (image.width * image.height) / (model.vaeFactor * model.fold) ** 2;
  const kept = 4 * channelsOf(model.source) * cells * (settings.steps + 1);
  return Math.max(1, Math.min(batch, Math.floor(KEPT_BYTES / kept)));
}

async function translateTogether(context: Context, items: Item[]): Promise<[place: number, line: TranslatedLine][]> {
  const { folder, model, engine, denoise, rows, nullRow, settings, batch, meter, signal } = context;
  const { labels, options } = folder.manifest;
  const call = { signal };
  const rowOf = (label: string): number => rows.get(label) as number;
  const onUnetCalls = (unetCalls: number): void => meter.add(unetCalls);
  const work = async (): Promise<[number, TranslatedLine][]> => {
    const x0 = await engine.encodeImages(
      items.map(({ image: { pixels, width, height } }) => ({ pixels, width, height })),
      call,
    );
    const shape = x0.shape.slice(1);
    const inverted = await invertImages(
      model.source.schedule,
      settings,
      x0,
      items.map(({ label }) => rowOf(label)),
      denoise,
      { ...call, onUnetCalls },
    );
    // the reconstruction is one more target: the image's own label, without guidance
    const targets = items.map(({ label }) => targetsOf(labels, label));
    const sources = inverted.map((one, i): Source => {
      const { label } = items[i] as Item;
      const own = rowOf(label);
      const wanted = (targets[i] as string[]).map((target) => ({
        row: rowOf(target),
        guidance: options.guidanceScale,
      }));
      return {
        ...one,
        negative: options.negative === 'source' ? own : nullRow,
        targets: [...wanted, { row: own, guidance: 1 }],
      };
    });
    // The inversion does not clip, so sampling must not either (clip_sample of pixel models): docs/results/translation.md has figures.
    const results = await samplePlugAndPlay(
      { ...model.source.schedule, clipSample: false },
      settings,
      shape,
      sources,
      batch,
      denoise,
      { ...call, onUnetCalls },
    );
    const lines: [number, TranslatedLine][] = [];
    for (const [i, item] of items.entries()) {
      const made = results[i] as Float32Array[];
      const images: Image[] = [];
      for (const x of made) images.push(...(await toImages(engine, model, fromFloat32([1, ...shape], x), call)));
      lines.push([item.place, await write(folder, item, targets[i] as string[], images)]);
      meter.image(item.path);
    }
    return lines;
  };
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof DiffmineError && error.code === 'NUMERICS')) throw error;
    const names = items.map(({ path }) => path).join(', ');
    throw new DiffmineError(
      'NUMERICS',
      `Translating ${names} gave NaN or infinite values.`,
      error.hint ?? 'Try `dtype` fp32. If that does not help, the model is damaged.',
      { cause: error },
    );
  }
}

/** @param images the targets', then the reconstruction */
async function write(
  folder: TranslationFolder,
  { place, label, path, image, sha256 }: Item,
  targets: string[],
  images: Image[],
): Promise<TranslatedLine> {
  const name = folder.folders[place] as string;
  const at = join(folder.path, ...name.split('/'));
  await makeFolder(at);
  const reconstruction = images[targets.length] as Image;
  const files: [string, Image][] = [
    [sourceFile, image],
    [reconstructionFile, reconstruction],
    ...targets.map((target, i): [string, Image] => [targetFile(target), images[i] as Image]),
  ];
  for (const [file, { pixels, width, height }] of files) {
    await removeLeftovers(join(at, file));
    await writeFileAtomic(
      join(at, file),
      await sharp(pixels, { raw: { width, height, channels: 3 } })
        .png()
        .toBuffer(),
    );
  }
  const { width, height, sourceWidth, sourceHeight, resized } = image;
  return {
    image: path,
    label,
    folder: name,
    width,
    height,
    sourceWidth,
    sourceHeight,
    resized,
    psnr: psnr(image.pixels, reconstruction.pixels),
    targets,
    sha256,
  };
}

/** Peak signal-to-noise ratio of 8 bit images, dB: 10 log10(255^2 / mean squared difference); null if they are equal. */
export function psnr(a: Uint8Array, b: Uint8Array): number | null {
  const squares = a.reduce((sum, value, i) => sum + (value - (b[i] ?? NaN)) ** 2, 0);
  return squares === 0 ? null : 10 * Math.log10((255 * 255 * a.length) / squares);
}
