// T5's tokenizer: SentencePiece's unigram model, from tokenizer.json or spiece.model. Token ids equal transformers'.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fromInt64 } from '../engine/tensor.js';
import type { Tensor } from '../engine/types.js';
import { DiffmineError } from '../util/errors.js';
import { AddedTokenSplitter, addedTokensOf, readTokenizerFiles } from './added-tokens.js';
import { charsmap } from './charsmap.js';
import { isObject, type JsonObject } from './json.js';
import { readSentencePiece } from './sentencepiece.js';

const [PAD, END] = ['<pad>', '</s>'];
/** Stands for the space before a word. */
const SPACE = '▁';
/** What a character costs that no piece has, below the least likely piece. */
const UNKNOWN_PENALTY = 10;

interface Piece {
  id: number;
  /** log probability */
  score: number;
}

export class T5Tokenizer {
  private constructor(
    private readonly pieces: ReadonlyMap<string, Piece>,
    /** code points of the longest piece */
    private readonly longest: number,
    private readonly unknown: Piece,
    private readonly special: { pad: number; end: number },
    private readonly splitter: AddedTokenSplitter,
    /** ids are below this */
    readonly vocabSize: number,
  ) {}

  /** Opens a tokenizer_3/ folder. @throws MODEL_INVALID naming the file that is missing or wrong */
  static async open(folder: string): Promise<T5Tokenizer> {
    const files = await readTokenizerFiles(folder);
    const converted = Object.keys(files.whole).length > 0;
    const file = path.join(folder, converted ? 'tokenizer.json' : 'spiece.model');
    const invalid = (what: string, hint?: string): DiffmineError =>
      new DiffmineError('MODEL_INVALID', `'${file}' ${what}.`, hint);
    const bytes = converted ? undefined : await readFile(file).catch(() => undefined);
    if (!converted && !bytes) throw invalid('is missing, and so is tokenizer.json', 'Give a complete model folder.');
    const { model, normalizer } = bytes ? readSentencePiece(bytes, file) : files.whole;
    if (!isObject(model) || !isVocabulary(model.vocab)) throw invalid('is not a unigram tokenizer');
    if (model.byte_fallback === true) throw invalid('falls back to bytes, which is not supported');
    const pieces = new Map(model.vocab.map(([text, score], id) => [text, { id, score }]));
    const unknown = typeof model.unk_id === 'number' ? model.unk_id : -1;
    if (!(unknown in model.vocab)) throw invalid('has no token for unknown characters (unk_id)');
    const vocab = new Map(Array.from(pieces, ([text, { id }]) => [text, id]));
    const added = addedTokensOf(files, vocab, [PAD, END]);
    const id = (token: string): number => {
      const found = added.find(({ content }) => content === token)?.id;
      if (found === undefined) throw invalid(`has no token '${token}'`);
      return found;
    };
    const lowest = model.vocab.reduce((least, [, score]) => Math.min(least, score), 0);
    return new T5Tokenizer(
      pieces,
      model.vocab.reduce((most, [text]) => Math.max(most, Array.from(text).length), 1),
      { id: unknown, score: lowest - UNKNOWN_PENALTY },
      { pad: id(PAD), end: id(END) },
      new AddedTokenSplitter(added, normalizerOf(normalizer, file)),
      Math.max(model.vocab.length, ...added.map((one) => one.id + 1)),
    );
  }

  /** Token ids, I64 [texts, tokens]: longer texts are cut before the end token, shorter ones padded. */
  encode(texts: readonly string[], tokens: number): Tensor {
    const rows = texts.flatMap((text) => {
      const kept = [...this.ids(text).slice(0, tokens - 1), this.special.end];
      return [...kept, ...new Array<number>(tokens - kept.length).fill(this.special.pad)];
    });
    return fromInt64([texts.length, tokens], rows);
  }

  /** Without the end token. */
  private ids(text: string): number[] {
    return this.splitter
      .split(text)
      .flatMap((piece) =>
        typeof piece === 'string' ? wordsOf(piece).flatMap((word) => this.idsOfWord(word)) : [piece.id],
      );
  }

  /** The most likely pieces that a word consists of (Viterbi). Unknown characters that follow one another are one token. */
  private idsOfWord(word: string): number[] {
    const characters = Array.from(word);
    // of the best way to each place: its score, where its last piece begins, and that piece's id
    const best: { score: number; begin: number; id: number }[] = [{ score: 0, begin: 0, id: -1 }];
    const offer = (begin: number, end: number, { id, score }: Piece): void => {
      const whole = (best[begin]?.score ?? 0) + score;
      const there = best[end];
      if (!there || whole > there.score) best[end] = { score: whole, begin, id };
    };
    for (let begin = 0; begin < characters.length; begin++) {
      let text = '';
      let single = false;
      for (let end = begin + 1; end <= Math.min(characters.length, begin + this.longest); end++) {
        text += characters[end - 1] ?? '';
        const piece = this.pieces.get(text);
        if (!piece) continue;
        offer(begin, end, piece);
        single ||= end === begin + 1;
      }
      if (!single) offer(begin, begin + 1, this.unknown);
    }
    const ids: number[] = [];
    for (let end = characters.length; end > 0;) {
      const { begin, id } = best[end] ?? { begin: 0, id: this.unknown.id };
      if (id !== this.unknown.id || ids[0] !== id) ids.unshift(id);
      end = begin;
    }
    return ids;
  }
}

/** Words with their mark; a mark inside a word begins another one. */
function wordsOf(text: string): string[] {
  return text
    .split(/\p{White_Space}+/u)
    .filter((word) => word !== '')
    .flatMap((word) => (word.startsWith(SPACE) ? word : SPACE + word).split(new RegExp(`(?=${SPACE})`, 'u')));
}

/**
 * Of a sequence, the table: what else T5's have (stripping white space, joining spaces) changes nothing, as words are split at white space.
 */
function normalizerOf(normalizer: unknown, file: string): (text: string) => string {
  if (normalizer === null || normalizer === undefined) return (text) => text;
  const steps: unknown = isObject(normalizer) && normalizer.type === 'Sequence' ? normalizer.normalizers : [normalizer];
  const own = (Array.isArray(steps) ? steps : []) as JsonObject[];
  const other = own.find(({ type }) => !['Precompiled', 'Strip', 'Replace'].includes(String(type)));
  if (own.length === 0 || other)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `'${file}' has the normalizer ${JSON.stringify(other?.type ?? normalizer)}, which T5's does not have.`,
      'Supported: Precompiled, Strip and Replace.',
    );
  const tables = own.flatMap(({ precompiled_charsmap: table }) => (typeof table === 'string' ? [table] : []));
  return tables
    .map((table) => charsmap(table, file))
    .reduce(
      (before, next) => (text) => next(before(text)),
      (text: string) => text,
    );
}

function isVocabulary(value: unknown): value is [string, number][] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every(
      (entry) =>
        Array.isArray(entry) && entry.length === 2 && typeof entry[0] === 'string' && Number.isFinite(entry[1]),
    )
  );
}
