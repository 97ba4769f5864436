// Turns prompts or label names into conditions.
import { listed } from '../data/labels.js';
import { DiffmineError } from '../util/errors.js';
import type { Conditions, Engine } from '../engine/index.js';
import { fromInt64 } from '../engine/tensor.js';
import type { CallOptions, Tensor, TextEmbeddings } from '../engine/types.js';
import { classFinder } from './class-names.js';
import { nearest } from '../util/nearest.js';
import type { ModelFolder } from './model.js';

/** Prompts per forward pass of the text encoder. */
const TEXT_BATCH = 32;

/** The null condition's name among prompts: no prompt was written, so that a model may have a condition of its own for none. */
export const nullCondition = (nullPrompt: string | null): string | null => (nullPrompt === '' ? null : nullPrompt);

/**
 * Prepares one condition for each entry, in order; the engine must have the model loaded.
 *
 * @param prompts prompts for a text model; label names for a class model. null is the null condition; of a class model, so is ''
 * @throws INVALID_ARGUMENT for a label that the class model does not know
 */
export async function prepareConditions(
  engine: Engine,
  model: ModelFolder,
  prompts: readonly (string | null)[],
  call?: CallOptions,
): Promise<Conditions> {
  if (model.conditioning === 'class') return engine.prepareConditions(classIds(model, prompts), call);
  return engine.prepareConditions(await encodePrompts(engine, model, prompts, call), call);
}

/** Of Stable Diffusion 3: tokens of T5, which hold zeros without it. diffusers' default. */
export const T5_TOKENS = 256;

/**
 * Embeddings of a text model: text F32 [prompts, 77, D], pooled F32 [prompts, P] where the model takes them. Of Stable Diffusion 3, text of T5's width, with
 * T5's tokens after the 77.
 */
export async function encodePrompts(
  engine: Engine,
  model: ModelFolder,
  prompts: readonly (string | null)[],
  call?: CallOptions,
  t5Tokens = T5_TOKENS,
): Promise<TextEmbeddings> {
  const { tokenizers } = model;
  if (!tokenizers)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The model '${model.path}' does not take prompts: it is conditioned on classes.`,
    );
  if (prompts.length === 0) throw new DiffmineError('INVALID_ARGUMENT', 'There are no prompts to encode.');
  const parts: TextEmbeddings[] = [];
  const ofT5: Tensor[] = [];
  for (let begin = 0; begin < prompts.length; begin += TEXT_BATCH) {
    const batch = prompts.slice(begin, begin + TEXT_BATCH).map((prompt) => prompt ?? '');
    parts.push(
      await engine.encodeText(
        tokenizers.map((tokenizer) => tokenizer.encode(batch)),
        call,
      ),
    );
    if (model.t5Tokenizer) ofT5.push(await engine.encodeT5(model.t5Tokenizer.encode(batch, t5Tokens), call));
  }
  const zero = (row: number): boolean => model.zeroNull && prompts[row] === null;
  const encoded = joined(
    parts.map((one) => one.text),
    zero,
  );
  const { transformer } = model.source;
  const text =
    transformer?.config.kind === 'sd3'
      ? followed(
          encoded,
          transformer.config.jointAttentionDim,
          t5Tokens,
          ofT5.length > 0 ? joined(ofT5, zero) : undefined,
        )
      : encoded;
  const pooled = parts.flatMap((one) => one.pooled ?? []);
  return pooled.length > 0 ? { text, pooled: joined(pooled, zero) } : { text };
}

/** Text F32 [M, tokens, C] -> [M, tokens + more, width], each row followed by that of `next`; zeros where there is nothing. */
function followed(
  { shape: [rows = 0, tokens = 0, channels = 0], ...text }: Tensor,
  width: number,
  more: number,
  next?: Tensor,
): Tensor {
  const data = Buffer.alloc(4 * rows * (tokens + more) * width);
  for (let row = 0; row < rows; row++) {
    const begin = 4 * row * (tokens + more) * width;
    for (let token = 0; token < tokens; token++)
      data.set(
        text.data.subarray(4 * (row * tokens + token) * channels, 4 * (row * tokens + token + 1) * channels),
        begin + 4 * token * width,
      );
    if (next)
      data.set(next.data.subarray(4 * row * more * width, 4 * (row + 1) * more * width), begin + 4 * tokens * width);
  }
  return { dtype: 'F32', shape: [rows, tokens + more, width], data };
}

/** Rows of all parts, some of them zeros instead. */
function joined(parts: readonly Tensor[], zero: (row: number) => boolean): Tensor {
  const [first] = parts as [Tensor, ...Tensor[]];
  const data = Buffer.concat(parts.map((part) => part.data));
  const rows = parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  const bytes = data.length / rows;
  for (let row = 0; row < rows; row++) if (zero(row)) data.fill(0, row * bytes, (row + 1) * bytes);
  return { dtype: first.dtype, shape: [rows, ...first.shape.slice(1)], data };
}

/**
 * Class ids of label names, I64 [names]; '' and null are the null class. A class answers to its label, to
 * each of its names, and to its number (class-names.ts).
 *
 * @throws INVALID_ARGUMENT naming the labels the model knows
 */
export function classIds(
  model: Pick<ModelFolder, 'path' | 'labels' | 'classNames'>,
  names: readonly (string | null)[],
): Tensor {
  const known = model.labels ?? [];
  const idsOf = classFinder(model);
  const ids = names.map((name) => {
    if (name === null || name === '') return known.length;
    const [id, ...others] = idsOf(name);
    if (id !== undefined && others.length === 0) return id;
    if (id !== undefined)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `The model '${model.path}' has ${others.length + 1} classes named '${name}'.`,
        `Give the number of the class: ${[id, ...others].join(' or ')}.`,
      );
    const guess = nearest(name, known, 3);
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The model '${model.path}' does not know the label '${name}'.`,
      `${guess === undefined ? '' : `Did you mean '${guess}'? `}${knownLabels(known)}`,
    );
  });
  return fromInt64([ids.length], ids);
}

/** @throws DATASET_INVALID for labels of `what` that a class model does not know */
export function checkLabels(
  model: Pick<ModelFolder, 'conditioning' | 'labels' | 'classNames'>,
  labels: readonly string[],
  what: string,
): void {
  if (model.conditioning !== 'class') return;
  const idsOf = classFinder(model);
  const shared = labels.find((label) => idsOf(label).length > 1);
  if (shared !== undefined)
    throw new DiffmineError(
      'DATASET_INVALID',
      `The model has ${idsOf(shared).length} classes named '${shared}', a label of ${what}.`,
      `Rename the label to the number of its class: ${idsOf(shared).join(' or ')}.`,
    );
  const unknown = labels.filter((label) => idsOf(label).length === 0);
  if (unknown.length > 0)
    throw new DiffmineError(
      'DATASET_INVALID',
      `The model does not have the label${unknown.length === 1 ? '' : 's'} ${listed(unknown)} of ${what}.`,
      knownLabels(model.labels ?? []),
    );
}

const knownLabels = (known: readonly string[]): string =>
  `It knows ${known
    .slice(0, 20)
    .map((label) => `'${label}'`)
    .join(', ')}${known.length > 20 ? ` and ${known.length - 20} more` : ''}.`;
