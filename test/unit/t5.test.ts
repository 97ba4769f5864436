// Stable Diffusion 3 with its T5: opened, left out, and what does not fit; the tokenizer beyond the golden prompts. Numbers are checked by verify.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Engine, readSafetensors, writeSafetensors } from '../../src/engine/index.js';
import { fromInt64, int64Numbers, toFloat32 } from '../../src/engine/tensor.js';
import { charsmap } from '../../src/models/charsmap.js';
import { encodePrompts, openModel, type ModelFolder } from '../../src/models/index.js';
import { neededFiles } from '../../src/models/hub/files.js';
import { T5Tokenizer } from '../../src/models/t5-tokenizer.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const MODEL = path.join(GOLDEN, 'tiny-sd3-t5');
const scratch = temporaryFolder();
const json = (file: string): Record<string, unknown> =>
  JSON.parse(readFileSync(path.join(MODEL, file), 'utf8')) as Record<string, unknown>;
let count = 0;

/** A copy of the model with other keys in a JSON file. */
function changed(file: string, keys: Record<string, unknown>): string {
  const folder = path.join(scratch, `model${++count}`);
  cpSync(MODEL, folder, { recursive: true });
  writeFileSync(path.join(folder, file), JSON.stringify({ ...json(file), ...keys }));
  return folder;
}

async function embeddings(model: ModelFolder, prompts: string[]): Promise<{ shape: number[]; rows: Float32Array[] }> {
  const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
  try {
    await engine.loadModel(model.source);
    const { text } = await encodePrompts(engine, model, prompts, {}, 12);
    const [tokens = 0, width = 0] = text.shape.slice(1);
    const all = toFloat32(text);
    return {
      shape: text.shape,
      rows: Array.from({ length: prompts.length * tokens }, (_, i) => all.subarray(i * width, (i + 1) * width)),
    };
  } finally {
    await engine.dispose();
  }
}

test('T5 is used where a folder has it, its tokens after those of CLIP; zeros without it', async () => {
  const [whole, without] = [await openModel(MODEL), await openModel(MODEL, { t5: false })];
  expect(whole.source.t5?.config).toMatchObject({ dModel: json('text_encoder_3/config.json').d_model });
  expect(without.source.t5).toBeUndefined();
  expect(without.opened).toEqual({ t5: false });
  expect(without.fingerprint).not.toBe(whole.fingerprint);
  // of the parts that stay in memory
  expect(whole.summary().parameters).toBe(without.summary().parameters);
  expect(whole.summary().parts.t5?.parameters).toBeGreaterThan(0);
  const prompts = ['a photo of the house', 'two'];
  const [a, b] = [await embeddings(whole, prompts), await embeddings(without, prompts)];
  expect(a.shape).toEqual([2, 77 + 12, json('transformer/config.json').joint_attention_dim]);
  expect(b.shape).toEqual(a.shape);
  a.rows.forEach((row, i) => {
    const other = b.rows[i] as Float32Array;
    if (i % 89 < 77) expect(other).toEqual(row);
    else expect([row.some((value) => value !== 0), other.every((value) => value === 0)]).toEqual([true, true]);
  });
});

test.each([
  ['another width', 'text_encoder_3/config.json', { d_model: 8 }, /T5 \(text_encoder_3\) gives 8 channels/],
  ['another vocabulary', 'text_encoder_3/config.json', { vocab_size: 40 }, /ids up to \d+, but .* vocab_size is 40/],
  ['the first T5', 'text_encoder_3/config.json', { feed_forward_proj: 'relu' }, /feed_forward_proj = "relu"/],
  ['no unigrams', 'tokenizer_3/tokenizer.json', { model: { type: 'BPE', vocab: {} } }, /is not a unigram tokenizer/],
  ['another normalizer', 'tokenizer_3/tokenizer.json', { normalizer: { type: 'NFKC' } }, /has the normalizer "NFKC"/],
  [
    'a torn table',
    'tokenizer_3/tokenizer.json',
    { normalizer: { type: 'Precompiled', precompiled_charsmap: 'AAA' } },
    /damaged/,
  ],
])('refused: %s', async (_, file, keys, message) => {
  const folder = changed(file, keys);
  await expect(openModel(folder)).rejects.toThrow(message);
  await openModel(folder, { t5: false }); // its files are not looked at
});

test('refused: a part that model_index.json lists is missing', async () => {
  for (const part of ['text_encoder_3', 'tokenizer_3']) {
    const folder = changed('model_index.json', {});
    rmSync(path.join(folder, part), { recursive: true });
    await expect(openModel(folder)).rejects.toThrow(new RegExp(`no ${part}/ folder, but .* lists T5`));
    await openModel(folder, { t5: false });
  }
  const tokenizer = changed('model_index.json', {});
  rmSync(path.join(tokenizer, 'tokenizer_3', 'tokenizer.json'));
  await expect(openModel(tokenizer)).rejects.toThrow(/spiece\.model' is missing, and so is tokenizer\.json/);
});

test('damaged weights and foreign token ids are refused when T5 is used', async () => {
  const folder = changed('model_index.json', {});
  const file = path.join(folder, 'text_encoder_3', 'model.safetensors');
  const tensors = readSafetensors(file);
  const norm = tensors['encoder.final_layer_norm.weight'];
  norm?.data.fill(255); // NaN
  writeSafetensors(file, tensors);
  await expect(embeddings(await openModel(folder), ['a'])).rejects.toMatchObject({ code: 'WEIGHTS_INVALID' });
  const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
  await engine.loadModel((await openModel(MODEL)).source);
  await expect(engine.encodeT5(fromInt64([1, 2], [0, 5000]))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await engine.dispose();
});

test('the hub: T5 is downloaded unless it is left out', () => {
  const index = json('model_index.json');
  const names = [
    'model_index.json',
    'text_encoder_3/config.json',
    'text_encoder_3/model.safetensors',
    'tokenizer_3/spiece.model',
    'tokenizer_3/tokenizer.json',
    'transformer/config.json',
    'transformer/diffusion_pytorch_model.safetensors',
  ];
  const listed = Object.fromEntries(Object.entries(index).filter(([name]) => /^_|transformer|_3$/.test(name)));
  expect(neededFiles(names, listed)).toMatchObject({ files: names, complete: true });
  expect(neededFiles(names, listed, { t5: false }).files).toEqual(names.filter((name) => !name.includes('_3/')));
});

describe('the tokenizer', () => {
  let tokenizer: T5Tokenizer;
  beforeAll(async () => {
    tokenizer = await T5Tokenizer.open(path.join(MODEL, 'tokenizer_3'));
  });
  const ids = (text: string, tokens = 8): number[] => int64Numbers(tokenizer.encode([text], tokens));

  test('pads, and cuts before the end', () => {
    expect(ids('').slice(0, 3)).toEqual([1, 0, 0]);
    const long = ids('a photo of the house '.repeat(9));
    expect([long.length, long.at(-1), long.includes(0)]).toEqual([8, 1, false]);
  });

  test('white space makes no difference, unknown characters that follow one another are one token', () => {
    expect(ids('  two \n red')).toEqual(ids('two red'));
    expect(ids('世')).toEqual(ids('世界'));
  });
});

describe("SentencePiece's own file instead of tokenizer.json", () => {
  const SPIECE = readFileSync(path.join(__dirname, '..', 'data', 't5', 'spiece.model'));
  const withFile = (bytes: Uint8Array): string => {
    const folder = changed('model_index.json', {});
    rmSync(path.join(folder, 'tokenizer_3', 'tokenizer.json'));
    writeFileSync(path.join(folder, 'tokenizer_3', 'spiece.model'), bytes);
    return folder;
  };

  test('gives the same ids', async () => {
    const [own, converted] = [(await openModel(withFile(SPIECE))).t5Tokenizer, (await openModel(MODEL)).t5Tokenizer];
    for (const text of [
      'a photo of Paris',
      "A HOUSE,  1920's!",
      '\uff21\uff22\u00a0\ufb01ne cafe\u0301\u2026 \u2460\u200bx',
      '\u4e16\u754c \u2581mark a\u2581b </s> tail',
      ' padded\tand\nbroken ',
      '',
    ])
      expect([text, own?.encode([text], 40)]).toEqual([text, converted?.encode([text], 40)]);
  });

  test.each([
    ['empty', Buffer.alloc(0), /spiece\.model' is not a model of SentencePiece/],
    ['cut off', SPIECE.subarray(0, 1500), /is not a model of SentencePiece, or is damaged/],
    ['of another kind', Buffer.from('a pointer to a file that was not fetched'), /is not a model of SentencePiece/],
    // a trainer's model_type after the others counts
    ['of another kind of model', Buffer.concat([SPIECE, Buffer.from([18, 2, 24, 2])]), /is not a unigram model/],
  ])('refused: %s', async (_, bytes, message) => {
    await expect(openModel(withFile(bytes))).rejects.toThrow(message);
  });
});

test('a table of replacements: the shortest key, whole characters first', () => {
  const { normalizer } = json('tokenizer_3/tokenizer.json') as { normalizer: { precompiled_charsmap: string } };
  const normalize = charsmap(normalizer.precompiled_charsmap, 'tokenizer.json');
  expect(normalize('\uff21\u00a0\ufb01\u2460e\u0301x')).toBe('A fi1\u00e9x');
  expect(normalize('a\u200bb\u2026')).toBe('ab...');
  expect(normalize('plain 👩‍👩‍👧')).toBe('plain 👩‍👩‍👧');
  expect(normalize('')).toBe('');
});
