// Opens an original checkpoint of Stable Diffusion 1.x, 2.x or XL: one .safetensors file with all parts of a model, and without any configuration.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { SafetensorsHeader } from '../../engine/types.js';
import { DiffmineError } from '../../util/errors.js';
import { checkFit, type LoadedPart } from '../fit.js';
import { sampleSizeOf, strip, summarize, type ModelFolder } from '../model.js';
import type { HubHooks } from '../hub/hub.js';
import { locate } from '../locate.js';
import type { OpenOptions } from '../options.js';
import { clipTokenizer } from '../clip-tokenizer.js';
import { Tokenizer } from '../tokenizer.js';
import { hashWeights } from '../weights.js';
import { scheduleOf, textConfigOf, unetConfigOf, vaeConfigOf, type Prediction } from './configs.js';
import { readCheckpoint, type Checkpoint, type CheckpointPart } from './read.js';

/** Sides that the published models were trained on, in latent cells. */
const CELLS = { '1': 64, '2': 64, '2v': 96, xl: 128 } as const;
const XL_SCALING = 0.13025;

/** @throws what readCheckpoint throws; MODEL_INVALID for missing parts; INVALID_ARGUMENT if the prediction has to be given */
export async function openCheckpoint(
  location: string,
  options: OpenOptions,
  hooks: HubHooks = {},
): Promise<ModelFolder> {
  const checkpoint = await readCheckpoint(location, options.variant);
  const { file, kind } = checkpoint;
  const xl = kind === 'xl';
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
    `text encoder (${xl ? 'conditioner.embedders.0' : 'cond_stage_model'})`,
    'Give a complete checkpoint, or a model folder.',
  );
  const textEncoder = part(
    'text_encoder',
    textConfigOf(ofText.weights, kind === '2' ? 'openclip' : 'clip', xl),
    ofText,
  );
  const ofText2 = xl
    ? need(
        checkpoint.text2,
        'second text encoder (conditioner.embedders.1)',
        'Give a complete checkpoint, or a model folder.',
      )
    : undefined;
  const textEncoder2 = ofText2 && part('text_encoder_2', textConfigOf(ofText2.weights, 'openclip', true), ofText2);
  const pooled = textEncoder2?.config.projection?.dim;
  const unet = part('unet', unetConfigOf(checkpoint.unet.weights, prediction, pooled), checkpoint.unet);
  const vae = part('vae', vaeConfigOf(ofVae.weights, xl ? XL_SCALING : undefined), ofVae);
  if (unet.config.inChannels !== unet.config.outChannels)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The UNet of '${location}' takes ${unet.config.inChannels} channels and returns ${unet.config.outChannels}.`,
      'Supported are UNets whose only input is the latent, not inpainting or depth models.',
    );
  const encoders = [textEncoder, ...(textEncoder2 ? [textEncoder2] : [])];
  const tokenizers: Tokenizer[] = [];
  for (const one of encoders)
    tokenizers.push(
      options.tokenizer === undefined
        ? await clipTokenizer(kind === '2' || one === textEncoder2 ? 'openclip' : 'clip')
        : await Tokenizer.open(
            await tokenizerFolder(options.tokenizer, one === textEncoder2 ? 'tokenizer_2' : 'tokenizer', hooks),
          ),
    );
  checkFit(unet, vae, { encoders, tokenizers });
  const hash = createHash('sha256').update(
    JSON.stringify([
      'checkpoint',
      prediction,
      checkpoint.variant,
      tokenizers.map((tokenizer) => tokenizer.encode(['!', 'a']).data.join()).join(' '),
    ]),
  );
  await hashWeights(hash, 'checkpoint', { files: [file], headers: [checkpoint.header], bytes: [checkpoint.bytes] });
  const vaeFactor = 2 ** (vae.config.blockOutChannels.length - 1);
  const cells = CELLS[kind === '2' && prediction !== 'epsilon' ? '2v' : kind];
  const model: Omit<ModelFolder, 'summary'> = {
    path: file,
    kind: 'latent',
    conditioning: 'text',
    source: {
      unet: strip(unet),
      vae: strip(vae),
      textEncoders: encoders.map(strip),
      schedule: scheduleOf(prediction),
    },
    tokenizers,
    zeroNull: xl, // as the published pipeline has it
    ...sampleSizeOf(cells, undefined, vaeFactor),
    vaeFactor,
    fold: 1,
    sizeMultiple: 1,
    timestepSpacing: 'leading',
    fingerprint: hash.digest('hex'),
  };
  return { ...model, summary: () => summarize(model, { unet, vae, textEncoder, textEncoder2 }) };
}

/** A tokenizer's own folder, or that of its name in a model's. */
async function tokenizerFolder(location: string, name: 'tokenizer' | 'tokenizer_2', hooks: HubHooks): Promise<string> {
  const { path: place } = await locate(location, {}, hooks);
  for (const inside of [path.join(place, name), path.join(place, 'tokenizer')])
    if (existsSync(path.join(inside, 'vocab.json'))) return inside;
  return place;
}

/**
 * What the UNet predicts. 1.x and XL predict noise. Of 2.x there are both, with the same tensors: it is known from `prediction`, from metadata as ModelSpec
 * defines them, or from the YAML configuration beside the file, under its name.
 */
async function predictionOf({ file, kind, header }: Checkpoint, asked: Prediction | undefined): Promise<Prediction> {
  const said = asked ?? ofMetadata(header) ?? (await ofYaml(file));
  if (said !== undefined) return said;
  if (kind !== '2') return 'epsilon';
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
  const { parse } = await import('yaml'); // 70 modules, which few need
  const { model } = (parse(text) ?? {}) as { model?: { params?: { parameterization?: unknown } } };
  return model?.params?.parameterization === 'v' ? 'v_prediction' : 'epsilon';
}
