// Original checkpoints, written by diffusers' own converter: every tensor is that of the folder, and what is computed is what diffusers computes.
import { unetOf } from '../../src/models/denoiser.js';
import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Engine, readSafetensors, readSafetensorsHeader, writeSafetensors } from '../../src/engine/index.js';
import { fromFloat32, toFloat32 } from '../../src/engine/tensor.js';
import type { ModelPart, RenamedTensor, Tensor } from '../../src/engine/types.js';
import { clipTokenizer } from '../../src/models/clip-tokenizer.js';
import { openModel, type ModelFolder } from '../../src/models/index.js';
import { int64Numbers } from '../../src/engine/tensor.js';
import { scan } from '../../src/stages/scan/scan.js';
import { GOLDEN, temporaryFolder, writeFiles } from '../helpers/folders.js';

const root = temporaryFolder();
const DATA = path.join(__dirname, '..', 'data', 'checkpoints');
const tokenizer = path.join(GOLDEN, 'tiny-sd15', 'tokenizer');
const file = (name: string): string => path.join(DATA, name);
const error = (code: string, message: RegExp, hint?: RegExp) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(message) as unknown,
    ...(hint && { hint: expect.stringMatching(hint) as unknown }),
  });
const KINDS = [
  ['sd1', {}],
  ['sd2', { prediction: 'v_prediction' }],
  ['sdxl', {}],
] as const;

/** The bytes that a renamed tensor stands for; whole rows of a matrix are together in the file. */
function bytesOf({ stored, rows, transposed }: RenamedTensor, tensors: Record<string, Tensor>): Uint8Array {
  const { data, shape } = tensors[stored] as Tensor;
  if (transposed) {
    const [from = 0, to = 0] = shape;
    const bytes = data.length / from / to;
    const cells = Array.from({ length: from * to }, (_, i) => (i % from) * to + Math.floor(i / from));
    return Buffer.concat(cells.map((cell) => data.subarray(cell * bytes, (cell + 1) * bytes)));
  }
  const row = data.length / (shape[0] ?? 1);
  return rows ? data.subarray(rows[0] * row, rows[1] * row) : data;
}

describe.each(KINDS)('%s', (kind, options) => {
  let model: ModelFolder;
  beforeAll(async () => {
    model = await openModel(file(`${kind}.safetensors`), { tokenizer, ...options });
  });

  test('has the tensors of its folder under their names', () => {
    const expected = JSON.parse(readFileSync(file(`${kind}.json`), 'utf8')) as Record<
      string,
      Record<string, [number[], string]>
    >;
    const tensors = readSafetensors(file(`${kind}.safetensors`));
    const shapes = readSafetensorsHeader(file(`${kind}.safetensors`)).tensors;
    const found = (part: ModelPart<unknown> | undefined): Record<string, [number[], string]> =>
      Object.fromEntries(
        (part?.tensors ?? []).map((one) => [
          one.name,
          [
            one.shape ??
              (one.rows
                ? [one.rows[1] - one.rows[0], ...(shapes[one.stored]?.shape.slice(1) ?? [])]
                : shapes[one.stored]?.shape),
            createHash('sha256').update(bytesOf(one, tensors)).digest('hex').slice(0, 16),
          ] as [number[], string],
        ]),
      );
    expect(found(model.source.unet)).toEqual(expected.unet);
    expect(found(model.source.vae)).toEqual(expected.vae);
    expect(model.source.textEncoders?.map(found)).toEqual(
      [expected.text_encoder, expected.text_encoder_2].filter((part) => part !== undefined),
    );
  });

  test('computes what diffusers computes', async () => {
    const golden = readSafetensors(file(`${kind}-golden.safetensors`));
    const engine = new Engine({ device: 'cpu', dtype: 'fp32' });
    const close = (got: Tensor, wanted: Tensor | undefined): void => {
      const [a, b] = [toFloat32(got), toFloat32(wanted as Tensor)];
      expect(a.length).toBe(b.length);
      const scale = Math.max(...b.map(Math.abs));
      expect(Math.max(...a.map((value, i) => Math.abs(value - (b[i] as number)))) / scale).toBeLessThan(1e-4);
    };
    try {
      await engine.loadModel(model.source);
      const ids = golden.ids as Tensor;
      const embeddings = await engine.encodeText((model.source.textEncoders ?? []).map(() => ids));
      close(embeddings.text, golden.embeddings);
      if (kind === 'sdxl') close(embeddings.pooled as Tensor, golden.pooled);
      const conditions = await engine.prepareConditions({
        ...embeddings,
        ...(golden.time_ids && { timeIds: golden.time_ids }),
      });
      const { sample } = await engine.unetForward(conditions, {
        x: golden.x as Tensor,
        timesteps: [10, 700],
        conditionIndex: [0, 1],
      });
      close(sample, golden.noise);
      const { data, shape } = golden.image as Tensor;
      const { mean } = await engine.vaeEncode([
        { pixels: data, width: shape[2] as number, height: shape[1] as number },
      ]);
      close(mean, golden.mean);
    } finally {
      await engine.dispose();
    }
  });

  test('scans to the same bytes as the folder that it was made of', async () => {
    // diffusers' configs, and tensors whose bytes are its folder's, as tested above
    const folder = path.join(root, kind);
    const configs = JSON.parse(readFileSync(file(`${kind}-configs.json`), 'utf8')) as Record<string, unknown>;
    writeFiles(folder, Object.fromEntries(Object.entries(configs).map(([name, json]) => [name, JSON.stringify(json)])));
    for (const name of kind === 'sdxl' ? ['tokenizer', 'tokenizer_2'] : ['tokenizer'])
      cpSync(tokenizer, path.join(folder, name), { recursive: true });
    const stored = readSafetensors(file(`${kind}.safetensors`));
    const shapes = readSafetensorsHeader(file(`${kind}.safetensors`)).tensors;
    const { unet, vae, textEncoders: [text, text2] = [] } = model.source;
    const parts = { unet, vae, text_encoder: text, text_encoder_2: text2 };
    for (const [part, source] of Object.entries(parts)) {
      if (!source) continue;
      const tensors = (source.tensors ?? []).map((one) => {
        const { dtype, shape } = shapes[one.stored] as { dtype: Tensor['dtype']; shape: number[] };
        const rows = one.rows ? [one.rows[1] - one.rows[0], ...shape.slice(1)] : shape;
        return [one.name, { dtype, shape: one.shape ?? rows, data: bytesOf(one, stored) }] as const;
      });
      const weights = part.startsWith('text') ? 'model' : 'diffusion_pytorch_model';
      writeSafetensors(path.join(folder, part, `${weights}.safetensors`), Object.fromEntries(tensors));
    }
    const scanned = async (from: string, out: string, more: object): Promise<Record<string, string>> => {
      const run = path.join(root, `${kind}-${out}`);
      const dataset = path.join(GOLDEN, 'mini-dataset');
      const settings = { samples: 2, size: 64, patch: 16, batch: 4, dtype: 'fp32', device: 'cpu' } as const;
      await scan({ model: from, dataset, out: run, limit: 4, prompt: 'a {label}', ...settings, ...more });
      const names = readdirSync(path.join(run, 'shards'), { recursive: true, encoding: 'utf8' });
      const files = names.filter((name) => /\.(parquet|safetensors)$/.test(name)).sort();
      expect(files.length).toBeGreaterThan(1);
      const digest = (name: string): string =>
        createHash('sha256')
          .update(readFileSync(path.join(run, 'shards', name)))
          .digest('hex');
      return Object.fromEntries(files.map((name) => [name, digest(name)]));
    };
    expect(await scanned(file(`${kind}.safetensors`), 'file', { tokenizer, ...options })).toEqual(
      await scanned(folder, 'folder', {}),
    );
  });

  test('takes a LoRA of its weights, and refuses one of other shapes when it is opened', async () => {
    const expected = JSON.parse(readFileSync(file(`${kind}.json`), 'utf8')) as Record<
      string,
      Record<string, [number[], string]>
    >;
    const write = (name: string, wider: number): string => {
      const tensors: Record<string, Tensor> = {};
      const zeros = (shape: number[]): Tensor =>
        fromFloat32(shape, new Float32Array(shape.reduce((product, size) => product * size, 1)));
      for (const part of ['unet', 'text_encoder', 'text_encoder_2'])
        for (const [weight, [shape]] of Object.entries(expected[part] ?? {})) {
          const [rows = 0, ...rest] = shape;
          if (!weight.endsWith('.weight') || rest.length === 0) continue;
          const module = `${part}.${weight.slice(0, -'.weight'.length)}`;
          tensors[`${module}.lora_A.weight`] = zeros([1, ...rest]);
          tensors[`${module}.lora_B.weight`] = zeros([rows + wider, 1, ...rest.slice(1).map(() => 1)]);
        }
      expect(Object.keys(tensors).length).toBeGreaterThan(100);
      const place = path.join(root, name);
      writeSafetensors(place, tensors);
      return place;
    };
    const open = (lora: string): Promise<ModelFolder> =>
      openModel(file(`${kind}.safetensors`), { tokenizer, ...options, lora: [lora] });
    const { source } = await open(write(`${kind}-fits.safetensors`, 0));
    expect(unetOf(source).updates?.length).toBeGreaterThan(50);
    await expect(open(write(`${kind}-wider.safetensors`, 1))).rejects.toEqual(
      error('MODEL_INVALID', /does not have the shape of the weight/, /trained from this model/),
    );
  });

  test('is described like a folder', () => {
    expect(model.summary()).toMatchObject({
      kind: 'latent',
      conditioning: 'text',
      vaeFactor: 8,
      prediction: kind === 'sd2' ? 'v_prediction' : 'epsilon',
    });
    expect(model.sampleSize).toBe({ sd1: 512, sd2: 768, sdxl: 1024 }[kind]);
    if (kind === 'sdxl') {
      expect(model.source.unet?.config).toMatchObject({
        transformerLayers: [1, 1, 2],
        addedEmbedding: { pooled: 16, size: 8 },
      });
      expect(model.source.vae?.config.scalingFactor).toBe(0.13025);
      expect(model.zeroNull).toBe(true);
    }
  });
});

/** A checkpoint with other tensors. */
function changed(
  kind: string,
  name: string,
  change: (tensors: Record<string, Tensor>) => void,
  metadata: Record<string, string> = {},
): string {
  const tensors = readSafetensors(file(`${kind}.safetensors`));
  change(tensors);
  const target = path.join(root, `${name}.safetensors`);
  writeSafetensors(target, tensors, metadata);
  return target;
}

test('averages of the weights are read unless others are asked for', async () => {
  const place = changed('sd1', 'ema', (tensors) => {
    for (const [name, tensor] of Object.entries(tensors))
      if (name.startsWith('model.diffusion_model.')) tensors[`model_ema.${name.slice(6).replaceAll('.', '')}`] = tensor;
    tensors['model_ema.decay'] = { dtype: 'F32', shape: [], data: Buffer.alloc(4) };
    tensors.betas = { dtype: 'F32', shape: [2], data: Buffer.alloc(8) };
  });
  const ema = await openModel(place, { tokenizer });
  expect(unetOf(ema.source).tensors?.every(({ stored }) => stored.startsWith('model_ema.'))).toBe(true);
  const other = await openModel(place, { tokenizer, variant: 'non_ema' });
  expect(unetOf(other.source).tensors?.every(({ stored }) => stored.startsWith('model.'))).toBe(true);
  expect(other.opened).toEqual({ tokenizer, variant: 'non_ema' });
  expect(other.fingerprint).not.toBe(ema.fingerprint);
  await expect(openModel(file('sd1.safetensors'), { tokenizer, variant: 'ema' })).rejects.toEqual(
    error('INVALID_ARGUMENT', /no weights of the variant 'ema'/),
  );
});

test('what 2.x predicts is known from metadata, a YAML file or the option; else it is asked for', async () => {
  const open = async (place: string): Promise<string> =>
    (await openModel(place, { tokenizer })).source.schedule.prediction;
  await expect(open(file('sd2.safetensors'))).rejects.toEqual(
    error('INVALID_ARGUMENT', /does not say what it predicts/, /`prediction`/),
  );
  await expect(open(changed('sd2', 'spec', () => undefined, { 'modelspec.prediction_type': 'v' }))).resolves.toBe(
    'v_prediction',
  );
  const place = path.join(root, 'yaml', 'model.safetensors');
  mkdirSync(path.dirname(place));
  copyFileSync(file('sd2.safetensors'), place);
  writeFileSync(place.replace('.safetensors', '.yaml'), 'model:\n  params:\n    parameterization: "v"\n');
  await expect(open(place)).resolves.toBe('v_prediction');
});

test("CLIP's heads, which some programs keep, are ignored; another vocabulary asks for its tokenizer", async () => {
  const place = changed('sd1', 'heads', (tensors) => {
    tensors['cond_stage_model.logit_scale'] = { dtype: 'F32', shape: [], data: Buffer.alloc(4) };
    tensors['cond_stage_model.transformer.text_projection.weight'] = {
      dtype: 'F32',
      shape: [1, 1],
      data: Buffer.alloc(4),
    };
  });
  await expect(openModel(place, { tokenizer })).resolves.toMatchObject({ kind: 'latent' });
  await expect(openModel(place)).rejects.toEqual(
    error('MODEL_INVALID', /tokenizer has ids up to 49407/, /^Give `tokenizer`/),
  );
});

test('a tensor that has no place, an incomplete checkpoint, other files', async () => {
  const stray = changed('sd1', 'stray', (tensors) => {
    tensors['model.diffusion_model.adapter.weight'] = { dtype: 'F32', shape: [1], data: Buffer.alloc(4) };
  });
  await expect(openModel(stray, { tokenizer })).rejects.toEqual(
    error('MODEL_UNSUPPORTED', /no part of.*: model\.diffusion_model\.adapter\.weight/),
  );
  const unet = changed('sd1', 'unet', (tensors) => {
    for (const name of Object.keys(tensors)) if (name.startsWith('first_stage_model')) delete tensors[name];
  });
  await expect(openModel(unet, { tokenizer })).rejects.toEqual(error('MODEL_INVALID', /has no VAE/));
  await expect(
    openModel(path.join(GOLDEN, 'tiny-sd15', 'unet', 'diffusion_pytorch_model.safetensors')),
  ).rejects.toEqual(error('MODEL_INVALID', /is the UNet of a model folder/));
  const torn = changed('sdxl', 'torn', (tensors) => {
    for (const name of Object.keys(tensors)) if (name.startsWith('conditioner.embedders.1.')) delete tensors[name];
  });
  await expect(openModel(torn, { tokenizer })).rejects.toEqual(error('MODEL_INVALID', /has no second text encoder/));
  const refiner = changed('sdxl', 'refiner', (tensors) => {
    for (const [name, tensor] of Object.entries(tensors)) {
      if (name.startsWith('conditioner.')) delete tensors[name];
      if (name.startsWith('conditioner.embedders.1.')) tensors[name.replace('embedders.1', 'embedders.0')] = tensor;
    }
  });
  await expect(openModel(refiner, { tokenizer })).rejects.toEqual(error('MODEL_UNSUPPORTED', /is the refiner of SDXL/));
  const other: [string[], RegExp, RegExp][] = [
    [['model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight'], /it is Stable Diffusion 3/, /model folder/],
    [['double_blocks.0.img_attn.qkv.weight'], /of the kind of Flux/, /Supported are/],
    [['lora_unet_mid_block.lora_up.weight'], /it is a LoRA/, /`lora`/],
    [['control_model.input_blocks.0.0.weight'], /it is a ControlNet/, /give that model/],
    [['emb_params'], /it is a textual inversion/, /give that model/],
    [['text_model.encoder.layers.0.mlp.fc1.weight'], /it is a text encoder/, /Give a model folder/],
    [['first_stage_model.encoder.conv_in.weight'], /it is a VAE/, /`vae`/],
    [['something'], /or XL\.$/, /Give a model folder/],
  ];
  for (const [names, what, hint] of other) {
    const place = path.join(root, 'other.safetensors');
    writeSafetensors(place, Object.fromEntries(names.map((name) => [name, fromFloat32([1], Float32Array.of(0))])));
    await expect(openModel(place, { tokenizer })).rejects.toEqual(error('MODEL_INVALID', what, hint));
  }
  const pickle = path.join(root, 'v1-5.ckpt');
  writeFileSync(pickle, '');
  await expect(openModel(pickle)).rejects.toEqual(
    error('MODEL_INVALID', /pickle file/, /python -c '.*torch\.load\(".*v1-5\.ckpt".*"v1-5\.safetensors"\)'/),
  );
  await expect(openModel(path.join(GOLDEN, 'tiny-sd15'), { tokenizer })).rejects.toEqual(
    error('INVALID_ARGUMENT', /`tokenizer` is for checkpoints/),
  );
});

test("CLIP's own tokenizer comes with the package", async () => {
  const own = await clipTokenizer('clip');
  expect(own.vocabSize).toBe(49_408);
  // as published: https://huggingface.co/openai/clip-vit-large-patch14
  expect(int64Numbers(own.encode(['a photo of a cat'])).slice(0, 9)).toEqual([
    49406, 320, 1125, 539, 320, 2368, 49407, 49407, 49407,
  ]);
  expect(int64Numbers((await clipTokenizer('openclip')).encode(['a photo of a cat'])).slice(5, 9)).toEqual([
    2368, 49407, 0, 0,
  ]);
});
