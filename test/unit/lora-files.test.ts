// LoRA files in the names of kohya, PEFT and diffusers, and another VAE: what is applied, and that nothing is left out in silence.
import { unetOf } from '../../src/models/denoiser.js';
import { cpSync, readFileSync, writeFileSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { Engine, readSafetensors, readSafetensorsHeader, writeSafetensors } from '../../src/engine/index.js';
import { fromFloat32, toFloat32 } from '../../src/engine/tensor.js';
import type { Tensor } from '../../src/engine/types.js';
import { openModel } from '../../src/models/index.js';
import { parseLora } from '../../src/models/lora.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const root = temporaryFolder();
const sd15 = path.join(GOLDEN, 'tiny-sd15');
const error = (code: string, message: RegExp, hint?: RegExp) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(message) as unknown,
    ...(hint && { hint: expect.stringMatching(hint) as unknown }),
  });

const LINEAR = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q';
const CONV = 'down_blocks.0.resnets.0.conv1';
const TEXT = 'text_model.encoder.layers.0.self_attn.q_proj';
const RANK = 2;
const some = (shape: number[], seed: number): Tensor =>
  fromFloat32(
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(seed + i) / 4),
  );
const DOWN = { [LINEAR]: some([RANK, 16], 1), [CONV]: some([RANK, 16, 3, 3], 2), [TEXT]: some([RANK, 32], 3) };
const UP = { [LINEAR]: some([16, RANK], 4), [CONV]: some([16, RANK, 1, 1], 5), [TEXT]: some([32, RANK], 6) };

let files = 0;
function lora(
  names: (module: string) => [down: string, up: string, alpha?: string],
  more: Record<string, Tensor> = {},
  metadata: Record<string, string> = {},
): string {
  const tensors: Record<string, Tensor> = { ...more };
  for (const module of [LINEAR, CONV, TEXT] as const) {
    const [down, up, alpha] = names(module);
    tensors[down] = DOWN[module];
    tensors[up] = UP[module];
    if (alpha !== undefined) tensors[alpha] = fromFloat32([], [1]);
  }
  const file = path.join(root, `lora${++files}.safetensors`);
  writeSafetensors(file, tensors, metadata);
  return file;
}
const kohya = (module: string): [string, string, string] => {
  const name = `${module === TEXT ? 'lora_te_' : 'lora_unet_'}${module.replaceAll('.', '_')}`;
  return [`${name}.lora_down.weight`, `${name}.lora_up.weight`, `${name}.alpha`];
};
const peft = (module: string): [string, string] => {
  const name = `${module === TEXT ? 'text_encoder' : 'unet'}.${module}`;
  return [`${name}.lora_A.weight`, `${name}.lora_B.weight`];
};

/** By weight: the scale of its update. */
async function scales(given: string[]): Promise<Record<string, number[]>> {
  const { source } = await openModel(sd15, { lora: given });
  const all = [...(unetOf(source).updates ?? []), ...(source.textEncoders?.[0]?.updates ?? [])];
  const weights = [...new Set(all.map(({ weight }) => weight))];
  return Object.fromEntries(
    weights.map((weight) => [weight, all.filter((one) => one.weight === weight).map(({ scale }) => scale)]),
  );
}
const every = (...values: number[]) => ({
  [`${LINEAR}.weight`]: values,
  [`${CONV}.weight`]: values,
  [expectedText()]: values,
});
const expectedText = (): string =>
  Object.keys(readSafetensors(path.join(sd15, 'text_encoder', 'model.safetensors'))).find((name) =>
    name.endsWith('layers.0.self_attn.q_proj.weight'),
  ) as string;

test('names of kohya with alphas, of PEFT with metadata, of diffusers', async () => {
  await expect(scales([lora(kohya)])).resolves.toEqual(every(0.5));
  await expect(scales([lora(peft)])).resolves.toEqual(every(1));
  const metadata = {
    lora_adapter_metadata: JSON.stringify({
      'unet.r': 2,
      'unet.lora_alpha': 8,
      'text_encoder.r': 2,
      'text_encoder.lora_alpha': 8,
    }),
  };
  await expect(scales([`${lora(peft, {}, metadata)}:0.5`])).resolves.toEqual(every(2));
  const old = lora((module) =>
    module === LINEAR
      ? [
          `unet.${module.replace('.to_q', '.processor.to_q_lora')}.down.weight`,
          `unet.${module.replace('.to_q', '.processor.to_q_lora')}.up.weight`,
        ]
      : module === TEXT
        ? [`text_encoder.${module}.lora_linear_layer.down.weight`, `text_encoder.${module}.lora_linear_layer.up.weight`]
        : [`unet.${module}.lora.down.weight`, `unet.${module}.lora.up.weight`],
  );
  await expect(scales([old, `${old}:-0.25`])).resolves.toEqual(every(1, -0.25));
  expect(parseLora('C:/a:b.safetensors')).toEqual({ file: 'C:/a:b.safetensors', scale: 1 });
});

test('the weights are those with the updates added', async () => {
  const place = path.join(root, 'merged');
  cpSync(sd15, place, { recursive: true });
  for (const [part, file, modules] of [
    ['unet', 'diffusion_pytorch_model', [LINEAR, CONV]],
    ['text_encoder', 'model', [TEXT]],
  ] as const) {
    const at = path.join(place, part, `${file}.safetensors`);
    const tensors = readSafetensors(at);
    for (const module of modules) {
      const name = module === TEXT ? expectedText() : `${module}.weight`;
      const weight = tensors[name] as Tensor;
      const [values, down, up] = [toFloat32(weight), toFloat32(DOWN[module]), toFloat32(UP[module])];
      const width = down.length / RANK;
      const merged = Array.from(values, (value, i) => {
        let sum = 0;
        for (let r = 0; r < RANK; r++)
          sum += (up[Math.floor(i / width) * RANK + r] as number) * (down[r * width + (i % width)] as number);
        return value + 0.5 * 0.5 * sum;
      });
      tensors[name] = fromFloat32(weight.shape, merged);
    }
    writeSafetensors(at, tensors);
  }
  const noiseOf = async (location: string, given: string[]): Promise<Float32Array> => {
    const model = await openModel(location, { lora: given });
    const engine = new Engine({ device: 'cpu', dtype: 'fp32' });
    try {
      await engine.loadModel(model.source);
      const text = await engine.encodeText([model.tokenizers?.[0]?.encode(['a car']) as Tensor]);
      const conditions = await engine.prepareConditions(text);
      const { sample } = await engine.unetForward(conditions, {
        x: some([1, 4, 8, 8], 9),
        timesteps: [300],
        conditionIndex: [0],
      });
      return toFloat32(sample);
    } finally {
      await engine.dispose();
    }
  };
  const plain = await noiseOf(sd15, []);
  const merged = await noiseOf(place, []);
  const got = await noiseOf(sd15, [`${lora(kohya)}:0.5`]);
  const largest = (a: Float32Array, b: Float32Array): number =>
    Math.max(...a.map((value, i) => Math.abs(value - (b[i] as number))));
  expect(largest(got, merged)).toBeLessThan(1e-5);
  expect(largest(plain, merged)).toBeGreaterThan(1e-3);
});

test('names that kohya keeps for SDXL: every module of the original UNet', async () => {
  const given = { tokenizer: path.join(sd15, 'tokenizer') };
  const sdxl = path.join(__dirname, '..', 'data', 'checkpoints', 'sdxl.safetensors');
  const { tensors: shapes } = readSafetensorsHeader(sdxl);
  const modules = (unetOf((await openModel(sdxl, given)).source).tensors ?? []).flatMap(({ name, stored }) => {
    const { shape } = shapes[stored] as { shape: number[] };
    const module = stored.replace(/^model\.diffusion_model\.|\.weight$/g, '').replaceAll('.', '_');
    return name.endsWith('.weight') && shape.length > 1 ? [{ module: `lora_unet_${module}`, weight: name, shape }] : [];
  });
  expect(modules.length).toBeGreaterThan(100);
  const file = path.join(root, 'sdxl.safetensors');
  const both = modules.flatMap(({ module, shape: [rows = 0, ...inner] }) => [
    [`${module}.lora_down.weight`, some([1, ...inner], 1)] as const,
    [`${module}.lora_up.weight`, some([rows, 1, ...inner.slice(1).map(() => 1)], 2)] as const,
  ]);
  writeSafetensors(file, Object.fromEntries(both));
  const updates = unetOf((await openModel(sdxl, { ...given, lora: [file] })).source).updates ?? [];
  expect(
    Object.fromEntries(updates.map(({ down, weight }) => [down.replace('.lora_down.weight', ''), weight])),
  ).toEqual(Object.fromEntries(modules.map(({ module, weight }) => [module, weight])));
});

test('a file of no LoRA is named by what it has', async () => {
  const of = async (tensors: Record<string, Tensor>): Promise<unknown> => {
    const file = path.join(root, `other${++files}.safetensors`);
    writeSafetensors(file, tensors);
    return openModel(sd15, { lora: [file] });
  };
  await expect(of({ 'lora_unet_x.hada_w1_a': some([2], 1) })).rejects.toEqual(
    error('MODEL_UNSUPPORTED', /cannot be applied .*: lora_unet_x\.hada_w1_a\.$/, /Merge it into the model/),
  );
  await expect(of({ emb_params: some([2], 1) })).rejects.toEqual(
    error('MODEL_INVALID', /has no LoRA weights, but: emb_params\.$/, /format of diffusers, PEFT or kohya/),
  );
});

test('what cannot be applied is named', async () => {
  const open = async (...given: string[]) => openModel(sd15, { lora: given });
  await expect(
    open(lora(kohya, { 'lora_unet_down_blocks_0_resnets_0_conv1.lora_mid.weight': some([2, 2, 3, 3], 1) })),
  ).rejects.toEqual(
    error(
      'MODEL_UNSUPPORTED',
      /cannot be applied.*: lora_unet_down_blocks_0_resnets_0_conv1\.lora_mid\.weight/,
      /Merge it/,
    ),
  );
  await expect(
    open(
      lora(kohya, {
        'lora_unet_x_y.lora_down.weight': some([2, 4], 1),
        'lora_unet_x_y.lora_up.weight': some([4, 2], 1),
      }),
    ),
  ).rejects.toEqual(error('MODEL_UNSUPPORTED', /does not have: lora_unet_x_y\./, /this kind of model/));
  await expect(open(lora(kohya, { [`unet.${LINEAR}.hada_w1_a`]: some([2, 2], 1) }))).rejects.toEqual(
    error('MODEL_UNSUPPORTED', /hada_w1_a/),
  );
  await expect(
    open(lora((module) => (module === CONV ? [kohya(module)[0], 'x.alpha'] : kohya(module)))),
  ).rejects.toEqual(error('MODEL_UNSUPPORTED', /does not have|lacks one/));
  // of another width, and with matrices of different ranks: before anything is loaded
  const key = `lora_unet_${LINEAR.replace('to_q', 'to_k').replaceAll('.', '_')}`;
  for (const [down, up] of [
    [some([2, 32], 1), some([16, 2], 1)],
    [some([3, 16], 1), some([16, 2], 1)],
  ] as const)
    await expect(
      open(lora(kohya, { [`${key}.lora_down.weight`]: down, [`${key}.lora_up.weight`]: up })),
    ).rejects.toEqual(
      error('MODEL_INVALID', /attn1\.to_k\.weight' does not have the shape/, /trained from this model/),
    );
  for (const [alpha, told] of [
    [NaN, /attn1_to_k is not finite/],
    [0, /attn1_to_k is 0, so its update changes nothing/],
  ] as const)
    await expect(
      open(
        lora(kohya, {
          [`${key}.lora_down.weight`]: some([2, 16], 1),
          [`${key}.lora_up.weight`]: some([16, 2], 1),
          [`${key}.alpha`]: fromFloat32([], [alpha]),
        }),
      ),
    ).rejects.toEqual(error('WEIGHTS_INVALID', told));
  await expect(open(path.join(root, 'none.safetensors:2'))).rejects.toEqual(error('MODEL_INVALID', /no LoRA file/));
  writeFileSync(path.join(root, 'lora.bin'), '');
  await expect(open(path.join(root, 'lora.bin'))).rejects.toEqual(error('MODEL_INVALID', /pickle file/));
  await expect(open(path.join(sd15, 'vae', 'diffusion_pytorch_model.safetensors'))).rejects.toEqual(
    error('MODEL_INVALID', /no LoRA weights/),
  );
});

describe('another VAE', () => {
  const own = path.join(sd15, 'vae');
  test('from a file, its folder or a model', async () => {
    const plain = await openModel(sd15);
    const weights = path.join(own, 'diffusion_pytorch_model.safetensors');
    const shifted = path.join(root, 'vae.safetensors');
    const tensors = readSafetensors(weights);
    tensors['quant_conv.bias'] = fromFloat32([8], new Array<number>(8).fill(1));
    writeSafetensors(shifted, tensors);
    const other = await openModel(sd15, { vae: shifted });
    expect(other.source.vae).toEqual({ config: plain.source.vae?.config, files: [shifted] });
    expect(other.opened).toEqual({ vae: shifted });
    for (const place of [own, sd15]) {
      const found = await openModel(sd15, { vae: place });
      expect(found.source.vae).toEqual(plain.source.vae);
      expect(found.fingerprint).not.toBe(other.fingerprint);
      expect(found.summary().parameters).toBe(plain.summary().parameters);
    }
  });

  test('of a model whose VAE shifts latents', async () => {
    const sd3 = path.join(GOLDEN, 'tiny-sd3-t5');
    const plain = await openModel(sd3);
    const other = await openModel(sd3, { vae: path.join(sd3, 'vae', 'diffusion_pytorch_model.safetensors') });
    expect(plain.source.vae?.config.shiftFactor).not.toBe(0);
    expect(other.source.vae?.config).toEqual(plain.source.vae?.config);
    // T5's weights count in neither
    expect(other.summary().parameters).toBe(plain.summary().parameters);
  });

  test('what is none, or of another kind', async () => {
    await expect(openModel(sd15, { vae: path.join(root, 'none') })).rejects.toEqual(
      error('MODEL_INVALID', /There is no VAE/),
    );
    await expect(
      openModel(sd15, { vae: path.join(sd15, 'unet', 'diffusion_pytorch_model.safetensors') }),
    ).rejects.toEqual(error('MODEL_INVALID', /is not a VAE/));
    await expect(openModel(path.join(GOLDEN, 'tiny-fold'), { vae: own })).rejects.toEqual(
      error('MODEL_INVALID', /has no VAE that/),
    );
    const wide = path.join(root, 'wide');
    mkdirSync(wide);
    const config = JSON.parse(readFileSync(path.join(own, 'config.json'), 'utf8')) as Record<string, unknown>;
    writeFileSync(path.join(wide, 'config.json'), JSON.stringify({ ...config, latent_channels: 16 }));
    cpSync(
      path.join(own, 'diffusion_pytorch_model.safetensors'),
      path.join(wide, 'diffusion_pytorch_model.safetensors'),
    );
    await expect(openModel(sd15, { vae: wide })).rejects.toEqual(error('MODEL_INVALID', /16 channels.*own 4/));
  });
});
