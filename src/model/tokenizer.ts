// CLIP's tokenizer: byte-level BPE by @huggingface/tokenizers, with the normalisation done here, so that token ids equal transformers'.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Tokenizer as Bpe } from '@huggingface/tokenizers' with { 'resolution-mode': 'import' };
import { DiffmineError } from '../errors';
import { fromInt64 } from '../native/tensor';
import type { Tensor } from '../native/types';
import { isObject, readJsonObject, type JsonObject } from './json';

/** Tokens of a prompt, start and end included: CLIP's context length. */
export const TOKENS = 77;

const START = '<|startoftext|>';
const END = '<|endoftext|>';
const WORDS = String.raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`;
const CACHED_TEXTS = 10_000;

export class Tokenizer {
  /** by text: all its ids, start and end included, neither truncated nor padded */
  private readonly cache = new Map<string, readonly number[]>();

  private constructor(
    private readonly bpe: Bpe,
    private readonly end: number,
    private readonly pad: number,
    /** ids are below this */
    readonly vocabSize: number,
  ) {}

  /**
   * Opens a tokenizer/ folder: vocab.json and merges.txt, or else tokenizer.json.
   *
   * @throws MODEL_INVALID naming the file that is missing or wrong
   */
  static async open(folder: string): Promise<Tokenizer> {
    const { vocab, merges } = await readVocabulary(folder);
    const id = (token: string): number => {
      const found = vocab[token];
      if (found === undefined) throw new DiffmineError('MODEL_INVALID', `The tokenizer '${folder}' has no token '${token}'.`);
      return found;
    };
    const padToken = await readPadToken(folder);
    const [start, end, pad] = [id(START), id(END), id(padToken)];
    // SD 2.x pads with "!": as an added token it is then cut out of prompts before BPE sees it.
    const added = [[START, start], [END, end], ...(padToken === '!' ? [[padToken, pad]] : [])] as [string, number][];
    // Declared as an ES module only, so it is imported when used.
    const { Tokenizer: BytePairTokenizer } = await import('@huggingface/tokenizers');
    const bpe = new BytePairTokenizer(
      {
        version: '1.0',
        added_tokens: added.map(([content, token]) => ({ id: token, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
        normalizer: null,
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Split', pattern: { Regex: WORDS }, behavior: 'Removed', invert: true },
            { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
          ],
        },
        post_processor: { type: 'RobertaProcessing', sep: [END, end], cls: [START, start], trim_offsets: false, add_prefix_space: false },
        decoder: { type: 'ByteLevel' },
        model: { type: 'BPE', vocab, merges, unk_token: END, end_of_word_suffix: '</w>', continuing_subword_prefix: '' },
      },
      {},
    );
    return new Tokenizer(bpe, end, pad, 1 + Math.max(...Object.values(vocab)));
  }

  /** Token ids, I64 [texts, 77]: longer texts are cut to 76 tokens and the end token, shorter ones padded. */
  encode(texts: readonly string[]): Tensor {
    const rows = texts.flatMap((text) => {
      const all = this.ids(text);
      const kept = all.length > TOKENS ? [...all.slice(0, TOKENS - 1), this.end] : all;
      return [...kept, ...new Array<number>(TOKENS - kept.length).fill(this.pad)];
    });
    return fromInt64([texts.length, TOKENS], rows);
  }

  /** Those of the texts that do not fit, in order: their ends are not seen by the model. */
  truncated(texts: readonly string[]): string[] {
    return texts.filter((text) => this.ids(text).length > TOKENS);
  }

  private ids(text: string): readonly number[] {
    const known = this.cache.get(text);
    if (known) return known;
    const { ids } = this.bpe.encode(normalize(text));
    if (this.cache.size >= CACHED_TEXTS) this.cache.clear();
    this.cache.set(text, ids);
    return ids;
  }
}

/** NFC, single spaces, lower case each code point by itself (a whole word's lower case turns a final sigma). */
function normalize(text: string): string {
  const spaced = text.normalize('NFC').replace(/\p{White_Space}+/gu, ' ');
  return Array.from(spaced, (character) => character.toLowerCase()).join('');
}

async function readVocabulary(folder: string): Promise<{ vocab: Record<string, number>; merges: string[] | [string, string][] }> {
  const vocabFile = path.join(folder, 'vocab.json');
  const mergesFile = path.join(folder, 'merges.txt');
  const text = await readFile(mergesFile, 'utf8').catch(() => undefined);
  if (text !== undefined) {
    const vocab = await readJsonObject(vocabFile);
    if (!isVocabulary(vocab)) throw new DiffmineError('MODEL_INVALID', `'${vocabFile}' is not a vocabulary: it maps tokens to whole numbers.`);
    const lines = text.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#version'));
    const bad = lines.find((line) => line.split(' ').length !== 2);
    if (bad !== undefined) throw new DiffmineError('MODEL_INVALID', `'${mergesFile}' has a line that is no pair: '${bad}'.`);
    return { vocab, merges: lines };
  }
  // transformers 5 may write tokenizer.json alone.
  const whole = await readJsonObject(path.join(folder, 'tokenizer.json')).catch((cause: unknown) => {
    throw new DiffmineError('MODEL_INVALID', `The tokenizer '${folder}' has neither vocab.json with merges.txt nor a tokenizer.json.`, 'Give a complete diffusers model folder.', { cause });
  });
  const { model } = whole;
  if (!isObject(model) || !isVocabulary(model.vocab) || !isMerges(model.merges)) throw new DiffmineError('MODEL_INVALID', `'${path.join(folder, 'tokenizer.json')}' is not a BPE tokenizer.`);
  return { vocab: model.vocab, merges: model.merges };
}

function isVocabulary(value: unknown): value is Record<string, number> {
  return isObject(value) && Object.values(value).every((id) => Number.isSafeInteger(id) && (id as number) >= 0);
}

function isMerges(value: unknown): value is string[] | [string, string][] {
  return Array.isArray(value) && (value.every((item) => typeof item === 'string') || value.every((item) => Array.isArray(item) && item.length === 2));
}

/**
 * As transformers decides: special_tokens_map.json overrides tokenizer_config.json, unless the latter is of the newer kind that lists its
 * added tokens. (Stable Diffusion 2.1's two files differ.) The end token where neither names one.
 */
async function readPadToken(folder: string): Promise<string> {
  const optional = async (name: string): Promise<JsonObject> => readJsonObject(path.join(folder, name)).catch((): JsonObject => ({}));
  const config = await optional('tokenizer_config.json');
  const map = await optional('special_tokens_map.json');
  const sources = isObject(config.added_tokens_decoder) ? [config, map] : [map, config];
  for (const { pad_token: token } of sources) {
    if (typeof token === 'string') return token;
    if (isObject(token) && typeof token.content === 'string') return token.content;
  }
  return END;
}
