// Tokens that were added to a tokenizer after training, such as those of textual inversion: in a prompt, each becomes a single id.
// Which tokens there are, and how they are matched in a text, is as in transformers and its tokenizers library.
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { formatJson } from '../util/json.js';
import { isObject, readJsonObject, type JsonObject } from './json.js';

export interface AddedToken {
  content: string;
  id: number;
  /** found in the normalized text (lower case), by its own normalized content; else in the text as it was given */
  normalized: boolean;
  /** not where a letter, digit or underscore stands beside it */
  singleWord: boolean;
  /** takes the white space before it, or after it */
  lstrip: boolean;
  rstrip: boolean;
}

/** The files of a tokenizer/ folder that tell of added tokens; those that are not there are empty. */
export interface TokenizerFiles {
  folder: string;
  config: JsonObject;
  specialTokens: JsonObject;
  addedTokens: JsonObject;
  whole: JsonObject;
}

const NAMED = ['bos_token', 'eos_token', 'unk_token', 'pad_token'] as const;
const FLAGS = ['single_word', 'lstrip', 'rstrip', 'normalized', 'special'] as const;

/** @throws MODEL_INVALID for a file that is there and not JSON */
export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const optional = async (name: string): Promise<JsonObject> =>
    readJsonObject(path.join(folder, name)).catch((error: unknown): JsonObject => {
      if (error instanceof DiffmineError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT')
        return {};
      throw error;
    });
  const [config, specialTokens, addedTokens, whole] = await Promise.all(
    ['tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json', 'tokenizer.json'].map(optional),
  );
  return { folder, config, specialTokens, addedTokens, whole } as TokenizerFiles;
}

/**
 * The token that has a role (bos_token, pad_token, ...), and how it is written there. special_tokens_map.json overrides tokenizer_config.json, unless the
 * latter is of the newer kind that lists its added tokens. (Stable Diffusion 2.1's two files differ.)
 */
function named(
  { config, specialTokens }: TokenizerFiles,
  role: (typeof NAMED)[number],
): { content: string; normalized: boolean } | undefined {
  for (const source of isObject(config.added_tokens_decoder) ? [config, specialTokens] : [specialTokens, config]) {
    const token = source[role];
    if (typeof token === 'string') return { content: token, normalized: false };
    if (isObject(token) && typeof token.content === 'string')
      return { content: token.content, normalized: token.normalized === true };
  }
  return undefined;
}

/** The pad token's content; undefined if no file names one. */
export const padTokenOf = (files: TokenizerFiles): string | undefined => named(files, 'pad_token')?.content;

/**
 * All added tokens, each once: of tokenizer_config.json's added_tokens_decoder, tokenizer.json and added_tokens.json, in this order, and those that have a
 * role. A token that the vocabulary has keeps the id it has there.
 *
 * @param always tokens of the vocabulary that are special in any case
 * @throws MODEL_INVALID naming the file whose entry is none
 */
export function addedTokensOf(
  files: TokenizerFiles,
  vocab: ReadonlyMap<string, number>,
  always: readonly string[],
): AddedToken[] {
  const { folder, config, addedTokens, whole } = files;
  const found = new Map<string, AddedToken>();
  const add = (token: AddedToken): void => {
    if (token.content !== '' && !found.has(token.content))
      found.set(token.content, { ...token, id: vocab.get(token.content) ?? token.id });
  };
  const described = (file: string, id: unknown, token: unknown): AddedToken => {
    const sound =
      isObject(token) &&
      typeof token.content === 'string' &&
      FLAGS.every((flag) => [undefined, null, true, false].includes(token[flag] as boolean));
    if (!sound || !isId(id))
      throw new DiffmineError(
        'MODEL_INVALID',
        `'${path.join(folder, file)}' has an invalid added token: ${formatJson(token)} with the id ${formatJson(id)}.`,
      );
    const { content, single_word, lstrip, rstrip, normalized, special } = token;
    return {
      content: content as string,
      id,
      normalized: (normalized ?? special !== true) === true,
      singleWord: single_word === true,
      lstrip: lstrip === true,
      rstrip: rstrip === true,
    };
  };
  if (isObject(config.added_tokens_decoder)) {
    for (const [id, token] of Object.entries(config.added_tokens_decoder))
      add(described('tokenizer_config.json', /^\d+$/.test(id) ? Number(id) : id, token));
  }
  if (Array.isArray(whole.added_tokens))
    for (const token of whole.added_tokens as unknown[])
      add(described('tokenizer.json', isObject(token) ? token.id : undefined, token));

  const roles = NAMED.flatMap((role) => named(files, role) ?? []);
  const special = new Set([...always, ...roles.map(({ content }) => content), ...specialContents(files)]);
  for (const [content, id] of Object.entries(addedTokens))
    add(described('added_tokens.json', id, { content, normalized: !special.has(content) }));
  for (const content of [...always, ...special]) {
    const id = vocab.get(content);
    const written = roles.filter((token) => token.content === content);
    if (id !== undefined)
      add({
        content,
        id,
        normalized: written.length > 0 && written.every(({ normalized }) => normalized),
        singleWord: false,
        lstrip: false,
        rstrip: false,
      });
  }
  return [...found.values()];
}

/** Further tokens that are listed as special ones. */
function specialContents({ config, specialTokens }: TokenizerFiles): string[] {
  return [config, specialTokens].flatMap((source) =>
    [source.additional_special_tokens, source.extra_special_tokens]
      .flatMap((list): unknown[] => (Array.isArray(list) ? list : []))
      .flatMap((token) => {
        if (typeof token === 'string') return [token];
        return isObject(token) && typeof token.content === 'string' ? [token.content] : [];
      }),
  );
}

const isId = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Cuts texts at added tokens: what is between them is normalized, the tokens are put in its place. */
export class AddedTokenSplitter {
  private readonly raw: Splitter;
  private readonly normalized: Splitter;
  /** by content: the tokens that stand for a concept together, `<cat>`, `<cat>_1`, `<cat>_2`, ... */
  private readonly vectors = new Map<string, AddedToken[]>();

  constructor(
    tokens: readonly AddedToken[],
    private readonly normalize: (text: string) => string,
  ) {
    this.raw = new Splitter(tokens.filter((token) => !token.normalized).map((token) => [token.content, token]));
    this.normalized = new Splitter(
      tokens.filter((token) => token.normalized).map((token) => [normalize(token.content), token]),
    );
    const byContent = new Map(tokens.map((token) => [token.content, token]));
    for (const token of tokens) {
      const all = [token];
      for (let next = byContent.get(`${token.content}_1`); next; next = byContent.get(`${token.content}_${all.length}`))
        all.push(next);
      if (all.length > 1) this.vectors.set(token.content, all);
    }
  }

  /**
   * Normalized texts, none of them empty, and tokens. The first of several vectors that were trained together stands for all of them, as in diffusers'
   * pipelines, unless the prompt writes the second one itself.
   */
  split(text: string): (string | AddedToken)[] {
    const pieces = this.raw
      .split(text)
      .flatMap((piece) => (typeof piece === 'string' ? this.normalized.split(this.normalize(piece)) : [piece]))
      .filter((piece) => piece !== '');
    return pieces.flatMap((piece, i) => {
      const all = typeof piece === 'string' ? undefined : this.vectors.get(piece.content);
      const next = pieces.slice(i + 1).find((one) => typeof one !== 'string' || one.trim() !== '');
      return all === undefined || next === all[1] ? [piece] : all;
    });
  }
}

/** Finds contents in a text: the leftmost, of those that begin there the longest. */
class Splitter {
  private readonly tokens: ReadonlyMap<string, AddedToken>;
  private readonly pattern: RegExp | undefined;

  constructor(tokens: readonly (readonly [string, AddedToken])[]) {
    // of equal contents the first
    this.tokens = new Map([...tokens].reverse().filter(([content]) => content !== ''));
    const contents = [...this.tokens.keys()].sort((a, b) => b.length - a.length);
    this.pattern =
      contents.length === 0
        ? undefined
        : new RegExp(contents.map((content) => content.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('|'), 'g');
  }

  split(text: string): (string | AddedToken)[] {
    if (!this.pattern) return [text];
    const pieces: (string | AddedToken)[] = [];
    let done = 0;
    for (const { 0: content, index } of text.matchAll(this.pattern)) {
      const token = this.tokens.get(content) as AddedToken;
      let [begin, end] = [index, index + content.length];
      if (
        token.singleWord &&
        (/[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u.test(text.slice(Math.max(0, begin - 2), begin)) ||
          /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u.test(text.slice(end, end + 2)))
      )
        continue;
      if (token.lstrip) while (begin > done && isSpace(text[begin - 1])) --begin;
      if (token.rstrip) while (isSpace(text[end])) ++end;
      if (begin > done) pieces.push(text.slice(done, begin));
      pieces.push(token);
      done = end;
    }
    return [...pieces, text.slice(done)];
  }
}

const isSpace = (character: string | undefined): boolean =>
  character !== undefined && /\p{White_Space}/u.test(character);
