// Converts config files of diffusers and transformers to the structs of the core. Every key that changes the computation is read or checked:
// an unsupported value is an error that names the key, never a silently different result. Absent keys have the library's defaults.
import type { ScheduleConfig, T5Config, TextEncoderConfig, UNetConfig, VaeConfig } from '../engine/types.js';
import { ConfigReader, isObject, type JsonObject } from './json.js';

const CROSS = 'CrossAttn';
const SELF = 'Attn';

/** diffusers' UNet2DConditionModel. `sampleSize` is in the UNet's own cells; undefined if the file has none. */
export function readUNetConfig(file: string, json: JsonObject): UNetConfig & { sampleSize: number | undefined } {
  const reader = new ConfigReader(file, json);
  reader.only({
    _class_name: ['UNet2DConditionModel'],
    act_fn: ['silu', 'swish'],
    addition_embed_type: ['text_time'],
    attention_type: ['default'],
    center_input_sample: [false],
    class_embed_type: [],
    class_embeddings_concat: [false],
    conv_in_kernel: [3],
    conv_out_kernel: [3],
    cross_attention_norm: [],
    downsample_padding: [1],
    dual_cross_attention: [false],
    encoder_hid_dim: [],
    encoder_hid_dim_type: [],
    mid_block_only_cross_attention: [false],
    mid_block_scale_factor: [1],
    num_attention_heads: [],
    resnet_out_scale_factor: [1],
    resnet_skip_time_act: [false],
    reverse_transformer_layers_per_block: [],
    time_cond_proj_dim: [],
    time_embedding_act_fn: [],
    time_embedding_type: ['positional'],
    timestep_post_act: [],
  });
  const onlyCross = reader.get('only_cross_attention') ?? false;
  if ([onlyCross].flat().some((value) => value !== false))
    throw reader.unsupported('only_cross_attention', onlyCross, 'false');

  const blockOutChannels = reader.counts('block_out_channels');
  const blocks = blockOutChannels.length;
  const downBlockTypes = reader.strings('down_block_types', ['CrossAttnDownBlock2D', 'DownBlock2D', 'AttnDownBlock2D']);
  const upBlockTypes = reader.strings('up_block_types', ['CrossAttnUpBlock2D', 'UpBlock2D', 'AttnUpBlock2D']);
  for (const [key, types] of [
    ['down_block_types', downBlockTypes],
    ['up_block_types', upBlockTypes],
  ] as const) {
    if (types.length !== blocks)
      throw reader.invalid(`'${key}' names ${types.length} blocks, but 'block_out_channels' ${blocks}`);
  }
  const midBlockType = reader.choice(
    'mid_block_type',
    ['UNetMidBlock2DCrossAttn', 'UNetMidBlock2D'],
    'UNetMidBlock2DCrossAttn',
  );
  if (json.mid_block_type === null)
    throw reader.unsupported('mid_block_type', null, 'UNetMidBlock2DCrossAttn, UNetMidBlock2D');
  if (json.norm_num_groups === null) throw reader.unsupported('norm_num_groups', null, 'a whole number');
  if (json.attention_head_dim === null)
    throw reader.unsupported('attention_head_dim', null, 'a whole number, or one for each block');

  const config = {
    inChannels: reader.count('in_channels'),
    outChannels: reader.count('out_channels'),
    blockOutChannels,
    downBlockTypes,
    upBlockTypes,
    midBlockType,
    layersPerBlock: reader.uniform('layers_per_block'),
    attentionHeadDim: reader.perBlock('attention_head_dim', blocks, 8),
    transformerLayers: reader.perBlock('transformer_layers_per_block', blocks, 1),
    crossAttentionDim: reader.uniform('cross_attention_dim', 1280),
    normNumGroups: reader.count('norm_num_groups', 32),
    normEps: reader.number('norm_eps', 1e-5),
    useLinearProjection: reader.boolean('use_linear_projection', false),
    upcastAttention: reader.boolean('upcast_attention', false),
    scaleShift: reader.choice('resnet_time_scale_shift', ['default', 'scale_shift'], 'default') === 'scale_shift',
    numClassEmbeds: reader.integer('num_class_embeds', 0),
    flipSinToCos: reader.boolean('flip_sin_to_cos', true),
    freqShift: reader.number('freq_shift', 0),
    pixelFold: reader.count('pixel_fold', 1),
    ...(reader.has('addition_embed_type') && { addedEmbedding: readAddedEmbedding(reader) }),
    sampleSize: readSampleSize(file, json),
  };
  if (!config.addedEmbedding)
    for (const key of ['addition_time_embed_dim', 'projection_class_embeddings_input_dim'])
      if (reader.has(key)) throw reader.unsupported(key, reader.get(key), 'null without addition_embed_type');
  const timeWidth = 4 * (blockOutChannels[0] as number);
  if (reader.has('time_embedding_dim') && reader.get('time_embedding_dim') !== timeWidth)
    throw reader.unsupported(
      'time_embedding_dim',
      reader.get('time_embedding_dim'),
      `null, or 4 x the first of block_out_channels (${timeWidth})`,
    );
  if (config.outChannels !== config.inChannels)
    throw reader.unsupported(
      'out_channels',
      config.outChannels,
      `the same as in_channels (${config.inChannels}): no learned variance, no in-painting`,
    );
  checkDivisions(reader, config);
  return config;
}

/** Original size, corner of the crop, and target size, each height and width. */
const TIME_IDS = 6;

/** SDXL's: the pooled text with the time ids, in one Linear. */
function readAddedEmbedding(reader: ConfigReader): { pooled: number; size: number } {
  const size = reader.count('addition_time_embed_dim');
  const input = reader.count('projection_class_embeddings_input_dim');
  const pooled = input - TIME_IDS * size;
  if (size % 2 !== 0) throw reader.unsupported('addition_time_embed_dim', size, 'even numbers');
  if (pooled < 1)
    throw reader.unsupported(
      'projection_class_embeddings_input_dim',
      input,
      `more than ${TIME_IDS} x addition_time_embed_dim (${TIME_IDS * size})`,
    );
  return { pooled, size };
}

/** Channels must split evenly into norm groups and attention heads. */
function checkDivisions(reader: ConfigReader, config: UNetConfig): void {
  const { blockOutChannels, attentionHeadDim, downBlockTypes, upBlockTypes, midBlockType, normNumGroups } = config;
  const last = blockOutChannels.length - 1;
  blockOutChannels.forEach((channels, i) => {
    if (channels % normNumGroups !== 0)
      throw reader.invalid(
        `block_out_channels[${i}] = ${channels} is not a multiple of norm_num_groups = ${normNumGroups}`,
      );
    // Up blocks come in reverse. Head counts and head sizes both have to divide the channels.
    const types = [
      downBlockTypes[i] as string,
      upBlockTypes[last - i] as string,
      ...(i === last ? [midBlockType] : []),
    ];
    const attends = types.some((type) => type.startsWith(CROSS) || type.startsWith(SELF) || type.startsWith('UNetMid'));
    const heads = attentionHeadDim[i] as number;
    if (attends && channels % heads !== 0)
      throw reader.invalid(`block_out_channels[${i}] = ${channels} is not a multiple of attention_head_dim = ${heads}`);
  });
}

/** Has the UNet blocks that look at a text? */
export function hasCrossAttention(config: UNetConfig): boolean {
  return (
    [...config.downBlockTypes, ...config.upBlockTypes].some((type) => type.startsWith(CROSS)) ||
    config.midBlockType === 'UNetMidBlock2DCrossAttn'
  );
}

/** Blocks whose attention comes between upsampling and the next skip: they take no odd sizes. */
export function hasAttentionUpBlocks(config: UNetConfig): boolean {
  return config.upBlockTypes.some((type) => type.startsWith(SELF));
}

/** diffusers' AutoencoderKL. */
export function readVaeConfig(file: string, json: JsonObject): VaeConfig {
  const reader = new ConfigReader(file, json);
  reader.only({
    _class_name: ['AutoencoderKL'],
    act_fn: ['silu', 'swish'],
    latents_mean: [],
    latents_std: [],
  });
  const blockOutChannels = reader.counts('block_out_channels');
  for (const [key, type] of [
    ['down_block_types', 'DownEncoderBlock2D'],
    ['up_block_types', 'UpDecoderBlock2D'],
  ] as const) {
    const types = reader.strings(key, [type]);
    if (types.length !== blockOutChannels.length)
      throw reader.invalid(
        `'${key}' names ${types.length} blocks, but 'block_out_channels' ${blockOutChannels.length}`,
      );
  }
  const scalingFactor = reader.number('scaling_factor', 0.18215);
  // diffusers multiplies by whatever is written, so that null stands for no factor, not for the one of Stable Diffusion.
  if (reader.get('scaling_factor') === null)
    throw reader.invalid("'scaling_factor' is null; it is the number that latents are multiplied by");
  const config = {
    inChannels: reader.count('in_channels'),
    outChannels: reader.count('out_channels'),
    latentChannels: reader.count('latent_channels'),
    blockOutChannels,
    layersPerBlock: reader.count('layers_per_block'),
    normNumGroups: reader.count('norm_num_groups', 32),
    scalingFactor,
    shiftFactor: reader.number('shift_factor', 0),
    useQuantConv: reader.boolean('use_quant_conv', true),
    usePostQuantConv: reader.boolean('use_post_quant_conv', true),
    midBlockAddAttention: reader.boolean('mid_block_add_attention', true),
  };
  for (const key of ['inChannels', 'outChannels'] as const) {
    if (config[key] !== 3)
      throw reader.unsupported(key === 'inChannels' ? 'in_channels' : 'out_channels', config[key], '3');
  }
  const uneven = blockOutChannels.find((channels) => channels % config.normNumGroups !== 0);
  if (uneven !== undefined)
    throw reader.invalid(
      `block_out_channels has ${uneven}, which is not a multiple of norm_num_groups = ${config.normNumGroups}`,
    );
  return config;
}

/** transformers' CLIPTextModel, or the text half of a full CLIP configuration (whose text_config leaves out defaults). */
export function readTextEncoderConfig(
  file: string,
  json: JsonObject,
  use: { penultimate: boolean; projection: boolean } = { penultimate: false, projection: false },
): TextEncoderConfig {
  const nested = isObject(json.text_config) ? json.text_config : undefined;
  const reader = new ConfigReader(file, nested ?? json);
  new ConfigReader(file, json).only({ model_type: ['clip_text_model', 'clip'] });
  reader.only({ model_type: ['clip_text_model', 'clip'] });
  const required = (fallback: number): number | undefined => (nested ? fallback : undefined);
  const config: TextEncoderConfig = {
    vocabSize: reader.count('vocab_size', required(49408)),
    hiddenSize: reader.count('hidden_size', required(512)),
    intermediateSize: reader.count('intermediate_size', required(2048)),
    numHiddenLayers: reader.count('num_hidden_layers', required(12)),
    numAttentionHeads: reader.count('num_attention_heads', required(8)),
    maxPositionEmbeddings: reader.count('max_position_embeddings', 77),
    layerNormEps: reader.number('layer_norm_eps', 1e-5),
    hiddenAct: reader.choice('hidden_act', ['quick_gelu', 'gelu'], 'quick_gelu'),
    ...(use.penultimate && { penultimate: true }),
    ...(use.projection && {
      projection: { dim: reader.count('projection_dim', 512), eosTokenId: reader.integer('eos_token_id', 49407) },
    }),
  };
  if (config.maxPositionEmbeddings < 77)
    throw reader.unsupported('max_position_embeddings', config.maxPositionEmbeddings, '77 or more');
  if (config.hiddenSize % config.numAttentionHeads !== 0)
    throw reader.invalid(
      `hidden_size = ${config.hiddenSize} is not a multiple of num_attention_heads = ${config.numAttentionHeads}`,
    );
  return config;
}

/** transformers' T5EncoderModel, of T5 v1.1. */
export function readT5Config(file: string, json: JsonObject): T5Config {
  const reader = new ConfigReader(file, json);
  reader.only({ model_type: ['t5'] });
  reader.choice('feed_forward_proj', ['gated-gelu'], 'relu' as 'gated-gelu');
  return {
    vocabSize: reader.count('vocab_size', 32128),
    dModel: reader.count('d_model', 512),
    dKv: reader.count('d_kv', 64),
    dFf: reader.count('d_ff', 2048),
    numLayers: reader.count('num_layers', 6),
    numHeads: reader.count('num_heads', 8),
    numBuckets: reader.count('relative_attention_num_buckets', 32),
    maxDistance: reader.count('relative_attention_max_distance', 128),
    layerNormEps: reader.number('layer_norm_epsilon', 1e-6),
  };
}

/** Schedulers that share one noise schedule and differ only in how they sample from it. */
const SCHEDULERS = [
  'DDPMScheduler',
  'DDIMScheduler',
  'DDIMInverseScheduler',
  'DDIMParallelScheduler',
  'DDPMParallelScheduler',
  'PNDMScheduler',
  'LMSDiscreteScheduler',
  'EulerDiscreteScheduler',
  'EulerAncestralDiscreteScheduler',
  'HeunDiscreteScheduler',
  'DPMSolverMultistepScheduler',
  'DPMSolverSinglestepScheduler',
  'DPMSolverSDEScheduler',
  'KDPM2DiscreteScheduler',
  'KDPM2AncestralDiscreteScheduler',
  'DEISMultistepScheduler',
  'UniPCMultistepScheduler',
  'LCMScheduler',
  'TCDScheduler',
];

/**
 * diffusers' scheduler configuration, read as DDIM would read it. `timestepSpacing` matters to sampling alone, which knows "leading".
 */
export function readScheduleConfig(file: string, json: JsonObject): ScheduleConfig & { timestepSpacing: string } {
  const reader = new ConfigReader(file, json);
  reader.only({
    _class_name: SCHEDULERS,
    rescale_betas_zero_snr: [false],
    thresholding: [false],
    trained_betas: [],
    use_flow_sigmas: [false],
  });
  const spacing = reader.get('timestep_spacing') ?? 'leading';
  return {
    betaSchedule: reader.choice('beta_schedule', ['scaled_linear', 'linear', 'squaredcos_cap_v2'], 'linear'),
    trainTimesteps: reader.count('num_train_timesteps', 1000),
    betaStart: reader.number('beta_start', 0.0001),
    betaEnd: reader.number('beta_end', 0.02),
    prediction: reader.choice('prediction_type', ['epsilon', 'v_prediction'], 'epsilon'),
    setAlphaToOne: reader.boolean('set_alpha_to_one', true),
    stepsOffset: reader.integer('steps_offset', 0),
    // Of the schedulers that clip, whose default it is.
    clipSample: reader.boolean(
      'clip_sample',
      /^DD[IP]M/.test(reader.choice('_class_name', SCHEDULERS, 'DDIMScheduler')),
    ),
    clipSampleRange: reader.number('clip_sample_range', 1),
    timestepSpacing: typeof spacing === 'string' ? spacing : JSON.stringify(spacing),
  };
}

/** The side of the samples that a part was trained on, given once or as [height, width]: the shorter. diffusers also writes null. */
export function readSampleSize(file: string, json: JsonObject): number | undefined {
  const reader = new ConfigReader(file, json);
  if (!reader.has('sample_size')) return undefined;
  return Array.isArray(reader.get('sample_size'))
    ? Math.min(...reader.counts('sample_size'))
    : reader.count('sample_size');
}
