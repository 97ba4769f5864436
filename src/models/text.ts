// The text encoders of a model folder with their tokenizers: one in Stable Diffusion 1.x and 2.x, two in SDXL and in Stable
// Diffusion 3, which may have a third (T5).
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { TransformerConfig, UNetConfig } from '../engine/types.js';
import { readT5Config, readTextEncoderConfig } from './configs.js';
import type { TextParts } from './fit.js';
import type { Opening } from './opening.js';
import { T5_PARTS } from './parts.js';
import { T5Tokenizer } from './t5-tokenizer.js';
import { Tokenizer } from './tokenizer.js';

const TOKENIZER_FILES = [
  'vocab.json',
  'merges.txt',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
];

/** @throws MODEL_INVALID if a part is missing or damaged, MODEL_UNSUPPORTED for another kind of encoder */
export async function openText(
  opening: Opening,
  {
    unet,
    transformer,
    t5,
  }: { unet?: UNetConfig | undefined; transformer?: TransformerConfig | undefined; t5: boolean },
): Promise<TextParts> {
  const parts: TextParts = { encoders: [], tokenizers: [] };
  const xl = unet?.addedEmbedding !== undefined;
  const sd3 = transformer?.kind === 'sd3';
  let why = 'its UNet is conditioned on text';
  if (xl) why = 'a UNet with text_time embeddings needs two of them';
  if (sd3) why = 'Stable Diffusion 3 needs two of them';
  for (const suffix of xl || sd3 ? ['', '_2'] : ['']) {
    const encoder = `text_encoder${suffix}`;
    const tokenizer = `tokenizer${suffix}`;
    await opening.need(encoder, why);
    await opening.need(tokenizer, why);
    const config = readTextEncoderConfig(...(await opening.config(encoder, 'config.json')), {
      penultimate: xl || sd3,
      projection: sd3 || suffix === '_2',
    });
    parts.encoders.push(await opening.part(encoder, config));
    parts.tokenizers.push(await openTokenizer(opening, tokenizer));
  }
  if (t5) parts.t5 = await openT5(opening);
  return parts;
}

async function openT5(opening: Opening): Promise<Required<TextParts>['t5']> {
  const [encoder, tokenizer] = T5_PARTS;
  for (const name of T5_PARTS) await opening.need(name, 'its model_index.json lists T5 (leave it out with `t5` false)');
  const config = readT5Config(...(await opening.config(encoder, 'config.json')));
  const opened = {
    encoder: await opening.part(encoder, config),
    tokenizer: await T5Tokenizer.open(path.join(opening.root, tokenizer)),
  };
  await addTokenizerToFingerprint(opening, tokenizer);
  return opened;
}

async function addTokenizerToFingerprint(opening: Opening, folder: string): Promise<void> {
  for (const name of TOKENIZER_FILES) {
    const text = await readFile(path.join(opening.root, folder, name), 'utf8').catch(() => undefined);
    if (text !== undefined) opening.addToFingerprint([`${folder}/${name}`, text]);
  }
}

async function openTokenizer(opening: Opening, folder: string): Promise<Tokenizer> {
  const tokenizer = await Tokenizer.open(path.join(opening.root, folder));
  await addTokenizerToFingerprint(opening, folder);
  // Versions that did not know them gave other results.
  const beyond = tokenizer.added.filter(({ id }) => id >= tokenizer.vocabSize);
  if (beyond.length > 0) opening.addToFingerprint(['added tokens', beyond]);
  return tokenizer;
}
