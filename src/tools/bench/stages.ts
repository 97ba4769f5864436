// Times the stages around the UNet: decoding an image, a scoring call, the features of an image, the clusters of a label.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';

import { readImage } from '../../data/index.js';
import type { CallOptions, Image, PixelBox, TypicalityInput, TypicalityOptions } from '../../engine/types.js';
import type { Conditions, Engine } from '../../engine/index.js';
import { noise, seconds, spread, type Spread } from './figures.js';
import { patchCount } from '../../models/operations.js';
import { SAMPLES, type Cell, type ScanBench, type StageBench } from './report.js';

/** Images a call, and forward passes it is made of: few on a CPU, where a pass takes seconds. */
const CALLS = { cpu: { images: 1, passes: 1 }, cuda: { images: 4, passes: 4 } } as const;
/** What mining does by default: noises averaged for the features of an image, patches and clusters per label, starts of k-means. */
const MINING = { ensemble: 8, boxes: 5, patches: 1000, clusters: 32, restarts: 10, timestep: 161 } as const;
/** A pass of features on a CPU has this many of the noises: the time for all is counted from it. */
const CPU_ENSEMBLE = 2;

/** An image of coarse and fine noise, so that neither JPEG nor PNG makes it trivial. */
function image(side: number): Image {
  const pixels = new Uint8Array(side * side * 3);
  const values = new Float32Array(noise([side * side * 3]).data.buffer);
  for (let i = 0; i < pixels.length; i++) {
    const [row, column] = [Math.floor(i / 3 / side), Math.floor(i / 3) % side];
    pixels[i] = Math.max(0, Math.min(255, 128 + 70 * Math.sin(row / 17 + column / 29) + 25 * (values[i] ?? 0)));
  }
  return { pixels, width: side, height: side };
}

/** Seconds to read, decode and shrink a JPEG of one and a half times the size. */
export async function timeDecode(side: number, repeats: number): Promise<Spread> {
  const folder = await mkdtemp(join(tmpdir(), 'diffmine-bench-'));
  try {
    const source = Math.ceil(side * 1.5);
    const { pixels } = image(source);
    const file = join(folder, 'image.jpg');
    await sharp(pixels, { raw: { width: source, height: source, channels: 3 } })
      .jpeg({ quality: 90 })
      .toFile(file);
    const times: number[] = [];
    for (let i = 0; i <= repeats; i++) {
      const taken = await seconds(() => readImage(file, { size: side, rule: 'floor', multiple: 1, patch: 1 }));
      if (i > 0) times.push(taken);
    }
    return spread(times);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Scoring calls of one cell, and what their stages took. */
export class ScanTimer {
  readonly #input: TypicalityInput;
  readonly #options: TypicalityOptions;
  readonly #images: number;
  readonly #cuda: boolean;
  /** of calls without timed stages on a GPU, where timing them slows the call */
  readonly #seconds: number[] = [];
  readonly #stages: Record<string, number>[] = [];
  /** [operations per second at N = 100, of each call] over the round's matmul rate */
  readonly #matmul: number[] = [];

  constructor(
    private readonly engine: Engine,
    private readonly conditions: Conditions,
    private readonly cell: Cell,
    device: string,
  ) {
    this.#cuda = device.startsWith('cuda');
    const { images, passes } = CALLS[this.#cuda ? 'cuda' : 'cpu'];
    const inputs = Math.max(1, cell.batch >> 1);
    this.#images = Math.min(images, inputs * passes);
    const one = image(cell.pixels);
    this.#input = {
      images: Array<Image>(this.#images).fill(one),
      conditions: Array.from({ length: this.#images }, () => [0, 1]),
      subjects: Array.from({ length: this.#images }, () => [0]),
      weights: Array.from({ length: this.#images }, () => [[0, 1]]),
      keys: Array.from({ length: this.#images }, (_, i) => i),
    };
    this.#options = {
      samples: Math.max(1, Math.floor((inputs * passes) / this.#images)),
      seed: 0,
      tBegin: 100,
      tEnd: 700,
      sampler: 'stratified',
      patch: cell.patch,
      perImage: 5,
      batch: cell.batch,
      keepMaps: true,
    };
  }

  /** Seconds of one call, for comparisons. */
  once(call: CallOptions): Promise<number> {
    return seconds(() => this.engine.scoreTypicality(this.conditions, this.#input, this.#options, call));
  }

  /** One call. Call it once before the clock, with counted = false. */
  async round(matmul: number, counted: boolean, call: CallOptions): Promise<void> {
    const score = (timeStages: boolean) =>
      this.engine.scoreTypicality(this.conditions, this.#input, { ...this.#options, timeStages }, call);
    let stages: Record<string, number> | undefined;
    const taken = await seconds(async () => void (stages = (await score(!this.#cuda)).stages));
    if (this.#cuda) ({ stages } = await score(true));
    if (!counted) return;
    this.#seconds.push(taken);
    this.#matmul.push(matmul);
    if (stages) this.#stages.push(stages);
  }

  /** `decode` is told but not counted: a scan decodes ahead, on other threads. */
  result(decode: Spread): { scan: ScanBench; stages: Record<string, StageBench> } {
    const { samples } = this.#options;
    const unetCalls = 2 * samples * this.#images;
    const stages: Record<string, StageBench> = { decode: { seconds: decode, per: 'image' } };
    for (const name of Object.keys(this.#stages[0] ?? {})) {
      const per = name === 'encode' || name === 'select' ? 'image' : 'unetCall';
      const count = per === 'image' ? this.#images : unetCalls;
      stages[name] = { seconds: spread(this.#stages.map((one) => (one[name] ?? 0) / count)), per };
    }
    // What an image takes once, from the stages; the rest of a call belongs to its UNet calls.
    const times = this.#seconds.map((whole, i) => {
      const once = Math.min(whole, (this.#stages[i]?.['encode'] ?? 0) + (this.#stages[i]?.['select'] ?? 0));
      return once / this.#images + (2 * SAMPLES * (whole - once)) / unetCalls;
    });
    const { median } = spread(times);
    const patches = patchCount(this.cell.pixels, this.cell.pixels, this.cell.patch);
    const scan = {
      seconds: spread(this.#seconds),
      images: this.#images,
      samples,
      imagesPerSecond: 1 / median,
      patchesPerSecond: patches / median,
      secondsPerBillionPatches: (1e9 / patches) * median,
      utilization: spread(
        times.map((time, i) => (2 * SAMPLES * this.cell.operations) / time / (this.#matmul[i] ?? NaN)),
      ),
    };
    return { scan, stages };
  }
}

/** Seconds for the features of an image's patches, and for the clusters of a label's: as `mine` makes them. */
export async function timeMining(
  engine: Engine,
  conditions: Conditions,
  cell: Cell,
  device: string,
  repeats: number,
  call: CallOptions,
): Promise<Record<string, StageBench>> {
  const cuda = device.startsWith('cuda');
  const [channels, height, width] = cell.input;
  const ensemble = cuda ? MINING.ensemble : CPU_ENSEMBLE;
  const boxes: PixelBox[] = Array.from({ length: MINING.boxes }, (_, i) => {
    const [row, column] = [
      Math.floor(((cell.pixels - cell.patch) * i) / MINING.boxes),
      Math.floor(((cell.pixels - cell.patch) * (MINING.boxes - i)) / MINING.boxes),
    ];
    return { rowBegin: row, columnBegin: column, rowEnd: row + cell.patch, columnEnd: column + cell.patch };
  });
  const input = {
    latents: noise([1, channels, height, width]),
    height: cell.pixels,
    width: cell.pixels,
    conditions: [0],
    boxes: [boxes],
  };
  let features = 0;
  const one = (): Promise<number> =>
    seconds(async () => {
      const { patches } = await engine.dift(
        conditions,
        input,
        { timestep: MINING.timestep, upBlock: 1, ensemble, seed: 0, batch: cell.batch },
        call,
      );
      features = patches[0]?.shape[1] ?? 1;
    });
  if (cuda) await one();
  const times: number[] = [];
  for (let i = 0; i < (cuda ? repeats : 1); i++) times.push(((await one()) * MINING.ensemble) / ensemble);
  const points = noise([MINING.patches, features]);
  const clustering: number[] = [];
  for (let i = 0; i < (cuda ? repeats : 1); i++) {
    clustering.push(
      await seconds(() =>
        engine.kmeans(points, { clusters: MINING.clusters, restarts: MINING.restarts, seed: i }, call),
      ),
    );
  }
  return {
    features: { seconds: spread(times), per: 'image' },
    cluster: { seconds: spread(clustering), per: 'label' },
  };
}
