// Writing a model folder: configurations as diffusers names them, other parts copied. The inverse of folder.ts.
import { constants } from 'node:fs';
import { cp, mkdir, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { ScheduleConfig, UNetConfig } from '../native/types';
import { temporaryName, writeFileAtomic } from '../run/atomic';
import type { JsonObject } from './json';

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
    ...(parts.text ? { text_encoder: ['transformers', 'CLIPTextModel'], tokenizer: ['transformers', 'CLIPTokenizer'] } : {}),
    ...(parts.text && parts.vae ? { safety_checker: [null, null], feature_extractor: [null, null], image_encoder: [null, null], requires_safety_checker: false } : {}),
    ...(labels ? { id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])) } : {}),
  };
}

export const writeJson = (file: string, json: JsonObject): Promise<void> => writeFileAtomic(file, `${JSON.stringify(json, null, 2)}\n`);

/** Copies folder `name` of a model into another (a reflink where the file system has them), in place of what is there. */
export async function copyPart(from: string, to: string, name: string): Promise<void> {
  const target = path.join(to, name);
  const temporary = temporaryName(target);
  await cp(path.join(from, name), temporary, { recursive: true, dereference: true, mode: constants.COPYFILE_FICLONE });
  await rm(target, { recursive: true, force: true });
  await rename(temporary, target);
}

/** Files of a folder's weights other than `kept`: they would be read in its place. */
export async function removeOtherWeights(folder: string, kept: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of await readdir(folder)) {
    if (name !== kept && /\.safetensors(\.index(\.\w+)?\.json)?$|\.index\.json$|\.bin$/.test(name)) await rm(path.join(folder, name));
  }
}
