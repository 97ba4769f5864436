// translate: each image under every other label, shard by shard, into a folder that can be resumed.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { readImage, type ImageList, type ReadImage } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';
import { prepareConditions, type ModelFolder } from '../../models/index.js';
import { Engine, type Conditions } from '../../engine/index.js';
import { fromFloat32 } from '../../engine/tensor.js';
import type { Image } from '../../engine/types.js';
import { removeLeftovers, writeFileAtomic } from '../../runs/atomic.js';
import { checkContents } from '../../runs/changes.js';
import { contentOf } from '../../data/content.js';
import { toImages } from '../../models/images.js';
import type { Hooks } from '../scan/options.js';
import { chunks, groupBy, shardsOf } from '../scan/plan.js';
import { Meter } from '../scan/progress.js';
import { attemptShard, schedule, waitingFor, type ShardOutcome } from '../scan/schedule.js';
import { isAuto } from '../../pipeline/resolve.js';
import { TranslationFolder } from './folder.js';
import type { TranslateEvent, TranslateOptions, TranslateSummary } from './options.js';
import { writeTranslationPage } from './page.js';
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
  samplingUnetCalls,
  stepsOfFraction,
  type InjectedDenoise,
  type PlugAndPlay,
  type Source,
} from './plug-and-play.js';
import { readQuality } from './quality.js';
import { conditionOf, MIN_BATCH, resolveTranslation, targetsOf, type Resolved } from './resolve.js';
import { queriesAndKeys } from './sites.js';

/** Bytes of latents that the inversions of one call may keep. */
const KEPT_BYTES = 256 * 2 ** 20;

/**
 * Translates the images of a dataset and writes a parallel dataset (parallel.ts), with a page to look at; resumes where an earlier call with the same
 * options, model and data stopped, also one that was killed. Several calls may work on one folder at once, each on its own shards.
 *
 * @throws RUN_MISMATCH where the folder holds another translation; before work begins, INVALID_ARGUMENT, DATASET_INVALID, MODEL_*, WEIGHTS_INVALID,
 * DEVICE_UNAVAILABLE; CANCELLED after hooks.signal (finished shards are kept); NUMERICS naming the image
 */
export async function translate(
  options: TranslateOptions,
  hooks: Hooks<TranslateEvent> = {},
): Promise<TranslateSummary> {
  const begun = performance.now();
  const resolved = await resolveTranslation(options, hooks);
  if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The translation was cancelled before it began.');
  const folder = await TranslationFolder.begin(options.out, resolved.draft, resolved.images, {
    anyBatch: isAuto(options.batch),
    ...hooks,
  });
  const { manifest } = folder;
  const part = shardsOf(manifest, options.shard);
  const doneBefore = new Set(await folder.doneShards());
  const todo = part.filter((shard) => !doneBefore.has(shard));
  await checkContents(
    folder,
    part.filter((shard) => doneBefore.has(shard)),
    (place) => resolved.images.at(place),
    [],
    hooks,
  );
  const places = (shards: number[]): number[] => shards.flatMap((shard) => folder.shardPlaces(shard));
  const expectedOf = expectedUnetCalls(folder, resolved.model);
  const expected = places(todo).reduce((sum, place) => sum + expectedOf(place), 0);
  const [images, left] = [places(part).length, places(todo).length];
  hooks.onProgress?.({
    type: 'plan',
    run: folder.path,
    resumed: doneBefore.size > 0,
    shards: part.length,
    shardsDone: part.length - todo.length,
    images,
    imagesDone: images - left,
    unetCalls: expected,
    batch: manifest.options.batch,
    device: resolved.device.id,
  });
  const meter = new Meter(
    hooks,
    expected,
    { done: images - left, total: images },
    { done: part.length - todo.length, total: part.length },
  );
  const here =
    todo.length > 0
      ? await meter.interruptible('image', async () => work(options, resolved, folder, todo, expectedOf, meter, hooks))
      : 0;
  meter.finish();

  const done = await folder.doneShards();
  const { translated, skipped } = await folder.readShards(done);
  const complete = done.length === manifest.shards;
  if (complete) await folder.writeSkipped();
  const page = await writeTranslationPage(
    folder,
    translated,
    skipped,
    await readQuality(folder.path, translated.length),
  );
  const known = translated.flatMap(({ psnr }) => psnr ?? []);
  return {
    out: folder.path,
    page,
    complete,
    resumed: doneBefore.size > 0,
    labels: manifest.labels,
    images: manifest.index.rows,
    translated: translated.length,
    skipped: skipped.length,
    translations: translated.reduce((sum, { targets }) => sum + targets.length, 0),
    psnr: known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null,
    shards: { total: manifest.shards, done: done.length, here },
    unetCalls: meter.done,
    seconds: (performance.now() - begun) / 1000,
    device: resolved.device.id,
    dtype: manifest.options.dtype,
    batch: manifest.options.batch,
  };
}

interface Context {
  folder: TranslationFolder;
  model: ModelFolder;
  resolved: Resolved;
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
  meter: Meter;
  hooks: Hooks<TranslateEvent>;
}

/** @returns how many shards were finished here */
async function work(
  options: TranslateOptions,
  resolved: Resolved,
  folder: TranslationFolder,
  todo: number[],
  expectedOf: Context['expectedOf'],
  meter: Meter,
  hooks: Hooks<TranslateEvent>,
): Promise<number> {
  const { model, images, device } = resolved;
  const { manifest } = folder;
  const call = hooks.signal ? { signal: hooks.signal } : {};
  const engine = new Engine({
    device: device.id,
    dtype: manifest.options.dtype,
    threads: options.threads ?? 0,
  });
  try {
    await engine.loadModel(model.source, {
      ...call,
      onProgress: ({ stage, done, total }) => stage === 'load' && hooks.onProgress?.({ type: 'load', done, total }),
    });
    const labels = [...new Set([...folder.images.map(({ label }) => label), ...manifest.labels])];
    const { prompt, nullPrompt } = manifest.options;
    const conditions: Conditions = await prepareConditions(
      engine,
      model,
      [...labels.map((label) => conditionOf(prompt, label)), nullPrompt ?? ''],
      call,
    );
    const denoise: InjectedDenoise = async (x, timesteps, conditionIndex, inject) =>
      (await engine.unetForward(conditions, { x, timesteps, conditionIndex, ...(inject ? { inject } : {}) }, call))
        .sample;
    const context: Context = {
      folder,
      model,
      resolved,
      engine,
      denoise,
      expectedOf,
      rows: new Map(labels.map((label, row) => [label, row])),
      nullRow: labels.length,
      settings: settingsOf(folder),
      images,
      meter,
      hooks,
    };
    return await schedule(todo, [async (shard) => tryShard(context, shard)], {
      ...call,
      onWaiting: async (shards) => hooks.log?.(await waitingFor(folder, shards)),
    });
  } finally {
    await engine.dispose();
  }
}

function settingsOf({ manifest }: TranslationFolder): PlugAndPlay {
  const {
    inversionSteps,
    inferenceSteps: steps,
    guidanceBegin,
    guidanceEnd,
    featureLayers,
    featureFraction,
    attentionLayers,
    attentionFraction,
  } = manifest.options;
  return {
    inversionSteps,
    steps,
    guided: [guidanceBegin, guidanceEnd],
    features: featureLayers,
    featureSteps: stepsOfFraction(steps, featureFraction),
    attention: queriesAndKeys(attentionLayers),
    attentionSteps: stepsOfFraction(steps, attentionFraction),
  };
}

async function tryShard(context: Context, shard: number): Promise<ShardOutcome> {
  const { folder, meter, expectedOf } = context;
  return attemptShard(
    folder,
    shard,
    meter,
    async () => translateShard(context, shard),
    async () => {
      const { translated, skipped } = await folder.readShard(shard);
      return {
        unetCalls: folder.shardPlaces(shard).reduce((sum, place) => sum + expectedOf(place), 0),
        done: translated.length,
        skipped: skipped.length,
      };
    },
  );
}

/** An image with its place in the manifest. */
interface Item {
  place: number;
  label: string;
  path: string;
  image: ReadImage;
  sha256: string | null;
}

/** Where memory runs out the shard begins again with half the batch. */
async function translateShard(context: Context, shard: number): Promise<void> {
  const { folder, meter, hooks } = context;
  for (let batch = folder.manifest.options.batch; ; batch = Math.max(MIN_BATCH, Math.floor(batch / 2))) {
    const counted = { images: 0, unetCalls: 0 };
    try {
      const { translated, skipped } = await attempt(context, shard, batch, counted);
      await folder.finishShard(shard, { translated, skipped });
      meter.shard(shard, translated.length, skipped.length);
      return;
    } catch (error) {
      if (!(error instanceof DiffmineError && error.code === 'OUT_OF_MEMORY') || batch <= MIN_BATCH) throw error;
      hooks.log?.(`Shard ${shard}: out of memory at batch ${batch}, resuming less.`);
      meter.add(-counted.unetCalls);
      meter.uncount(counted.images);
    }
  }
}

async function attempt(
  context: Context,
  shard: number,
  batch: number,
  counted: { images: number; unetCalls: number },
): Promise<ShardLines> {
  const { folder, resolved, images, meter, hooks } = context;
  const items: Item[] = [];
  const skipped: ShardLines['skipped'] = [];
  for (const place of folder.shardPlaces(shard)) {
    const image = images.at(place);
    try {
      const [decoded, sha256] = await Promise.all([readImage(image.file, resolved.sizes), contentOf(image.file)]);
      items.push({ place, label: image.label, path: image.path, image: decoded, sha256 });
    } catch (error) {
      if (!(error instanceof DiffmineError && error.code === 'IMAGE_UNREADABLE')) throw error;
      const sha256 = await contentOf(image.file);
      skipped.push({ image: image.path, label: image.label, reason: error.message, sha256 });
      meter.drop(context.expectedOf(place));
      meter.image(image.path, error.message);
      counted.images += 1;
    }
  }
  const lines = new Map<number, TranslatedLine>();
  for (const group of groupBy(items, ({ image: { width, height } }) => `${width}x${height}`)) {
    for (const together of chunks(group, imagesTogether(context, group[0] as Item, batch))) {
      if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The translation was cancelled.');
      for (const [place, line] of await translateTogether(context, together, batch, counted)) lines.set(place, line);
    }
  }
  return { translated: [...lines].sort(([a], [b]) => a - b).map(([, line]) => line), skipped };
}

/** Images inverted at once: a batch of them, if the latents that are kept fit into memory. */
function imagesTogether({ model, settings }: Context, { image }: Item, batch: number): number {
  const cells = (image.width * image.height) / (model.vaeFactor * model.fold) ** 2;
  const kept = 4 * model.source.unet.config.inChannels * cells * (settings.steps + 1);
  return Math.max(1, Math.min(batch, Math.floor(KEPT_BYTES / kept)));
}

/** UNet calls of one image, of targets that fit into one pass; those of a label are counted once. */
function expectedUnetCalls(
  folder: TranslationFolder,
  { source: { schedule: noise } }: ModelFolder,
): (place: number) => number {
  const settings = settingsOf(folder);
  const { images } = folder;
  const { labels, options } = folder.manifest;
  const known = new Map<string, number>();
  return (place) => {
    const label = images[place]?.label ?? '';
    const before = known.get(label);
    if (before !== undefined) return before;
    const targets = targetsOf(labels, label).map((_, i) => ({ row: i + 1, guidance: options.guidanceScale }));
    const source = {
      end: new Float32Array(),
      saved: new Map<number, Float32Array>(),
      negative: 0,
      targets: [...targets, { row: 0, guidance: 1 }],
    };
    const unetCalls = settings.inversionSteps + samplingUnetCalls(noise, settings, [source], options.batch);
    known.set(label, unetCalls);
    return unetCalls;
  };
}

async function translateTogether(
  context: Context,
  items: Item[],
  batch: number,
  counted: { images: number; unetCalls: number },
): Promise<[place: number, line: TranslatedLine][]> {
  const { folder, model, engine, denoise, rows, nullRow, settings, meter, hooks } = context;
  const { labels, options } = folder.manifest;
  const call = hooks.signal ? { signal: hooks.signal } : {};
  const rowOf = (label: string): number => rows.get(label) as number;
  const onUnetCalls = (unetCalls: number): void => {
    counted.unetCalls += unetCalls;
    meter.add(unetCalls);
  };
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
    // the reconstruction is one more target: the own label, which no guidance leads away from
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
    // The inversion clips nothing; a way back that does (clip_sample of pixel models) would be another way (docs/results/translation.md has figures).
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
      counted.images += 1;
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
      `Translating ${names} gave NaN or infinity.`,
      error.hint ?? 'Try --dtype fp32; if it stays, the model is damaged.',
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
  await mkdir(at, { recursive: true });
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

/** Peak signal-to-noise ratio of 8 bit images, dB: 10 log10(255^2 / mean squared difference); null where they are equal. */
export function psnr(a: Uint8Array, b: Uint8Array): number | null {
  const squares = a.reduce((sum, value, i) => sum + (value - (b[i] ?? NaN)) ** 2, 0);
  return squares === 0 ? null : 10 * Math.log10((255 * 255 * a.length) / squares);
}
