// What a training starts from: an existing model or a size for --new, the conditions of its labels, and the model folder to write.
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { fillPrompt } from '../../data/index.js';
import { distinctLabels, listed } from '../../data/labels.js';
import { DiffmineError } from '../../util/errors.js';
import {
  clashes,
  classIds,
  conditionKeys,
  defaultSize,
  encodePrompts,
  nullCondition,
  openModel,
  variantForEach,
  variantOf,
  type ModelFolder,
  type OpenOptions,
} from '../../models/index.js';
import { architectureOf, channelsOf, denoiserOf, type Architecture } from '../../models/denoiser.js';
import { LORA, LORA_FORMAT, LORA_WEIGHTS } from '../../models/folder.js';
import type { HubHooks } from '../../models/hub/hub.js';
import { pinned } from '../../models/locate.js';
import { readJsonObject } from '../../models/json.js';
import {
  copyPart,
  indexJson,
  removeOtherWeights,
  scheduleJson,
  unetJson,
  UNET_WEIGHTS,
  writeJson,
} from '../../models/write.js';
import type { Engine } from '../../engine/index.js';
import { fromInt64 } from '../../engine/tensor.js';
import type { CallOptions, ConditionInput, ModelPart, ModelSource, UNetConfig } from '../../engine/types.js';
import { PIXEL_SCHEDULE, SIZES, unetOfSize } from './sizes.js';
import type { TrainSettings } from './options.js';

/** The settings that name models. */
export type Named = Pick<TrainSettings, 'from' | 'new' | 'vae' | 'textEncoder' | 'variant' | 't5' | 'fold'>;

export interface Base {
  architecture: Architecture;
  /** predicts the velocity of a flow */
  flow: boolean;
  kind: 'latent' | 'pixel';
  conditioning: 'text' | 'class';
  /** default side of the crops, and the number that sides must be a multiple of, in pixels */
  side: number;
  multiple: number;
  /** pixels a latent cell, and pixels folded, in each direction */
  vaeFactor: number;
  fold: number;
  /** timestep spacing of the model's scheduler */
  spacing: string;
  /** the trained denoiser; its initial weights are those of `from`, or random */
  start(labels: readonly string[], seed: number): Pick<ModelSource, 'unet' | 'transformer' | 'schedule'>;
  /** models that encode latents and text; undefined for class-conditional pixel models */
  encoder: ModelSource | undefined;
  /** fingerprint of the encoder's output */
  encoderFingerprint: string;
  /** rows of conditions, one a label in order, then the null condition; text needs the encoder loaded */
  conditions(
    engine: Engine,
    labels: readonly string[],
    settings: Pick<TrainSettings, 'prompt' | 'nullPrompt'>,
    call?: CallOptions,
  ): Promise<ConditionInput>;
  /**
   * Warns about labels that the model cannot distinguish.
   *
   * @throws INVALID_ARGUMENT for labels that a class model does not know
   */
  checkLabels(
    labels: readonly string[],
    settings: Pick<TrainSettings, 'prompt' | 'nullPrompt' | 'size'>,
    onLog?: (sentence: string) => void,
  ): void;
  /** Writes the model folder for crops of `side` pixels; `weights` writes the UNet's weights to the given file. */
  write(
    folder: string,
    made: { labels: readonly string[]; side: number },
    weights: (file: string) => Promise<void>,
  ): Promise<void>;
}

/** Opens the models that the settings name, without loading weights. */
export async function openBase(named: Named, hooks: HubHooks = {}): Promise<Base> {
  if ((named.from === null) === (named.new === null)) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      named.from === null ? 'Neither `from` nor `new` was given.' : '`from` and `new` cannot be used together.',
      'Give `from` MODEL to fine-tune it, or `new` SIZE (diffmine train --list-sizes) to start from scratch.',
    );
  }
  if (named.from !== null) {
    if (named.vae !== null || named.textEncoder !== null || named.fold !== null)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '`vae`, `textEncoder` and `fold` need `new`: fine-tuning keeps those of the model.',
        'Leave them out, or train a new model with `new`.',
      );
    const model = await openModel(named.from, variantOf(named), hooks);
    const denoiser = denoiserOf(model.source);
    if (denoiser.tensors)
      throw new DiffmineError(
        'MODEL_UNSUPPORTED',
        `'${named.from}' is a checkpoint in one file; fine-tuning needs a model folder.`,
        `Convert it with Python: python -c 'from diffusers import StableDiffusionPipeline; StableDiffusionPipeline.from_single_file("${named.from}").save_pretrained("FOLDER")'`,
      );
    if (denoiser.lora)
      throw new DiffmineError(
        'MODEL_UNSUPPORTED',
        `'${named.from}' is a LoRA, not a complete model.`,
        'Give `from` its base model.',
      );
    return fromModel(model);
  }
  return newModel(named, hooks);
}

/** A minimal UNet, for encoding, which does not need one. */
function placeholder(channels: number): ModelPart<UNetConfig> {
  const config: UNetConfig = {
    inChannels: channels,
    outChannels: channels,
    blockOutChannels: [8],
    downBlockTypes: ['DownBlock2D'],
    upBlockTypes: ['UpBlock2D'],
    midBlockType: 'UNetMidBlock2D',
    layersPerBlock: 1,
    attentionHeadDim: [8],
    transformerLayers: [1],
    crossAttentionDim: 8,
    normNumGroups: 8,
    normEps: 1e-5,
    useLinearProjection: false,
    upcastAttention: false,
    scaleShift: false,
    numClassEmbeds: 1,
    flipSinToCos: true,
    freqShift: 0,
    pixelFold: 1,
  };
  return { config, files: [], initial: 0 };
}

function textConditions(model: ModelFolder): Base['conditions'] {
  return async (engine, labels, { prompt, nullPrompt }, call) =>
    encodePrompts(
      engine,
      model,
      [...labels.map((label) => fillPrompt(prompt ?? '{label}', label)), nullCondition(nullPrompt)],
      call,
    );
}

/** Labels that are trained under the same condition, and labels that are trained as if they were the null condition. */
function tellClashes(
  model: Pick<ModelFolder, 'path' | 'labels' | 'tokenizers'>,
  labels: readonly string[],
  { prompt, nullPrompt }: Pick<TrainSettings, 'prompt' | 'nullPrompt'>,
  onLog?: (sentence: string) => void,
): void {
  const names = model.tokenizers ? labels.map((label) => fillPrompt(prompt ?? '{label}', label)) : labels;
  for (const sentence of clashes(model, labels, names)) onLog?.(sentence);
  const keys = conditionKeys(model, [...names, nullPrompt ?? '']);
  const same = labels.filter((_, i) => keys[i] === keys[labels.length]);
  if (same.length > 0)
    onLog?.(
      `The prompt of ${listed(same)} is the null prompt ${JSON.stringify(nullPrompt)} to this model: training cannot learn that label.`,
    );
}

function fromModel(model: ModelFolder): Base {
  const { source, conditioning, kind, vaeFactor, fold, sizeMultiple } = model;
  const { vae, textEncoders, schedule } = source;
  const { unet, transformer } = source;
  return {
    architecture: architectureOf(source),
    flow: schedule.prediction === 'flow',
    kind,
    conditioning,
    side: model.sampleSize,
    vaeFactor,
    fold,
    spacing: model.timestepSpacing,
    // Every downsampling halves: sides that it divides lose nothing.
    multiple: Math.max(sizeMultiple, vaeFactor * fold),
    start: () => ({ ...(unet && { unet }), ...(transformer && { transformer }), schedule }),
    encoder:
      vae || textEncoders
        ? {
            unet: placeholder(channelsOf(source)),
            ...(vae && { vae }),
            ...(textEncoders && { textEncoders }),
            schedule,
          }
        : undefined,
    encoderFingerprint: model.fingerprint,
    conditions:
      conditioning === 'text' ? textConditions(model) : async (_, labels) => classIds(model, [...labels, null]),
    checkLabels: (labels, settings, onLog) => {
      if (conditioning === 'class') classIds(model, labels);
      if (settings.size === model.sampleSize) defaultSize(model, onLog);
      tellClashes(model, labels, settings, onLog);
    },
    async write(folder, { side }, weights) {
      await mkdir(folder, { recursive: true });
      for (const name of await readdir(model.path)) {
        const isFolder = (await stat(path.join(model.path, name))).isDirectory();
        if (name.startsWith('.') || name === 'unet' || !isFolder) continue;
        const weights = { vae, text_encoder: textEncoders?.[0], text_encoder_2: textEncoders?.[1] }[name]?.files;
        if (await looksLikePart(path.join(model.path, name))) await copyPart(model.path, folder, name, weights);
      }
      const unet = path.join(folder, 'unet');
      await removeOtherWeights(unet, UNET_WEIGHTS);
      const config = await readJsonObject(path.join(model.path, 'unet', 'config.json'));
      await writeJson(path.join(unet, 'config.json'), { ...config, sample_size: side / (vaeFactor * fold) });
      await weights(path.join(unet, UNET_WEIGHTS));
      await cp(path.join(model.path, 'model_index.json'), path.join(folder, 'model_index.json'));
    },
  };
}

/** A part of a pipeline says what it is in a file of its own. */
async function looksLikePart(folder: string): Promise<boolean> {
  const names = new Set(await readdir(folder));
  return [
    'config.json',
    'scheduler_config.json',
    'tokenizer_config.json',
    'preprocessor_config.json',
    'vocab.json',
  ].some((name) => names.has(name));
}

async function newModel(
  { new: name, vae: vaePath, textEncoder: textPath, variant, fold: wanted }: Named,
  hooks: HubHooks,
): Promise<Base> {
  if (name === null || !Object.hasOwn(SIZES, name))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `There is no size ${JSON.stringify(name)}.`,
      `Sizes: ${Object.keys(SIZES).join(', ')}.`,
    );
  const size = SIZES[name];
  const fold = wanted ?? size.fold;
  if (![1, 2].includes(fold) || (fold === 2 && size.kind === 'latent'))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`fold\` ${fold} does not fit the size ${name}.`,
      'Pixel sizes can use `fold` 1 or 2, latent sizes only 1.',
    );
  const variants = new Map<string | null, OpenOptions>();
  const models = [vaePath, textPath].filter((location) => location !== null);
  (await variantForEach(models, variant, hooks)).forEach((options, i) => variants.set(models[i] as string, options));
  const vaeModel = vaePath === null ? undefined : await openModel(vaePath, variants.get(vaePath), hooks);
  const textModel = textPath === null ? undefined : await openModel(textPath, variants.get(textPath), hooks);
  const vae = vaeModel?.source.vae;
  const textEncoders = textModel?.source.textEncoders;
  const textEncoder = textEncoders?.[0];
  if (vaeModel && !vae)
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model '${vaePath}' has no VAE.`,
      'Give a latent model, such as Stable Diffusion.',
    );
  if (textModel && !textEncoder)
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model '${textPath}' has no text encoder.`,
      'Give a text-conditional model, such as Stable Diffusion.',
    );
  if (textEncoders && textEncoders.length > 1)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The model '${textPath}' has ${textEncoders.length} text encoders; a new model takes one.`,
      'Give Stable Diffusion 1.x or 2.x for `textEncoder`.',
    );
  const shape = (labels: readonly string[]): UNetConfig =>
    unetOfSize(name, {
      ...(textEncoder ? { textWidth: textEncoder.config.hiddenSize } : { classes: labels.length + 1 }),
      ...(vae && { latentChannels: vae.config.latentChannels }),
      fold,
    });
  shape(['']); // refuses what does not fit together before anything is done
  const schedule = vaeModel?.source.schedule ?? PIXEL_SCHEDULE;
  const vaeFactor = vaeModel?.vaeFactor ?? 1;
  const multiple = vaeFactor * fold * 2 ** (size.channels.length - 1);
  return {
    architecture: 'unet',
    flow: false,
    kind: size.kind,
    conditioning: textModel ? 'text' : 'class',
    side: size.side,
    multiple,
    vaeFactor,
    fold,
    spacing: vaeModel?.timestepSpacing ?? 'leading',
    start: (labels, seed) => ({ unet: { config: shape(labels), files: [], initial: seed }, schedule }),
    encoder:
      vae || textEncoder
        ? {
            unet: placeholder(vae?.config.latentChannels ?? 3),
            ...(vae && { vae }),
            ...(textEncoders && { textEncoders }),
            schedule,
          }
        : undefined,
    encoderFingerprint: createHash('sha256')
      .update(`${vaeModel?.fingerprint ?? ''} ${textModel?.fingerprint ?? ''}`)
      .digest('hex'),
    conditions: textModel
      ? textConditions(textModel)
      : async (_, labels) => fromInt64([labels.length + 1], [...labels.keys(), labels.length]),
    checkLabels: (labels, settings, onLog) =>
      tellClashes(textModel ?? { path: '', labels: distinctLabels(labels) }, labels, settings, onLog),
    async write(folder, { labels, side }, weights) {
      const unet = path.join(folder, 'unet');
      await removeOtherWeights(unet, UNET_WEIGHTS);
      await writeJson(path.join(unet, 'config.json'), unetJson(shape(labels), side / (vaeFactor * fold)));
      if (vaeModel) await copyPart(vaeModel.path, folder, 'vae', vae?.files);
      for (const part of textModel ? ['text_encoder', 'tokenizer'] : [])
        await copyPart(
          (textModel as ModelFolder).path,
          folder,
          part,
          part === 'text_encoder' ? textEncoder?.files : undefined,
        );
      if (vaeModel) await copyPart(vaeModel.path, folder, 'scheduler');
      else {
        await mkdir(path.join(folder, 'scheduler'), { recursive: true });
        await writeJson(path.join(folder, 'scheduler', 'scheduler_config.json'), scheduleJson(schedule));
      }
      await weights(path.join(unet, UNET_WEIGHTS));
      await writeJson(
        path.join(folder, 'model_index.json'),
        indexJson({ vae: vae !== undefined, text: textModel !== undefined }, textModel ? undefined : labels),
      );
    },
  };
}

/** Writes the folder of a LoRA training: the updates as diffusers loads them, and which model they belong to (model/folder.ts opens both as one). */
export async function writeLora(
  folder: string,
  settings: Pick<TrainSettings, 'from' | 'variant' | 't5'>,
  weights: (file: string) => Promise<void>,
): Promise<void> {
  await weights(path.join(folder, LORA_WEIGHTS));
  await writeJson(path.join(folder, LORA), {
    format: LORA_FORMAT,
    base: settings.from === null ? null : await pinned(settings.from, variantOf(settings)),
    ...variantOf(settings),
    scale: 1,
  });
}
