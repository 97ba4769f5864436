// Turns prompts or label names into conditions.
import { listed } from '../data/labels.js';
import { DiffmineError } from '../util/errors.js';
import type { Conditions, Engine } from '../engine/index.js';
import { fromInt64 } from '../engine/tensor.js';
import type { CallOptions, Tensor, TextEmbeddings } from '../engine/types.js';
import { nearest } from '../util/nearest.js';
import type { ModelFolder } from './folder.js';

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

/** Embeddings of a text model: text F32 [prompts, 77, D], pooled F32 [prompts, P] where the model takes them. */
export async function encodePrompts(
  engine: Engine,
  model: ModelFolder,
  prompts: readonly (string | null)[],
  call?: CallOptions,
): Promise<TextEmbeddings> {
  const { tokenizers } = model;
  if (!tokenizers)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The model '${model.path}' does not take prompts: it is conditioned on classes.`,
    );
  if (prompts.length === 0) throw new DiffmineError('INVALID_ARGUMENT', 'There are no prompts to encode.');
  const parts: TextEmbeddings[] = [];
  for (let begin = 0; begin < prompts.length; begin += TEXT_BATCH) {
    const batch = prompts.slice(begin, begin + TEXT_BATCH).map((prompt) => prompt ?? '');
    parts.push(
      await engine.encodeText(
        tokenizers.map((tokenizer) => tokenizer.encode(batch)),
        call,
      ),
    );
  }
  const zero = (row: number): boolean => model.zeroNull && prompts[row] === null;
  const text = joined(
    parts.map((one) => one.text),
    zero,
  );
  const pooled = parts.flatMap((one) => one.pooled ?? []);
  return pooled.length > 0 ? { text, pooled: joined(pooled, zero) } : { text };
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
 * Class ids of label names, I64 [names]; '' and null are the null class. A name that no class has is that of the class which is equal to it after NFC.
 *
 * @throws INVALID_ARGUMENT naming the labels the model knows
 */
export function classIds(model: Pick<ModelFolder, 'path' | 'labels'>, names: readonly (string | null)[]): Tensor {
  const known = model.labels ?? [];
  const idOf = classIdOf(known);
  const ids = names.map((name) => {
    const id = name === null || name === '' ? known.length : idOf(name);
    if (id === undefined) {
      const guess = nearest(name ?? '', known, 3);
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `The model '${model.path}' does not know the label '${name}'.`,
        `${guess === undefined ? '' : `Did you mean '${guess}'? `}${knownLabels(known)}`,
      );
    }
    return id;
  });
  return fromInt64([ids.length], ids);
}

/** @throws DATASET_INVALID for labels of `what` that a class model does not know */
export function checkLabels(
  model: Pick<ModelFolder, 'conditioning' | 'labels'>,
  labels: readonly string[],
  what: string,
): void {
  if (model.conditioning !== 'class') return;
  const idOf = classIdOf(model.labels ?? []);
  const unknown = labels.filter((label) => idOf(label) === undefined);
  if (unknown.length > 0)
    throw new DiffmineError(
      'DATASET_INVALID',
      `The model does not have the label${unknown.length === 1 ? '' : 's'} ${listed(unknown)} of ${what}.`,
      knownLabels(model.labels ?? []),
    );
}

function classIdOf(known: readonly string[]): (name: string) => number | undefined {
  const exact = new Map(known.map((label, id) => [label, id]));
  const composed = new Map(known.map((label, id) => [label.normalize('NFC'), id]));
  return (name) => exact.get(name) ?? composed.get(name.normalize('NFC'));
}

const knownLabels = (known: readonly string[]): string =>
  `It knows ${known
    .slice(0, 20)
    .map((label) => `'${label}'`)
    .join(', ')}${known.length > 20 ? ` and ${known.length - 20} more` : ''}.`;
