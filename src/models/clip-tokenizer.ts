// CLIP's tokenizer, which the package has for checkpoints: they come without one. Its merges are those that OpenAI published with CLIP (assets/clip).
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Tokenizer, type Vocabulary } from './tokenizer.js';

const MERGES = path.join(import.meta.dirname, '..', '..', 'assets', 'clip', 'merges.txt.gz');
const [START, END] = ['<|startoftext|>', '<|endoftext|>'];

/** @param encoder CLIP's own pads with its end token, OpenCLIP's with "!", as the folders of Stable Diffusion 1.x and 2.x have it */
export async function clipTokenizer(encoder: 'clip' | 'openclip'): Promise<Tokenizer> {
  const token = (content: string): object => ({
    content,
    lstrip: false,
    normalized: true,
    rstrip: false,
    single_word: false,
  });
  const specialTokens = {
    bos_token: token(START),
    eos_token: token(END),
    unk_token: token(END),
    pad_token: encoder === 'clip' ? END : '!',
  };
  const files = { folder: path.dirname(MERGES), config: {}, specialTokens, addedTokens: {}, whole: {} };
  return Tokenizer.make(files, await clipVocabulary());
}

/** Ids in CLIP's order: bytes as characters, the same at the end of a word, what the merges make, and the two special tokens. */
export async function clipVocabulary(): Promise<Vocabulary> {
  const merges = gunzipSync(await readFile(MERGES))
    .toString('utf8')
    .split('\n')
    .slice(1, -1);
  const bytes = byteCharacters();
  const tokens = [
    ...bytes,
    ...bytes.map((one) => `${one}</w>`),
    ...merges.map((pair) => pair.replace(' ', '')),
    START,
    END,
  ];
  return { vocab: Object.fromEntries(tokens.map((one, id) => [one, id])), merges };
}

/** The characters that byte-level BPE writes bytes as: themselves where they can be seen, else those from 256 on; visible ones first. */
function byteCharacters(): string[] {
  const visible = [
    [0x21, 0x7e],
    [0xa1, 0xac],
    [0xae, 0xff],
  ].flatMap(([from = 0, to = 0]) => Array.from({ length: to - from + 1 }, (_, i) => from + i));
  const hidden = 256 - visible.length;
  return [...visible, ...Array.from({ length: hidden }, (_, i) => 256 + i)].map((code) => String.fromCharCode(code));
}
