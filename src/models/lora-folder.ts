// A folder that `train --lora-rank` wrote: low-rank updates as diffusers keeps them, and the model that they belong to.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { readSafetensorsHeader } from '../engine/index.js';
import { DiffmineError } from '../util/errors.js';
import { exists, isFolder } from '../util/paths.js';
import { withDenoiser } from './denoiser.js';
import { openFolder } from './folder.js';
import type { HubHooks } from './hub/hub.js';
import { readJsonObject } from './json.js';
import { locate } from './locate.js';
import { LORA_WEIGHTS } from './lora.js';
import type { ModelFolder } from './model.js';
import type { OpenOptions } from './options.js';
import { hashWeights } from './weights.js';

/** The file beside the weights that names the base model. */
export const LORA = 'lora.json';
export const LORA_FORMAT = 'diffmine-lora-1';

export async function isLoraFolder(location: string): Promise<boolean> {
  return exists(path.join(location, LORA));
}

/** The base model, with the updates added to its denoiser's weights when they are loaded. @throws as openModel */
export async function openLoraFolder(location: string, options: OpenOptions, hooks: HubHooks): Promise<ModelFolder> {
  const root = path.resolve(location);
  const { format, base, scale, variant, t5 } = await readJsonObject(path.join(root, LORA));
  if (format !== LORA_FORMAT || typeof base !== 'string' || typeof scale !== 'number' || !Number.isFinite(scale)) {
    throw new DiffmineError(
      'MODEL_INVALID',
      `${path.join(root, LORA)} does not name the base model of its updates.`,
      `Expected: {"format": "${LORA_FORMAT}", "base": "MODEL", "scale": 1}.`,
    );
  }
  const variantAsked = { ...(typeof variant === 'string' && { variant }), ...(t5 === false && { t5 }), ...options };
  const resolved = path.resolve(root, base);
  const there = await stat(resolved).catch(() => undefined);
  const at = there ? resolved : (await locate(base, variantAsked, hooks)).path;
  if (!(await isFolder(at)))
    throw new DiffmineError(
      'MODEL_INVALID',
      `The base model '${at}' of the updates in '${location}' does not exist.`,
      `If it has moved, set "base" in ${LORA}.`,
    );
  if (await isLoraFolder(at))
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The base '${at}' of the updates in '${location}' is not a complete model.`,
      'The base must be a model folder.',
    );
  const model = await openFolder(at, variantAsked);
  const file = path.join(root, LORA_WEIGHTS);
  const hash = createHash('sha256').update(JSON.stringify([LORA_FORMAT, model.fingerprint, scale]));
  await hashWeights(hash, 'lora', {
    files: [file],
    headers: [readSafetensorsHeader(file)],
    bytes: [(await stat(file)).size],
  });
  const fingerprint = hash.digest('hex');
  const changed = {
    ...model,
    path: root,
    source: withDenoiser(model.source, (own) => ({ ...own, lora: { file, scale } })),
    fingerprint,
  };
  return { ...changed, summary: () => ({ ...model.summary(), path: root, lora: { base: at, scale }, fingerprint }) };
}
