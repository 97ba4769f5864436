// Opens a model wherever it is: a folder, a checkpoint, or a model of the Hugging Face hub; with another VAE, and with LoRAs, where these are asked for.
import { stat } from 'node:fs/promises';
import { DiffmineError } from '../util/errors.js';
import { openCheckpoint } from './checkpoint/open.js';
import { openFolder } from './folder.js';
import type { HubHooks } from './hub/hub.js';
import { locate } from './locate.js';
import { applyLoras } from './lora.js';
import { isLoraFolder, openLoraFolder } from './lora-folder.js';
import type { ModelFolder } from './model.js';
import { modelOptions, variantOf, type OpenOptions } from './options.js';
import { isPickle, pickleError } from './pickle.js';
import { replaceVae } from './vae.js';

/**
 * Opens and checks a model: SD 1.x and 2.x, pixel-space models with text or classes, folded pixels.
 *
 * @param location a diffusers folder, an original checkpoint (FILE.safetensors), or the id of a model on the Hugging Face hub, which is fetched if it is
 *   not cached
 * @throws INVALID_ARGUMENT for a variant that no part has; MODEL_INVALID if something is missing or does not fit together; MODEL_UNSUPPORTED for unsupported models;
 *   WEIGHTS_INVALID for a damaged weights file
 */
export async function openModel(
  location: string,
  options: OpenOptions = {},
  hooks: HubHooks = {},
): Promise<ModelFolder> {
  const { path: place, variant, hub } = await locate(location, options, hooks);
  const status = await stat(place).catch(() => undefined);
  if (status?.isFile() === true && isPickle(place)) throw pickleError(place);
  const isFile = status?.isFile() === true && place.endsWith('.safetensors');
  for (const key of ['prediction', 'tokenizer'] as const)
    if (!isFile && options[key] !== undefined)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `\`${key}\` is for checkpoints in one file: the folder '${location}' has its own.`,
        'Leave it out.',
      );
  const plain = isFile
    ? await openCheckpoint(place, options, hooks)
    : (await isLoraFolder(place))
      ? await openLoraFolder(place, variantOf({ ...options, variant }), hooks)
      : await openFolder(place, variantOf({ ...options, variant }));
  const own = options.vae === undefined ? plain : await replaceVae(plain, options.vae, hooks);
  const model = await applyLoras(own, options.lora ?? []);
  const opened = modelOptions({ ...options, variant: isFile ? options.variant : variant });
  return { ...model, opened, ...(hub && { hub }), summary: () => ({ ...model.summary(), ...(hub && { hub }) }) };
}

/** Options for each of several models that one variant was named for: only one of them has to have it. */
export async function variantForEach(
  locations: readonly string[],
  variant: string | null | undefined,
  hooks: HubHooks = {},
): Promise<OpenOptions[]> {
  const asked = variantOf({ variant });
  if (asked.variant === undefined || locations.length < 2) return locations.map(() => asked);
  const has = async (location: string): Promise<boolean> =>
    openModel(location, asked, hooks).then(
      () => true,
      (error: unknown) => !(error instanceof DiffmineError && error.code === 'INVALID_ARGUMENT'),
    );
  const having = await Promise.all(locations.map(has));
  return having.map((own) => (own || !having.includes(true) ? asked : {}));
}
