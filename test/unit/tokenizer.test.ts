// Token ids equal transformers', and the pad token is found where published models hide it.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Tokenizer } from '../../src/models/tokenizer.js';
import { readSafetensors } from '../../src/engine/index.js';
import { int64Numbers } from '../../src/engine/tensor.js';
import { GOLDEN, sharedGolden, temporaryFolder } from '../helpers/folders.js';

interface Manifest {
  cases: {
    op: string;
    params: { prompts: string[]; text_lengths: number[]; pad_token_id: number };
    outputs: { input_ids: string };
  }[];
}
const root = temporaryFolder();
const tiny = path.join(GOLDEN, 'tiny-sd15', 'tokenizer');
const rows = (data: number[]): number[][] =>
  Array.from({ length: data.length / 77 }, (_, i) => data.slice(77 * i, 77 * (i + 1)));

const shared = sharedGolden();
const goldens = [
  ['tiny-sd15', GOLDEN],
  ...(shared === undefined ? [] : ['tiny-sd21', 'tiny-pixel-text'].map((name) => [name, shared])),
] as [string, string][];
if (shared === undefined)
  console.warn('tokenizer: the larger golden data is absent, tiny-sd21 and tiny-pixel-text are not checked');

test.each(goldens)('%s: every golden prompt', async (name, folder) => {
  const manifest = JSON.parse(readFileSync(path.join(folder, `${name}-golden`, 'manifest.json'), 'utf8')) as Manifest;
  const [golden] = manifest.cases.filter((item) => item.op === 'clip_tokenize');
  if (!golden) throw new Error('no case');
  const expected = readSafetensors(path.join(folder, `${name}-golden`, 'golden.safetensors'), [
    golden.outputs.input_ids,
  ])[golden.outputs.input_ids];
  const tokenizer = await Tokenizer.open(path.join(folder, name, 'tokenizer'));
  const ids = tokenizer.encode(golden.params.prompts);
  expect(ids.shape).toEqual(expected?.shape);
  expect(ids.dtype).toBe('I64');
  expect(rows(int64Numbers(ids))).toEqual(rows(int64Numbers(expected as typeof ids)));
  expect(tokenizer.truncated(golden.params.prompts)).toEqual(
    golden.params.prompts.filter((_, i) => (golden.params.text_lengths[i] as number) > 77),
  );
  // The same from the cache, alone and in another order.
  for (const [i, prompt] of [...golden.params.prompts.entries()].reverse())
    expect(int64Numbers(tokenizer.encode([prompt]))).toEqual(rows(int64Numbers(ids))[i]);
});

test('no texts, and texts that are hard on a tokenizer', async () => {
  const tokenizer = await Tokenizer.open(tiny);
  expect(tokenizer.encode([]).shape).toEqual([0, 77]);
  const odd = [
    '\ud800 lone surrogate',
    '\u0000',
    '<|endoftext|>',
    '<|startoftext|>!',
    '__proto__ constructor',
    'x'.repeat(100_000),
  ];
  const all = rows(int64Numbers(tokenizer.encode(odd)));
  for (const row of all) {
    expect(row[0]).toBe(692);
    expect(row.every((id) => id >= 0 && id < tokenizer.vocabSize)).toBe(true);
  }
  expect(all[2]?.slice(0, 3)).toEqual([692, 693, 693]);
  expect(all[5]?.[76]).toBe(693);
});

describe('the pad token', () => {
  let count = 0;
  async function padOf(files: Record<string, unknown>): Promise<number> {
    const folder = path.join(root, `t${++count}`);
    cpSync(tiny, folder, { recursive: true });
    for (const name of ['tokenizer_config.json', 'special_tokens_map.json']) {
      rmSync(path.join(folder, name), { force: true });
      if (files[name] !== undefined) writeFileSync(path.join(folder, name), JSON.stringify(files[name]));
    }
    return int64Numbers((await Tokenizer.open(folder)).encode(['car']))[76] as number;
  }
  const end = 693;
  const vocab = JSON.parse(readFileSync(path.join(tiny, 'vocab.json'), 'utf8')) as Record<string, number>;

  test.each([
    ['in neither file', {}, end],
    ['a string', { 'tokenizer_config.json': { pad_token: '!' } }, vocab['!']],
    ['an object', { 'special_tokens_map.json': { pad_token: { content: '!', normalized: true } } }, vocab['!']],
    [
      'as in SD 2.1, whose files differ',
      { 'tokenizer_config.json': { pad_token: '<|endoftext|>' }, 'special_tokens_map.json': { pad_token: '!' } },
      vocab['!'],
    ],
    [
      'of the newer kind of file',
      {
        'tokenizer_config.json': { pad_token: '!', added_tokens_decoder: {} },
        'special_tokens_map.json': { pad_token: '<|endoftext|>' },
      },
      vocab['!'],
    ],
  ])('%s', async (_, files, expected) => expect(await padOf(files)).toBe(expected));

  test('a token that is not in the vocabulary is named', async () => {
    await expect(padOf({ 'tokenizer_config.json': { pad_token: '[PAD]' } })).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining("'[PAD]'") as unknown,
    });
  });
});

describe('the vocabulary', () => {
  test('comes from tokenizer.json where that is all there is, in both ways of writing merges', async () => {
    const merges = readFileSync(path.join(tiny, 'merges.txt'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    const vocab = JSON.parse(readFileSync(path.join(tiny, 'vocab.json'), 'utf8')) as Record<string, number>;
    const texts = ["A car at the 1950's.", 'Portrait', 'façade!'];
    const expected = int64Numbers((await Tokenizer.open(tiny)).encode(texts));
    for (const [i, written] of [merges, merges.map((line) => line.split(' '))].entries()) {
      const folder = path.join(root, `whole${i}`);
      cpSync(tiny, folder, { recursive: true });
      rmSync(path.join(folder, 'vocab.json'));
      rmSync(path.join(folder, 'merges.txt'));
      writeFileSync(
        path.join(folder, 'tokenizer.json'),
        JSON.stringify({ model: { type: 'BPE', vocab, merges: written } }),
      );
      expect(int64Numbers((await Tokenizer.open(folder)).encode(texts))).toEqual(expected);
    }
  });

  test.each([
    ['vocab.json', '[1, 2]', /not a JSON object/],
    ['vocab.json', '{"a": "b"}', /not a vocabulary/],
    ['vocab.json', '{"a": 0}', /no token '<\|startoftext\|>'/],
    ['vocab.json', '{', /not JSON/],
    ['merges.txt', '#version: 0.2\na b c\n', /not a pair: 'a b c'/],
  ])('%s with %j is refused', async (name, text, message) => {
    const folder = path.join(root, `bad-${Math.random()}`);
    cpSync(tiny, folder, { recursive: true });
    writeFileSync(path.join(folder, name), text);
    await expect(Tokenizer.open(folder)).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringMatching(message) as unknown,
    });
  });

  test('a folder without one', async () => {
    await expect(Tokenizer.open(path.join(root, 'nowhere'))).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('neither vocab.json') as unknown,
    });
  });
});
