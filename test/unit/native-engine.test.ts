// The engine: numbers equal the reference's, tasks run in order off the event loop, and ends of every kind are clean.
import { unetOf } from '../../src/models/denoiser.js';
import path from 'node:path';

import { DiffmineError } from '../../src/util/errors.js';
import { openModel, type ModelFolder } from '../../src/models/index.js';
import {
  devices,
  drawNoise,
  Engine,
  float32,
  fromFloat32,
  fromInt64,
  int64Numbers,
  loadAddon,
  readSafetensors,
  type CallOptions,
  type Conditions,
  type Image,
  type Progress,
  type Tensor,
  type TypicalityInput,
  type TypicalityOptions,
} from '../../src/engine/index.js';
import { GOLDEN } from '../helpers/folders.js';

const golden = (variant: string): Record<string, Tensor> =>
  readSafetensors(path.join(GOLDEN, `${variant}-golden/golden.safetensors`));

/** Planar [3, H, W] as the goldens have it -> interleaved, as sharp does. */
function image(planar: Tensor): Image {
  const [, height = 0, width = 0] = planar.shape;
  const area = height * width;
  return {
    width,
    height,
    pixels: Uint8Array.from({ length: 3 * area }, (_, i) => planar.data[(i % 3) * area + Math.floor(i / 3)] ?? 0),
  };
}

function expectNear(got: Tensor | undefined, reference: Tensor | undefined, atol: number, rtol: number): void {
  if (!got || !reference) throw new Error('a tensor is missing');
  expect(got.shape).toEqual(reference.shape);
  const [a, b] = [float32(got), float32(reference)];
  const worst = b.reduce(
    (most, value, i) => Math.max(most, Math.abs((a[i] ?? NaN) - value) / (atol + rtol * Math.abs(value))),
    0,
  );
  expect(worst).toBeLessThanOrEqual(1);
}

const engines: Engine[] = [];
function newEngine(): Engine {
  const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1, tune: false, disable: ['graphs'] }); // the last two have no effect here
  engines.push(engine);
  return engine;
}
afterAll(async () => {
  await Promise.all(engines.map((engine) => engine.dispose()));
});

/** Points that keep k-means busy until it is cancelled: no model is needed. */
function longWork(engine: Engine, options?: CallOptions): Promise<unknown> {
  return engine.kmeans(points, { clusters: 40, restarts: 100_000, seed: 1 }, options);
}
const points: Tensor = {
  ...fromFloat32(
    [4000, 8],
    Float32Array.from({ length: 32_000 }, (_, i) => Math.sin(i * i)),
  ),
};
const quickWork = (engine: Engine, options?: CallOptions): Promise<unknown> =>
  engine.selectPatches(fromFloat32([3, 3], [1, 2, 3, 4, 9, 6, 7, 8, 5]), 1, 1, false, options);
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (thrown: DiffmineError) => thrown.code,
  );

/** Resolves at the first progress of a call: its work runs. */
function started(): { options: CallOptions; begun: Promise<void> } {
  let begin: () => void;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  return { options: { onProgress: () => begin() }, begun };
}

describe('a latent model with text', () => {
  const engine = newEngine();
  let reference: Record<string, Tensor>;
  let conditions: Conditions;
  const stages: string[] = [];
  const input = (name: string): Tensor => {
    const found = reference[name];
    if (!found) throw new Error(`no ${name}`);
    return found;
  };

  beforeAll(async () => {
    reference = golden('tiny-sd15');
    const { source } = await openModel(path.join(GOLDEN, 'tiny-sd15'));
    await engine.loadModel(source, { onProgress: ({ type }) => stages.push(type) });
    conditions = await engine.prepareConditions(input('cond.out.last_hidden_state'));
  });

  it('reports its memory', () => {
    expect(new Set(stages)).toEqual(new Set(['load']));
    const { weights, available, peak } = engine.memory();
    expect(weights).toBeGreaterThan(100_000);
    expect(available).toBeGreaterThan(1e7);
    expect(peak).toBeGreaterThan(weights);
  });

  it('encodes text', async () => {
    expectNear(
      (await engine.encodeText([input('text.in.input_ids')])).text,
      input('text.out.last_hidden_state'),
      1e-4,
      1e-4,
    );
  });

  it('encodes and decodes images', async () => {
    const { mean, logvar } = await engine.vaeEncode([image(input('vae_enc_64x64.in.image_u8'))]);
    expectNear(mean, input('vae_enc_64x64.out.mean'), 1e-4, 1e-4);
    expectNear(logvar, input('vae_enc_64x64.out.logvar'), 1e-4, 1e-4);
    expectNear(await engine.vaeDecode(input('vae_dec_64x64.in.latent')), input('vae_dec_64x64.out.image'), 1e-4, 1e-4);
  });

  it('denoises, and shows what happens inside', async () => {
    const { sample, observed } = await engine.unetForward(conditions, {
      x: input('unet_0_b1_8x8.in.x'),
      timesteps: int64Numbers(input('unet_0_b1_8x8.in.t')),
      conditionIndex: int64Numbers(input('unet_0_b1_8x8.in.cond_index')),
      observe: ['conv_in', 'up_blocks.1'],
    });
    expectNear(sample, input('unet_0_b1_8x8.out.sample'), 5e-5, 5e-5);
    expectNear(observed['conv_in'], input('unet_0_b1_8x8.out.conv_in'), 5e-5, 5e-5);
    expectNear(observed['up_blocks.1'], input('unet_0_b1_8x8.out.up1'), 5e-5, 5e-5);
    expect(Object.keys(observed).sort()).toEqual(['conv_in', 'up_blocks.1']);
  });

  const work = (): { input: TypicalityInput; options: TypicalityOptions } => ({
    input: {
      images: [image(input('typicality_0_64x64.in.image_u8'))],
      conditions: [[0, 1, 2, 3]],
      subjects: [[0, 1, 2]],
      weights: [
        [
          [0, 0, 0, 1],
          [0, 0, 0, 1],
          [0, 0, 0, 1],
        ],
      ],
      keys: [7],
      noises: input('typicality_0_64x64.in.noises'),
      timesteps: input('typicality_0_64x64.in.t'),
    },
    options: {
      samples: 8,
      seed: 0,
      tBegin: 0,
      tEnd: 1000,
      sampler: 'reference',
      patch: 16,
      perImage: 5,
      batch: 8,
      keepMaps: true,
      keepScores: true,
      keepLosses: true,
    },
  });

  it('scores typicality as the reference', async () => {
    const events: Progress[] = [];
    const { input: images, options } = work();
    const { outputs, losses, timesteps } = await engine.scoreTypicality(conditions, images, options, {
      onProgress: (event) => events.push(event),
    });
    const perChannel = float32(input('typicality_0_64x64.out.losses')); // [8, 4, 4, 8, 8]
    const means = Float32Array.from(
      { length: 8 * 4 * 64 },
      (_, i) =>
        [0, 1, 2, 3].reduce((sum, c) => sum + (perChannel[Math.floor(i / 64) * 256 + c * 64 + (i % 64)] ?? NaN), 0) / 4,
    );
    expectNear(losses, fromFloat32([1, 8, 4, 8, 8], means), 5e-5, 1e-3);
    expect(outputs[0]).toHaveLength(3);
    outputs[0]?.forEach(({ scores, top, mean, map }, c) => {
      expectNear(scores, input(`typicality_0_64x64.out.scores_${c}`), 5e-5, 1e-3);
      expect(top.map(({ row, column }) => [row, column, row + 16, column + 16]).flat()).toEqual(
        int64Numbers(input(`typicality_0_64x64.out.top5_${c}`)),
      );
      expect(mean).toBeCloseTo(float32(map as Tensor).reduce((sum, value) => sum + value, 0) / 64, 5);
      expect(top[0]?.standardError).toBeGreaterThan(0);
    });
    expect(timesteps).toEqual(int64Numbers(input('typicality_0_64x64.in.t')));
    expect(events.at(-1)).toEqual({ type: 'score', done: 32, total: 32 });
  });

  it('returns the seconds of its stages if requested', async () => {
    const { input: images, options } = work();
    const { stages } = await engine.scoreTypicality(conditions, images, { ...options, timeStages: true });
    expect(Object.keys(stages ?? {}).sort()).toEqual(['encode', 'noise', 'score', 'select', 'unet']);
    for (const seconds of Object.values(stages ?? {})) expect(seconds).toBeGreaterThan(0);
    expect((await engine.scoreTypicality(conditions, images, options)).stages).toBeUndefined();
  });

  it.each([
    [undefined, devices()[0]?.threads],
    [0, devices()[0]?.threads],
    [1, 1],
    [3, 3],
  ])('asked for %p threads it computes with %p', async (threads, expected) => {
    const asked = new Engine({ device: 'cpu', dtype: 'fp32', ...(threads === undefined ? {} : { threads }) });
    expect((await asked.machineRates({ seconds: 0 })).threads).toBe(expected);
    await asked.dispose();
  });

  it('gives the memory of activations back when it has been idle for a while', async () => {
    const long = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1, idleSeconds: 3600 });
    const maps = fromFloat32([8, 64, 64], new Float32Array(8 * 64 * 64));
    const make = async (made: Engine): Promise<void> => {
      await made.heatMaps(maps, { height: 256, width: 256, kernel: 9, sigma: 2 }); // tensors of 2 MB
    };
    await make(long);
    expect(long.memory().cached).toBeGreaterThan(1e6);
    const short = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1, idleSeconds: 0.05 });
    await make(short);
    // The allocator is one for all engines: what has lain there for the shorter time goes.
    while (short.memory().cached > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(long.memory().cached).toBe(0);
    await make(long);
    await Promise.all([long.dispose(), short.dispose()]);
    expect(() => new Engine({ device: 'cpu', dtype: 'fp32', idleSeconds: 0 })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error,
    );
  });

  it('measures the machine, in its precision or another', async () => {
    const { matmul, copy } = await engine.machineRates({ seconds: 0 });
    expect(matmul).toBeGreaterThan(1e8);
    expect(copy).toBeGreaterThan(1e8);
    expect(await codeOf(engine.machineRates({ dtype: 'fp16', seconds: 0 }))).toBe(
      devices()[0]?.dtypes.includes('fp16') ? 'resolved' : 'DEVICE_UNAVAILABLE',
    );
    expect(await codeOf(engine.machineRates({ seconds: -1 }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(engine.machineRates({}, { signal: AbortSignal.abort() }))).toBe('CANCELLED');
  });

  it('scores latents as the images they come from, and one sample without a standard error', async () => {
    const { input: images, options } = work();
    const [a, b] = [
      { ...options, keepLosses: false, samples: 1 },
      { ...images, noises: undefined, timesteps: undefined },
    ];
    const fromImages = await engine.scoreTypicality(conditions, b, a);
    const latents = await engine.encodeImages(images.images as Image[]);
    const fromLatents = await engine.scoreTypicality(
      conditions,
      { ...b, images: undefined, latents, height: 64, width: 64 },
      a,
    );
    expect(fromLatents).toEqual(fromImages);
    expect(fromImages.outputs[0]?.[0]?.top[0]?.standardError).toBeNull();
    expect(fromImages.losses).toBeUndefined();
  });

  it('makes DIFT features of boxes', async () => {
    const own = await engine.prepareConditions(input('dift.in.cond'));
    const boxes = [
      [0, 0, 32, 32],
      [16, 16, 48, 48],
      [3, 5, 35, 37],
      [32, 17, 64, 49],
    ];
    const { patches, features } = await engine.dift(
      own,
      {
        images: [image(input('dift.in.image_u8'))],
        conditions: [0],
        noises: input('dift.in.noises'),
        keepFeatures: true,
        boxes: [
          boxes.map(([rowBegin = 0, columnBegin = 0, rowEnd = 0, columnEnd = 0]) => ({
            rowBegin,
            columnBegin,
            rowEnd,
            columnEnd,
          })),
        ],
      },
      { timestep: 161, upBlock: 1, ensemble: 8, seed: 0, batch: 4 },
    );
    expectNear(patches[0], input('dift.out.patch_features'), 1e-4, 1e-4);
    const feature = input('dift.out.feature');
    expectNear({ ...(features as Tensor), shape: feature.shape }, feature, 1e-4, 1e-4);
  });

  it('refuses wrong arguments, and keeps working', async () => {
    const forward = { x: drawNoise(0, 0, 1, [4, 8, 8], 0), timesteps: [1], conditionIndex: [0] };
    const refused: [Promise<unknown>, RegExp][] = [
      [
        engine.unetForward(conditions, { ...forward, conditionIndex: [4] }),
        /^Expected an integer from 0 to 3 for input\.conditionIndex\[0\], got 4\.$/,
      ],
      [
        engine.unetForward(conditions, { ...forward, timesteps: [1, 2] }),
        /one timestep for each of the 1 inputs for input\.timesteps/,
      ],
      [engine.unetForward(conditions, { ...forward, observe: ['conv_in', 'up_blocks.9'] }), /no module 'up_blocks\.9'/],
      [
        engine.unetForward(conditions, { ...forward, x: fromInt64([1, 4, 8, 8], Array<number>(256).fill(0)) }),
        /Expected a tensor of F32 with 4 dimensions for input\.x, got I64 \[1, 4, 8, 8\]\./,
      ],
      [engine.vaeEncode([]), /at least one image/],
      [
        engine.vaeEncode([{ pixels: new Uint8Array(11), width: 2, height: 2 }]),
        /height x width x 3 bytes \(2 x 2 x 3\) for images\[0\]\.pixels, got 11/,
      ],
      [
        engine.vaeEncode([
          { pixels: new Uint8Array(12), width: 2, height: 2 },
          { pixels: new Uint8Array(6), width: 2, height: 1 },
        ]),
        /images of the same size/,
      ],
      [
        engine.scoreTypicality(conditions, { ...work().input, latents: forward.x }, work().options),
        /either input\.images or input\.latents, got both/,
      ],
      [
        engine.scoreTypicality(conditions, { ...work().input, subjects: [[4]] }, work().options),
        /from 0 to 3 for input\.subjects\[0\]\[0\], got 4/,
      ],
      [
        engine.scoreTypicality(conditions, { ...work().input, weights: [[[0, 0, 1]]] }, work().options),
        /numbers \[1\]\[3\]\[4\] for input\.weights/,
      ],
      [
        engine.prepareConditions(fromFloat32([3], [1, 2, 3])),
        /embeddings F32 \[M, tokens, D\] or class labels I64 \[M\]/,
      ],
      [engine.loadModel((await openModel(path.join(GOLDEN, 'tiny-fold'))).source), /already has a model/],
    ];
    for (const [promise, message] of refused)
      await expect(promise).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(message) as string,
      });
    await expect(engine.unetForward(conditions, forward)).resolves.toHaveProperty('sample.shape', [1, 4, 8, 8]);
  });

  it('refuses conditions of another engine, and wrong handles', async () => {
    const other = newEngine();
    await expect(
      other.unetForward(conditions, { x: drawNoise(0, 0, 1, [4, 8, 8], 0), timesteps: [1], conditionIndex: [0] }),
    ).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'The conditions were prepared by another engine.',
    });
    const addon = loadAddon();
    const native = addon.createEngine({ device: 'cpu', dtype: 'fp32', threads: 1 });
    await expect(addon.unetForward(native, native as never, {} as never)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('got a native handle') as string,
    });
    await expect(
      addon.kmeans(conditions.native as never, points, { clusters: 1, restarts: 1, seed: 0 }),
    ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await addon.disposeEngine(native);
  });
});

describe('a folded pixel model with classes', () => {
  let model: ModelFolder;
  const engine = newEngine();
  beforeAll(async () => {
    model = await openModel(path.join(GOLDEN, 'tiny-fold'));
    await engine.loadModel(model.source);
  });

  it('scores at pixel resolution, cutting what the model cannot take', async () => {
    const conditions = await engine.prepareConditions(fromInt64([4], [0, 1, 2, 3]));
    expect(conditions.count).toBe(4);
    const [width, height] = [35, 33];
    const pixels = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 7919) % 251);
    const { outputs } = await engine.scoreTypicality(
      conditions,
      {
        images: [{ pixels, width, height }],
        conditions: [[0, 3]],
        subjects: [[0]],
        weights: [[[0, 1]]],
        keys: [2n ** 63n],
      },
      {
        samples: 3,
        seed: 2n ** 64n - 1n,
        tBegin: 100,
        tEnd: 700,
        sampler: 'stratified',
        patch: 8,
        perImage: 2,
        batch: 4,
        keepMaps: true,
        keepScores: true,
      },
    );
    expect(outputs[0]?.[0]?.map?.shape).toEqual([32, 32]);
    expect(outputs[0]?.[0]?.scores?.shape).toEqual([25, 25]);
  });

  it('says which parts it has not', async () => {
    await expect(engine.encodeText([fromInt64([1, 77], Array<number>(77).fill(0))])).rejects.toThrow(
      'has no text encoder',
    );
    await expect(engine.vaeDecode(drawNoise(0, 0, 1, [4, 8, 8], 0))).rejects.toThrow('has no VAE');
    await expect(newEngine().vaeDecode(drawNoise(0, 0, 1, [4, 8, 8], 0))).rejects.toMatchObject({
      message: 'The engine has no model yet.',
      hint: 'Call loadModel first.',
    });
  });

  it('can load a model after a load that failed', async () => {
    const retry = newEngine();
    const broken = {
      ...model.source,
      unet: { ...unetOf(model.source), config: { ...unetOf(model.source).config, numClassEmbeds: 5 } },
    };
    await expect(retry.loadModel(broken)).rejects.toMatchObject({ code: 'MODEL_INVALID' });
    await retry.loadModel(model.source);
    expect(retry.memory().weights).toBeGreaterThan(0);
  });
});

describe('tasks', () => {
  it('run in the order they were called, while the event loop turns', async () => {
    const engine = newEngine();
    const order: number[] = [];
    let turns = 0;
    const turning = setInterval(() => turns++, 1);
    const work = [0, 1, 2, 3].map((i) =>
      engine.kmeans(points, { clusters: 40, restarts: i === 0 ? 20 : 1, seed: i }).then(() => order.push(i)),
    );
    await Promise.all(work);
    clearInterval(turning);
    expect(order).toEqual([0, 1, 2, 3]);
    expect(turns).toBeGreaterThan(5);
  });

  it('report progress without flooding, the last state last', async () => {
    const events: Progress[] = [];
    await newEngine().kmeans(
      points,
      { clusters: 2, restarts: 500, seed: 1, iterations: 1 },
      { onProgress: (event) => events.push(event) },
    );
    expect(events.at(-1)).toEqual({ type: 'cluster', done: 500, total: 500 });
    expect(events.length).toBeLessThan(500);
    const done = events.map((event) => event.done);
    expect(done).toEqual([...done].sort((a, b) => a - b));
  });

  it('reject with what onProgress throws', async () => {
    const engine = newEngine();
    const promise = longWork(engine, {
      onProgress: () => {
        throw new RangeError('enough');
      },
    });
    await expect(promise).rejects.toMatchObject({ code: 'INTERNAL', message: 'enough' });
    await expect(quickWork(engine)).resolves.toEqual([{ row: 1, column: 1, score: 9 }]);
  });

  it('copy tensors at the call: what is written later does not reach them', async () => {
    const engine = newEngine();
    const first = longWork(engine, { signal: AbortSignal.timeout(100) });
    const scores = fromFloat32([2, 2], [1, 2, 3, 4]);
    const second = engine.selectPatches(scores, 1, 1, false);
    float32(scores).fill(0);
    await expect(first).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(second).resolves.toEqual([{ row: 1, column: 1, score: 4 }]);
  });

  it('give equal results with any number of threads', async () => {
    const [one, two] = [newEngine(), new Engine({ device: 'cpu', dtype: 'fp32', threads: 2 })];
    engines.push(two);
    const settings = { clusters: 7, restarts: 3, seed: 5 };
    expect(await two.kmeans(points, settings)).toEqual(await one.kmeans(points, settings));
  });
});

describe('abort', () => {
  it('ends running work, leaves what waits, and is the cause', async () => {
    const engine = newEngine();
    const controller = new AbortController();
    const { options, begun } = started();
    const running = longWork(engine, { ...options, signal: controller.signal });
    const waiting = quickWork(engine);
    await begun;
    controller.abort(new Error('changed my mind'));
    const error = await running.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DiffmineError);
    expect(error).toMatchObject({ code: 'CANCELLED', exitCode: 130 });
    expect(((error as DiffmineError).cause as { cause: Error }).cause.message).toBe('changed my mind');
    await expect(waiting).resolves.toHaveLength(1);
  });

  it('rejects waiting work at once, and that never runs', async () => {
    const engine = newEngine();
    const { options, begun } = started();
    const [first, second] = [new AbortController(), new AbortController()];
    const running = longWork(engine, { ...options, signal: first.signal });
    await begun;
    let progressed = false;
    const waiting = longWork(engine, { signal: second.signal, onProgress: () => (progressed = true) });
    second.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
    first.abort();
    await expect(running).rejects.toMatchObject({ code: 'CANCELLED' });
    await quickWork(engine);
    expect(progressed).toBe(false);
  });

  it('before the call rejects without work', async () => {
    await expect(quickWork(newEngine(), { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  it('listens no longer than the call', async () => {
    const engine = newEngine();
    const controller = new AbortController();
    let listeners = 0;
    const signal = {
      get aborted() {
        return controller.signal.aborted;
      },
      addEventListener: (...args: Parameters<AbortSignal['addEventListener']>) => {
        listeners++;
        controller.signal.addEventListener(...args);
      },
      removeEventListener: (...args: Parameters<AbortSignal['removeEventListener']>) => {
        listeners--;
        controller.signal.removeEventListener(...args);
      },
    } as AbortSignal;
    for (let i = 0; i < 20; i++) await quickWork(engine, { signal });
    await expect(engine.kmeans(points, { clusters: 0, restarts: 1, seed: 1 }, { signal })).rejects.toThrow(
      'options.clusters',
    );
    expect(listeners).toBe(0);
    controller.abort();
    await expect(quickWork(engine)).resolves.toHaveLength(1);
  });

  it('takes nothing but an AbortSignal', async () => {
    await expect(quickWork(newEngine(), { signal: {} as AbortSignal })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('an AbortSignal for call.signal') as string,
    });
    await expect(quickWork(newEngine(), { onProgress: 1 as never })).rejects.toThrow('a function for call.onProgress');
  });
});

describe('dispose', () => {
  it('cancels what runs, rejects what waits, and is idempotent', async () => {
    const engine = newEngine();
    const { options, begun } = started();
    const running = longWork(engine, options);
    const waiting = [quickWork(engine), longWork(engine)];
    const codes = Promise.all([running, ...waiting].map(codeOf));
    await begun;
    await Promise.all([engine.dispose(), engine.dispose()]);
    await engine.dispose();
    expect(await codes).toEqual(['CANCELLED', 'CANCELLED', 'CANCELLED']);
    expect(engine.memory().weights).toBe(0);
    await expect(quickWork(engine)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'The engine was disposed.',
    });
  });

  it('cannot race work: every promise is resolved or rejected, whenever it comes', async () => {
    const { source } = await openModel(path.join(GOLDEN, 'tiny-fold'));
    for (let round = 0; round < 40; round++) {
      const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
      const controller = new AbortController();
      const promises = [
        engine.loadModel(source),
        quickWork(engine),
        longWork(engine, { signal: controller.signal }),
        quickWork(engine, { signal: controller.signal }),
      ];
      const codes = promises.map(codeOf);
      if (round % 3 === 1) await promises[1]?.catch(() => undefined);
      if (round % 3 === 2) await new Promise((resolve) => setTimeout(resolve, round));
      if (round % 2) controller.abort();
      await engine.dispose();
      controller.abort();
      for (const code of await Promise.all(codes)) expect(['resolved', 'CANCELLED']).toContain(code);
    }
  });

  it('works as `await using` does', async () => {
    const engine = new Engine({ device: 'cpu', dtype: 'fp32' });
    if (Symbol.asyncDispose) await engine[Symbol.asyncDispose]();
    else await engine.dispose();
    await expect(quickWork(engine)).rejects.toThrow('disposed');
  });
});
