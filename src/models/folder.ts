// Opens a model folder in diffusers' layout: its components, whether they fit together, and where their weights are. No weights are loaded.
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { isFolder } from '../util/paths.js';
import type { ModelSource, TransformerConfig, UNetConfig, VaeConfig } from '../engine/types.js';
import { readClassNames, readLabels } from './class-names.js';
import {
  hasAttentionUpBlocks,
  hasCrossAttention,
  readSampleSize,
  readScheduleConfig,
  readUNetConfig,
  readVaeConfig,
} from './configs.js';
import { checkFit, checkTransformer, type LoadedPart, type TextParts } from './fit.js';
import { readJsonObject, type JsonObject } from './json.js';
import { sampleSizeOf, strip, summarize, type ModelFolder } from './model.js';
import { variantOf, type OpenOptions } from './options.js';
import { IGNORED, isComponent, T5_PARTS } from './parts.js';
import { openText } from './text.js';
import { FLOW_SCHEDULER, readFlowConfig, readTransformerConfig } from './transformers.js';
import { findWeights, hashWeights } from './weights.js';

const KNOWN = new Set([
  'unet',
  'transformer',
  'vae',
  'text_encoder',
  'tokenizer',
  'text_encoder_2',
  'tokenizer_2',
  ...T5_PARTS,
  'scheduler',
]);
const COMPLETE = 'Give a complete diffusers model folder.';
const MODELS =
  'Give a complete diffusers model folder, a checkpoint (FILE.safetensors), or owner/name of the Hugging Face hub, such as stable-diffusion-v1-5/stable-diffusion-v1-5:fp16.';

/** Opens and checks a folder in diffusers' layout. @throws as openModel */
export async function openFolder(location: string, options: OpenOptions): Promise<ModelFolder> {
  await checkFolder(location);
  const root = path.resolve(location);
  const index = await readJsonObject(path.join(root, 'model_index.json'));
  const listed = (part: string): boolean => isComponent(index[part]);
  const unsupported = (name: string): DiffmineError =>
    new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The model '${location}' has a component '${name}' (${String((index[name] as unknown[])[1])}), which is not supported.`,
      'Supported components: unet or transformer, vae, text_encoder, tokenizer and scheduler, as in Stable Diffusion 1.x, 2.x, XL and 3 and in DiT.',
    );
  for (const [name, value] of Object.entries(index))
    if (isComponent(value) && !KNOWN.has(name) && !IGNORED.has(name)) throw unsupported(name);
  const hash = createHash('sha256');
  const config = async (...names: string[]): Promise<[string, JsonObject]> => {
    const file = path.join(root, ...names);
    const json = await readJsonObject(file);
    hash.update(JSON.stringify([names.join('/'), await readFile(file, 'utf8')]));
    return [file, json];
  };
  const absent = (part: string, why: string): DiffmineError =>
    new DiffmineError('MODEL_INVALID', `The model '${location}' has no ${part}/ folder, but ${why}.`, COMPLETE);
  await config('model_index.json');

  const { variant } = options;
  let unet: LoadedPart<UNetConfig> | undefined;
  let transformer: LoadedPart<TransformerConfig> | undefined;
  let ofDenoiser: number | undefined; // in cells
  if (await isFolder(path.join(root, 'transformer'))) {
    const read = readTransformerConfig(...(await config('transformer', 'config.json')));
    transformer = await part(root, 'transformer', read, variant);
    ofDenoiser = read.sampleSize;
  } else {
    if (!(await isFolder(path.join(root, 'unet')))) throw absent('unet', 'every model needs it, or a transformer');
    const { sampleSize, ...read } = readUNetConfig(...(await config('unet', 'config.json')));
    unet = await part(root, 'unet', read, variant);
    ofDenoiser = sampleSize;
  }
  const conditioning = unet
    ? conditioningOf(location, unet.config)
    : transformer?.config.kind === 'sd3'
      ? 'text'
      : 'class';
  const fold = unet?.config.pixelFold ?? 1;
  const channels = (unet ?? transformer)?.config.inChannels ?? 0;

  const hasVae = listed('vae') || (await isFolder(path.join(root, 'vae')));
  if (!hasVae && channels !== 3 * fold ** 2)
    throw absent('vae', `it denoises ${channels} channels, which are not RGB pixels`);
  let vae: LoadedPart<VaeConfig> | undefined;
  let ofVae: number | undefined; // in pixels
  if (hasVae) {
    if (!(await isFolder(path.join(root, 'vae')))) throw absent('vae', 'its model_index.json lists one');
    const read = await config('vae', 'config.json');
    vae = await part(root, 'vae', readVaeConfig(...read), variant);
    ofVae = readSampleSize(...read);
  }
  const kind = vae ? 'latent' : 'pixel';

  let text: TextParts | undefined;
  let labels: string[] | undefined;
  let classNames: string[][] | undefined;
  if (conditioning === 'text') {
    const need = async (name: string, why: string): Promise<void> => {
      if (!(await isFolder(path.join(root, name)))) throw absent(name, why);
    };
    const opening = { root, hash, config, need, part: <C>(name: string, own: C) => part(root, name, own, variant) };
    const t5 = transformer?.config.kind === 'sd3' && options.t5 !== false && listed(T5_PARTS[0]);
    text = await openText(opening, { unet: unet?.config, transformer: transformer?.config, t5 });
  } else if (transformer?.config.kind === 'dit') {
    ({ labels, names: classNames } = readClassNames(location, index.id2label, transformer.config.numClasses));
  } else {
    labels = readLabels(location, index, unet?.config.numClassEmbeds ?? 0);
  }
  // a second one that the denoiser would not use belongs to another model
  if (listed('text_encoder_2') && (text?.encoders.length ?? 0) < 2) throw unsupported('text_encoder_2');
  if (listed(T5_PARTS[0]) && transformer?.config.kind !== 'sd3') throw unsupported(T5_PARTS[0]);
  if (!(await isFolder(path.join(root, 'scheduler'))))
    throw absent('scheduler', 'every model needs its noise schedule');
  const scheduler = await config('scheduler', 'scheduler_config.json');
  const { timestepSpacing, ...schedule } =
    scheduler[1]._class_name === FLOW_SCHEDULER ? readFlowConfig(...scheduler) : readScheduleConfig(...scheduler);

  const [textEncoder, textEncoder2] = text?.encoders ?? [];
  const t5 = text?.t5?.encoder;
  const parts = { unet, transformer, vae, textEncoder, textEncoder2, ...(t5 && { t5 }) };
  if (variant !== undefined) checkVariant(location, variant, Object.values(parts));
  if (unet) checkFit(unet, vae, text);
  if (transformer) checkTransformer(transformer, vae, text);
  for (const [name, loaded] of Object.entries(parts)) if (loaded) await hashWeights(hash, name, loaded.weights);

  const vaeFactor = vae ? 2 ** (vae.config.blockOutChannels.length - 1) : 1;
  const perCell = vaeFactor * fold;
  const source: ModelSource = {
    ...(unet && { unet: strip(unet) }),
    ...(transformer && { transformer: strip(transformer) }),
    ...(vae && { vae: strip(vae) }),
    ...(text && { textEncoders: text.encoders.map(strip) }),
    ...(t5 && { t5: strip(t5) }),
    schedule,
  };
  const model = {
    path: root,
    ...variantOf(options),
    kind,
    conditioning,
    source,
    ...(labels && { labels }),
    ...(classNames && { classNames }),
    ...(text && { tokenizers: text.tokenizers }),
    ...(text?.t5 && { t5Tokenizer: text.t5.tokenizer }),
    // Of pipelines of SDXL, whose default is true.
    zeroNull: unet?.config.addedEmbedding !== undefined && index.force_zeros_for_empty_prompt !== false,
    ...sampleSizeOf(ofDenoiser, ofVae, perCell),
    vaeFactor,
    fold,
    sizeMultiple: sizeMultipleOf(source, perCell),
    timestepSpacing,
    fingerprint: hash.digest('hex'),
  } as const;
  return { ...model, summary: () => summarize(model, parts) };
}

/** The VAE takes any size (it rounds down); folding, attention up blocks and patches of a transformer do not. */
function sizeMultipleOf({ unet, transformer }: ModelSource, perCell: number): number {
  if (transformer) return transformer.config.patchSize * perCell;
  if (!unet) return 1;
  const { blockOutChannels, pixelFold } = unet.config;
  return hasAttentionUpBlocks(unet.config) ? perCell * 2 ** (blockOutChannels.length - 1) : pixelFold;
}

async function part<Config>(
  root: string,
  name: string,
  config: Config,
  variant: string | undefined,
): Promise<LoadedPart<Config>> {
  const weights = await findWeights(path.join(root, name), variant);
  return { name, config, weights, files: weights.files };
}

/** A variant that no part has is a mistyped one. */
function checkVariant(location: string, variant: string, parts: readonly (LoadedPart<unknown> | undefined)[]): void {
  const loaded = parts.filter((one) => one !== undefined);
  if (loaded.some(({ weights }) => weights.variant === variant)) return;
  const listed = loaded.map(
    ({ name, weights }) => `${name}: ${weights.variants.map((one) => one || 'none').join(', ')}`,
  );
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `The model '${location}' has no weights of the variant '${variant}'.`,
    `Variants of its weights: ${listed.join('; ')}.`,
  );
}

async function checkFolder(location: string): Promise<void> {
  const status = await stat(location).catch(() => undefined);
  if (!status) throw new DiffmineError('MODEL_INVALID', `There is no model folder '${location}'.`, MODELS);
  if (!status.isDirectory())
    throw new DiffmineError(
      'MODEL_INVALID',
      `'${location}' is a file, not a model.`,
      'Give a model folder, or a checkpoint whose name ends in .safetensors.',
    );
  if (!(await stat(path.join(location, 'model_index.json')).catch(() => undefined))) {
    throw new DiffmineError(
      'MODEL_INVALID',
      `'${location}' has no model_index.json: it is not a diffusers model folder.`,
      'A model folder has model_index.json, unet/, scheduler/ and, depending on the model, vae/, text_encoder/, tokenizer/.',
    );
  }
}

function conditioningOf(location: string, config: UNetConfig): 'text' | 'class' {
  const text = hasCrossAttention(config);
  if (config.numClassEmbeds > 0 && text)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The UNet of '${location}' takes both text (cross-attention) and class labels (num_class_embeds = ${config.numClassEmbeds}).`,
      'Supported: one of the two.',
    );
  if (config.numClassEmbeds > 0) return 'class';
  if (!text)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The UNet of '${location}' is unconditional: it has neither cross-attention nor num_class_embeds.`,
      'Typicality compares a model with and without its condition: it needs a conditional model.',
    );
  return 'text';
}
