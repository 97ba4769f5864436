// Turns prompts or label names into conditions of the UNet.
import { listed } from '../data/labels.js';
import { DiffmineError } from '../util/errors.js';
import type { Conditions, Engine } from '../engine/index.js';
import { fromInt64 } from '../engine/tensor.js';
import type { CallOptions, Tensor } from '../engine/types.js';
import { nearest } from '../util/nearest.js';
import type { ModelFolder } from './folder.js';

/** Prompts per forward pass of the text encoder. */
const TEXT_BATCH = 32;

/**
 * Prepares one condition for each entry, in order; the engine must have the model loaded.
 *
 * @param prompts prompts for a text model; label names for a class model, with '' or null for the null class
 * @throws INVALID_ARGUMENT for a label that the class model does not know
 */
export async function prepareConditions(
  engine: Engine,
  model: ModelFolder,
  prompts: readonly (string | null)[],
  call?: CallOptions,
): Promise<Conditions> {
  if (model.conditioning === 'class') return engine.prepareConditions(classIds(model, prompts), call);
  return engine.prepareConditions(
    await encodePrompts(
      engine,
      model,
      prompts.map((prompt) => prompt ?? ''),
      call,
    ),
    call,
  );
}

/** Embeddings F32 [prompts, 77, D] of a text model. */
export async function encodePrompts(
  engine: Engine,
  model: ModelFolder,
  prompts: readonly string[],
  call?: CallOptions,
): Promise<Tensor> {
  if (!model.tokenizer)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The model '${model.path}' does not take prompts: it is conditioned on classes.`,
    );
  const parts: Tensor[] = [];
  for (let begin = 0; begin < prompts.length; begin += TEXT_BATCH) {
    parts.push(await engine.encodeText(model.tokenizer.encode(prompts.slice(begin, begin + TEXT_BATCH)), call));
  }
  const [first] = parts;
  if (!first) throw new DiffmineError('INVALID_ARGUMENT', 'There are no prompts to encode.');
  return {
    dtype: first.dtype,
    shape: [prompts.length, ...first.shape.slice(1)],
    data: Buffer.concat(parts.map((part) => part.data)),
  };
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
