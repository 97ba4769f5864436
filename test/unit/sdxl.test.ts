// Stable Diffusion XL, from its folder to findings: two text encoders, pooled text, image sizes, and the null condition.
import { unetOf } from '../../src/models/denoiser.js';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { devices, Engine, readSafetensors, toFloat32, writeSafetensors } from '../../src/engine/index.js';
import { fromFloat32 } from '../../src/engine/tensor.js';
import type { Dtype, Tensor } from '../../src/engine/types.js';
import { encodePrompts, openModel, type ModelFolder } from '../../src/models/index.js';
import { mine } from '../../src/stages/mine/mine.js';
import { sample } from '../../src/stages/sample/sample.js';
import { scan } from '../../src/stages/scan/scan.js';
import { train } from '../../src/stages/train/train.js';
import { parameterCount } from '../../src/models/parameters.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const XL = path.join(GOLDEN, 'tiny-sdxl');
const scratch = temporaryFolder();

/** A copy of the model with other keys in a JSON file. */
function changed(name: string, file: string, keys: Record<string, unknown>): string {
  const folder = path.join(scratch, name);
  cpSync(XL, folder, { recursive: true });
  const at = path.join(folder, file);
  writeFileSync(at, JSON.stringify({ ...(JSON.parse(readFileSync(at, 'utf8')) as object), ...keys }));
  return folder;
}

test('a folder is opened with both encoders, and its parameters are counted', async () => {
  const model = await openModel(XL);
  const [first, second] = model.source.textEncoders ?? [];
  expect(first?.config).toMatchObject({ hiddenSize: 16, hiddenAct: 'quick_gelu', penultimate: true });
  expect(first?.config.projection).toBeUndefined();
  expect(second?.config).toMatchObject({ hiddenSize: 24, hiddenAct: 'gelu', projection: { dim: 20, eosTokenId: 2 } });
  expect(unetOf(model.source).config.addedEmbedding).toEqual({ pooled: 20, size: 8 });
  expect(model.source.vae?.config.scalingFactor).toBe(0.13025);
  expect(model.source.schedule.clipSample).toBe(false); // Euler steps clip nothing
  expect(model.zeroNull).toBe(true);
  const { parts } = model.summary();
  expect(Object.keys(parts)).toEqual(['unet', 'vae', 'textEncoder', 'textEncoder2']);
  expect(parameterCount(unetOf(model.source).config)).toBe(parts.unet?.parameters);
  // padded with the end token, and with "!"
  expect(model.tokenizers?.map((one) => one.encode(['A car.']).data.at(-8))).toEqual([
    model.tokenizers?.[0]?.encode(['']).data.at(-8),
    0,
  ]);
});

test.each([
  ['another width of pooled text', 'text_encoder_2/config.json', { projection_dim: 24 }, /projection_dim = 24/],
  [
    'five time ids, as the refiner has',
    'unet/config.json',
    { projection_class_embeddings_input_dim: 60 },
    /projection_dim/,
  ],
  [
    'no width of time ids',
    'unet/config.json',
    { addition_time_embed_dim: null },
    /addition_time_embed_dim' is missing/,
  ],
  ['another embedding', 'unet/config.json', { addition_embed_type: 'image' }, /addition_embed_type/],
  ['hidden sizes that do not add up', 'unet/config.json', { cross_attention_dim: 32 }, /add up to 40/],
])('refused: %s', async (name, file, keys, message) => {
  await expect(openModel(changed(name.replaceAll(/\W/g, '-'), file, keys))).rejects.toThrow(message);
});

test('refused: a part is missing', async () => {
  const folder = changed('missing', 'model_index.json', {});
  rmSync(path.join(folder, 'tokenizer_2'), { recursive: true });
  await expect(openModel(folder)).rejects.toThrow(/no tokenizer_2\/ folder/);
});

/**
 * The same VAE with an encoder whose residual stream is 2^16 times as large: the norms divide it away, so that the latents are the same. The weights fit
 * into fp16, what they compute does not, as with SDXL's published VAE.
 *
 * @returns the model, and an image of 32 x 32 px of which the first convolution makes more than fp16 holds
 */
function overflowing(): { folder: string; pixels: Uint8Array } {
  const folder = changed('overflow', 'model_index.json', {});
  const file = path.join(folder, 'vae', 'diffusion_pytorch_model.safetensors');
  const tensors = readSafetensors(file);
  // where the stream begins, what is added to it, and the biases of what changes its width or size
  const enlarged = /^encoder\.(conv_in\.|.*\.conv2\.|.*\.to_out\.0\.|.*\.(conv_shortcut|downsamplers\.0\.conv)\.bias)/;
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!enlarged.test(name)) continue;
    const values = toFloat32(tensor).map((value) => value * 2 ** 16);
    expect(Math.max(...values.map(Math.abs))).toBeLessThan(65504);
    tensors[name] = fromFloat32(tensor.shape, values);
  }
  writeSafetensors(file, tensors);
  // black and white as the signs of one channel's weights [3, 3, 3], around the pixel (9, 9)
  const weights = toFloat32(tensors['encoder.conv_in.weight'] as Tensor);
  const channels = Array.from({ length: weights.length / 27 }, (_, i) => weights.slice(27 * i, 27 * (i + 1)));
  const sum = (values: Float32Array): number => values.reduce((total, value) => total + Math.abs(value), 0);
  const [strongest = new Float32Array()] = channels.sort((one, other) => sum(other) - sum(one));
  const biases = toFloat32(tensors['encoder.conv_in.bias'] as Tensor).map(Math.abs);
  expect(sum(strongest) - Math.max(...biases)).toBeGreaterThan(65504);
  const pixels = Uint8Array.from({ length: 3 * 32 * 32 }, (_, i) => (i * 37) % 256);
  strongest.forEach((weight, i) => {
    const [channel, row, column] = [Math.floor(i / 9), Math.floor(i / 3) % 3, i % 3];
    pixels[3 * (32 * (8 + row) + 8 + column) + channel] = weight > 0 ? 255 : 0;
  });
  return { folder, pixels };
}

test('a VAE that overflows in fp16 gives finite and correct latents, whatever the dtype of the UNet', async () => {
  const { folder, pixels } = overflowing();
  const latents = async (model: string, dtype: Dtype): Promise<Float32Array> => {
    const engine = new Engine({ device: 'cpu', dtype, threads: 1 });
    try {
      await engine.loadModel((await openModel(model)).source);
      const { mean, logvar } = await engine.vaeEncode([{ pixels, width: 32, height: 32 }]);
      expect(toFloat32(logvar).every(Number.isFinite)).toBe(true);
      return toFloat32(mean);
    } finally {
      await engine.dispose();
    }
  };
  const wanted = await latents(XL, 'fp32');
  const scale = Math.max(...wanted.map(Math.abs));
  for (const dtype of devices()[0]?.dtypes ?? []) {
    const got = await latents(folder, dtype);
    expect(Math.max(...got.map((value, i) => Math.abs(value - (wanted[i] ?? NaN)))) / scale).toBeLessThan(1e-4);
  }
});

test('no prompt is zeros where the pipeline says so, a written prompt never', async () => {
  const rows = async (model: ModelFolder, prompts: (string | null)[]): Promise<Float32Array[]> => {
    const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
    try {
      await engine.loadModel(model.source);
      const { text, pooled } = await encodePrompts(engine, model, prompts);
      expect([text.shape, pooled?.shape]).toEqual([
        [prompts.length, 77, 40],
        [prompts.length, 20],
      ]);
      const parts = [text, ...(pooled ? [pooled] : [])].map(toFloat32);
      return prompts.map((_, row) =>
        Float32Array.from(
          parts.flatMap((part) => {
            const size = part.length / prompts.length;
            return [...part.subarray(row * size, (row + 1) * size)];
          }),
        ),
      );
    } finally {
      await engine.dispose();
    }
  };
  const [car, none, empty] = await rows(await openModel(XL), ['A car.', null, '']);
  expect(car?.some((value) => value !== 0)).toBe(true);
  expect(none?.every((value) => value === 0)).toBe(true);
  const [golden] = [readSafetensors(path.join(GOLDEN, 'tiny-sdxl-golden', 'golden.safetensors'))];
  const reference = golden['cond_empty.out.pooled'] as Tensor;
  expect([...(empty ?? [])].slice(-20)).toEqual(
    [...toFloat32(reference)].map((value) => expect.closeTo(value, 4) as number),
  );
  const encoded = await openModel(changed('encoded', 'model_index.json', { force_zeros_for_empty_prompt: false }));
  const [given, spelled] = await rows(encoded, [null, '']);
  expect(given).toEqual(spelled);
});

test('from images to clusters, samples and a fine-tuned LoRA', async () => {
  const dataset = path.join(GOLDEN, 'mini-dataset');
  const common = { threads: 1, device: 'cpu', dtype: 'fp32', prompt: "A car at the {label}'s." } as const;
  const run = path.join(scratch, 'run');
  const scanned = await scan({
    ...common,
    dataset,
    model: XL,
    out: run,
    size: 'source',
    patch: 16,
    samples: 2,
    batch: 16,
  });
  expect(scanned.images).toBe(12);
  const mined = await mine({ run, threads: 1, clusters: 2, top: 8 });
  expect(mined.conditions.every(({ patches, clusters }) => patches === 8 && clusters === 2)).toBe(true);

  const images = path.join(scratch, 'images');
  const sampled = await sample({
    ...common,
    model: XL,
    out: images,
    labels: ['1920'],
    count: 1,
    size: 64,
    inferenceSteps: 2,
  });
  expect(sampled.made).toBe(1);

  const out = path.join(scratch, 'lora');
  await train({ ...common, dataset, from: XL, out, steps: 2, trainBatch: 2, size: 64, loraRank: 2, sampleEvery: 0 });
  expect((await openModel(out)).source.unet?.lora).toMatchObject({ scale: 1 });
});
