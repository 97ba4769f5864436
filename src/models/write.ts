// Writes a model folder in diffusers' layout and copies unchanged components. The inverse of folder.ts.
import { constants } from 'node:fs';
import { cp, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { formatJson } from '../util/json.js';
import { readSafetensorsHeader } from '../engine/index.js';
import type { ScheduleConfig, UNetConfig } from '../engine/types.js';
import { discard, moveOver, temporaryName, writeFileAtomic } from '../runs/atomic.js';
import type { JsonObject } from './json.js';
import { findWeights } from './weights.js';
import { makeFolder } from '../util/paths.js';

/** Sharpness of what diffusers checks when it reads a folder; any version reads these keys. */
const DIFFUSERS = '0.30.0';

export const UNET_WEIGHTS = 'diffusion_pytorch_model.safetensors';

/** unet/config.json. `sampleSize` in the UNet's own cells. */
export function unetJson(config: UNetConfig, sampleSize: number): JsonObject {
  return {
    _class_name: 'UNet2DConditionModel',
    _diffusers_version: DIFFUSERS,
    in_channels: config.inChannels,
    out_channels: config.outChannels,
    sample_size: sampleSize,
    block_out_channels: config.blockOutChannels,
    down_block_types: config.downBlockTypes,
    up_block_types: config.upBlockTypes,
    mid_block_type: config.midBlockType,
    layers_per_block: config.layersPerBlock,
    attention_head_dim: config.attentionHeadDim,
    transformer_layers_per_block: config.transformerLayers,
    cross_attention_dim: config.crossAttentionDim,
    norm_num_groups: config.normNumGroups,
    norm_eps: config.normEps,
    use_linear_projection: config.useLinearProjection,
    upcast_attention: config.upcastAttention,
    resnet_time_scale_shift: config.scaleShift ? 'scale_shift' : 'default',
    num_class_embeds: config.numClassEmbeds || null,
    flip_sin_to_cos: config.flipSinToCos,
    freq_shift: config.freqShift,
    ...(config.pixelFold > 1 ? { pixel_fold: config.pixelFold } : {}),
  };
}

/** scheduler/scheduler_config.json of a DDIM scheduler. */
export function scheduleJson(config: ScheduleConfig): JsonObject {
  return {
    _class_name: 'DDIMScheduler',
    _diffusers_version: DIFFUSERS,
    beta_schedule: config.betaSchedule,
    beta_start: config.betaStart,
    beta_end: config.betaEnd,
    num_train_timesteps: config.trainTimesteps,
    prediction_type: config.prediction,
    set_alpha_to_one: config.setAlphaToOne,
    steps_offset: config.stepsOffset,
    clip_sample: config.clipSample,
    clip_sample_range: config.clipSampleRange,
    timestep_spacing: 'leading',
  };
}

/** model_index.json of a model made here. The pipeline around the parts is diffmine's own: diffusers loads the parts. */
export function indexJson(parts: { vae: boolean; text: boolean }, labels: readonly string[] | undefined): JsonObject {
  return {
    _class_name: parts.text && parts.vae ? 'StableDiffusionPipeline' : 'DiffminePipeline',
    _diffusers_version: DIFFUSERS,
    unet: ['diffusers', 'UNet2DConditionModel'],
    scheduler: ['diffusers', 'DDIMScheduler'],
    ...(parts.vae ? { vae: ['diffusers', 'AutoencoderKL'] } : {}),
    ...(parts.text
      ? { text_encoder: ['transformers', 'CLIPTextModel'], tokenizer: ['transformers', 'CLIPTokenizer'] }
      : {}),
    ...(parts.text && parts.vae
      ? {
          safety_checker: [null, null],
          feature_extractor: [null, null],
          image_encoder: [null, null],
          requires_safety_checker: false,
        }
      : {}),
    ...(labels ? { id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])) } : {}),
  };
}

export const writeJson = (file: string, json: JsonObject): Promise<void> =>
  writeFileAtomic(file, `${formatJson(json, 2)}\n`);

/**
 * Copies folder `name` of a model into another (a reflink where the file system has them), instead of what is there.
 *
 * @param weights absolute paths of the files to copy as the part's weights. Where they are a variant, they get the names that are read without asking for
 *   one, and other weights are left behind; default: all files as they are
 */
export async function copyPart(from: string, to: string, name: string, weights?: readonly string[]): Promise<void> {
  const [source, target] = [path.join(from, name), path.join(to, name)];
  const temporary = temporaryName(target);
  const variant =
    weights === undefined || samePaths(weights, (await findWeights(source).catch(() => undefined))?.files)
      ? undefined
      : weights;
  const kept = (file: string): boolean =>
    variant === undefined ||
    path.dirname(file) !== source ||
    !isWeightFile(path.basename(file)) ||
    variant.includes(file);
  try {
    await cp(source, temporary, { recursive: true, dereference: true, mode: constants.COPYFILE_FICLONE, filter: kept });
    if (variant)
      await nameWeights(
        temporary,
        variant.map((file) => path.basename(file)),
      );
  } catch (error) {
    await discard(temporary);
    throw error;
  }
  await moveOver(temporary, target);
}

/** Makes weights of a variant those that are read by default: one file by renaming it, shards by an index that names them. */
async function nameWeights(folder: string, names: readonly string[]): Promise<void> {
  const [first = ''] = names;
  const [stem = ''] = first.split(/[.-]/);
  if (names.length === 1) return rename(path.join(folder, first), path.join(folder, `${stem}.safetensors`));
  const map = names.flatMap((name) =>
    Object.keys(readSafetensorsHeader(path.join(folder, name)).tensors).map((tensor) => [tensor, name] as const),
  );
  await writeJson(path.join(folder, `${stem}.safetensors.index.json`), {
    metadata: {},
    weight_map: Object.fromEntries(map),
  });
}

const samePaths = (a: readonly string[], b: readonly string[] | undefined): boolean =>
  b !== undefined && a.length === b.length && a.every((file, i) => file === b[i]);

/** Weights of any kind, and the lists of their shards. */
const isWeightFile = (name: string): boolean => /\.(safetensors|bin|msgpack|h5)$|\.index(\.[\w-]+)?\.json$/.test(name);

/** Files of a folder's weights other than `kept`: they would be read in its place. */
export async function removeOtherWeights(folder: string, kept: string): Promise<void> {
  await makeFolder(folder);
  for (const name of await readdir(folder)) if (name !== kept && isWeightFile(name)) await rm(path.join(folder, name));
}
