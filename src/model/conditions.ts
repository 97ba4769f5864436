// From prompts or label names to conditions the UNet can take.
import { DiffmineError } from '../errors';
import type { Conditions, Engine } from '../native';
import { fromInt64 } from '../native/tensor';
import type { CallOptions, Tensor } from '../native/types';
import { nearest } from '../nearest';
import type { ModelFolder } from './folder';

/** Prompts a pass of the text encoder. */
const TEXT_BATCH = 32;

/**
 * Prepares one condition for each entry, in order; the engine must have the model loaded.
 *
 * @param prompts prompts of a text model; label names of a class model, whose null class is '' or null
 * @throws INVALID_ARGUMENT for a label the class model does not know
 */
export async function prepareConditions(engine: Engine, model: ModelFolder, prompts: readonly (string | null)[], call?: CallOptions): Promise<Conditions> {
  if (model.conditioning === 'class') return engine.prepareConditions(classIds(model, prompts), call);
  return engine.prepareConditions(await encodePrompts(engine, model, prompts.map((prompt) => prompt ?? ''), call), call);
}

/** Embeddings F32 [prompts, 77, D] of a text model. */
export async function encodePrompts(engine: Engine, model: ModelFolder, prompts: readonly string[], call?: CallOptions): Promise<Tensor> {
  if (!model.tokenizer) throw new DiffmineError('INVALID_ARGUMENT', `The model '${model.path}' takes no prompts: it is conditioned on classes.`);
  const parts: Tensor[] = [];
  for (let begin = 0; begin < prompts.length; begin += TEXT_BATCH) {
    parts.push(await engine.encodeText(model.tokenizer.encode(prompts.slice(begin, begin + TEXT_BATCH)), call));
  }
  const [first] = parts;
  if (!first) throw new DiffmineError('INVALID_ARGUMENT', 'There are no prompts to encode.');
  return { dtype: first.dtype, shape: [prompts.length, ...first.shape.slice(1)], data: Buffer.concat(parts.map((part) => part.data)) };
}

/**
 * Class ids of label names, I64 [names]; '' and null are the null class.
 *
 * @throws INVALID_ARGUMENT naming the labels the model knows
 */
export function classIds(model: Pick<ModelFolder, 'path' | 'labels'>, names: readonly (string | null)[]): Tensor {
  const known = model.labels ?? [];
  const byName = new Map(known.map((label, id) => [label, id]));
  const ids = names.map((name) => {
    const id = name === null || name === '' ? known.length : byName.get(name);
    if (id === undefined) {
      const listed = known.slice(0, 20).map((label) => `'${label}'`).join(', ');
      const guess = nearest(name ?? '', known, 3);
      const hint = `${guess === undefined ? '' : `Did you mean '${guess}'? `}It knows ${listed}${known.length > 20 ? ` and ${known.length - 20} more` : ''}.`;
      throw new DiffmineError('INVALID_ARGUMENT', `The model '${model.path}' does not know the label '${name}'.`, hint);
    }
    return id;
  });
  return fromInt64([ids.length], ids);
}
