// CLIP's tokenizer: byte-level BPE by @huggingface/tokenizers, with the normalization done here, so that token ids equal transformers'.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { fromInt64 } from '../engine/tensor.js';
import type { Tensor } from '../engine/types.js';
import {
  AddedTokenSplitter,
  addedTokensOf,
  padTokenOf,
  readTokenizerFiles,
  type AddedToken,
  type TokenizerFiles,
} from './added-tokens.js';
import { isObject, readJsonObject } from './json.js';

/** Tokens of a prompt, including start and end: CLIP's context length. */
export const TOKENS = 77;

const START = '<|startoftext|>';
const END = '<|endoftext|>';
const WORDS = String.raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`;
const CACHED_TEXTS = 10_000;

/** What is used of @huggingface/tokenizers: its own declarations import files without extensions, which do not resolve here. */
interface Bpe {
  encode(text: string): { ids: number[] };
}
interface Tokenizers {
  Tokenizer: new (tokenizer: object, config: object) => Bpe;
}

export interface Vocabulary {
  vocab: Record<string, number>;
  merges: string[] | [string, string][];
}

/** CLIP's tokenizer of one text encoder. */
export class Tokenizer {
  /** by text: all its ids, start and end included, neither truncated nor padded */
  private readonly cache = new Map<string, readonly number[]>();

  private constructor(
    private readonly bpe: Bpe,
    private readonly splitter: AddedTokenSplitter,
    private readonly special: { start: number; end: number; pad: number },
    /** ids of the vocabulary are below this; those of added tokens may be above */
    readonly vocabSize: number,
    /** tokens that are one id wherever a text has them */
    readonly added: readonly AddedToken[],
  ) {}

  /**
   * Opens a tokenizer/ folder: vocab.json and merges.txt, or else tokenizer.json; and the files that list added tokens.
   *
   * @throws MODEL_INVALID naming the file that is missing or wrong
   */
  static async open(folder: string): Promise<Tokenizer> {
    const files = await readTokenizerFiles(folder);
    return Tokenizer.make(files, await readVocabulary(files));
  }

  /**
   * As `open`, of a tokenizer whose files need not exist.
   *
   * @param vocabulary ids of tokens, and merges in order
   */
  static async make(files: TokenizerFiles, { vocab, merges }: Vocabulary): Promise<Tokenizer> {
    const { folder } = files;
    const ids = new Map(Object.entries(vocab));
    // SD 2.x pads with "!": as an added token it is cut out of prompts before BPE sees it.
    const added = addedTokensOf(files, ids, [START, END]);
    for (const token of added) ids.set(token.content, token.id);
    const id = (token: string): number => {
      const found = ids.get(token);
      if (found === undefined)
        throw new DiffmineError('MODEL_INVALID', `The tokenizer '${folder}' has no token '${token}'.`);
      return found;
    };
    const special = { start: id(START), end: id(END), pad: id(padTokenOf(files) ?? END) };
    // Declared as an ES module only, so it is imported when used.
    const { Tokenizer: BytePairTokenizer } = (await import('@huggingface/tokenizers')) as unknown as Tokenizers;
    const bpe = new BytePairTokenizer(
      {
        version: '1.0',
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Split', pattern: { Regex: WORDS }, behavior: 'Removed', invert: true },
            { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
          ],
        },
        post_processor: null,
        decoder: { type: 'ByteLevel' },
        model: {
          type: 'BPE',
          vocab,
          merges,
          unk_token: END,
          end_of_word_suffix: '</w>',
          continuing_subword_prefix: '',
        },
      },
      {},
    );
    return new Tokenizer(
      bpe,
      new AddedTokenSplitter(added, normalize),
      special,
      1 + Math.max(...Object.values(vocab)),
      added,
    );
  }

  /** Token ids, I64 [texts, 77]: longer texts are cut to 76 tokens and the end token, shorter ones padded. */
  encode(texts: readonly string[]): Tensor {
    const rows = texts.flatMap((text) => {
      const all = this.ids(text);
      const kept = all.length > TOKENS ? [...all.slice(0, TOKENS - 1), this.special.end] : all;
      return [...kept, ...new Array<number>(TOKENS - kept.length).fill(this.special.pad)];
    });
    return fromInt64([texts.length, TOKENS], rows);
  }

  /** The texts that do not fit, in order: the model does not see their ends. */
  truncated(texts: readonly string[]): string[] {
    return texts.filter((text) => this.ids(text).length > TOKENS);
  }

  private ids(text: string): readonly number[] {
    const known = this.cache.get(text);
    if (known) return known;
    const pieces = this.splitter
      .split(text)
      .flatMap((piece) => (typeof piece === 'string' ? this.bpe.encode(piece).ids : [piece.id]));
    const ids = [this.special.start, ...pieces, this.special.end];
    if (this.cache.size >= CACHED_TEXTS) this.cache.clear();
    this.cache.set(text, ids);
    return ids;
  }
}

/** NFC, single spaces, lower case each code point by itself (a whole word's lower case turns a final sigma). */
export function normalize(text: string): string {
  const spaced = text.normalize('NFC').replace(/\p{White_Space}+/gu, ' ');
  return Array.from(spaced, (character) => character.toLowerCase()).join('');
}

async function readVocabulary({ folder, whole }: TokenizerFiles): Promise<Vocabulary> {
  const vocabFile = path.join(folder, 'vocab.json');
  const mergesFile = path.join(folder, 'merges.txt');
  const text = await readFile(mergesFile, 'utf8').catch(() => undefined);
  if (text !== undefined) {
    const vocab = await readJsonObject(vocabFile);
    if (!isVocabulary(vocab))
      throw new DiffmineError('MODEL_INVALID', `'${vocabFile}' is not a vocabulary: it must map tokens to integers.`);
    const lines = text
      .replace(/^\uFEFF/, '')
      .split(/\r?\n/)
      .filter((line) => line !== '' && !line.startsWith('#version'));
    const bad = lines.find((line) => line.split(' ').length !== 2);
    if (bad !== undefined)
      throw new DiffmineError('MODEL_INVALID', `'${mergesFile}' has a line that is not a pair: '${bad}'.`);
    return { vocab, merges: lines };
  }
  // transformers 5 may write tokenizer.json alone.
  if (Object.keys(whole).length === 0)
    throw new DiffmineError(
      'MODEL_INVALID',
      `The tokenizer '${folder}' has neither vocab.json with merges.txt nor a tokenizer.json.`,
      'Give a complete diffusers model folder.',
    );
  const { model } = whole;
  if (!isObject(model) || !isVocabulary(model.vocab) || !isMerges(model.merges))
    throw new DiffmineError('MODEL_INVALID', `'${path.join(folder, 'tokenizer.json')}' is not a BPE tokenizer.`);
  return { vocab: model.vocab, merges: model.merges };
}

function isVocabulary(value: unknown): value is Record<string, number> {
  return isObject(value) && Object.values(value).every((id) => Number.isSafeInteger(id) && (id as number) >= 0);
}

function isMerges(value: unknown): value is string[] | [string, string][] {
  return (
    Array.isArray(value) &&
    (value.every((item) => typeof item === 'string') || value.every((item) => Array.isArray(item) && item.length === 2))
  );
}
