// Opens an original checkpoint of Stable Diffusion 1.x or 2.x: one .safetensors file with all parts of a model, and without any configuration.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'yaml';
import type { SafetensorsHeader } from '../../engine/types.js';
import { DiffmineError } from '../../util/errors.js';
import { checkFit, type LoadedPart } from '../fit.js';
import { sampleSizeOf, strip, summarize, type ModelFolder } from '../folder.js';
import type { HubHooks } from '../hub/hub.js';
import { locate } from '../locate.js';
import type { OpenOptions } from '../options.js';
import { clipTokenizer } from '../clip-tokenizer.js';
import { Tokenizer } from '../tokenizer.js';
import { hashWeights } from '../weights.js';
import { scheduleOf, textConfigOf, unetConfigOf, vaeConfigOf, type Prediction } from './configs.js';
import { readCheckpoint, type Checkpoint, type CheckpointPart } from './read.js';

/** Sides that the published models were trained on, in latent cells. */
const CELLS = { '1': 64, '2': 64, '2v': 96 } as const;

/** @throws what readCheckpoint throws; MODEL_INVALID for missing parts; INVALID_ARGUMENT if the prediction has to be given */
export async function openCheckpoint(
  location: string,
  options: OpenOptions,
  hooks: HubHooks = {},
): Promise<ModelFolder> {
  const checkpoint = await readCheckpoint(location, options.variant);
  const { file, encoder } = checkpoint;
  const prediction = await predictionOf(checkpoint, options.prediction);
  const need = (part: CheckpointPart | undefined, what: string, hint: string): CheckpointPart => {
    if (part) return part;
    throw new DiffmineError('MODEL_INVALID', `The checkpoint '${location}' has no ${what}.`, hint);
  };
  const part = <Config>(name: string, config: Config, { weights, tensors }: CheckpointPart): LoadedPart<Config> => ({
    name,
    config,
    weights,
    files: weights.files,
    tensors,
  });
  const ofVae = need(checkpoint.vae, 'VAE (first_stage_model)', 'Give a complete checkpoint, or a model folder.');
  const ofText = need(
    checkpoint.text,
    'text encoder (cond_stage_model)',
    'Give a complete checkpoint, or a model folder.',
  );
  const unet = part('unet', unetConfigOf(checkpoint.unet.weights, prediction), checkpoint.unet);
  const vae = part('vae', vaeConfigOf(ofVae.weights), ofVae);
  const textEncoder = part('text_encoder', textConfigOf(ofText.weights, encoder), ofText);
  if (unet.config.inChannels !== unet.config.outChannels)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The UNet of '${location}' takes ${unet.config.inChannels} channels and returns ${unet.config.outChannels}.`,
      'Supported are UNets whose only input is the latent, not inpainting or depth models.',
    );
  const tokenizer =
    options.tokenizer === undefined
      ? await clipTokenizer(encoder)
      : await Tokenizer.open(await tokenizerFolder(options.tokenizer, hooks));
  checkFit(unet, vae, { encoders: [textEncoder], tokenizers: [tokenizer] });
  const hash = createHash('sha256').update(
    JSON.stringify(['checkpoint', prediction, checkpoint.variant, tokenizer.encode(['!', 'a']).data.join()]),
  );
  await hashWeights(hash, 'checkpoint', { files: [file], headers: [checkpoint.header], bytes: [checkpoint.bytes] });
  const vaeFactor = 2 ** (vae.config.blockOutChannels.length - 1);
  const cells = CELLS[encoder === 'clip' ? '1' : prediction === 'epsilon' ? '2' : '2v'];
  const model: Omit<ModelFolder, 'summary'> = {
    path: file,
    kind: 'latent',
    conditioning: 'text',
    source: {
      unet: strip(unet),
      vae: strip(vae),
      textEncoders: [strip(textEncoder)],
      schedule: scheduleOf(prediction),
    },
    tokenizers: [tokenizer],
    zeroNull: false,
    ...sampleSizeOf(cells, undefined, vaeFactor),
    vaeFactor,
    fold: 1,
    sizeMultiple: 1,
    timestepSpacing: 'leading',
    fingerprint: hash.digest('hex'),
  };
  return { ...model, summary: () => summarize(model, { unet, vae, textEncoder }) };
}

async function tokenizerFolder(location: string, hooks: HubHooks): Promise<string> {
  const { path: place } = await locate(location, {}, hooks);
  const inside = path.join(place, 'tokenizer');
  return readFile(path.join(inside, 'vocab.json')).then(
    () => inside,
    () => place,
  );
}

/**
 * What the UNet predicts. 1.x predicts noise. Of 2.x there are both, with the same tensors: it is known from `prediction`, from metadata as ModelSpec
 * defines them, or from the YAML configuration beside the file, under its name.
 */
async function predictionOf({ file, encoder, header }: Checkpoint, asked: Prediction | undefined): Promise<Prediction> {
  const said = asked ?? ofMetadata(header) ?? (await ofYaml(file));
  if (said !== undefined) return said;
  if (encoder === 'clip') return 'epsilon';
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `'${file}' is a checkpoint of Stable Diffusion 2.x that does not say what it predicts.`,
    'Give `prediction` v_prediction for models of 768 px such as v2-1_768-ema-pruned, epsilon for those of 512 px (v2-1_512-ema-pruned).',
    { option: 'prediction' },
  );
}

function ofMetadata({ metadata }: SafetensorsHeader): Prediction | undefined {
  const type = metadata['modelspec.prediction_type'];
  if (type === 'v' || type === 'v_prediction') return 'v_prediction';
  if (type === 'epsilon') return 'epsilon';
  return metadata['modelspec.architecture']?.endsWith('-768-v') === true ? 'v_prediction' : undefined;
}

async function ofYaml(file: string): Promise<Prediction | undefined> {
  const text = await readFile(file.replace(/\.safetensors$/, '.yaml'), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const { model } = (parse(text) ?? {}) as { model?: { params?: { parameterization?: unknown } } };
  return model?.params?.parameterization === 'v' ? 'v_prediction' : 'epsilon';
}
