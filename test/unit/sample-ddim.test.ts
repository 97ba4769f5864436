// Sampling's arithmetic: timesteps as NumPy has them, DDIM and guidance against golden chains, images from what was denoised, grids.
import { existsSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { openModel, prepareConditions, type ModelFolder } from '../../src/models/index.js';
import {
  ddimStep,
  ddimTimesteps,
  drawNoise,
  Engine,
  float32,
  fromFloat32,
  readSafetensors,
  type Conditions,
  type Image,
  type Tensor,
} from '../../src/engine/index.js';
import { sampleDdim, samplingTimesteps, type DdimRequest, type Denoise } from '../../src/models/ddim.js';
import { toImages } from '../../src/models/images.js';
import { labelFolder } from '../../src/stages/sample/request.js';
import { writeGrid } from '../../src/models/grid.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const scratch = temporaryFolder();
const engines: Engine[] = [];
afterAll(async () => {
  await Promise.all(engines.map((engine) => engine.dispose()));
});

async function loaded(name: string): Promise<{ model: ModelFolder; engine: Engine }> {
  const model = await openModel(path.join(GOLDEN, name));
  const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
  engines.push(engine);
  await engine.loadModel(model.source);
  return { model, engine };
}

const denoiser =
  (engine: Engine, conditions: Conditions): Denoise =>
  async (x, timesteps, conditionIndex) =>
    (await engine.unetForward(conditions, { x, timesteps, conditionIndex })).sample;
const furthest = (a: Tensor, b: Tensor): number =>
  float32(a).reduce((most, value, i) => Math.max(most, Math.abs(value - (float32(b)[i] ?? NaN))), 0);

const SCHEDULE = {
  betaSchedule: 'linear',
  trainTimesteps: 1000,
  betaStart: 1e-4,
  betaEnd: 0.02,
  prediction: 'epsilon',
  setAlphaToOne: true,
  stepsOffset: 0,
  clipSample: false,
  clipSampleRange: 1,
} as const;

describe('timesteps', () => {
  test('are spaced as diffusers spaces them', () => {
    expect(samplingTimesteps({ ...SCHEDULE, stepsOffset: 1 }, 4)).toEqual([751, 501, 251, 1]);
    expect(samplingTimesteps(SCHEDULE, 7, 'trailing')).toEqual([999, 856, 713, 570, 428, 285, 142]);
    // 937.5, 812.5, ...: halves go to the even number
    expect(samplingTimesteps(SCHEDULE, 16, 'trailing')).toEqual([
      999, 937, 874, 811, 749, 687, 624, 561, 499, 437, 374, 311, 249, 187, 124, 61,
    ]);
    expect(samplingTimesteps(SCHEDULE, 7, 'linspace')).toEqual([999, 832, 666, 500, 333, 166, 0]);
    expect(samplingTimesteps(SCHEDULE, 1, 'linspace')).toEqual([0]);
  });

  test.each([
    [0, 'leading'],
    [1001, 'leading'],
    [1001, 'trailing'],
    [0, 'linspace'],
    [2.5, 'trailing'],
    [10, 'karras'],
  ])('%d steps, %s: refused', (steps, spacing) => {
    expect(() => samplingTimesteps(SCHEDULE, steps, spacing)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error,
    );
  });
});

describe('DDIM', () => {
  const shape = [12, 16, 16];
  let request: DdimRequest;
  let model: ModelFolder;
  let denoise: Denoise;
  beforeAll(async () => {
    const fold = await loaded('tiny-fold');
    model = fold.model;
    denoise = denoiser(fold.engine, await prepareConditions(fold.engine, model, ['class0', 'class1', 'class2', null]));
    request = { steps: 4, guidance: 2, seed: 7, shape, rows: [0, 1, 2, 0, 1], nullRow: 3 };
  });

  test('a golden chain with guidance: text, latents', async () => {
    const { model: sd, engine } = await loaded('tiny-sd15');
    const golden = readSafetensors(path.join(GOLDEN, 'tiny-sd15-golden', 'golden.safetensors'));
    const of = (name: string): Tensor => golden[`ddim_sample_cfg_0.${name}`] as Tensor;
    const [cond, uncond, start] = [of('in.cond'), of('in.uncond'), of('in.xT')];
    const conditions = await engine.prepareConditions({
      ...cond,
      shape: [2, ...cond.shape.slice(1)],
      data: Buffer.concat([cond.data, uncond.data]),
    });
    for (const batch of [1, 2]) {
      const x0 = await sampleDdim(
        sd.source.schedule,
        { steps: 10, guidance: 7.5, seed: 0, shape: start.shape.slice(1), rows: [0], nullRow: 1, start, batch },
        denoiser(engine, conditions),
      );
      const want = float32(of('out.latent'));
      float32(x0).forEach((value, i) =>
        expect(Math.abs(value - (want[i] ?? NaN))).toBeLessThanOrEqual(2e-3 + 2e-3 * Math.abs(want[i] ?? NaN)),
      );
    }
  });

  test('an image does not depend on the others in its batch', async () => {
    const { schedule } = model.source;
    const passes: number[] = [];
    const counted: Denoise = async (x, ...rest) => {
      passes.push(x.shape[0] ?? 0);
      return denoise(x, ...rest);
    };
    const whole = await sampleDdim(schedule, { ...request, batch: 64 }, counted);
    expect(passes).toEqual([10, 10, 10, 10]);
    for (const batch of [1, 2, 5]) {
      passes.length = 0;
      expect(furthest(await sampleDdim(schedule, { ...request, batch }, counted), whole)).toBeLessThan(1e-4);
      expect(Math.max(...passes)).toBeLessThanOrEqual(batch);
    }
    const size = shape.reduce((a, b) => a * b, 1);
    const third = fromFloat32([1, ...shape], float32(whole).slice(2 * size, 3 * size));
    expect(furthest(await sampleDdim(schedule, { ...request, rows: [2], first: 2 }, denoise), third)).toBeLessThan(
      1e-4,
    );
    expect(furthest(await sampleDdim(schedule, { ...request, rows: [2], samples: [2] }, denoise), third)).toBeLessThan(
      1e-4,
    );
    expect(furthest(await sampleDdim(schedule, { ...request, rows: [2], first: 3 }, denoise), third)).toBeGreaterThan(
      0.1,
    );
    expect(furthest(await sampleDdim(schedule, { ...request, rows: [1], first: 2 }, denoise), third)).toBeGreaterThan(
      1e-3,
    );
  });

  test('guidance 1 is the condition alone, 0 the null condition alone; between them a mixture', async () => {
    const { schedule } = model.source;
    const alone = async (row: number): Promise<Tensor> => {
      let x = drawNoise(7, 0, 1, shape, 4);
      for (const t of ddimTimesteps(schedule, 4))
        x = ddimStep(schedule, 4, t, x, await denoise(x, [t], [row])).prevSample;
      return x;
    };
    const seen = new Set<number>();
    const watched: Denoise = async (x, t, rows) => {
      rows.forEach((row) => seen.add(row));
      return denoise(x, t, rows);
    };
    const guided = (guidance: number): Promise<Tensor> =>
      sampleDdim(schedule, { ...request, rows: [1], guidance }, watched);
    expect(furthest(await guided(1), await alone(1))).toBe(0);
    expect([...seen]).toEqual([1]);
    seen.clear();
    expect(furthest(await guided(0), await alone(3))).toBe(0);
    expect([...seen]).toEqual([3]);
    // close to 1, where both are evaluated and mixed
    expect(furthest(await guided(1 + 1e-6), await alone(1))).toBeLessThan(1e-3);
    expect(furthest(await guided(3), await alone(1))).toBeGreaterThan(1e-2);
  });

  test('velocity models and clipping go through the schedule', async () => {
    const base = { ...request, rows: [0], guidance: 1 };
    const clipped = await sampleDdim({ ...model.source.schedule, clipSample: true }, base, denoise);
    expect(Math.max(...float32(clipped).map(Math.abs))).toBeLessThanOrEqual(1);
    // a model that knows the noise's velocity of a constant image gives that image back
    const { schedule: beta } = await import('../../src/engine/index.js');
    const config = { ...SCHEDULE, prediction: 'v_prediction' } as const;
    const alphas = float32(beta(config).alphasCumprod);
    const knows: Denoise = (x, [t = 0]) => {
      const [signal, sigma] = [Math.sqrt(alphas[t] ?? NaN), Math.sqrt(1 - (alphas[t] ?? NaN))];
      // v = signal noise - sigma x0 with noise = (x - signal x0) / sigma
      return Promise.resolve(
        fromFloat32(
          x.shape,
          float32(x).map((value) => (signal * (value - signal * 0.25)) / sigma - sigma * 0.25),
        ),
      );
    };
    for (const spacing of ['leading', 'trailing']) {
      const x0 = await sampleDdim(
        config,
        { steps: 20, guidance: 1, seed: 1, shape: [3, 4, 4], rows: [0], nullRow: 1, spacing },
        knows,
      );
      float32(x0).forEach((value) => expect(value).toBeCloseTo(0.25, 2));
    }
  });

  test('is told of, stops between steps, and refuses what is not finite', async () => {
    const { schedule } = model.source;
    const events: number[] = [];
    const controller = new AbortController();
    const work = sampleDdim(schedule, { ...request, batch: 4 }, denoise, {
      signal: controller.signal,
      onProgress: ({ type, done, total }) => {
        expect([type, total]).toEqual(['sample', 20]);
        events.push(done);
        if (done === 12) controller.abort();
      },
    });
    await expect(work).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(events).toEqual([2, 4, 6, 8, 10, 12]);
    const broken: Denoise = (x) =>
      Promise.resolve(
        fromFloat32(
          x.shape,
          float32(x).map(() => NaN),
        ),
      );
    await expect(sampleDdim(schedule, request, broken)).rejects.toMatchObject({ code: 'NUMERICS' });
  });
});

describe('images', () => {
  test('folded pixels come back as they were', async () => {
    const { model, engine } = await loaded('tiny-fold');
    const pixels = Uint8Array.from({ length: 3 * 8 * 16 }, (_, i) => (i * 37) % 256);
    const x0 = await engine.encodeImages([
      { pixels, width: 16, height: 8 },
      { pixels: pixels.map((value) => 255 - value), width: 16, height: 8 },
    ]);
    expect(x0.shape).toEqual([2, 12, 4, 8]);
    const [first, second] = await toImages(undefined, model, x0);
    expect(first).toEqual({ pixels, width: 16, height: 8 });
    expect([...(second?.pixels ?? [])]).toEqual([...pixels.map((value) => 255 - value)]);
    const [clipped] = await toImages(undefined, { kind: 'pixel', fold: 1 }, fromFloat32([1, 3, 1, 1], [-9, 0, 9]));
    expect([...(clipped?.pixels ?? [])]).toEqual([0, 128, 255]);
    await expect(toImages(undefined, { kind: 'pixel', fold: 1 }, x0)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await expect(
      toImages(undefined, { kind: 'pixel', fold: 1 }, fromFloat32([1, 3, 1, 1], [0, NaN, 0])),
    ).rejects.toMatchObject({ code: 'NUMERICS' });
  });

  test('latents go through the VAE, scaled back', async () => {
    const { model, engine } = await loaded('tiny-sd15');
    const golden = readSafetensors(path.join(GOLDEN, 'tiny-sd15-golden', 'golden.safetensors'));
    const latents = golden['vae_dec_64x96.in.latent'] as Tensor;
    const decoded = await engine.vaeDecode(latents);
    const scaled = fromFloat32(
      latents.shape,
      float32(latents).map((value) => value * (model.source.vae?.config.scalingFactor ?? NaN)),
    );
    const images = await toImages(engine, model, scaled);
    const [count = 0, , height = 0, width = 0] = decoded.shape;
    expect(images.map((image) => [image.width, image.height])).toEqual(
      Array.from({ length: count }, () => [width, height]),
    );
    const want = float32(decoded);
    const { pixels } = images[0] as Image;
    for (let at = 0; at < height * width; at++) {
      for (let color = 0; color < 3; color++) {
        const level = Math.min(255, Math.max(0, 127.5 * ((want[color * height * width + at] ?? NaN) + 1)));
        expect(Math.abs((pixels[3 * at + color] ?? NaN) - level)).toBeLessThan(0.51);
      }
    }
    await expect(toImages(undefined, model, scaled)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('a grid', () => {
  const plain = (width: number, height: number, ...color: number[]): Image => ({
    width,
    height,
    pixels: Uint8Array.from({ length: 3 * width * height }, (_, i) => color[i % 3] ?? 0),
  });
  const at = async (file: string, left: number, top: number): Promise<number[]> => [
    ...(await sharp(file).removeAlpha().extract({ left, top, width: 1, height: 1 }).raw().toBuffer()),
  ];

  test('has one row per label, with small images enlarged by a whole factor', async () => {
    const file = path.join(scratch, 'grid.png');
    const rows = [[plain(50, 40, 255, 0, 0), plain(50, 40, 0, 255, 0)], [plain(50, 40, 0, 0, 255)]];
    expect(await writeGrid(file, rows)).toEqual({ width: 4 + 2 * 104, height: 4 + 2 * 84 });
    expect(await sharp(file).metadata()).toMatchObject({ format: 'png', width: 212, height: 172 });
    expect([
      await at(file, 4, 4),
      await at(file, 103, 83),
      await at(file, 108, 4),
      await at(file, 4, 88),
      await at(file, 0, 0),
      await at(file, 108, 88),
    ]).toEqual([
      [255, 0, 0],
      [255, 0, 0],
      [0, 255, 0],
      [0, 0, 255],
      [240, 240, 240],
      [240, 240, 240],
    ]);
    expect(await writeGrid(file, rows, { scale: 1, gap: 0 })).toEqual({ width: 100, height: 80 });
    expect(await writeGrid(path.join(scratch, 'grid.webp'), [[plain(512, 512, 9, 9, 9)]])).toEqual({
      width: 264,
      height: 264,
    });
    expect(await sharp(path.join(scratch, 'grid.webp')).metadata()).toMatchObject({ format: 'webp', width: 264 });
  });

  test('stays within what can be looked at, and says what it is not', async () => {
    const { width, height } = await writeGrid(
      path.join(scratch, 'long.webp'),
      Array.from({ length: 500 }, () => [plain(64, 64, 1, 2, 3)]),
    );
    expect(height).toBeLessThanOrEqual(16_000);
    expect(width).toBeLessThan(64);
    await expect(writeGrid(path.join(scratch, 'grid.jpg'), [[plain(1, 1, 0, 0, 0)]])).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await expect(writeGrid(path.join(scratch, 'none.png'), [[], []])).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    expect(existsSync(path.join(scratch, 'none.png'))).toBe(false);
  });
});

test('labels as folder names: unchanged if possible, never outside the folder', () => {
  for (const label of ['1920', 'New York, NY', 'čaj', '東京', 'a.b']) expect(labelFolder(label)).toBe(label);
  expect(['a/b', '..', '.hidden', 'dot.', 'CON', 'nul.txt', 'grid.png', '100%', 'a:b\n'].map(labelFolder)).toEqual([
    'a%2Fb',
    '%2E%2E',
    '%2Ehidden',
    'dot%2E',
    '%43ON',
    '%6Eul.txt',
    '%67rid.png',
    '100%25',
    'a%3Ab%0A',
  ]);
  const [long, longer] = ['x'.repeat(500), 'x'.repeat(501)].map(labelFolder);
  expect(long).not.toBe(longer);
  expect(Buffer.byteLength(labelFolder('東'.repeat(200)))).toBeLessThan(255);
});
