// Models with random weights, created in memory, so that a full-size benchmark needs no download.
import { DiffmineError } from '../../util/errors.js';
import type { DiTConfig, ModelSource, ScheduleConfig, Sd3Config, UNetConfig, VaeConfig } from '../../engine/types.js';
import { PIXEL_SCHEDULE, unetOfSize } from '../../stages/train/sizes.js';

/** Of Stable Diffusion 1.x. */
const SCHEDULE: ScheduleConfig = {
  betaSchedule: 'scaled_linear',
  trainTimesteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  prediction: 'epsilon',
  setAlphaToOne: false,
  stepsOffset: 1,
  clipSample: false,
  clipSampleRange: 1,
};

function textUNet(channels: number[], groups: number, textWidth: number): UNetConfig {
  const down = 'CrossAttnDownBlock2D';
  const up = 'CrossAttnUpBlock2D';
  return {
    inChannels: 4,
    outChannels: 4,
    blockOutChannels: channels,
    downBlockTypes: channels.map((_, i) => (i + 1 < channels.length ? down : 'DownBlock2D')),
    upBlockTypes: channels.map((_, i) => (i === 0 ? 'UpBlock2D' : up)),
    midBlockType: 'UNetMidBlock2DCrossAttn',
    layersPerBlock: 2,
    attentionHeadDim: channels.map(() => 8),
    transformerLayers: channels.map(() => 1),
    crossAttentionDim: textWidth,
    normNumGroups: groups,
    normEps: 1e-5,
    useLinearProjection: false,
    upcastAttention: false,
    scaleShift: false,
    numClassEmbeds: 0,
    flipSinToCos: true,
    freqShift: 0,
    pixelFold: 1,
  };
}

/** Stable Diffusion XL's */
const SDXL_UNET: UNetConfig = {
  ...textUNet([320, 640, 1280], 32, 2048),
  downBlockTypes: ['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
  upBlockTypes: ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
  attentionHeadDim: [5, 10, 20],
  transformerLayers: [1, 2, 10],
  useLinearProjection: true,
  addedEmbedding: { pooled: 1280, size: 256 },
};

const DIT_XL_2: DiTConfig = {
  kind: 'dit',
  inChannels: 4,
  outChannels: 8,
  numLayers: 28,
  numAttentionHeads: 16,
  attentionHeadDim: 72,
  patchSize: 2,
  sampleSize: 32,
  numClasses: 1000,
  attentionBias: true,
  activation: 'gelu-approximate',
  normEps: 1e-5,
  normElementwiseAffine: false,
};

const DIT_SCHEDULE: ScheduleConfig = {
  ...SCHEDULE,
  betaSchedule: 'linear',
  betaStart: 0.0001,
  betaEnd: 0.02,
  setAlphaToOne: true,
  stepsOffset: 0,
};

const SD3_MEDIUM: Sd3Config = {
  kind: 'sd3',
  inChannels: 16,
  outChannels: 16,
  numLayers: 24,
  numAttentionHeads: 24,
  attentionHeadDim: 64,
  jointAttentionDim: 4096,
  pooledProjectionDim: 2048,
  patchSize: 2,
  sampleSize: 128,
  posEmbedMaxSize: 192,
  dualAttentionLayers: [],
  qkNorm: false,
};

const FLOW: ScheduleConfig = {
  betaSchedule: 'none',
  trainTimesteps: 1000,
  betaStart: 0,
  betaEnd: 0,
  prediction: 'flow',
  shift: 3,
  setAlphaToOne: true,
  stepsOffset: 0,
  clipSample: false,
  clipSampleRange: 1,
};

function vae(channels: number[], groups: number): VaeConfig {
  return {
    inChannels: 3,
    outChannels: 3,
    latentChannels: 4,
    blockOutChannels: channels,
    layersPerBlock: 2,
    normNumGroups: groups,
    shiftFactor: 0,
    scalingFactor: 0.18215,
    useQuantConv: true,
    usePostQuantConv: true,
    midBlockAddAttention: true,
  };
}

const part = <Config>(config: Config): { config: Config; files: string[]; synthetic: number } => ({
  config,
  files: [],
  synthetic: 1,
});

const SYNTHETIC: Record<string, () => ModelSource> = {
  /** Stable Diffusion 1.5's UNet (860 M parameters), VAE and schedule */
  sd15: () => ({
    unet: part(textUNet([320, 640, 1280, 1280], 32, 768)),
    vae: part(vae([128, 256, 512, 512], 32)),
    schedule: SCHEDULE,
  }),
  /** Stable Diffusion XL's UNet (2.57 G parameters), VAE and schedule */
  sdxl: () => ({
    unet: part(SDXL_UNET),
    vae: part({ ...vae([128, 256, 512, 512], 32), scalingFactor: 0.13025 }),
    schedule: SCHEDULE,
  }),
  /** DiT-XL/2 for images of 256 px (750 M parameters as diffusers stores it), its VAE and schedule */
  dit: () => ({
    transformer: part(DIT_XL_2),
    vae: part(vae([128, 256, 512, 512], 32)),
    schedule: DIT_SCHEDULE,
  }),
  /** Stable Diffusion 3 medium's transformer (2.0 G parameters), VAE and flow */
  sd3: () => ({
    transformer: part(SD3_MEDIUM),
    vae: part({
      ...vae([128, 256, 512, 512], 32),
      latentChannels: 16,
      scalingFactor: 1.5305,
      shiftFactor: 0.0609,
      useQuantConv: false,
      usePostQuantConv: false,
    }),
    schedule: FLOW,
  }),
  /** of the demo's shape: classes, folded pixels, no VAE */
  demo: () => ({ unet: part(unetOfSize('small', { classes: 7 })), schedule: PIXEL_SCHEDULE }),
  /** Stable Diffusion 1.5 in small, for tests of benchmarks: a pass takes milliseconds */
  tiny: () => ({
    unet: part(textUNet([16, 24, 24, 32], 8, 32)),
    vae: part(vae([8, 8, 16, 16], 8)),
    schedule: SCHEDULE,
  }),
};

export const SYNTHETIC_NAMES: readonly string[] = Object.keys(SYNTHETIC).map((name) => `synthetic:${name}`);

/** The model named `synthetic:NAME`. Throws INVALID_ARGUMENT for an unknown name. */
export function syntheticModel(name: string): ModelSource {
  const key = name.replace(/^synthetic:/, '');
  const make = Object.hasOwn(SYNTHETIC, key) ? SYNTHETIC[key] : undefined;
  if (!make)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `There is no model "${name}".`,
      `Known: ${SYNTHETIC_NAMES.join(', ')}.`,
    );
  return make();
}
