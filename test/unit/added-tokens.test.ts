// Tokens added to a tokenizer: each is one id, found in prompts as transformers finds it.
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { AddedTokenSplitter, type AddedToken } from '../../src/models/added-tokens.js';
import { openModel } from '../../src/models/open.js';
import { Tokenizer } from '../../src/models/tokenizer.js';
import { int64Numbers } from '../../src/engine/tensor.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

interface Case {
  name: string;
  /** written over those of the tiny tokenizer, merged key by key; `whole`: instead of them */
  files: Record<string, Record<string, unknown>>;
  whole?: boolean;
  /** ids with start and end, neither cut nor padded */
  prompts: { text: string; ids: number[] }[];
}

const root = temporaryFolder();
const tiny = path.join(GOLDEN, 'tiny-sd15', 'tokenizer');
/** Made by test/data/added-tokens/make.py. */
const cases = JSON.parse(
  readFileSync(path.join(__dirname, '..', 'data', 'added-tokens', 'cases.json'), 'utf8'),
) as Case[];
const vocab = JSON.parse(readFileSync(path.join(tiny, 'vocab.json'), 'utf8')) as Record<string, number>;
const FIRST = 694;

let count = 0;
function folderWith(files: Record<string, Record<string, unknown>>, whole = false): string {
  const folder = path.join(root, `t${++count}`);
  cpSync(tiny, folder, { recursive: true });
  if (whole)
    for (const name of ['vocab.json', 'merges.txt', 'tokenizer_config.json', 'special_tokens_map.json'])
      rmSync(path.join(folder, name));
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(folder, name);
    const known = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as object) : {};
    writeFileSync(file, JSON.stringify({ ...known, ...content }));
  }
  return folder;
}
const open = (files: Record<string, Record<string, unknown>>): Promise<Tokenizer> => Tokenizer.open(folderWith(files));
/** All ids up to the first end token after the first place, pads cut off. */
function idsOf(tokenizer: Tokenizer, text: string, length: number): number[] {
  return int64Numbers(tokenizer.encode([text])).slice(0, length);
}

test.each(cases.map((one) => [one.name, one] as const))(
  '%s: ids are those of transformers',
  async (_, { files, whole, prompts }) => {
    const merges = readFileSync(path.join(tiny, 'merges.txt'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    const complete = whole
      ? { ...files, 'tokenizer.json': { ...files['tokenizer.json'], model: { type: 'BPE', vocab, merges } } }
      : files;
    const tokenizer = await Tokenizer.open(folderWith(complete, whole));
    expect(prompts.filter(({ ids }) => ids.some((id) => id >= FIRST)).length).toBeGreaterThan(5);
    for (const { text, ids } of prompts) expect([text, idsOf(tokenizer, text, ids.length)]).toEqual([text, ids]);
  },
);

describe('where they are listed', () => {
  const prompt = 'a <cat-toy> and a <dog>';
  test('in both files: tokens of either are added', async () => {
    const tokenizer = await open({
      'tokenizer_config.json': { added_tokens_decoder: { 694: { content: '<cat-toy>' } } },
      'added_tokens.json': { '<dog>': 700 },
    });
    expect(idsOf(tokenizer, prompt, 8)).toEqual(expect.arrayContaining([694, 700]));
  });
  test('with ids that the vocabulary has already', async () => {
    const tokenizer = await open({ 'added_tokens.json': { '!': 900 } });
    expect(idsOf(tokenizer, 'car!', 4)).toContain(vocab['!']);
    expect(tokenizer.added.map(({ id }) => id)).not.toContain(900);
  });
  test('as the pad token', async () => {
    const tokenizer = await open({
      'added_tokens.json': { '<pad>': 694 },
      'special_tokens_map.json': { pad_token: '<pad>' },
    });
    expect(int64Numbers(tokenizer.encode(['car']))[76]).toBe(694);
  });
  test.each([
    ['added_tokens.json', { '<x>': '694' }],
    ['added_tokens.json', { '<x>': 1.5 }],
    ['added_tokens.json', { '<x>': -1 }],
    ['added_tokens.json', { '<x>': { id: 694 } }],
    ['tokenizer_config.json', { added_tokens_decoder: { 694: '<x>' } }],
    ['tokenizer_config.json', { added_tokens_decoder: { x: { content: '<x>' } } }],
    ['tokenizer_config.json', { added_tokens_decoder: { 694: { content: '<x>', lstrip: 'yes' } } }],
    ['tokenizer.json', { added_tokens: [{ content: '<x>' }] }],
  ])('%s with %j is refused', async (name, content) => {
    await expect(open({ [name]: content })).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining(`${name}' has an invalid added token`) as unknown,
    });
  });
  test('a file that is not JSON is named', async () => {
    const folder = folderWith({});
    writeFileSync(path.join(folder, 'added_tokens.json'), '{"<x>": ');
    await expect(Tokenizer.open(folder)).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringMatching(/added_tokens.json' is not JSON/) as unknown,
    });
  });
});

describe('several vectors of one concept', () => {
  const files = {
    'added_tokens.json': { '<cat-toy>': 694, '<cat-toy>_1': 695, '<cat-toy>_2': 696, '<dog>': 697, '<dog>_2': 698 },
  };
  test.each([
    ['a <cat-toy> b', 'a <cat-toy> <cat-toy>_1 <cat-toy>_2 b'],
    ['<CAT-TOY>', '<cat-toy> <cat-toy>_1 <cat-toy>_2'],
    ['<cat-toy> <cat-toy>', '<cat-toy> <cat-toy>_1 <cat-toy>_2 <cat-toy> <cat-toy>_1 <cat-toy>_2'],
  ])('%s is read as %s', async (short, long) => {
    const tokenizer = await open(files);
    expect(int64Numbers(tokenizer.encode([short]))).toEqual(int64Numbers(tokenizer.encode([long])));
  });
  test('a single one, a later one alone, and one with a gap stay as they are', async () => {
    const tokenizer = await open(files);
    expect(idsOf(tokenizer, '<cat-toy>_1', 3)).toEqual([692, 695, 693]);
    expect(idsOf(tokenizer, '<cat-toy>_2 <cat-toy>_1', 4)).toEqual([692, 696, 695, 693]);
    expect(idsOf(tokenizer, '<dog>', 3)).toEqual([692, 697, 693]);
  });
  test('long prompts are cut after 75 tokens, vectors counted', async () => {
    const tokenizer = await open(files);
    const text = '<cat-toy> '.repeat(26);
    expect(tokenizer.truncated([text, '<cat-toy> '.repeat(25)])).toEqual([text]);
    expect(idsOf(tokenizer, text, 77).slice(74)).toEqual([695, 696, 693]);
  });
});

test('a token whose embedding the text encoder does not have', async () => {
  const folder = path.join(root, 'model');
  cpSync(path.join(GOLDEN, 'tiny-sd15'), folder, { recursive: true });
  writeFileSync(path.join(folder, 'tokenizer', 'added_tokens.json'), JSON.stringify({ '<cat-toy>': 694 }));
  await expect(openModel(folder)).rejects.toMatchObject({
    code: 'MODEL_INVALID',
    message: expect.stringMatching(
      /'<cat-toy>' .*id 694, but the text encoder has embeddings for 0 ... 693/,
    ) as unknown,
    hint: expect.stringMatching(/resize_token_embeddings/) as unknown,
  });
});

test('the fingerprint follows added tokens', async () => {
  const folder = path.join(root, 'model2');
  cpSync(path.join(GOLDEN, 'tiny-sd15'), folder, { recursive: true });
  const before = (await openModel(folder)).fingerprint;
  writeFileSync(path.join(folder, 'tokenizer', 'added_tokens.json'), JSON.stringify({ '<cat-toy>': 600 }));
  expect((await openModel(folder)).fingerprint).not.toBe(before);
});

describe('splitting', () => {
  const lower = (text: string): string => text.toLowerCase();
  const content = fc.string({
    unit: fc.constantFrom('a', 'B', 'b', '<', '>', '.', '*', '\\', ' ', '_', 'ö', '😀'),
    minLength: 1,
    maxLength: 4,
  });
  const token = fc.record({
    content,
    id: fc.nat(),
    normalized: fc.boolean(),
    singleWord: fc.boolean(),
    lstrip: fc.boolean(),
    rstrip: fc.boolean(),
  });
  const tokens = fc.uniqueArray(token, { selector: (one) => one.content, maxLength: 6 });
  const plain = (all: readonly AddedToken[]): AddedToken[] =>
    all.map((one) => ({ ...one, normalized: false, singleWord: false, lstrip: false, rstrip: false }));

  test('nothing of a text is lost, and no token is left in it', () => {
    fc.assert(
      fc.property(tokens, fc.array(content, { maxLength: 8 }), (all, parts) => {
        const some = plain(all).filter((one) => !one.content.endsWith('_1'));
        const text = parts.join('');
        const pieces = new AddedTokenSplitter(some, (one) => one).split(text);
        expect(pieces.map((piece) => (typeof piece === 'string' ? piece : piece.content)).join('')).toBe(text);
        for (const piece of pieces)
          if (typeof piece === 'string') for (const { content: one } of some) expect(piece).not.toContain(one);
      }),
      { numRuns: 500 },
    );
  });

  test('flags: only white space around tokens goes, single words stand alone', () => {
    fc.assert(
      fc.property(tokens, fc.array(content, { maxLength: 8 }), (all, parts) => {
        const text = parts.join('');
        const pieces = new AddedTokenSplitter(
          all.filter((one) => !one.content.endsWith('_1')),
          lower,
        ).split(text);
        const joined = pieces.map((piece) => (typeof piece === 'string' ? piece : piece.content)).join('');
        expect(lower(joined).replace(/ /g, '')).toBe(lower(text).replace(/ /g, ''));
        expect(pieces).not.toContain('');
        pieces.forEach((piece, i) => {
          if (typeof piece === 'string' || !piece.singleWord || piece.lstrip || piece.rstrip) return;
          for (const [beside, pattern] of [
            [pieces[i - 1], /[\p{L}\p{N}_]$/u],
            [pieces[i + 1], /^[\p{L}\p{N}_]/u],
          ] as const)
            if (typeof beside === 'string' && !piece.normalized) expect(beside).not.toMatch(pattern);
        });
      }),
      { numRuns: 500 },
    );
  });

  test('white space and case of other text do not matter to tokens that are normalized', () => {
    const splitter = new AddedTokenSplitter(
      [{ content: '<Cat>', id: 1, normalized: true, singleWord: false, lstrip: false, rstrip: false }],
      lower,
    );
    expect(splitter.split('A <CAT>b<cat>')).toEqual([
      'a ',
      expect.objectContaining({ id: 1 }),
      'b',
      expect.objectContaining({ id: 1 }),
    ]);
  });
});
