// Model folders: what they are recognized as, which parts and options are refused and how the error names them.
import { unetOf } from '../../src/models/denoiser.js';
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { classIds } from '../../src/models/conditions.js';
import { readScheduleConfig, readTextEncoderConfig, readUNetConfig, readVaeConfig } from '../../src/models/configs.js';
import { openModel } from '../../src/models/open.js';
import type { JsonObject } from '../../src/models/json.js';
import { int64Numbers } from '../../src/engine/tensor.js';
import { GOLDEN, sharedGolden, temporaryFolder } from '../helpers/folders.js';

const root = temporaryFolder();
const sd15 = path.join(GOLDEN, 'tiny-sd15');
const fold = path.join(GOLDEN, 'tiny-fold');
const json = (...names: string[]): JsonObject => JSON.parse(readFileSync(path.join(...names), 'utf8')) as JsonObject;
const error = (code: string, message: RegExp, hint?: RegExp) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(message) as unknown,
    ...(hint && { hint: expect.stringMatching(hint) as unknown }),
  });

let count = 0;
/** A copy of a golden model, changed. */
function changed(source: string, change: (folder: string) => void): string {
  const folder = path.join(root, `model${++count}`);
  cpSync(source, folder, { recursive: true });
  change(folder);
  return folder;
}
/** Sets keys of a JSON file; undefined deletes. */
function edit(file: string, values: Record<string, unknown>): void {
  writeFileSync(file, JSON.stringify({ ...json(file), ...values }));
}

describe('golden models', () => {
  test('Stable Diffusion 1.5', async () => {
    const model = await openModel(sd15);
    expect(model).toMatchObject({
      path: sd15,
      kind: 'latent',
      conditioning: 'text',
      sampleSize: 64,
      vaeFactor: 8,
      fold: 1,
      sizeMultiple: 1,
      timestepSpacing: 'leading',
    });
    expect(model.labels).toBeUndefined();
    expect(unetOf(model.source).config).toEqual({
      inChannels: 4,
      outChannels: 4,
      blockOutChannels: [16, 24, 24, 32],
      downBlockTypes: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
      upBlockTypes: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
      midBlockType: 'UNetMidBlock2DCrossAttn',
      layersPerBlock: 2,
      attentionHeadDim: [8, 8, 8, 8],
      transformerLayers: [1, 1, 1, 1],
      crossAttentionDim: 32,
      normNumGroups: 8,
      normEps: 1e-5,
      useLinearProjection: false,
      upcastAttention: false,
      scaleShift: false,
      numClassEmbeds: 0,
      flipSinToCos: true,
      freqShift: 0,
      pixelFold: 1,
    });
    expect(model.source.vae?.config).toEqual({
      inChannels: 3,
      outChannels: 3,
      latentChannels: 4,
      blockOutChannels: [8, 8, 16, 16],
      layersPerBlock: 2,
      normNumGroups: 8,
      scalingFactor: 0.18215,
      shiftFactor: 0,
      useQuantConv: true,
      usePostQuantConv: true,
      midBlockAddAttention: true,
    });
    expect(model.source.textEncoders?.[0]?.config).toEqual({
      vocabSize: 694,
      hiddenSize: 32,
      intermediateSize: 64,
      numHiddenLayers: 3,
      numAttentionHeads: 4,
      maxPositionEmbeddings: 77,
      layerNormEps: 1e-5,
      hiddenAct: 'quick_gelu',
    });
    expect(model.source.schedule).toEqual({
      betaSchedule: 'scaled_linear',
      trainTimesteps: 1000,
      betaStart: 0.00085,
      betaEnd: 0.012,
      prediction: 'epsilon',
      setAlphaToOne: false,
      stepsOffset: 1,
      clipSample: false,
      clipSampleRange: 1,
    });
    expect(unetOf(model.source).files).toEqual([path.join(sd15, 'unet', 'diffusion_pytorch_model.safetensors')]);
    expect(model.tokenizers?.[0]?.encode(['A car.']).shape).toEqual([1, 77]);
    const summary = model.summary();
    expect(summary).toEqual(JSON.parse(JSON.stringify(summary)));
    expect(summary).toMatchObject({
      kind: 'latent',
      prediction: 'epsilon',
      parts: { unet: { dtypes: ['F32'] }, vae: { dtypes: ['F32'] }, textEncoder: { dtypes: ['F32'] } },
    });
    // Nearly all of the files' bytes are parameters, 4 each.
    expect(summary.parameters).toBe(Object.values(summary.parts).reduce((sum, part) => sum + part.parameters, 0));
    expect(4 * (summary.parts.unet?.parameters ?? 0)).toBeLessThan(summary.parts.unet?.bytes ?? 0);
    expect(4 * (summary.parts.unet?.parameters ?? 0)).toBeGreaterThan(0.9 * (summary.parts.unet?.bytes ?? 0));
  });

  test('folded pixels with classes and attention up blocks', async () => {
    const model = await openModel(fold);
    expect(model).toMatchObject({
      kind: 'pixel',
      conditioning: 'class',
      labels: ['class0', 'class1', 'class2'],
      sampleSize: 32,
      vaeFactor: 1,
      fold: 2,
      sizeMultiple: 8,
    });
    expect(model.tokenizers).toBeUndefined();
    expect(model.source.vae).toBeUndefined();
    expect(model.source.textEncoders).toBeUndefined();
    expect(unetOf(model.source).config).toMatchObject({
      inChannels: 12,
      numClassEmbeds: 4,
      scaleShift: true,
      pixelFold: 2,
      attentionHeadDim: [8, 8, 8],
      midBlockType: 'UNetMidBlock2D',
    });
    expect(model.source.schedule).toMatchObject({
      betaSchedule: 'linear',
      setAlphaToOne: true,
      stepsOffset: 0,
      clipSample: false,
    });
    expect(int64Numbers(classIds(model, ['class2', '', null, 'class0']))).toEqual([2, 3, 3, 0]);
    expect(() => classIds(model, ['class9'])).toThrow(
      error('INVALID_ARGUMENT', /does not know the label 'class9'/, /'class0', 'class1', 'class2'/),
    );
  });

  const shared = sharedGolden();
  (shared === undefined ? test.skip : test)('the larger golden data (skipped where it is absent)', async () => {
    const sd21 = await openModel(path.join(shared as string, 'tiny-sd21'));
    expect(sd21).toMatchObject({ kind: 'latent', conditioning: 'text', sizeMultiple: 1 });
    expect(unetOf(sd21.source).config).toMatchObject({
      attentionHeadDim: [2, 3, 4, 5],
      useLinearProjection: true,
      upcastAttention: true,
    });
    expect(sd21.source.schedule.prediction).toBe('v_prediction');
    expect(sd21.source.textEncoders?.[0]?.config.hiddenAct).toBe('gelu');
    expect(sd21.summary().parts.unet?.dtypes).toEqual(['F16']);
    expect(await openModel(path.join(shared as string, 'tiny-pixel'))).toMatchObject({
      kind: 'pixel',
      conditioning: 'class',
      sampleSize: 32,
      fold: 1,
      sizeMultiple: 1,
      labels: ['class0', 'class1', 'class2'],
    });
    expect(await openModel(path.join(shared as string, 'tiny-pixel-text'))).toMatchObject({
      kind: 'pixel',
      conditioning: 'text',
      sampleSize: 32,
      sizeMultiple: 1,
      source: { schedule: { clipSample: true } },
    });
  });
});

describe('the fingerprint', () => {
  test('follows the contents, not the place', async () => {
    const print = (await openModel(fold)).fingerprint;
    expect((await openModel(changed(fold, () => undefined))).fingerprint).toBe(print);
    const weights = path.join('unet', 'diffusion_pytorch_model.safetensors');
    const flip = (at: number) => (folder: string) => {
      const bytes = readFileSync(path.join(folder, weights));
      bytes[at < 0 ? bytes.length + at : at] = (bytes[at < 0 ? bytes.length + at : at] as number) ^ 1;
      writeFileSync(path.join(folder, weights), bytes);
    };
    const others = [
      changed(fold, flip(-1)),
      changed(fold, (folder) => edit(path.join(folder, 'scheduler', 'scheduler_config.json'), { beta_end: 0.03 })),
      changed(fold, (folder) => edit(path.join(folder, 'model_index.json'), { id2label: { 0: 'a', 1: 'b', 2: 'c' } })),
    ];
    const prints = await Promise.all(others.map(async (folder) => (await openModel(folder)).fingerprint));
    expect(new Set([print, ...prints]).size).toBe(4);
  });
});

describe('a folder that is not a model', () => {
  test.each([
    ['nowhere', /There is no model folder 'nowhere'/, /complete diffusers.*owner\/name of the Hugging Face hub/],
    [path.join(sd15, 'model_index.json'), /is a file, not a model/, /ends in .safetensors/],
    [path.join(sd15, 'unet'), /has no model_index.json/, /unet\//],
  ])('%s', async (location, message, hint) => {
    await expect(openModel(location)).rejects.toEqual(error('MODEL_INVALID', message, hint));
  });

  test.each(['unet', 'vae', 'text_encoder', 'tokenizer', 'scheduler'])('without %s/', async (part) => {
    const folder = changed(sd15, (place) => rmSync(path.join(place, part), { recursive: true }));
    await expect(openModel(folder)).rejects.toEqual(error('MODEL_INVALID', new RegExp(`has no ${part}/ folder, but`)));
  });

  test('a latent UNet whose index forgets the VAE', async () => {
    const folder = changed(sd15, (place) => {
      rmSync(path.join(place, 'vae'), { recursive: true });
      edit(path.join(place, 'model_index.json'), { vae: [null, null] });
    });
    await expect(openModel(folder)).rejects.toEqual(
      error('MODEL_INVALID', /no vae\/ folder, but it denoises 4 channels/),
    );
  });

  test.each(
    [
      [
        'model_index.json',
        'unet/config.json',
        'vae/config.json',
        'text_encoder/config.json',
        'scheduler/scheduler_config.json',
      ].map((name) => [name] as const),
    ].flat(),
  )('damaged %s', async (name) => {
    const folder = changed(sd15, (place) => writeFileSync(path.join(place, name), '{"a": '));
    await expect(openModel(folder)).rejects.toEqual(error('MODEL_INVALID', new RegExp(`${name}' is not JSON`)));
    writeFileSync(path.join(folder, name), '[]');
    await expect(openModel(folder)).rejects.toEqual(error('MODEL_INVALID', /not a JSON object/));
  });

  test('parts that are not supported', async () => {
    const folder = changed(sd15, (place) =>
      edit(path.join(place, 'model_index.json'), { text_encoder_2: ['transformers', 'CLIPTextModelWithProjection'] }),
    );
    await expect(openModel(folder)).rejects.toEqual(
      error('MODEL_UNSUPPORTED', /'text_encoder_2' \(CLIPTextModelWithProjection\)/),
    );
  });

  test('ignored parts are ignored', async () => {
    const folder = changed(sd15, (place) =>
      edit(path.join(place, 'model_index.json'), {
        safety_checker: ['stable_diffusion', 'StableDiffusionSafetyChecker'],
        feature_extractor: ['transformers', 'CLIPImageProcessor'],
      }),
    );
    expect((await openModel(folder)).kind).toBe('latent');
  });
});

describe('weights', () => {
  const name = 'diffusion_pytorch_model';
  const unet = (change: (folder: string) => void): string => changed(sd15, (place) => change(path.join(place, 'unet')));
  const move = (folder: string, to: string): void =>
    renameSync(path.join(folder, `${name}.safetensors`), path.join(folder, to));

  test.each([`${name}.fp16.safetensors`, 'model.safetensors'])('under the name %s', async (to) => {
    const model = await openModel(unet((folder) => move(folder, to)));
    expect(unetOf(model.source).files.map((file) => path.basename(file))).toEqual([to]);
  });

  test('full precision comes before fp16', async () => {
    const model = await openModel(
      unet((folder) => cpSync(path.join(folder, `${name}.safetensors`), path.join(folder, `${name}.fp16.safetensors`))),
    );
    expect(path.basename(unetOf(model.source).files[0] ?? '')).toBe(`${name}.safetensors`);
  });

  test('shards are found through their index, and missed by name', async () => {
    const index = (files: string[]) => (folder: string) => {
      move(folder, `${name}-00001-of-00001.safetensors`);
      writeFileSync(
        path.join(folder, `${name}.safetensors.index.json`),
        JSON.stringify({ metadata: {}, weight_map: Object.fromEntries(files.map((file, i) => [`t${i}`, file])) }),
      );
    };
    const model = await openModel(
      unet(index([`${name}-00001-of-00001.safetensors`, `${name}-00001-of-00001.safetensors`])),
    );
    expect(unetOf(model.source).files).toHaveLength(1);
    await expect(openModel(unet(index([`${name}-00001-of-00001.safetensors`, 'gone.safetensors'])))).rejects.toEqual(
      error('MODEL_INVALID', /names the shard 'gone.safetensors'/),
    );
    await expect(openModel(unet(index(['../../vae/diffusion_pytorch_model.safetensors'])))).rejects.toEqual(
      error('MODEL_INVALID', /names the shard/),
    );
    await expect(openModel(unet(index([])))).rejects.toEqual(error('MODEL_INVALID', /no weight_map/));
  });

  test('only pickle files', async () => {
    await expect(openModel(unet((folder) => move(folder, `${name}.bin`)))).rejects.toEqual(
      error(
        'MODEL_INVALID',
        /'diffusion_pytorch_model.bin' only/,
        /from_pretrained\(".*\/model\d*"\)\.save_pretrained\("model\d*-safetensors"\)/,
      ),
    );
  });

  test('none, or a Git LFS pointer', async () => {
    await expect(openModel(unet((folder) => rmSync(path.join(folder, `${name}.safetensors`))))).rejects.toEqual(
      error('MODEL_INVALID', /has no weights/),
    );
    const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n';
    await expect(
      openModel(unet((folder) => writeFileSync(path.join(folder, `${name}.safetensors`), pointer))),
    ).rejects.toEqual(error('MODEL_INVALID', /Git LFS pointer/, /git lfs pull/));
  });

  test('damaged headers', async () => {
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.from('no safetensors'),
      readFileSync(path.join(sd15, 'unet', `${name}.safetensors`)).subarray(0, 5000),
    ]) {
      await expect(
        openModel(unet((folder) => writeFileSync(path.join(folder, `${name}.safetensors`), bytes))),
      ).rejects.toEqual(error('WEIGHTS_INVALID', /diffusion_pytorch_model/));
    }
  });

  test('shapes that do not fit the configuration', async () => {
    await expect(
      openModel(unet((folder) => edit(path.join(folder, 'config.json'), { block_out_channels: [32, 24, 24, 32] }))),
    ).rejects.toEqual(
      error(
        'MODEL_INVALID',
        /'conv_in.weight' of unet has shape \[16, 4, 3, 3\], but its config.json asks for \[32, 4, 3, 3\]/,
      ),
    );
    const text = changed(sd15, (place) => edit(path.join(place, 'text_encoder', 'config.json'), { vocab_size: 600 }));
    await expect(openModel(text)).rejects.toEqual(
      error('MODEL_INVALID', /ids up to 693, but the text encoder's vocab_size is 600/),
    );
    const cross = changed(sd15, (place) => edit(path.join(place, 'unet', 'config.json'), { cross_attention_dim: 768 }));
    await expect(openModel(cross)).rejects.toEqual(
      error('MODEL_INVALID', /hidden_size = 32 is not the UNet's cross_attention_dim = 768/),
    );
    const channels = changed(sd15, (place) =>
      edit(path.join(place, 'unet', 'config.json'), { in_channels: 9, out_channels: 9 }),
    );
    await expect(openModel(channels)).rejects.toEqual(error('MODEL_INVALID', /conv_in.weight/));
  });
});

describe('classes', () => {
  const labelled = (id2label: unknown, unet: Record<string, unknown> = {}): string =>
    changed(fold, (place) => {
      edit(path.join(place, 'model_index.json'), { id2label });
      edit(path.join(place, 'unet', 'config.json'), unet);
    });
  test.each([
    [undefined, /has no id2label/],
    [{ 0: 'a', 1: 'b' }, /2 labels in id2label, but num_class_embeds = 4/],
    [{ 0: 'a', 1: 'b', 3: 'c' }, /no name for class 2/],
    [{ 0: 'a', 1: '', 2: 'c' }, /no name for class 1/],
    [{ 0: 'a', 1: 'b', 2: 'a' }, /has the name 'a' twice/],
  ])('id2label %j', async (id2label, message) => {
    await expect(openModel(labelled(id2label))).rejects.toEqual(error('MODEL_INVALID', message));
  });
  test('ids are numbers, not places', async () => {
    const labels = { 2: 'c/<b>', 0: '\u{1f697}', 1: 'b' };
    expect((await openModel(labelled(labels))).labels).toEqual(['\u{1f697}', 'b', 'c/<b>']);
  });
  test('no condition, or both', async () => {
    await expect(openModel(labelled(undefined, { num_class_embeds: null }))).rejects.toEqual(
      error('MODEL_UNSUPPORTED', /is unconditional/),
    );
    await expect(openModel(labelled(undefined, { mid_block_type: 'UNetMidBlock2DCrossAttn' }))).rejects.toEqual(
      error('MODEL_UNSUPPORTED', /both text .* and class labels/),
    );
  });
});

describe('unet/config.json', () => {
  const base = json(sd15, 'unet', 'config.json');
  const read = (values: JsonObject) => readUNetConfig('unet/config.json', { ...base, ...values });

  test.each([
    ['addition_embed_type', 'text_image'],
    ['addition_time_embed_dim', 256],
    ['class_embed_type', 'timestep'],
    ['class_embeddings_concat', true],
    ['dual_cross_attention', true],
    ['encoder_hid_dim', 768],
    ['encoder_hid_dim_type', 'image_proj'],
    ['time_cond_proj_dim', 256],
    ['attention_type', 'gated'],
    ['cross_attention_norm', 'layer_norm'],
    ['resnet_skip_time_act', true],
    ['resnet_out_scale_factor', 2],
    ['conv_in_kernel', 5],
    ['conv_out_kernel', 1],
    ['mid_block_scale_factor', 1.5],
    ['center_input_sample', true],
    ['only_cross_attention', true],
    ['only_cross_attention', [true, true, false, false]],
    ['mid_block_only_cross_attention', true],
    ['act_fn', 'gelu'],
    ['timestep_post_act', 'silu'],
    ['time_embedding_type', 'fourier'],
    ['time_embedding_dim', 100],
    ['time_embedding_act_fn', 'gelu'],
    ['num_attention_heads', 8],
    ['downsample_padding', 0],
    ['resnet_time_scale_shift', 'ada_group'],
    ['mid_block_type', 'UNetMidBlock2DSimpleCrossAttn'],
    ['mid_block_type', null],
    ['reverse_transformer_layers_per_block', [1, 1, 1, 1]],
    ['projection_class_embeddings_input_dim', 10],
    ['transformer_layers_per_block', [[1, 1], 1, 1, 1]],
    ['layers_per_block', [1, 2, 2, 2]],
    ['cross_attention_dim', [32, 32, 32, 64]],
    ['norm_num_groups', null],
    ['attention_head_dim', null],
    ['out_channels', 8],
    ['_class_name', 'UNet2DModel'],
    ['down_block_types', ['CrossAttnDownBlock2D', 'KDownBlock2D', 'DownBlock2D', 'DownBlock2D']],
    ['up_block_types', ['UpBlock2D', 'UpBlock2D', 'ResnetUpsampleBlock2D', 'UpBlock2D']],
  ])('%s = %j is not supported', (key, value) => {
    expect(() => read({ [key]: value })).toThrow(
      error('MODEL_UNSUPPORTED', new RegExp(`'unet/config.json': ${key} = .* is not supported`), /^Supported: ./),
    );
  });

  test.each([
    'in_channels',
    'out_channels',
    'block_out_channels',
    'down_block_types',
    'up_block_types',
    'layers_per_block',
  ])('%s is required', (key) => {
    expect(() => read({ [key]: undefined })).toThrow(
      error('MODEL_INVALID', new RegExp(`'unet/config.json': the key '${key}' is missing`)),
    );
  });

  test.each([
    ['in_channels', '4'],
    ['block_out_channels', []],
    ['block_out_channels', [16, -1]],
    ['norm_eps', 'small'],
    ['use_linear_projection', 1],
    ['sample_size', 0],
    ['layers_per_block', 1.5],
    ['down_block_types', 'DownBlock2D'],
    ['down_block_types', ['DownBlock2D']],
    ['attention_head_dim', [8, 8]],
    ['attention_head_dim', 5],
    ['norm_num_groups', 7],
    ['num_class_embeds', -3],
  ])('%s = %j is invalid', (key, value) => {
    expect(() => read({ [key]: value })).toThrow(error('MODEL_INVALID', new RegExp(key)));
  });

  test("absent keys take diffusers' defaults", () => {
    // The keys of a model published in 2022.
    const {
      sample_size,
      in_channels,
      out_channels,
      block_out_channels,
      down_block_types,
      up_block_types,
      layers_per_block,
    } = base;
    const old = readUNetConfig('c', {
      sample_size,
      in_channels,
      out_channels,
      block_out_channels: (block_out_channels as number[]).map((n) => 4 * n),
      down_block_types,
      up_block_types,
      layers_per_block,
    });
    expect(old).toMatchObject({
      attentionHeadDim: [8, 8, 8, 8],
      crossAttentionDim: 1280,
      normNumGroups: 32,
      normEps: 1e-5,
      useLinearProjection: false,
      upcastAttention: false,
      scaleShift: false,
      numClassEmbeds: 0,
      flipSinToCos: true,
      freqShift: 0,
      midBlockType: 'UNetMidBlock2DCrossAttn',
      transformerLayers: [1, 1, 1, 1],
      pixelFold: 1,
    });
    expect(block_out_channels).toEqual([16, 24, 24, 32]);
  });

  test('lists, nulls, and keys that change nothing', () => {
    expect(
      read({
        layers_per_block: [2, 2, 2, 2],
        transformer_layers_per_block: [1, 2, 3, 4],
        cross_attention_dim: [32, 32, 32, 32],
        sample_size: [96, 64],
        dropout: 0.1,
        use_ema_warmup: true,
        only_cross_attention: [false, false, false, false],
        time_embedding_dim: 64,
        act_fn: 'swish',
      }),
    ).toMatchObject({
      layersPerBlock: 2,
      transformerLayers: [1, 2, 3, 4],
      crossAttentionDim: 32,
      sampleSize: 64,
    });
  });
});

describe('vae/config.json', () => {
  const base = json(sd15, 'vae', 'config.json');
  const read = (values: JsonObject) => readVaeConfig('vae/config.json', { ...base, ...values });
  test.each([
    ['act_fn', 'relu'],
    ['latents_mean', [0, 0, 0, 0]],
    ['down_block_types', ['AttnDownEncoderBlock2D']],
    ['in_channels', 4],
    ['_class_name', 'AsymmetricAutoencoderKL'],
  ])('%s = %j is not supported', (key, value) => {
    expect(() => read({ [key]: value })).toThrow(
      error('MODEL_UNSUPPORTED', new RegExp(`'vae/config.json': ${key} = `)),
    );
  });
  test.each(['in_channels', 'latent_channels', 'block_out_channels', 'layers_per_block', 'down_block_types'])(
    '%s is required',
    (key) => {
      expect(() => read({ [key]: undefined })).toThrow(error('MODEL_INVALID', new RegExp(`'${key}' is missing`)));
    },
  );
  test('defaults', () => {
    const { in_channels, out_channels, latent_channels, layers_per_block, down_block_types, up_block_types } = base;
    expect(
      readVaeConfig('c', {
        in_channels,
        out_channels,
        latent_channels,
        layers_per_block,
        down_block_types,
        up_block_types,
        block_out_channels: [32, 32, 64, 64],
      }),
    ).toMatchObject({
      normNumGroups: 32,
      scalingFactor: 0.18215,
      useQuantConv: true,
      usePostQuantConv: true,
      midBlockAddAttention: true,
    });
  });
});

describe('text_encoder/config.json', () => {
  const base = json(sd15, 'text_encoder', 'config.json');
  const read = (values: JsonObject) => readTextEncoderConfig('text_encoder/config.json', { ...base, ...values });
  test.each([
    ['hidden_act', 'gelu_new'],
    ['max_position_embeddings', 32],
    ['model_type', 't5'],
  ])('%s = %j is not supported', (key, value) => {
    expect(() => read({ [key]: value })).toThrow(error('MODEL_UNSUPPORTED', new RegExp(`${key} = `)));
  });
  test.each(['vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads'])(
    '%s is required',
    (key) => {
      expect(() => read({ [key]: undefined })).toThrow(error('MODEL_INVALID', new RegExp(`'${key}' is missing`)));
    },
  );
  test('the text half of a full CLIP configuration, which leaves out defaults', () => {
    expect(
      readTextEncoderConfig('c', {
        model_type: 'clip',
        text_config: { hidden_size: 768, num_attention_heads: 12, intermediate_size: 3072 },
        vision_config: {},
      }),
    ).toEqual({
      vocabSize: 49408,
      hiddenSize: 768,
      intermediateSize: 3072,
      numHiddenLayers: 12,
      numAttentionHeads: 12,
      maxPositionEmbeddings: 77,
      layerNormEps: 1e-5,
      hiddenAct: 'quick_gelu',
    });
  });
});

describe('scheduler_config.json', () => {
  test('absent keys are what DDIM takes them for', () => {
    expect(readScheduleConfig('s', {})).toEqual({
      betaSchedule: 'linear',
      trainTimesteps: 1000,
      betaStart: 0.0001,
      betaEnd: 0.02,
      prediction: 'epsilon',
      setAlphaToOne: true,
      stepsOffset: 0,
      clipSample: true,
      clipSampleRange: 1,
      timestepSpacing: 'leading',
    });
  });
  test('another spacing is recorded, not refused: only sampling uses it', () =>
    expect(readScheduleConfig('s', { timestep_spacing: 'trailing' }).timestepSpacing).toBe('trailing'));
  test.each([
    ['prediction_type', 'sample'],
    ['beta_schedule', 'sigmoid'],
    ['trained_betas', [0.1]],
    ['rescale_betas_zero_snr', true],
    ['thresholding', true],
    ['_class_name', 'FlowMatchEulerDiscreteScheduler'],
  ])('%s = %j is not supported', (key, value) => {
    expect(() => readScheduleConfig('s', { [key]: value })).toThrow(
      error('MODEL_UNSUPPORTED', new RegExp(`'s': ${key} = `)),
    );
  });
});

test('the golden models in the repository are the shared ones', () => {
  const shared = sharedGolden();
  if (shared === undefined) return;
  for (const file of [
    'tiny-sd15/unet/diffusion_pytorch_model.safetensors',
    'tiny-fold/unet/config.json',
    'tiny-sd15/tokenizer/vocab.json',
  ]) {
    expect(existsSync(path.join(shared, file))).toBe(true);
    expect(Buffer.compare(readFileSync(path.join(shared, file)), readFileSync(path.join(GOLDEN, file)))).toBe(0);
  }
});
