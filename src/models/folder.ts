// Opens a model folder in diffusers' layout: its components, whether they fit together, and where their weights are. No weights are loaded.
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { readSafetensorsHeader } from '../engine/index.js';
import type { ModelPart, ModelSource, TransformerConfig, UNetConfig, VaeConfig } from '../engine/types.js';
import { readClassNames } from './class-names.js';
import {
  hasAttentionUpBlocks,
  hasCrossAttention,
  readSampleSize,
  readScheduleConfig,
  readUNetConfig,
  readVaeConfig,
} from './configs.js';
import { architectureOf, withDenoiser, type Architecture } from './denoiser.js';
import { checkFit, checkTransformer, type LoadedPart, type TextParts } from './fit.js';
import { isObject, readJsonObject, type JsonObject } from './json.js';
import type { HubHooks } from './hub/hub.js';
import { locate, type HubSource } from './locate.js';
import { variantOf, type OpenOptions } from './options.js';
import { IGNORED, isComponent, T5_PARTS } from './parts.js';
import { openText } from './text.js';
import type { T5Tokenizer } from './t5-tokenizer.js';
import type { Tokenizer } from './tokenizer.js';
import { FLOW_SCHEDULER, readFlowConfig, readTransformerConfig } from './transformers.js';
import { countParameters, dtypesOf, findWeights, hashWeights } from './weights.js';

export interface ModelFolder {
  /** absolute; of a checkpoint, the file */
  path: string;
  /** of a model of the Hugging Face hub, whose folder is in the cache */
  hub?: HubSource;
  /** the weight variant that was requested */
  variant?: string | undefined;
  /** how it was opened, with absolute paths: what a run records */
  opened?: OpenOptions;
  /** latent: the UNet denoises a VAE's latents; pixel: the image itself */
  kind: 'latent' | 'pixel';
  /** text: prompts; class: labels the model was trained with */
  conditioning: 'text' | 'class';
  /** what Engine.loadModel takes */
  source: ModelSource;
  /** class models: names in the order of ids, without the null class, which is the last id */
  labels?: string[];
  /** class models whose classes have several names: all of each */
  classNames?: string[][];
  /** text models: one for each text encoder */
  tokenizers?: Tokenizer[];
  /** Stable Diffusion 3 with its T5 */
  t5Tokenizer?: T5Tokenizer;
  /** the condition of no prompt is zeros, not the encoded empty prompt (SDXL) */
  zeroNull: boolean;
  /** default short side in pixels */
  sampleSize: number;
  /** where that size comes from: 'default' if neither the UNet nor the VAE has one */
  sampleSizeOf: 'unet' | 'vae' | 'default';
  /** pixels per latent cell, in each direction; 1 without a VAE */
  vaeFactor: number;
  /** pixels folded into channels, in each direction; 1 without folding */
  fold: number;
  /** images are cropped to multiples of it, in pixels; 1 crops nothing */
  sizeMultiple: number;
  /** timestep spacing of the model's scheduler ("leading", ...) */
  timestepSpacing: string;
  /** sha256 over configs, headers, sizes and sampled bytes of the weights; independent of the folder's path */
  fingerprint: string;
  /** summary for `inspect`; plain JSON */
  summary(): ModelSummary;
}

export interface ModelSummary {
  path: string;
  hub?: HubSource;
  variant?: string | undefined;
  kind: 'latent' | 'pixel';
  conditioning: 'text' | 'class';
  architecture: Architecture;
  prediction: string;
  trainTimesteps: number;
  betaSchedule: string;
  sampleSize: number;
  vaeFactor: number;
  fold: number;
  sizeMultiple: number;
  labels?: string[];
  parts: Record<string, { parameters: number; dtypes: string[]; bytes: number; files: string[] }>;
  /** of the parts that stay in memory: T5's are read when they are used */
  parameters: number;
  /** of a LoRA: its base model */
  lora?: { base: string; scale: number };
  /** added to the weights when they are loaded */
  loras?: { file: string; scale: number }[];
  fingerprint: string;
}

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
/** The side of the UNet's input where nothing says it. */
const DEFAULT_CELLS = 64;
const COMPLETE = 'Give a complete diffusers model folder.';

/** Opens and checks a folder in diffusers' layout. @throws as openModel */
export async function openFolder(location: string, options: OpenOptions, hooks: HubHooks): Promise<ModelFolder> {
  if ((await stat(path.join(location, LORA)).catch(() => undefined)) !== undefined)
    return openLora(location, options, hooks);
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

/** The default short side: what the UNet was trained on, or the VAE, or else 64 cells as Stable Diffusion 1.x. */
export function sampleSizeOf(
  ofUNet: number | undefined,
  ofVae: number | undefined,
  perCell: number,
): Pick<ModelFolder, 'sampleSize' | 'sampleSizeOf'> {
  if (ofUNet !== undefined) return { sampleSize: ofUNet * perCell, sampleSizeOf: 'unet' };
  if (ofVae !== undefined)
    return { sampleSize: Math.max(1, Math.floor(ofVae / perCell)) * perCell, sampleSizeOf: 'vae' };
  return { sampleSize: DEFAULT_CELLS * perCell, sampleSizeOf: 'default' };
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

/** Low-rank updates as diffusers keeps them, and the file beside them that says which model they belong to. */
export const LORA_WEIGHTS = 'pytorch_lora_weights.safetensors';
export const LORA = 'lora.json';
export const LORA_FORMAT = 'diffmine-lora-1';

/** A folder that `train --lora-rank` wrote: the model it started from, with the updates added to its denoiser's weights when they are loaded. */
async function openLora(location: string, options: OpenOptions, hooks: HubHooks): Promise<ModelFolder> {
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
  if ((await stat(path.join(at, LORA)).catch(() => undefined)) !== undefined)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The base '${at}' of the updates in '${location}' is not a complete model.`,
      'The base must be a model folder.',
    );
  const model = await openFolder(at, variantAsked, hooks);
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

/** The same model with random weights in its denoiser (of `seed`), text encoder and VAE as they are: a control that knows nothing of its labels. */
export function untrained(model: ModelFolder, seed: number): ModelFolder {
  const { unet, transformer, ...others } = model.source;
  const random = { files: [], synthetic: seed };
  return {
    ...model,
    source: {
      ...others,
      ...(unet && { unet: { config: unet.config, ...random } }),
      ...(transformer && { transformer: { config: transformer.config, ...random } }),
    },
  };
}

export function strip<Config>({ config, files, tensors }: LoadedPart<Config>): ModelPart<Config> {
  return { config, files, ...(tensors && { tensors }) };
}

async function isFolder(location: string): Promise<boolean> {
  return (await stat(location).catch(() => undefined))?.isDirectory() ?? false;
}

async function checkFolder(location: string): Promise<void> {
  const status = await stat(location).catch(() => undefined);
  if (!status) throw new DiffmineError('MODEL_INVALID', `There is no model folder '${location}'.`, COMPLETE);
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

/** Class names in id order, from model_index.json's id2label. */
function readLabels(location: string, index: JsonObject, numClassEmbeds: number): string[] {
  const map = index.id2label;
  if (!isObject(map))
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model '${location}' is conditioned on classes, but its model_index.json has no id2label.`,
      'Add it: "id2label": {"0": "first label", "1": "second label"}',
    );
  const count = Object.keys(map).length;
  if (count + 1 !== numClassEmbeds) {
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model '${location}' has ${count} labels in id2label, but num_class_embeds = ${numClassEmbeds}.`,
      'num_class_embeds is the number of labels + 1: the last class is the null condition.',
    );
  }
  const labels = Array.from({ length: count }, (_, id) => map[String(id)]);
  const wrong = labels.findIndex((label) => typeof label !== 'string' || label === '');
  if (wrong >= 0)
    throw new DiffmineError(
      'MODEL_INVALID',
      `The id2label of '${location}' has no name for class ${wrong}.`,
      `Ids go from 0 to ${count - 1}, each with a name.`,
    );
  const names = labels as string[];
  const twice = names.find((label, id) => names.indexOf(label) !== id);
  if (twice !== undefined)
    throw new DiffmineError('MODEL_INVALID', `The id2label of '${location}' has the name '${twice}' twice.`);
  return names;
}

export function summarize(
  model: Omit<ModelFolder, 'summary'>,
  parts: Record<string, LoadedPart<unknown> | undefined>,
): ModelSummary {
  const { schedule } = model.source;
  const shown = Object.entries(parts).flatMap(([name, loaded]) => {
    if (!loaded) return [];
    const { weights } = loaded;
    return [
      [
        name,
        {
          parameters: countParameters(weights),
          dtypes: dtypesOf(weights),
          bytes: weights.bytes.reduce((a, b) => a + b, 0),
          files: weights.files.map((file) => path.basename(file)),
        },
      ] as const,
    ];
  });
  return {
    path: model.path,
    ...variantOf(model),
    kind: model.kind,
    conditioning: model.conditioning,
    architecture: architectureOf(model.source),
    prediction: schedule.prediction,
    trainTimesteps: schedule.trainTimesteps,
    betaSchedule: schedule.betaSchedule,
    sampleSize: model.sampleSize,
    vaeFactor: model.vaeFactor,
    fold: model.fold,
    sizeMultiple: model.sizeMultiple,
    ...(model.labels && { labels: model.labels }),
    parts: Object.fromEntries(shown),
    parameters: shown.reduce((sum, [name, { parameters }]) => sum + (name === 't5' ? 0 : parameters), 0),
    fingerprint: model.fingerprint,
  };
}

/** The model's own size, in pixels; said where the model does not give it. */
export function defaultSize(
  { path: folder, sampleSize, sampleSizeOf: of }: Pick<ModelFolder, 'path' | 'sampleSize' | 'sampleSizeOf'>,
  onLog?: (sentence: string) => void,
): number {
  if (of !== 'unet')
    onLog?.(
      `The UNet of '${folder}' gives no sample_size: the size is ${sampleSize} px${of === 'vae' ? ", the VAE's" : ''} (\`size\` sets another).`,
    );
  return sampleSize;
}
