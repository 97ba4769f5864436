// A VAE that takes the place of a model's own.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { readSafetensorsHeader } from '../engine/index.js';
import type { RenamedTensor, SafetensorsHeader, VaeConfig } from '../engine/types.js';
import { DiffmineError } from '../util/errors.js';
import { vaeConfigOf } from './checkpoint/configs.js';
import { vaeTensors } from './checkpoint/read.js';
import { readVaeConfig } from './configs.js';
import type { LoadedPart } from './fit.js';
import { parametersOf, type ModelFolder } from './model.js';
import type { HubHooks } from './hub/hub.js';
import { readJsonObject } from './json.js';
import { locate } from './locate.js';
import { isPickle, pickleError } from './pickle.js';
import { countParameters, dtypesOf, findWeights, hashWeights, type Weights } from './weights.js';

/**
 * @param location a file in diffusers' or the original format, the folder of a VAE or of a model that has one, or an id of the hub
 * @throws MODEL_INVALID if it is not a VAE, or does not fit the model
 */
export async function replaceVae(model: ModelFolder, location: string, hooks: HubHooks): Promise<ModelFolder> {
  const own = model.source.vae;
  if (!own)
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model '${model.path}' has no VAE that '${location}' could replace.`,
      'Leave `vae` out.',
    );
  const vae = await openVae(location, own.config, hooks);
  const { config, files, tensors, weights } = vae;
  if (
    config.latentChannels !== own.config.latentChannels ||
    config.blockOutChannels.length !== own.config.blockOutChannels.length
  )
    throw new DiffmineError(
      'MODEL_INVALID',
      `The VAE '${location}' has ${config.latentChannels} channels at 1/${2 ** (config.blockOutChannels.length - 1)} of the size, the model's own ${own.config.latentChannels} at 1/${model.vaeFactor}.`,
      'Give a VAE of the same kind of model.',
    );
  const hash = createHash('sha256').update(JSON.stringify(['vae', model.fingerprint, config]));
  await hashWeights(hash, 'vae', weights);
  const fingerprint = hash.digest('hex');
  const part = {
    parameters: countParameters(weights),
    dtypes: dtypesOf(weights),
    bytes: weights.bytes.reduce((a, b) => a + b, 0),
    files: weights.files.map((file) => path.basename(file)),
  };
  return {
    ...model,
    source: { ...model.source, vae: { config, files, ...(tensors && { tensors }) } },
    fingerprint,
    summary: () => {
      const before = model.summary();
      const parts = { ...before.parts, vae: part };
      return {
        ...before,
        parts,
        parameters: parametersOf(parts),
        fingerprint,
      };
    },
  };
}

async function openVae(location: string, own: VaeConfig, hooks: HubHooks): Promise<LoadedPart<VaeConfig>> {
  const { path: place, variant } = await locate(location, {}, hooks);
  const status = await stat(place).catch(() => undefined);
  if (!status)
    throw new DiffmineError(
      'MODEL_INVALID',
      `There is no VAE '${location}'.`,
      'Give a .safetensors file, a folder, or owner/name of the hub.',
    );
  if (status.isFile()) return fileVae(path.resolve(place), own);
  const whole = path.join(path.resolve(place), 'vae');
  const folder = (await stat(whole).catch(() => undefined)) ? whole : path.resolve(place);
  const file = path.join(folder, 'config.json');
  const weights = await findWeights(folder, variant);
  return { name: 'vae', config: readVaeConfig(file, await readJsonObject(file)), weights, files: weights.files };
}

/** A file has neither the scale nor the shift of latents: those of the VAE it replaces are used. */
async function fileVae(file: string, own: VaeConfig): Promise<LoadedPart<VaeConfig>> {
  if (isPickle(file)) throw pickleError(file);
  const header = readSafetensorsHeader(file);
  const { size } = await stat(file);
  const original = vaeTensors(header);
  const tensors = original ?? undefined;
  const renamed: SafetensorsHeader = tensors ? { metadata: {}, tensors: headerOf(header, tensors) } : header;
  const weights: Weights = { files: [file], variant: '', variants: [], headers: [renamed], bytes: [size] };
  if (!renamed.tensors['encoder.conv_in.weight'] || !renamed.tensors['decoder.conv_in.weight'])
    throw new DiffmineError(
      'MODEL_INVALID',
      `'${file}' is not a VAE: it has no encoder.conv_in.weight.`,
      'Give the file of an AutoencoderKL.',
    );
  const config = vaeConfigOf(weights, own.scalingFactor);
  return {
    name: 'vae',
    config: { ...config, normNumGroups: own.normNumGroups, shiftFactor: own.shiftFactor },
    weights,
    files: [file],
    ...(tensors && { tensors }),
  };
}

function headerOf(header: SafetensorsHeader, tensors: readonly RenamedTensor[]): SafetensorsHeader['tensors'] {
  return Object.fromEntries(
    tensors.map(({ name, stored, shape }) => {
      const info = header.tensors[stored] as SafetensorsHeader['tensors'][string];
      return [name, { ...info, shape: shape ?? info.shape }];
    }),
  );
}
