// Quality of a translation, judged by the model itself: error of the reconstruction, structure similarity, and whether the result looks like its target;
// with boxes, whether the typical elements are what changed.
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { imageFile, readImage } from '../../data/index.js';
import { maskOf, placeMarks, readMarks, type Marked } from '../../data/boxes/index.js';
import { sharesLabel } from '../../data/labels.js';
import { upsample } from '../../metrics/maps.js';
import { DiffmineError } from '../../util/errors.js';
import { openModel, prepareConditions, variantOf, type ModelFolder } from '../../models/index.js';
import { scoredRange } from '../../models/training.js';
import { Engine, type Conditions } from '../../engine/index.js';
import { float32 } from '../../engine/tensor.js';
import type { Image, Tensor, TypicalityOptions } from '../../engine/types.js';
import { chooseDevice } from '../../runs/device.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { resolved } from '../../options/check.js';
import { timesteps } from '../../pipeline/resolve.js';
import { TranslationFolder } from './folder.js';
import { MEASUREMENT, type PlaceQuality, type Quality, type QualityOptions } from './options.js';

export type { QualityOptions } from './options.js';
import { writeTranslationPage } from './page.js';
import { reconstructionFile, sourceFile, targetFile, type TranslatedLine } from '../../runs/parallel.js';
import { conditionOf } from './resolve.js';
import type { Hooks, Progress } from '../../util/hooks.js';

export const QUALITY = 'quality.json';
/** Noises of the features; the timestep and block are DIFT's. */
const ENSEMBLE = 4;
const TIMESTEP = 161;
/** Side of the grid of features that is compared with itself, at most. */
const GRID = 16;
/**
 * Measures a translation, writes OUT/quality.json and the page again.
 *
 * Structure: of source and translation the features of DIFT under the null condition, averaged over a grid of at most 16 x 16; their cosine similarities,
 * each cell with each; the correlation of the two tables. Label: L(source's label) - L(target) on the same noises, over the image and by place.
 *
 * @throws RUN_INVALID for a folder without a translation or a finished shard; MODEL_*; RUN_MISMATCH for another model; DATASET_INVALID; CANCELLED
 */
export async function evaluateTranslation(
  { parallel: out, ...given }: QualityOptions,
  hooks: Hooks<Progress> = {},
): Promise<Quality> {
  const options = resolved(MEASUREMENT, given);
  const { samples, threads = 0 } = options;
  const folder = await TranslationFolder.open(out);
  const { manifest } = folder;
  const { translated: lines, skipped } = await folder.readShards(await folder.doneShards());
  if (lines.length === 0)
    throw new DiffmineError('RUN_INVALID', `${out} has no translated image yet.`, 'Run translate again to resume it.');
  const model = await openModel(options.model ?? manifest.model.path, variantOf({ ...manifest.model, ...options }));
  if (model.fingerprint !== manifest.model.fingerprint)
    throw new DiffmineError(
      'RUN_MISMATCH',
      `${model.path} is not the model that translated ${out}.`,
      'Give that model with `model`.',
    );
  const range = timesteps(await scoredRange(options.tRange, model, hooks.onLog), model.source.schedule.trainTimesteps);
  const marks =
    options.boxes === undefined ? undefined : await marksOf(options.boxes, lines, manifest.dataset.path, hooks);

  const device = chooseDevice(options.device, manifest.options.dtype);
  const engine = new Engine({
    device: device.id,
    dtype: manifest.options.dtype,
    threads,
  });
  const call = { signal: hooks.signal };
  try {
    await engine.loadModel(model.source, call);
    const labels = [...new Set([...lines.map(({ label }) => label), ...manifest.labels])];
    const { prompt, nullPrompt, batch } = manifest.options;
    const conditions = await prepareConditions(
      engine,
      model,
      [...labels.map((label) => conditionOf(prompt, label)), nullPrompt ?? ''],
      call,
    );
    const judge = new Judge(
      folder,
      model,
      engine,
      conditions,
      new Map(labels.map((label, row) => [label, row])),
      labels.length,
      { samples, batch, ...range },
    );
    const tally = new Tally();
    let before: Float32Array | undefined;
    for (const [i, line] of lines.entries()) {
      if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The evaluation was cancelled.');
      const judged = await judge.judge(line, call);
      await tally.add(line, judged, marks && (marks.get(line.image) ?? []), before);
      before = judged.structure;
      hooks.onProgress?.({ type: 'translation', done: i + 1, total: lines.length });
    }
    const quality = tally.sum(lines, judge.options.samples, marks !== undefined);
    await writeFileAtomic(join(folder.path, QUALITY), `${JSON.stringify(quality, null, 2)}\n`);
    await writeTranslationPage(folder, lines, skipped, quality);
    return quality;
  } finally {
    await engine.dispose();
  }
}

/** What is known to be in the translated images, by image. @param dataset the folder of the images, or the table beside them */
async function marksOf(
  boxes: string,
  lines: readonly TranslatedLine[],
  dataset: string,
  hooks: Hooks<Progress>,
): Promise<Map<string, Marked[]>> {
  const table = await readMarks(boxes);
  const found = table.assign(new Set(lines.map(({ image }) => image)), boxes);
  if (found.size === 0) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `No box of ${boxes} belongs to a translated image.`,
      `It names ${JSON.stringify([...table.keys()][0] ?? '')}; the translated images have names such as ${JSON.stringify(lines[0]?.image)}.`,
    );
  }
  const byImage = new Map(lines.map((line) => [line.image, line]));
  const root = await stat(dataset).then(
    (status) => (status.isFile() ? dirname(dataset) : dataset),
    () => dataset,
  );
  const marked = [...found].map(([image, marks]) => ({
    image,
    marks,
    file: imageFile(root, image),
    scored: byImage.get(image) as TranslatedLine,
  }));
  const { images, notes } = await placeMarks(boxes, marked, { signal: hooks.signal });
  for (const note of [...table.notes, ...notes]) hooks.onLog?.(note);
  return images;
}

/** quality.json, if it is there and of these images. */
export async function readQuality(path: string, images: number): Promise<Quality | undefined> {
  try {
    const quality = JSON.parse(await readFile(join(path, QUALITY), 'utf8')) as Quality;
    return quality.images === images ? quality : undefined;
  } catch {
    return undefined;
  }
}

/** A contrast of losses, L(source's label) - L(target), by pixel and over the image. */
interface Contrast {
  mean: number;
  pixels: Float32Array;
}

interface Judged {
  image: Image;
  reconstruction: Image;
  /** of the source: its self-similarities */
  structure: Float32Array;
  targets: { target: string; image: Image; source: Contrast; translated: Contrast; structure: Float32Array }[];
}

class Judge {
  constructor(
    private readonly folder: TranslationFolder,
    private readonly model: ModelFolder,
    private readonly engine: Engine,
    private readonly conditions: Conditions,
    private readonly rows: ReadonlyMap<string, number>,
    private readonly nullRow: number,
    readonly options: { samples: number; batch: number; tBegin: number; tEnd: number },
  ) {}

  async judge(line: TranslatedLine, call: { signal?: AbortSignal | undefined }): Promise<Judged> {
    const read = async (file: string): Promise<Image> => {
      const { pixels, width, height } = await readImage(join(this.folder.path, ...line.folder.split('/'), file), {
        size: 'source',
        rule: 'floor',
        multiple: 1,
        patch: 1,
      });
      return { pixels, width, height };
    };
    const [image, reconstruction] = [await read(sourceFile), await read(reconstructionFile)];
    const made = await Promise.all(line.targets.map(async (target) => read(targetFile(target))));
    const [own, ...targets] = [line.label, ...line.targets].map((label) => this.rows.get(label) as number);
    const source = await this.contrasts([image], [[own as number, ...targets]], call);
    const translated = await this.contrasts(
      made,
      targets.map((target) => [own as number, target]),
      call,
    );
    const structures = await this.structures([image, ...made], call);
    return {
      image,
      reconstruction,
      structure: structures[0] as Float32Array,
      targets: line.targets.map((target, i) => ({
        target,
        image: made[i] as Image,
        source: source[0]?.[i] as Contrast,
        translated: translated[i]?.[0] as Contrast,
        structure: structures[i + 1] as Float32Array,
      })),
    };
  }

  /** Of each image, every condition but its first against the first: [image][condition - 1]. */
  private async contrasts(
    images: Image[],
    rows: number[][],
    call: { signal?: AbortSignal | undefined },
  ): Promise<Contrast[][]> {
    const first = images[0];
    if (!first) return [];
    const settings: TypicalityOptions = {
      ...this.options,
      seed: 0,
      sampler: 'stratified',
      patch: 1,
      perImage: 1,
      keepMaps: true,
    };
    const input = {
      images,
      conditions: rows,
      subjects: rows.map((own) => own.slice(1).map((_, i) => i + 1)),
      weights: rows.map((own) => own.slice(1).map(() => own.map((_, k) => (k === 0 ? 1 : 0)))),
      keys: images.map((_, i) => i),
    };
    const { outputs } = await this.engine.scoreTypicality(this.conditions, input, settings, call);
    return outputs.map((own) => own.map(({ mean, map }) => ({ mean, pixels: pixelsOf(map as Tensor, first) })));
  }

  private async structures(images: Image[], call: { signal?: AbortSignal | undefined }): Promise<Float32Array[]> {
    const upBlock = Math.min(1, this.model.source.unet.config.upBlockTypes.length - 1);
    const found: Float32Array[] = [];
    for (const image of images) {
      const { features } = await this.engine.dift(
        this.conditions,
        { images: [image], conditions: [this.nullRow], boxes: [[]], keepFeatures: true },
        {
          timestep: Math.min(TIMESTEP, this.model.source.schedule.trainTimesteps - 1),
          upBlock,
          ensemble: ENSEMBLE,
          seed: 0,
          batch: Math.min(this.options.batch, ENSEMBLE),
        },
        call,
      );
      found.push(selfSimilarity(features as Tensor));
    }
    return found;
  }
}

function pixelsOf(map: Tensor, { width, height }: Image): Float32Array {
  const [h = 0, w = 0] = map.shape;
  return upsample({ values: float32(map), width: w, height: h }, width, height).values;
}

/** Cosine similarities of each cell with each later one, of features F32 [1, F, h, w] averaged over a grid of at most GRID x GRID cells. */
export function selfSimilarity(features: Tensor): Float32Array {
  const [, channels = 0, h = 0, w = 0] = features.shape;
  const values = float32(features);
  const [rows, columns] = [Math.min(GRID, h), Math.min(GRID, w)];
  const cells: Float32Array[] = [];
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      const cell = new Float32Array(channels);
      for (let f = 0; f < channels; f++) {
        for (let y = Math.floor((r * h) / rows); y < Math.floor(((r + 1) * h) / rows); y++) {
          for (let x = Math.floor((c * w) / columns); x < Math.floor(((c + 1) * w) / columns); x++)
            cell[f] = (cell[f] as number) + (values[(f * h + y) * w + x] as number);
        }
      }
      const norm = Math.sqrt(cell.reduce((sum, value) => sum + value * value, 0)) || 1;
      cells.push(cell.map((value) => value / norm));
    }
  }
  const table = new Float32Array((cells.length * (cells.length - 1)) / 2);
  let at = 0;
  for (const [i, a] of cells.entries()) {
    for (const b of cells.slice(i + 1)) {
      let sum = 0;
      for (let f = 0; f < channels; f++) sum += (a[f] as number) * (b[f] as number);
      table[at++] = sum;
    }
  }
  return table;
}

/** Pearson's correlation of two lists of one length. */
export function correlation(a: Float32Array, b: Float32Array): number {
  const mean = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [ma, mb] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  a.forEach((value, i) => {
    const [x, y] = [value - ma, (b[i] as number) - mb];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  });
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : 0;
}

class Mean {
  private total = 0;
  count = 0;

  add(value: number, times = 1): void {
    this.total += value;
    this.count += times;
  }

  get value(): number | null {
    return this.count > 0 ? this.total / this.count : null;
  }
}

type PlaceName = 'own' | 'others' | 'rest';

class Place {
  readonly source = new Mean();
  readonly translated = new Mean();
  readonly change = new Mean();
  readonly preferred = new Mean();
  readonly preferredBefore = new Mean();

  quality(): PlaceQuality {
    return {
      pixels: this.source.count,
      source: this.source.value,
      translated: this.translated.value,
      change: this.change.value,
      preferred: this.preferred.value,
      preferredBefore: this.preferredBefore.value,
      boxes: this.preferred.count,
    };
  }
}

/** Sums of what was judged. */
class Tally {
  private readonly structure = new Mean();
  private readonly control = new Mean();
  private readonly preferred = new Mean();
  private readonly translated = new Mean();
  private readonly source = new Mean();
  private readonly places = { own: new Place(), others: new Place(), rest: new Place() };

  async add(
    line: TranslatedLine,
    judged: Judged,
    known: Marked[] | undefined,
    before: Float32Array | undefined,
  ): Promise<void> {
    if (before?.length === judged.structure.length) this.control.add(correlation(before, judged.structure));
    const places = known && (await this.placesOf(line, known));
    for (const one of judged.targets) {
      this.structure.add(correlation(judged.structure, one.structure));
      this.preferred.add(Number(one.translated.mean > 0));
      this.translated.add(one.translated.mean);
      this.source.add(one.source.mean);
      if (places) this.addPlaces(places, one, judged.reconstruction);
    }
  }

  /** The pixels of each place, and of own and others box by box. */
  private async placesOf(line: TranslatedLine, marks: Marked[]): Promise<{ place: PlaceName; mask: Uint8Array }[]> {
    const { label, width, height } = line;
    const boxes = await Promise.all(
      marks
        .filter(({ imageLabel }) => imageLabel === undefined || sharesLabel(imageLabel, label))
        .map(async (mark) => ({
          place: sharesLabel(mark.label ?? label, label) ? ('own' as const) : ('others' as const),
          mask: await maskOf([mark], mark.label ?? label, line),
        })),
    );
    const rest = new Uint8Array(width * height).fill(1);
    for (const { mask } of boxes) mask.forEach((inside, i) => inside && (rest[i] = 0));
    return [...boxes, { place: 'rest', mask: rest }];
  }

  private addPlaces(
    places: { place: PlaceName; mask: Uint8Array }[],
    { image, source, translated }: Judged['targets'][number],
    reconstruction: Image,
  ): void {
    for (const { place, mask } of places) {
      const sums = this.places[place];
      let [pixels, before, after, change] = [0, 0, 0, 0];
      mask.forEach((inside, i) => {
        if (!inside) return;
        pixels += 1;
        before += source.pixels[i] as number;
        after += translated.pixels[i] as number;
        for (let c = 0; c < 3; c++)
          change += Math.abs((image.pixels[3 * i + c] as number) - (reconstruction.pixels[3 * i + c] as number)) / 3;
      });
      if (pixels === 0) continue;
      sums.source.add(before, pixels);
      sums.translated.add(after, pixels);
      sums.change.add(change, pixels);
      if (place === 'rest') continue;
      sums.preferred.add(Number(after > 0));
      sums.preferredBefore.add(Number(before > 0));
    }
  }

  sum(lines: readonly TranslatedLine[], samples: number, boxes: boolean): Quality {
    const psnr = new Mean();
    for (const line of lines) if (line.psnr !== null) psnr.add(line.psnr);
    return {
      images: lines.length,
      translations: this.preferred.count,
      psnr: psnr.value,
      structure: { mean: this.structure.value ?? 0, control: this.control.value },
      label: {
        preferred: this.preferred.value ?? 0,
        translated: this.translated.value ?? 0,
        source: this.source.value ?? 0,
      },
      ...(boxes
        ? {
            places: {
              own: this.places.own.quality(),
              others: this.places.others.quality(),
              rest: this.places.rest.quality(),
            },
          }
        : {}),
      samples,
    };
  }
}
