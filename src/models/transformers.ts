// Converts the config files of diffusion transformers (DiT, Stable Diffusion 3) and of flows to the structs of the core, as configs.ts does for others.
import type { DiTConfig, ScheduleConfig, Sd3Config, TransformerConfig } from '../engine/types.js';
import { readSampleSize } from './configs.js';
import { ConfigReader, type JsonObject } from './json.js';

type Sized<Config> = Config & { sampleSize: number };

/** transformer/config.json of any kind. `sampleSize` is in the cells of the latents. */
export function readTransformerConfig(file: string, json: JsonObject): Sized<TransformerConfig> {
  const reader = new ConfigReader(file, json);
  const kind = reader.choice('_class_name', ['DiTTransformer2DModel', 'Transformer2DModel', 'SD3Transformer2DModel']);
  return kind === 'SD3Transformer2DModel' ? readSd3Config(file, json) : readDiTConfig(file, json);
}

/** diffusers' DiTTransformer2DModel, and Transformer2DModel, which was its name in older files. */
function readDiTConfig(file: string, json: JsonObject): Sized<DiTConfig> {
  const reader = new ConfigReader(file, json);
  reader.only({
    attention_type: ['default'],
    caption_channels: [],
    cross_attention_dim: [],
    double_self_attention: [false],
    interpolation_scale: [1],
    norm_type: ['ada_norm_zero'],
    num_vector_embeds: [],
    only_cross_attention: [false],
    use_additional_conditions: [false],
    use_linear_projection: [false],
  });
  // In an older file, the norm of a transformer that takes a text.
  if (json._class_name === 'Transformer2DModel' && json.norm_type !== 'ada_norm_zero')
    throw reader.unsupported('norm_type', json.norm_type ?? 'layer_norm', 'ada_norm_zero (DiT)');
  const inChannels = reader.count('in_channels', 4);
  const config = {
    kind: 'dit',
    inChannels,
    outChannels: reader.count('out_channels', inChannels),
    numLayers: reader.count('num_layers', 28),
    numAttentionHeads: reader.count('num_attention_heads', 16),
    attentionHeadDim: reader.count('attention_head_dim', 72),
    patchSize: reader.count('patch_size', 2),
    sampleSize: readSampleSize(file, json) ?? 32,
    numClasses: reader.count('num_embeds_ada_norm', 1000),
    attentionBias: reader.boolean('attention_bias', true),
    activation: reader.choice('activation_fn', ['gelu-approximate', 'gelu', 'geglu'], 'gelu-approximate'),
    normEps: reader.number('norm_eps', 1e-5),
    normElementwiseAffine: reader.boolean('norm_elementwise_affine', false),
  } as const;
  if (config.outChannels !== inChannels && config.outChannels !== 2 * inChannels)
    throw reader.unsupported(
      'out_channels',
      config.outChannels,
      `in_channels (${inChannels}), or twice as many where the variance is learned`,
    );
  return config;
}

/** diffusers' SD3Transformer2DModel: Stable Diffusion 3 and 3.5. */
function readSd3Config(file: string, json: JsonObject): Sized<Sd3Config> {
  const reader = new ConfigReader(file, json);
  const inChannels = reader.count('in_channels', 16);
  const width = reader.count('num_attention_heads', 18) * reader.count('attention_head_dim', 64);
  const config = {
    kind: 'sd3',
    inChannels,
    outChannels: reader.count('out_channels', 16),
    numLayers: reader.count('num_layers', 18),
    numAttentionHeads: reader.count('num_attention_heads', 18),
    attentionHeadDim: reader.count('attention_head_dim', 64),
    jointAttentionDim: reader.count('joint_attention_dim', 4096),
    pooledProjectionDim: reader.count('pooled_projection_dim', 2048),
    patchSize: reader.count('patch_size', 2),
    sampleSize: readSampleSize(file, json) ?? 128,
    posEmbedMaxSize: reader.count('pos_embed_max_size', 96),
    dualAttentionLayers: reader.integers('dual_attention_layers', []),
    qkNorm: reader.has('qk_norm'),
  } as const;
  reader.only({ qk_norm: ['rms_norm'] });
  if (config.outChannels !== inChannels)
    throw reader.unsupported('out_channels', config.outChannels, `the same as in_channels (${inChannels})`);
  const caption = reader.count('caption_projection_dim', 1152);
  if (caption !== width)
    throw reader.unsupported(
      'caption_projection_dim',
      caption,
      `num_attention_heads x attention_head_dim (${width}), the width of the image's tokens`,
    );
  return config;
}

export const FLOW_SCHEDULER = 'FlowMatchEulerDiscreteScheduler';

/** diffusers' FlowMatchEulerDiscreteScheduler. Its options for sampling with other spacings are not supported. */
export function readFlowConfig(file: string, json: JsonObject): ScheduleConfig & { timestepSpacing: string } {
  const reader = new ConfigReader(file, json);
  reader.only({
    _class_name: [FLOW_SCHEDULER],
    invert_sigmas: [false],
    shift_terminal: [],
    stochastic_sampling: [false],
    use_beta_sigmas: [false],
    use_dynamic_shifting: [false],
    use_exponential_sigmas: [false],
    use_karras_sigmas: [false],
  });
  const shift = reader.number('shift', 1);
  if (shift <= 0) throw reader.invalid(`'shift' is ${shift} instead of a number above 0`);
  return {
    betaSchedule: 'none',
    trainTimesteps: reader.count('num_train_timesteps', 1000),
    betaStart: 0,
    betaEnd: 0,
    prediction: 'flow',
    shift,
    setAlphaToOne: true,
    stepsOffset: 0,
    clipSample: false,
    clipSampleRange: 1,
    timestepSpacing: 'flow',
  };
}
