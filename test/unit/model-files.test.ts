// Model folders as Python, editors and hubs leave them: numbers that are not finite, byte-order marks, weights under other names.
import { unetOf } from '../../src/models/denoiser.js';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseJson } from '../../src/util/json.js';
import { inspect } from '../../src/tools/inspect/inspect.js';
import { defaultSize } from '../../src/models/model.js';
import { openModel, variantForEach } from '../../src/models/open.js';
import { copyPart, writeJson } from '../../src/models/write.js';
import { readSafetensors, writeSafetensors } from '../../src/engine/index.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const root = temporaryFolder();
const sd15 = path.join(GOLDEN, 'tiny-sd15');
const error = (code: string, message: RegExp, hint?: RegExp) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(message) as unknown,
    ...(hint && { hint: expect.stringMatching(hint) as unknown }),
  });

let count = 0;
/** A copy of the golden model, changed. */
function changed(change: (folder: string) => void): string {
  const folder = path.join(root, `model${++count}`);
  cpSync(sd15, folder, { recursive: true });
  change(folder);
  return folder;
}
const rewrite = (file: string, change: (text: string) => string | Buffer): void =>
  writeFileSync(file, change(readFileSync(file, 'utf8')));
const basenames = (files: readonly string[]): string[] => files.map((file) => path.basename(file));

describe('JSON files', () => {
  const FILES = [
    'model_index.json',
    'unet/config.json',
    'vae/config.json',
    'text_encoder/config.json',
    'scheduler/scheduler_config.json',
    'tokenizer/tokenizer_config.json',
    'tokenizer/special_tokens_map.json',
  ];

  test.each(FILES)('%s with -Infinity, Infinity and NaN under keys that change nothing', async (name) => {
    const folder = changed((place) =>
      rewrite(path.join(place, name), (text) =>
        text.replace('{', '{"lambda_min_clipped": -Infinity, "x": Infinity, "y": [NaN, "NaN, -Infinity", 1],'),
      ),
    );
    await expect(openModel(folder)).resolves.toMatchObject({ kind: 'latent' });
  });

  test.each([...FILES, 'tokenizer/vocab.json'])('%s with a byte-order mark, and in UTF-16', async (name) => {
    const plain = await openModel(sd15);
    for (const bytes of [
      (text: string) => `\uFEFF${text}`,
      (text: string) => Buffer.from(`\uFEFF${text}`, 'utf16le'),
    ]) {
      const model = await openModel(changed((place) => rewrite(path.join(place, name), bytes)));
      expect(model.source.schedule).toEqual(plain.source.schedule);
      expect(model.tokenizers?.[0]?.encode(['A car!'])).toEqual(plain.tokenizers?.[0]?.encode(['A car!']));
    }
  });

  test.each([
    ['scheduler/scheduler_config.json', 'beta_start', 'NaN'],
    ['scheduler/scheduler_config.json', 'clip_sample_range', 'Infinity'],
    ['unet/config.json', 'norm_eps', '-Infinity'],
    ['vae/config.json', 'scaling_factor', 'NaN'],
    ['text_encoder/config.json', 'layer_norm_eps', 'Infinity'],
    ['unet/config.json', 'sample_size', 'Infinity'],
    ['scheduler/scheduler_config.json', 'num_train_timesteps', 'NaN'],
  ])('%s: %s = %s is refused, and named as it is written', async (name, key, value) => {
    const folder = changed((place) =>
      rewrite(path.join(place, name), (text) =>
        text
          .replace('{', `{"${key}": ${value},`)
          .replace(new RegExp(`("${key}": [^,]*,)([\\s\\S]*?)"${key}": [^,}]*,`), '$1$2'),
      ),
    );
    await expect(openModel(folder)).rejects.toEqual(
      error('MODEL_INVALID', new RegExp(`'${key}' is ${value} instead of a `)),
    );
  });

  test('a VAE whose scaling factor is null is refused; one without the key has that of diffusers', async () => {
    const vae = (change: (config: Record<string, unknown>) => Record<string, unknown>): string =>
      changed((place) =>
        rewrite(path.join(place, 'vae', 'config.json'), (text) =>
          JSON.stringify(change(JSON.parse(text) as Record<string, unknown>)),
        ),
      );
    await expect(openModel(vae((config) => ({ ...config, scaling_factor: null })))).rejects.toEqual(
      error('MODEL_INVALID', /vae.config.json': 'scaling_factor' is null/),
    );
    const model = await openModel(vae((config) => ({ ...config, scaling_factor: undefined })));
    expect(model.source.vae?.config.scalingFactor).toBe(0.18215);
  });

  test('what is not JSON of Python either is still refused', async () => {
    const folder = changed((place) =>
      rewrite(path.join(place, 'scheduler', 'scheduler_config.json'), (text) => text.replace('{', '{"a": -inf,')),
    );
    await expect(openModel(folder)).rejects.toEqual(error('MODEL_INVALID', /scheduler_config.json' is not JSON/));
    const bytes = changed((place) =>
      writeFileSync(path.join(place, 'model_index.json'), Buffer.from('{"a": "é"}', 'latin1')),
    );
    await expect(openModel(bytes)).rejects.toEqual(error('MODEL_INVALID', /model_index.json' is not JSON: .*utf-8/));
  });
});

describe('variants of weights', () => {
  const name = 'diffusion_pytorch_model';
  const unet = (change: (folder: string) => void): string => changed((place) => change(path.join(place, 'unet')));
  const move = (folder: string, to: string): void =>
    renameSync(path.join(folder, `${name}.safetensors`), path.join(folder, to));
  const copy = (folder: string, to: string): void =>
    cpSync(path.join(folder, `${name}.safetensors`), path.join(folder, to));

  test.each(['non_ema', 'bf16', 'ema', 'fp8-e4m3'])(
    'only %s: the file and the choice are named, and the choice works',
    async (variant) => {
      const folder = unet((place) => move(place, `${name}.${variant}.safetensors`));
      await expect(openModel(folder)).rejects.toEqual(
        error(
          'MODEL_INVALID',
          new RegExp(`unet' has its weights only as a variant: '${name}.${variant}.safetensors'`),
          new RegExp(`\`variant\` ${variant} `),
        ),
      );
      const model = await openModel(folder, { variant });
      expect(model).toMatchObject({ variant });
      expect(model.summary()).toMatchObject({
        variant,
        parts: { unet: { files: [`${name}.${variant}.safetensors`] }, vae: { files: [`${name}.safetensors`] } },
      });
    },
  );

  test('several: all are named', async () => {
    const folder = unet((place) => {
      copy(place, `${name}.bf16.safetensors`);
      move(place, `${name}.non_ema.safetensors`);
    });
    await expect(openModel(folder)).rejects.toEqual(
      error(
        'MODEL_INVALID',
        /as variants: 'diffusion_pytorch_model.bf16.safetensors', 'diffusion_pytorch_model.non_ema.safetensors'/,
        /`variant` bf16 or `variant` non_ema/,
      ),
    );
  });

  test('the requested variant is preferred to the plain one, and the fingerprints differ', async () => {
    const folder = unet((place) => copy(place, `${name}.non_ema.safetensors`));
    const [plain, other] = await Promise.all([openModel(folder), openModel(folder, { variant: 'non_ema' })]);
    expect(basenames(unetOf(plain.source).files)).toEqual([`${name}.safetensors`]);
    expect(basenames(unetOf(other.source).files)).toEqual([`${name}.non_ema.safetensors`]);
    expect(other.fingerprint).not.toBe(plain.fingerprint);
  });

  test('of any part', async () => {
    const folder = changed((place) => {
      renameSync(
        path.join(place, 'text_encoder', 'model.safetensors'),
        path.join(place, 'text_encoder', 'model.bf16.safetensors'),
      );
      renameSync(path.join(place, 'vae', `${name}.safetensors`), path.join(place, 'vae', `${name}.bf16.safetensors`));
    });
    await expect(openModel(folder)).rejects.toEqual(error('MODEL_INVALID', /vae' has its weights only as a variant/));
    expect(
      (await openModel(folder, { variant: 'bf16' })).source.textEncoders?.[0]?.files.map((file) => path.basename(file)),
    ).toEqual(['model.bf16.safetensors']);
  });

  test('one that no part has', async () => {
    await expect(openModel(sd15, { variant: 'fp61' })).rejects.toEqual(
      error('INVALID_ARGUMENT', /has no weights of the variant 'fp61'/, /unet: none; vae: none; text_encoder: none/),
    );
    const folder = unet((place) => copy(place, `${name}.fp16.safetensors`));
    await expect(openModel(folder, { variant: 'fp61' })).rejects.toEqual(
      error('INVALID_ARGUMENT', /'fp61'/, /unet: none, fp16;|unet: fp16, none;/),
    );
  });

  /** Splits the UNet's weights into shards of these names, listed in `index`. */
  function shard(folder: string, names: readonly string[], index: string): void {
    const tensors = Object.entries(readSafetensors(path.join(folder, `${name}.safetensors`)));
    const map: Record<string, string> = {};
    names.forEach((file, i) => {
      const part = tensors.filter((_, k) => k % names.length === i);
      writeSafetensors(path.join(folder, file), Object.fromEntries(part));
      for (const [tensor] of part) map[tensor] = file;
    });
    rmSync(path.join(folder, `${name}.safetensors`));
    writeFileSync(
      path.join(folder, index),
      `\uFEFF${JSON.stringify({ metadata: { total_size: 1, ratio: '?' }, weight_map: map }).replace('"?"', 'NaN')}`,
    );
  }
  const two = (make: (i: number) => string): string[] => [1, 2].map(make);

  test.each([
    [
      'as diffusers writes them',
      two((i) => `${name}.bf16-0000${i}-of-00002.safetensors`),
      `${name}.safetensors.index.bf16.json`,
    ],
    [
      'as older ones did',
      two((i) => `${name}-0000${i}-of-00002.bf16.safetensors`),
      `${name}.bf16.safetensors.index.json`,
    ],
  ])('in shards, %s', async (_, names, index) => {
    const folder = unet((place) => shard(place, names, index));
    await expect(openModel(folder)).rejects.toEqual(
      error('MODEL_INVALID', new RegExp(`only as a variant: '${index}'`), /`variant` bf16/),
    );
    expect(basenames(unetOf((await openModel(folder, { variant: 'bf16' })).source).files)).toEqual(names);
    rmSync(path.join(folder, 'unet', index));
    await expect(openModel(folder, { variant: 'bf16' })).rejects.toEqual(
      error('MODEL_INVALID', /has sharded weights \('diffusion_pytorch_model.*\), but no index file/),
    );
  });

  test('a copied part is read without asking for the variant', async () => {
    for (const sharded of [false, true]) {
      const folder = unet((place) => {
        copy(place, 'kept.safetensors');
        if (sharded)
          shard(
            place,
            two((i) => `${name}.ema-0000${i}-of-00002.safetensors`),
            `${name}.safetensors.index.ema.json`,
          );
        else move(place, `${name}.ema.safetensors`);
        renameSync(path.join(place, 'kept.safetensors'), path.join(place, `${name}.safetensors`));
      });
      const { source } = await openModel(folder, { variant: 'ema' });
      const target = path.join(root, `copied${++count}`);
      cpSync(folder, target, { recursive: true });
      mkdirSync(path.join(target, 'unet'), { recursive: true });
      await copyPart(folder, target, 'unet', unetOf(source).files);
      const { source: copied } = await openModel(target);
      expect(unetOf(copied).files).toHaveLength(sharded ? 2 : 1);
      const [ours, theirs] = [copied, source].map(
        (one) =>
          Object.assign({}, ...unetOf(one).files.map((file) => readSafetensors(file))) as Record<string, unknown>,
      );
      expect(Object.keys(ours ?? {}).sort()).toEqual(Object.keys(theirs ?? {}).sort());
      expect(ours?.['conv_in.weight']).toEqual(theirs?.['conv_in.weight']);
      expect(existsSync(path.join(target, 'unet', 'config.json'))).toBe(true);
      expect(readdirSync(path.join(target, 'unet')).filter((file) => file.includes('.ema.safetensors'))).toEqual([]);
    }
  });

  test('of several models, only one has to have it', async () => {
    const [ema, none] = [unet((place) => copy(place, `${name}.ema.safetensors`)), unet(() => undefined)];
    expect(await variantForEach([none, ema], 'ema')).toEqual([{}, { variant: 'ema' }]);
    expect(await variantForEach([ema, ema], 'ema')).toEqual([{ variant: 'ema' }, { variant: 'ema' }]);
    expect(await variantForEach([none, none], 'ema')).toEqual([{ variant: 'ema' }, { variant: 'ema' }]); // refused when they are opened
    expect(await variantForEach([none, ema], undefined)).toEqual([{}, {}]);
  });

  test('low-rank updates remember that of their base', async () => {
    const base = unet((place) => move(place, `${name}.ema.safetensors`));
    const lora = path.join(root, `lora${++count}`);
    mkdirSync(lora);
    writeSafetensors(path.join(lora, 'pytorch_lora_weights.safetensors'), {});
    await writeJson(path.join(lora, 'lora.json'), { format: 'diffmine-lora-1', base, variant: 'ema', scale: 1 });
    expect(await openModel(lora)).toMatchObject({
      variant: 'ema',
      source: { unet: { files: [path.join(base, 'unet', `${name}.ema.safetensors`)] } },
    });
    expect((await inspect(lora)).kind).toBe('model');
    rewrite(path.join(lora, 'lora.json'), (text) => text.replace('"scale": 1', '"scale": NaN'));
    await expect(openModel(lora)).rejects.toEqual(error('MODEL_INVALID', /lora.json does not name the base model/));
  });

  test('weights with unknown names', async () => {
    await expect(openModel(unet((place) => move(place, 'unet.safetensors')))).rejects.toEqual(
      error('MODEL_INVALID', /only 'unet.safetensors'/, /Rename/),
    );
    await expect(openModel(unet((place) => move(place, `${name}.non_ema.bin`)))).rejects.toEqual(
      error('MODEL_INVALID', /'diffusion_pytorch_model.non_ema.bin' only/),
    );
  });
});

test('a configuration that is written again keeps numbers that are not finite', async () => {
  const file = path.join(root, 'config.json');
  await writeJson(file, { a: [NaN, -Infinity, 'NaN'], b: Infinity });
  expect(readFileSync(file, 'utf8')).toMatch(/"b": Infinity/);
  expect(parseJson(readFileSync(file, 'utf8'))).toEqual({ a: [NaN, -Infinity, 'NaN'], b: Infinity });
});

describe('sample_size', () => {
  const sized = (unet: unknown, vae: unknown): string =>
    changed((place) => {
      for (const [part, value] of [
        ['unet', unet],
        ['vae', vae],
      ] as const) {
        rewrite(path.join(place, part, 'config.json'), (text) => {
          const config = { ...(JSON.parse(text) as Record<string, unknown>), sample_size: value };
          return JSON.stringify(config); // undefined leaves the key out
        });
      }
    });
  test.each([
    [8, 256, 64, 'unet'],
    [[12, 8], null, 64, 'unet'],
    [null, 256, 256, 'vae'],
    [undefined, 256, 256, 'vae'],
    [null, [512, 384], 384, 'vae'],
    [null, 100, 96, 'vae'],
    [null, null, 512, 'default'],
    [undefined, undefined, 512, 'default'],
  ])('%j of the UNet, %j of the VAE: %d px', async (unet, vae, sampleSize, sampleSizeOf) => {
    expect(await openModel(sized(unet, vae))).toMatchObject({ sampleSize, sampleSizeOf });
  });
  test.each([[0], [-8], ['64'], [[]], [[64, null]], [1.5]])('%j is refused', async (unet) => {
    await expect(openModel(sized(unet, 64))).rejects.toEqual(error('MODEL_INVALID', /'sample_size' is /));
  });
  test('of pixel models: 64 cells', async () => {
    const folder = path.join(root, 'pixels');
    cpSync(path.join(GOLDEN, 'tiny-fold'), folder, { recursive: true });
    rewrite(path.join(folder, 'unet', 'config.json'), (text) =>
      JSON.stringify({ ...(JSON.parse(text) as object), sample_size: null }),
    );
    const model = await openModel(folder);
    expect(model).toMatchObject({ sampleSize: 128, fold: 2 });
    const told: string[] = [];
    expect(defaultSize(model, (sentence) => told.push(sentence))).toBe(128);
    expect(told).toEqual([expect.stringMatching(/gives no sample_size: the size is 128 px \(`size` sets another\)/)]);
    expect(defaultSize(await openModel(sd15), (sentence) => told.push(sentence))).toBe(64);
    expect(told).toHaveLength(1);
  });
});
