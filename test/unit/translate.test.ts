// Plug-and-Play translation: which steps and layers, its arithmetic against plain DDIM, and the folder that it writes, stops in and resumes.
import { unetOf } from '../../src/models/denoiser.js';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { openModel, prepareConditions, type ModelFolder } from '../../src/models/index.js';
import {
  ddimTimesteps,
  Engine,
  float32,
  fromFloat32,
  type Conditions,
  type ScheduleConfig,
  type Tensor,
  type UNetConfig,
} from '../../src/engine/index.js';
import { sampleDdim } from '../../src/models/ddim.js';
import { toImages } from '../../src/models/images.js';
import { rowsShown } from '../../src/stages/translate/page.js';
import { openParallel, sequenceFolders, targetFile } from '../../src/runs/parallel.js';
import {
  invertImages,
  samplePlugAndPlay,
  samplingUnetCalls,
  type InjectedDenoise,
  type PlugAndPlay,
  type Source,
} from '../../src/stages/translate/plug-and-play.js';
import { stepsOfFraction, translationTimesteps } from '../../src/stages/translate/timesteps.js';
import { correlation, selfSimilarity } from '../../src/stages/translate/judge.js';
import { PSNR_MEANING } from '../../src/runs/reconstruction-words.js';
import { resolveCotypicality } from '../../src/stages/cotypicality/resolve.js';
import { evaluateTranslation } from '../../src/stages/translate/quality.js';
import { targetsOf } from '../../src/stages/translate/resolve.js';
import { allSites, chooseSites, defaultSites, queriesAndKeys } from '../../src/stages/translate/sites.js';
import { psnr } from '../../src/stages/translate/shard.js';
import { translate } from '../../src/stages/translate/translate.js';
import type { TranslateOptions, TranslateSettings } from '../../src/stages/translate/options.js';
import { GOLDEN, temporaryFolder, writeFiles } from '../helpers/folders.js';

const scratch = temporaryFolder();
const at = (...names: string[]): string => path.join(scratch, ...names);
const failure = (code: string, message: string): Error =>
  expect.objectContaining({ code, message: expect.stringContaining(message) as string }) as Error;

const SCHEDULE: ScheduleConfig = {
  betaSchedule: 'scaled_linear',
  trainTimesteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  prediction: 'epsilon',
  setAlphaToOne: false,
  stepsOffset: 1,
  clipSample: false,
  clipSampleRange: 1,
};

describe('steps', () => {
  test("the paper's, and others that fit", () => {
    expect(translationTimesteps(SCHEDULE, 999, 50)).toEqual(Array.from({ length: 50 }, (_, i) => 981 - 20 * i));
    for (const [inversion, steps] of [
      [20, 10],
      [20, 5],
      [20, 4],
      [25, 5],
      [200, 50],
      [20, 20],
    ] as const)
      expect(translationTimesteps(SCHEDULE, inversion, steps)).toEqual(ddimTimesteps(SCHEDULE, steps));
  });

  test('those that do not are refused, with the reason', () => {
    expect(() => translationTimesteps(SCHEDULE, 50, 20 * 3)).toThrow(
      failure(
        'INVALID_ARGUMENT',
        '60 sampling steps are 16 timesteps apart, which is not a multiple of the 20 of 50 inversion steps',
      ),
    );
    for (const [inversion, steps] of [
      [50, 60],
      [50, 100],
      [999, 7],
    ] as const) {
      let hint = '';
      try {
        translationTimesteps(SCHEDULE, inversion, steps);
      } catch (error) {
        hint = (error as { hint: string }).hint;
      }
      if (hint === '') continue; // fits
      const [, fine, , , coarse] = (
        /Steps` (\d+) with `inferenceSteps` (\d+), or (\d+) with (\d+)/.exec(hint) ?? []
      ).map(Number);
      expect(() => translationTimesteps(SCHEDULE, fine as number, steps)).not.toThrow();
      expect(() => translationTimesteps(SCHEDULE, inversion, coarse as number)).not.toThrow();
    }
    expect(() => translationTimesteps(SCHEDULE, 50, 100)).toThrow(failure('INVALID_ARGUMENT', 'not a multiple'));
    // timesteps 1, 3, ..., 997 and 1, 999: the last is passed by
    expect(() => translationTimesteps({ ...SCHEDULE, trainTimesteps: 1009 }, 499, 2)).not.toThrow();
    expect(() => translationTimesteps(SCHEDULE, 2, 4)).toThrow(failure('INVALID_ARGUMENT', 'not a multiple'));
    expect(() => translationTimesteps(SCHEDULE, 600, 10)).toThrow(
      failure('INVALID_ARGUMENT', 'the inversion ends at timestep 600, the sampling begins at 901'),
    );
    expect(() => translationTimesteps(SCHEDULE, 1000, 50)).toThrow(
      failure('INVALID_ARGUMENT', '1000 inversion steps reach timestep 1000, outside a schedule of 1000'),
    );
    expect(() => translationTimesteps({ ...SCHEDULE, stepsOffset: 0 }, 1000, 50)).not.toThrow();
    expect(() => translationTimesteps(SCHEDULE, 0, 50)).toThrow(failure('INVALID_ARGUMENT', '0'));
  });

  test('of a share are truncated', () => {
    expect([
      stepsOfFraction(50, 0.8),
      stepsOfFraction(50, 0.5),
      stepsOfFraction(10, 0.38),
      stepsOfFraction(5, 0.5),
      stepsOfFraction(7, 1),
      stepsOfFraction(7, 0),
    ]).toEqual([40, 25, 3, 2, 7, 0]);
  });
});

describe('layers', () => {
  const unet = (upBlockTypes: string[], layersPerBlock: number): UNetConfig =>
    ({ upBlockTypes, layersPerBlock, transformerLayers: upBlockTypes.map(() => 1) }) as UNetConfig;
  const cross = 'CrossAttnUpBlock2D';
  const attn1 = (block: number, layer: number): string =>
    `up_blocks.${block}.attentions.${layer}.transformer_blocks.0.attn1`;

  test("the paper's in Stable Diffusion, the same places in others", () => {
    expect(defaultSites(unet(['UpBlock2D', cross, cross, cross], 2))).toEqual({
      features: ['up_blocks.1.resnets.1.conv2'],
      attention: [
        attn1(1, 1),
        attn1(1, 2),
        attn1(2, 0),
        attn1(2, 1),
        attn1(2, 2),
        attn1(3, 0),
        attn1(3, 1),
        attn1(3, 2),
      ],
    });
    expect(defaultSites(unet(['AttnUpBlock2D', 'UpBlock2D', 'UpBlock2D'], 1))).toEqual({
      features: ['up_blocks.1.resnets.1.conv2'],
      attention: ['up_blocks.0.attentions.1'],
    });
    expect(defaultSites(unet(['UpBlock2D'], 1))).toEqual({ features: ['up_blocks.0.resnets.1.conv2'], attention: [] });
    expect(queriesAndKeys(['up_blocks.0.attentions.1'])).toEqual([
      'up_blocks.0.attentions.1.to_q',
      'up_blocks.0.attentions.1.to_k',
    ]);
  });

  test('by path or the beginning of paths; an unknown one is refused', () => {
    const { features, attention } = allSites(unet(['UpBlock2D', cross], 1));
    expect(features).toEqual([
      'up_blocks.0.resnets.0.conv2',
      'up_blocks.0.resnets.1.conv2',
      'up_blocks.1.resnets.0.conv2',
      'up_blocks.1.resnets.1.conv2',
    ]);
    expect(chooseSites(features, ['up_blocks.1', 'up_blocks.1.resnets.0.conv2'], 'featureLayers')).toEqual([
      'up_blocks.1.resnets.0.conv2',
      'up_blocks.1.resnets.1.conv2',
    ]);
    expect(chooseSites(attention, ['up_blocks.1.attentions.0'], 'attentionLayers')).toEqual([attn1(1, 0)]);
    expect(() => chooseSites(attention, ['up_blocks.1', 'up_blocks.0'], 'attentionLayers')).toThrow(
      failure('INVALID_ARGUMENT', '`attentionLayers`: the model has no such layer "up_blocks.0"'),
    );
    expect(() => chooseSites(features, ['up_block'], 'featureLayers')).toThrow(
      failure('INVALID_ARGUMENT', '"up_block"'),
    );
  });
});

describe('the way back to noise and forth', () => {
  let engine: Engine;
  let model: ModelFolder;
  let conditions: Conditions;
  let denoise: InjectedDenoise;
  let asked: number[];
  const shape = [4, 6, 8];
  const x0 = fromFloat32(
    [2, ...shape],
    Float32Array.from({ length: 2 * 4 * 6 * 8 }, (_, i) => Math.sin(i * 0.7) + 0.3 * Math.cos(i * 0.11)),
  );

  beforeAll(async () => {
    model = await openModel(path.join(GOLDEN, 'tiny-sd15'));
    engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
    await engine.loadModel(model.source);
    conditions = await prepareConditions(engine, model, ['1920', '1950', '1980', '']);
    denoise = async (x, timesteps, conditionIndex, inject) => {
      asked.push(conditionIndex.length);
      return (await engine.unetForward(conditions, { x, timesteps, conditionIndex, ...(inject ? { inject } : {}) }))
        .sample;
    };
  });
  beforeEach(() => (asked = []));
  afterAll(async () => engine.dispose());

  const places = (): Pick<PlugAndPlay, 'features' | 'attention'> => {
    const { features, attention } = defaultSites(unetOf(model.source).config);
    return { features, attention: queriesAndKeys(attention) };
  };
  const settings = (featureSteps: number, attentionSteps: number): PlugAndPlay => ({
    inversionSteps: 10,
    steps: 5,
    ...places(),
    featureSteps,
    attentionSteps,
  });
  const furthest = (a: Float32Array, b: Float32Array): number =>
    a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? NaN))), 0);
  const sources = async (
    how: PlugAndPlay,
    targets: Source['targets'],
    negative: (own: number) => number,
  ): Promise<Source[]> => {
    const inverted = await invertImages(model.source.schedule, how, x0, [0, 1], denoise);
    return inverted.map((one, own) => ({ ...one, negative: negative(own), targets }));
  };

  test('without injection it is plain DDIM from the inverted latent', async () => {
    const how = settings(0, 0);
    const both = await sources(
      how,
      [
        { row: 1, guidance: 7.5 },
        { row: 2, guidance: 7.5 },
      ],
      () => 3,
    );
    expect(both.map(({ saved }) => [...saved.keys()])).toEqual([
      [1, 201, 401, 601, 801],
      [1, 201, 401, 601, 801],
    ]);
    asked = [];
    const made = await samplePlugAndPlay(model.source.schedule, how, shape, both, 64, denoise);
    expect(asked).toEqual([8, 8, 8, 8, 8]); // no source's row
    expect(samplingUnetCalls(model.source.schedule, how, both, 64)).toBe(40);
    for (const [i, { end }] of both.entries()) {
      const start = fromFloat32([2, ...shape], Float32Array.from([...end, ...end]));
      const plain = float32(
        await sampleDdim(
          model.source.schedule,
          { steps: 5, guidance: 7.5, seed: 0, shape, rows: [1, 2], nullRow: 3, start },
          async (x, t, rows) => denoise(x, t, rows),
        ),
      );
      expect(furthest(Float32Array.from([...(made[i]?.[0] ?? []), ...(made[i]?.[1] ?? [])]), plain)).toBeLessThan(2e-4);
    }
  });

  test("one source's row serves all targets; what shares a pass changes no image", async () => {
    const how = settings(4, 2);
    const two = await sources(
      how,
      [
        { row: 1, guidance: 3 },
        { row: 2, guidance: 3 },
        { row: 0, guidance: 1 },
      ],
      (own) => own,
    );
    asked = [];
    const together = await samplePlugAndPlay(model.source.schedule, how, shape, two, 64, denoise);
    // two sources; of the first 1 and 2 guided, 0 alone; of the second 2 guided, its own label (1) and 0 alone
    expect(asked).toEqual([11, 11, 11, 11, 9]);
    expect(samplingUnetCalls(model.source.schedule, how, two, 64)).toBe(53);
    asked = [];
    const apart = await samplePlugAndPlay(model.source.schedule, how, shape, two, 3, denoise);
    expect(Math.max(...asked)).toBe(3);
    expect(asked.reduce((a, b) => a + b, 0)).toBe(samplingUnetCalls(model.source.schedule, how, two, 3));
    together.forEach((own, i) =>
      own.forEach((image, j) => expect(furthest(image, apart[i]?.[j] as Float32Array)).toBeLessThan(1e-3)),
    );
    // and what is injected matters
    const off = await samplePlugAndPlay(model.source.schedule, settings(0, 0), shape, two, 64, denoise);
    expect(furthest(off[0]?.[0] as Float32Array, together[0]?.[0] as Float32Array)).toBeGreaterThan(0.05);
  });

  test('guidance acts in its part of the schedule alone', async () => {
    const how: PlugAndPlay = { ...settings(0, 0), guided: [1, 601] };
    const [one] = await sources(how, [{ row: 1, guidance: 7.5 }], () => 3);
    asked = [];
    const states = new Map<number, Float32Array>();
    const onStep = (_: number, __: number, t: number, x: Float32Array): void => void states.set(t, x);
    await samplePlugAndPlay(model.source.schedule, how, shape, [one as Source], 8, denoise, { onStep });
    expect(asked).toEqual([1, 1, 2, 2, 2]); // 801, 601; 401, 201, 1
    expect(samplingUnetCalls(model.source.schedule, how, [one as Source], 8)).toBe(8);
    // before it, sampling without guidance
    const plain = new Map<number, Float32Array>();
    const unguided = { ...(one as Source), targets: [{ row: 1, guidance: 1 }] };
    await samplePlugAndPlay(model.source.schedule, how, shape, [unguided], 8, denoise, {
      onStep: (_, __, t, x) => void plain.set(t, x),
    });
    expect(furthest(states.get(601) as Float32Array, plain.get(601) as Float32Array)).toBeLessThan(1e-4);
    expect(furthest(states.get(401) as Float32Array, plain.get(401) as Float32Array)).toBeGreaterThan(0.05);
  });

  test('guidance away from the own label changes nothing of it', async () => {
    const how = settings(5, 5);
    const [one] = await sources(
      how,
      [
        { row: 0, guidance: 1 },
        { row: 0, guidance: 7.5 },
      ],
      (own) => own,
    );
    const [[plain, guided] = []] = await samplePlugAndPlay(
      model.source.schedule,
      how,
      shape,
      [one as Source],
      8,
      denoise,
    );
    expect(furthest(plain as Float32Array, guided as Float32Array)).toBeLessThan(1e-4);
  });

  test('is cancelled between steps, and what is not finite is an error', async () => {
    const how = settings(4, 2);
    const two = await sources(how, [{ row: 2, guidance: 3 }], (own) => own);
    const abort = new AbortController();
    const stop = samplePlugAndPlay(model.source.schedule, how, shape, two, 8, denoise, {
      signal: abort.signal,
      onStep: () => abort.abort(),
    });
    await expect(stop).rejects.toMatchObject({ code: 'CANCELLED' });
    const broken: InjectedDenoise = async (x) =>
      Promise.resolve(
        fromFloat32(
          x.shape,
          float32(x).map(() => NaN),
        ),
      );
    await expect(samplePlugAndPlay(model.source.schedule, how, shape, two, 8, broken)).rejects.toMatchObject({
      code: 'NUMERICS',
    });
    await expect(invertImages(model.source.schedule, how, x0, [0, 1], broken)).rejects.toMatchObject({
      code: 'NUMERICS',
    });
  });
});

/** Bytes of every image of a translation, by name. */
function images(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile() && one.name.endsWith('.png'))
    .map((one) => path.relative(folder, path.join(one.parentPath, one.name)));
  return Object.fromEntries(
    files.sort().map((name) => [
      name,
      createHash('sha256')
        .update(readFileSync(path.join(folder, name)))
        .digest('hex'),
    ]),
  );
}

describe('a translation', () => {
  const MODEL = path.join(GOLDEN, 'tiny-fold');
  const base: Omit<TranslateOptions, 'out'> = {
    dataset: at('data'),
    model: MODEL,
    inversionSteps: 10,
    inferenceSteps: 5,
    guidanceScale: 3,
    guidanceRange: [0, 1],
    shardSize: 2,
    batch: 8,
    device: 'cpu',
    threads: 1,
  };

  beforeAll(async () => {
    const image = async (seed: number, width = 36, height = 32): Promise<Buffer> => {
      const pixels = Uint8Array.from(
        { length: width * height * 3 },
        (_, i) => 128 + 90 * Math.sin((i % (3 * width)) * 0.05 * seed) + 30 * Math.cos(i * 0.003),
      );
      return sharp(pixels, { raw: { width, height, channels: 3 } })
        .png()
        .toBuffer();
    };
    writeFiles(at('data'), {
      'class0/a.png': await image(1),
      'class0/sub/b.png': await image(2),
      'class1/a.png': await image(3, 40, 32),
      'class1/a.webp': await sharp(await image(4))
        .webp()
        .toBuffer(),
      'class2/broken.png': 'no image',
    });
  });

  test('every image under every other label, its reconstruction, a page, and what could not be read', async () => {
    const summary = await translate({ ...base, out: at('all') });
    expect(summary).toMatchObject({
      complete: true,
      resumed: false,
      labels: ['class0', 'class1', 'class2'],
      images: 5,
      translated: 4,
      skipped: 1,
      translations: 8,
      shards: { total: 3, done: 3, here: 3 },
    });
    const manifest = JSON.parse(readFileSync(at('all', 'manifest.json'), 'utf8')) as { options: TranslateSettings };
    expect(manifest.options).toMatchObject({
      inversionSteps: 10,
      inferenceSteps: 5,
      guidanceScale: 3,
      guidanceBegin: 0,
      guidanceEnd: 1000,
      negative: 'source',
      featureLayers: ['up_blocks.1.resnets.1.conv2'],
    });
    // 10 back; 4 steps with the source's row and 1 without, 2 targets guided and the reconstruction alone
    expect(summary.unetCalls).toBe(4 * (10 + 4 * 6 + 5));
    expect(Object.keys(images(at('all')))).toEqual(
      [
        ['class0/a', 'class1', 'class2'],
        ['class0/sub%2Fb', 'class1', 'class2'],
        ['class1/a.png', 'class0', 'class2'],
        ['class1/a.webp', 'class0', 'class2'],
      ]
        .flatMap(([folder, ...targets]) =>
          [...targets, 'reconstruction', 'source'].map((name) => `${folder}/${name}.png`),
        )
        .sort(),
    );
    expect(readFileSync(at('all', 'skipped.jsonl'), 'utf8')).toMatch(
      /^\{"image":"class2\/broken.png","label":"class2","reason":".*"\}\n$/,
    );

    const parallel = await openParallel(at('all'));
    expect(parallel.labels).toEqual(['class0', 'class1', 'class2']);
    expect(
      parallel.sequences.map(({ key, image, label, images: made }) => [key, image, label, Object.keys(made)]),
    ).toEqual([
      ['class0/a', 'class0/a.png', 'class0', ['class1', 'class2']],
      ['class0/sub%2Fb', 'class0/sub/b.png', 'class0', ['class1', 'class2']],
      ['class1/a.png', 'class1/a.png', 'class1', ['class0', 'class2']],
      ['class1/a.webp', 'class1/a.webp', 'class1', ['class0', 'class2']],
    ]);
    // the model's images have sides of multiples of 8: source and translations are of the same size
    for (const { source, reconstruction, images: made } of parallel.sequences) {
      for (const file of [source, reconstruction as string, ...Object.values(made)])
        expect(await sharp(file).metadata()).toMatchObject({ height: 32, width: source.includes('a.png') ? 40 : 32 });
    }

    const page = readFileSync(at('all', 'index.html'), 'utf8');
    expect(page).not.toContain('<script');
    expect(page).toContain("default-src 'none'");
    expect(page).toContain('src="class0/sub%252Fb/class2.png"');
    expect(page).toContain('1 image skipped');
  });

  test('the reconstruction is the image at guidance 1 under its own label, through the same loop', async () => {
    const how = {
      ...base,
      featureFraction: 1,
      attentionFraction: 1,
      guidanceScale: 1,
      negative: 'null',
      to: ['class1'],
      imagesPerLabel: 1,
    } as const;
    await translate({ ...how, out: at('own') });
    const model = await openModel(MODEL);
    const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
    try {
      await engine.loadModel(model.source);
      const conditions = await prepareConditions(engine, model, ['class0', null]);
      const denoise: InjectedDenoise = async (x, timesteps, conditionIndex, inject): Promise<Tensor> =>
        (await engine.unetForward(conditions, { x, timesteps, conditionIndex, ...(inject ? { inject } : {}) })).sample;
      const { data, info } = await sharp(at('own', 'class0', 'a', 'source.png'))
        .removeAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true });
      const x0 = await engine.encodeImages([{ pixels: data, width: info.width, height: info.height }]);
      const { features, attention } = defaultSites(unetOf(model.source).config);
      const settings: PlugAndPlay = {
        inversionSteps: 10,
        steps: 5,
        features,
        featureSteps: 5,
        attention: queriesAndKeys(attention),
        attentionSteps: 5,
      };
      const [inverted] = await invertImages(model.source.schedule, settings, x0, [0], denoise);
      if (!inverted) throw new Error('nothing was inverted');
      const shape = x0.shape.slice(1);
      // nothing is clipped on the way back, as nothing is on the way there
      const [[own] = []] = await samplePlugAndPlay(
        { ...model.source.schedule, clipSample: false },
        settings,
        shape,
        [{ ...inverted, negative: 1, targets: [{ row: 0, guidance: 1 }] }],
        8,
        denoise,
      );
      const [image] = await toImages(engine, model, fromFloat32([1, ...shape], own as Float32Array));
      const written = await sharp(at('own', 'class0', 'a', 'reconstruction.png'))
        .raw()
        .toBuffer();
      expect(Math.max(...written.map((value, i) => Math.abs(value - (image?.pixels[i] ?? NaN))))).toBeLessThanOrEqual(
        1,
      );
    } finally {
      await engine.dispose();
    }
  });

  test('it resumes to the same images; finished shards are not repeated', async () => {
    await translate({ ...base, out: at('whole') });
    const abort = new AbortController();
    const stopped = translate(
      { ...base, out: at('stopped') },
      { signal: abort.signal, onProgress: (event) => event.type === 'shard' && abort.abort() },
    );
    await expect(stopped).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(readdirSync(at('stopped', 'shards'))).toEqual(['00000.jsonl']);
    expect((await openParallel(at('stopped'))).sequences).toHaveLength(2);
    const touched = at('stopped', 'class0', 'a', 'class1.png');
    rmSync(touched);
    const summary = await translate({ ...base, out: at('stopped'), batch: 'auto' });
    expect(summary).toMatchObject({
      complete: true,
      resumed: true,
      batch: 8,
      translated: 4,
      shards: { total: 3, done: 3, here: 2 },
    });
    expect(existsSync(touched)).toBe(false);
    const whole = images(at('whole'));
    delete whole['class0/a/class1.png'];
    expect(images(at('stopped'))).toEqual(whole);
    await expect(openParallel(at('stopped'))).rejects.toMatchObject({ code: 'DATASET_INVALID' });
    expect(await translate({ ...base, out: at('whole') })).toMatchObject({ unetCalls: 0, shards: { here: 0 } });
  });

  test('a model that clips when it samples is not clipped here', async () => {
    cpSync(MODEL, at('clipping'), { recursive: true });
    const file = at('clipping', 'scheduler', 'scheduler_config.json');
    const config = JSON.parse(readFileSync(file, 'utf8')) as object;
    writeFileSync(file, JSON.stringify({ ...config, clip_sample: true, clip_sample_range: 0.1 }));
    await translate({ ...base, model: at('clipping'), imagesPerLabel: 1, out: at('unclipped') });
    const whole = images(at('whole'));
    for (const [name, bytes] of Object.entries(images(at('unclipped'))))
      if (name.startsWith('class0')) expect([name, bytes]).toEqual([name, whole[name]]);
  });

  test('parts of the shards, by several', async () => {
    const first = await translate({ ...base, out: at('parts'), shard: { index: 1, count: 2 } });
    expect(first).toMatchObject({ complete: false, shards: { total: 3, done: 1, here: 1 } });
    expect(existsSync(at('parts', 'skipped.jsonl'))).toBe(false);
    expect(await translate({ ...base, out: at('parts'), shard: { index: 0, count: 2 } })).toMatchObject({
      complete: true,
      shards: { done: 3, here: 2 },
    });
  });

  test('another translation is refused, as is a folder that holds something else', async () => {
    const out = at('whole');
    await expect(translate({ ...base, out, guidanceScale: 4 })).rejects.toThrow(
      failure('RUN_MISMATCH', 'guidance-scale: this translation has 3, you asked for 4'),
    );
    await expect(translate({ ...base, out, to: ['class1'] })).rejects.toThrow(
      failure('RUN_MISMATCH', 'to: this translation has ["class0","class1","class2"], you asked for ["class1"]'),
    );
    await expect(translate({ ...base, out, imagesPerLabel: 1 })).rejects.toThrow(
      failure('RUN_MISMATCH', 'images-per-label: this translation has none, you asked for 1'),
    );
    await expect(translate({ ...base, out: at('data') })).rejects.toThrow(
      failure('RUN_MISMATCH', 'not a translation directory'),
    );
    cpSync(at('whole'), at('edited'), { recursive: true });
    const manifest = readFileSync(at('edited', 'manifest.json'), 'utf8');
    writeFileSync(at('edited', 'manifest.json'), manifest.replace('"guidanceScale": 3', '"guidanceScale": 2'));
    await expect(translate({ ...base, out: at('edited') })).rejects.toThrow(
      failure('RUN_INVALID', 'was changed after'),
    );
    writeFileSync(at('edited', 'manifest.json'), manifest);
    writeFileSync(at('edited', 'shards', '00000.jsonl'), '{"image":');
    await expect(openParallel(at('edited'))).rejects.toThrow(failure('RUN_INVALID', '00000.jsonl is damaged'));
  });

  test.each<[string, Partial<TranslateOptions>, string, string]>([
    ['a label that the model does not know', { to: ['clas1'] }, 'INVALID_ARGUMENT', "does not know the label 'clas1'"],
    ['steps that do not fit', { inversionSteps: 50, inferenceSteps: 100 }, 'INVALID_ARGUMENT', 'not a multiple'],
    ['no such layer', { attentionLayers: ['up_blocks.9'] }, 'INVALID_ARGUMENT', '"up_blocks.9"'],
    ['a share above one', { featureFraction: 1.5 }, 'INVALID_ARGUMENT', '`featureFraction` is 1.5'],
    [
      'an empty part of the schedule',
      { guidanceRange: [0.5, 0.5] },
      'INVALID_ARGUMENT',
      '`guidanceRange` is [0.5,0.5]',
    ],
    ['guidance below zero', { guidanceScale: -1 }, 'INVALID_ARGUMENT', '`guidanceScale` is -1'],
    ['no batch', { batch: 0 }, 'INVALID_ARGUMENT', '`batch` is 0'],
    ['no images', { dataset: at('nowhere') }, 'DATASET_INVALID', 'no dataset'],
    ['no such preset', { preset: 'dogs' as 'cars' }, 'INVALID_ARGUMENT', '"dogs"'],
    ['a device that is not there', { device: 'cuda:7' }, 'DEVICE_UNAVAILABLE', 'cuda:7'],
  ])('%s: refused before anything is written', async (_, wrong, code, message) => {
    await expect(translate({ ...base, out: at('never'), ...wrong })).rejects.toThrow(failure(code, message));
    expect(existsSync(at('never'))).toBe(false);
  });

  test('a label of the dataset that a class model does not know; a prompt without a label', async () => {
    mkdirSync(at('strange', 'dog'), { recursive: true });
    cpSync(at('data', 'class0', 'a.png'), at('strange', 'dog', 'a.png'));
    await expect(translate({ ...base, dataset: at('strange'), to: ['class0'], out: at('never') })).rejects.toThrow(
      failure('DATASET_INVALID', 'does not have the label "dog"'),
    );
    const text = { ...base, model: path.join(GOLDEN, 'tiny-sd15'), out: at('never') };
    await expect(translate({ ...text, prompt: 'A car.' })).rejects.toThrow(
      failure('INVALID_ARGUMENT', 'has no {label}'),
    );
    await expect(translate({ ...text, dataset: at('strange') })).rejects.toThrow(
      failure('INVALID_ARGUMENT', 'all have that label'),
    );
  });

  test('is measured: structure, label, and places that boxes tell', async () => {
    const boxes = at('boxes.csv');
    writeFileSync(
      boxes,
      'image,x,y,w,h,city\nclass0/a.png,2,2,10,10,class0\nclass0/a.png,18,18,10,10,class2\nclass1/a.webp,0,0,8,8,class1\n',
    );
    const log: string[] = [];
    const quality = await evaluateTranslation(
      { parallel: at('all'), boxes, samples: 2, device: 'cpu', threads: 1 },
      { onLog: (line) => log.push(line) },
    );
    // of each of 4 images: 2 samples of the source under 3 labels and of 2 translations under 2; features of 3 images with 4 noises
    expect(log).toContain('Judging 4 images and 8 translations: 104 UNet calls on cpu.');
    expect(quality).toMatchObject({
      images: 4,
      translations: 8,
      samples: 2,
      places: {
        own: { boxes: 4, pixels: 2 * 100 + 2 * 64 },
        others: { boxes: 2, pixels: 200 },
        rest: { boxes: 0, preferred: null },
      },
    });
    expect(quality.structure.mean).toBeGreaterThan(-1);
    expect(quality.structure.mean).toBeLessThanOrEqual(1);
    expect(JSON.parse(readFileSync(at('all', 'quality.json'), 'utf8'))).toEqual(quality);
    expect(readFileSync(at('all', 'index.html'), 'utf8')).toContain('Structure similarity');
    expect(readFileSync(at('all', 'index.html'), 'utf8')).toContain(PSNR_MEANING);
    await expect(evaluateTranslation({ parallel: at('data') })).rejects.toMatchObject({ code: 'RUN_INVALID' });
    writeFileSync(boxes, 'image,x,y,w,h,city\nelsewhere.png,2,2,10,10,class0\n');
    await expect(evaluateTranslation({ parallel: at('all'), boxes, device: 'cpu' })).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining('belongs to a translated image') as string,
    });
    await expect(evaluateTranslation({ parallel: at('all'), samples: 0, device: 'cpu' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('`samples`') as string,
    });
  });

  test('is warned about by cotypicality, where it loses sources or labels', async () => {
    const shards = path.join(at('all'), 'shards');
    const saved = readdirSync(shards).map((name): [string, string] => [
      path.join(shards, name),
      readFileSync(path.join(shards, name), 'utf8'),
    ]);
    const warnings = async (psnr: number, preferred: number): Promise<string[]> => {
      for (const [file, lines] of saved) writeFileSync(file, lines.replace(/"psnr":[^,]+/g, `"psnr":${psnr}`));
      writeFileSync(at('all', 'quality.json'), JSON.stringify({ images: 4, label: { preferred } }));
      const log: string[] = [];
      const options = { parallel: at('all'), model: MODEL, out: at('changes'), device: 'cpu', threads: 1 } as const;
      await resolveCotypicality(options, { onLog: (line) => log.push(line) });
      return log.filter((line) => / dB|preferred|target label/.test(line));
    };
    expect(await warnings(15, 0.5)).toEqual([
      expect.stringMatching(/ have 15\.0 dB on average\. Below 20 dB, reconstructions differ from their sources/),
      expect.stringContaining('50 % of the translations (chance: 50 %): the model cannot tell these labels apart.'),
    ]);
    expect(await warnings(25, 0.8)).toEqual([]);
    for (const [file, lines] of saved) writeFileSync(file, lines);
  });
});

describe('a text model', () => {
  test('prompts of labels, latents, several labels an image', async () => {
    expect(targetsOf(['A', 'B', 'C'], 'A|C')).toEqual(['B']);
    writeFiles(at('table'), { 'list.csv': 'image,label\na.png,1920\nb.png,1950|1980\n' });
    cpSync(path.join(GOLDEN, 'mini-dataset', '1920', '1920_0.png'), at('table', 'a.png'));
    cpSync(path.join(GOLDEN, 'mini-dataset', '1950', '1950_0.png'), at('table', 'b.png'));
    const notes: string[] = [];
    const options = {
      dataset: at('table', 'list.csv'),
      model: path.join(GOLDEN, 'tiny-sd15'),
      out: at('text'),
      preset: 'cars' as const,
      size: 32,
      inversionSteps: 4,
      inferenceSteps: 2,
      device: 'cpu',
      threads: 1,
    };
    const summary = await translate({ ...options, to: ['1980', '2010'] }, { onLog: (line) => notes.push(line) });
    expect(notes.filter((line) => line.includes('No image has the label'))).toHaveLength(1);
    expect(summary).toMatchObject({ complete: true, translated: 2, translations: 3 });
    const { sequences } = await openParallel(at('text'));
    expect(sequences.map(({ key, label, images: made }) => [key, label, Object.keys(made)])).toEqual([
      ['1920/a', '1920', ['1980', '2010']],
      ['1950%7C1980/b', '1950|1980', ['2010']],
    ]);
  });
});

describe('folders of parallel images', () => {
  test('by other tools: the layout alone', async () => {
    const files = [
      'A%2FB/x/source.png',
      'A%2FB/x/C.png',
      'A%2FB/x/D.jpg',
      'A%2FB/x/note.txt',
      'C/y/C.png',
      'C/y/A%2FB.png',
      'C/empty/note.txt',
      '.hidden/z/source.png',
    ];
    writeFiles(at('bare'), Object.fromEntries(files.map((name) => [name, name])));
    const { labels, sequences, fingerprint } = await openParallel(at('bare'));
    expect(labels).toEqual(['A/B', 'C', 'D']);
    expect(sequences).toEqual([
      {
        key: 'A%2FB/x',
        image: 'A%2FB/x',
        label: 'A/B',
        source: at('bare', 'A%2FB', 'x', 'source.png'),
        images: { C: at('bare', 'A%2FB', 'x', 'C.png'), D: at('bare', 'A%2FB', 'x', 'D.jpg') },
      },
      {
        key: 'C/y',
        image: 'C/y',
        label: 'C',
        source: at('bare', 'C', 'y', 'C.png'),
        images: { 'A/B': at('bare', 'C', 'y', 'A%2FB.png') },
      },
    ]);
    writeFileSync(at('bare', 'C', 'y', 'C.png'), 'other bytes');
    expect((await openParallel(at('bare'))).fingerprint).not.toBe(fingerprint);
    await expect(openParallel(at('nowhere'))).rejects.toMatchObject({ code: 'DATASET_INVALID' });
    writeFiles(at('sourceless'), { 'A/x/C.png': '' });
    await expect(openParallel(at('sourceless'))).rejects.toThrow(failure('DATASET_INVALID', 'has no source image'));
  });

  test('names that any file system takes, without another meaning', () => {
    const named = (...rows: [string, string][]): string[] =>
      sequenceFolders(rows.map(([file, label]) => ({ path: file, label })));
    expect(
      named(['A/x.png', 'A'], ['A/x.jpg', 'A'], ['A/deep/x.png', 'A'], ['pics/x.png', 'B|C'], ['q.png', 'shards']),
    ).toEqual(['A/x.png', 'A/x.jpg', 'A/deep%2Fx', 'B%7CC/pics%2Fx', '%73hards/q']);
    // however they are called, no two images have one folder
    const alike = named(['A/x.png', 'A'], ['A/x.jpg', 'A'], ['A/x.jpg.png', 'A'], ['x.jpg', 'A']);
    expect(new Set(alike).size).toBe(4);
    expect(alike.every((name) => /^A\/x[^/]*$/.test(name))).toBe(true);
    expect([targetFile('source'), targetFile('Reconstruction'), targetFile('a:b'), targetFile('1980')]).toEqual([
      '%73ource.png',
      '%52econstruction.png',
      'a%3Ab.png',
      '1980.png',
    ]);
  });
});

test('the page shows some images of each label, fewer where there are many labels', () => {
  expect([
    rowsShown(1, 5),
    rowsShown(6, 6),
    rowsShown(50, 50),
    rowsShown(200, 200),
    rowsShown(365, 365),
    rowsShown(0, 0),
  ]).toEqual([400, 66, 8, 1, 1, 400]);
});

describe('figures', () => {
  test('PSNR, self-similarity, correlation', () => {
    expect(psnr(Uint8Array.of(0, 10, 20), Uint8Array.of(0, 10, 20))).toBeNull();
    expect(psnr(Uint8Array.of(0, 10, 20, 30), Uint8Array.of(2, 8, 22, 28))).toBeCloseTo(10 * Math.log10(65025 / 4), 10);
    // cells (1, 0), (0, 2), (3, 3), (-1, 0) in two channels of 2 x 2
    const table = selfSimilarity(fromFloat32([1, 2, 2, 2], [1, 0, 3, -1, 0, 2, 3, 0]));
    [0, Math.SQRT1_2, -1, Math.SQRT1_2, 0, -Math.SQRT1_2].forEach((value, i) => expect(table[i]).toBeCloseTo(value, 6));
    expect(selfSimilarity(fromFloat32([1, 1, 40, 20], new Float32Array(800).fill(2)))).toHaveLength((256 * 255) / 2);
    expect(correlation(Float32Array.of(1, 2, 3), Float32Array.of(5, 7, 9))).toBeCloseTo(1, 12);
    expect(correlation(Float32Array.of(1, 2, 3), Float32Array.of(4, 1, 4))).toBeCloseTo(0, 12);
    expect(correlation(Float32Array.of(1, 1), Float32Array.of(4, 1))).toBe(0);
  });
});
