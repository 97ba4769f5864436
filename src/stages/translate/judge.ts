// What the model says of one image and its translations: contrasts of losses between labels, and the self-similarities of features.
import { join } from 'node:path';
import { readImage } from '../../data/index.js';
import { upsample } from '../../metrics/maps.js';
import { defaultFeatures } from '../../models/denoiser.js';
import type { ModelFolder } from '../../models/index.js';
import type { Conditions, Engine } from '../../engine/index.js';
import { float32 } from '../../engine/tensor.js';
import type { Image, Tensor, TypicalityOptions } from '../../engine/types.js';
import { reconstructionFile, sourceFile, targetFile, type TranslatedLine } from '../../runs/parallel.js';
import type { TranslationFolder } from './folder.js';

/** Noises of the features; the timestep and block are DIFT's. */
const ENSEMBLE = 4;
/** Side of the grid of features that is compared with itself, at most. */
const GRID = 16;

/** A contrast of losses, L(source's label) - L(target), by pixel and over the image. */
export interface Contrast {
  mean: number;
  pixels: Float32Array;
}

export interface Judged {
  image: Image;
  reconstruction: Image;
  /** of the source: its self-similarities */
  structure: Float32Array;
  targets: { target: string; image: Image; source: Contrast; translated: Contrast; structure: Float32Array }[];
}

/** UNet calls to judge images: losses of sources and translations, and the forward passes of the features of all of them. */
export function judgeCalls(lines: readonly Pick<TranslatedLine, 'targets'>[], samples: number): number {
  return lines.reduce((sum, { targets: { length } }) => sum + samples * (1 + 3 * length) + ENSEMBLE * (1 + length), 0);
}

/** Judges one image and its translations with the model. */
export class Judge {
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
    const { upBlock, diftT: timestep } = defaultFeatures(this.model.source);
    const found: Float32Array[] = [];
    for (const image of images) {
      const { features } = await this.engine.dift(
        this.conditions,
        { images: [image], conditions: [this.nullRow], boxes: [[]], keepFeatures: true },
        {
          timestep,
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
