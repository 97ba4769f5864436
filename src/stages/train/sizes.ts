// The model sizes of `train --new`, with default training settings for each.
import { DiffmineError } from '../../util/errors.js';
import type { ScheduleConfig, UNetConfig } from '../../engine/types.js';

/** A shape, with the defaults of its training. */
export interface Size {
  describe: string;
  /** pixel: denoises the image; latent: what a VAE makes of it */
  kind: 'pixel' | 'latent';
  /** side of the images in pixels */
  side: number;
  /** pixels folded into channels, in each direction (space-to-depth: at equal cost far better than a smaller image) */
  fold: 1 | 2;
  /** of the blocks, from the finest */
  channels: number[];
  layers: number;
  /** blocks with attention, counted from the coarsest */
  attention: number;
  headSize: number;
  groups: number;
  /** millions of weights, about: with classes; text adds to them */
  millions: number;
  /** defaults of the training */
  batch: number;
  steps: number;
  learningRate: number;
}

export const SIZES = {
  tiny: {
    describe: 'for tests: a minute or two on 2 CPU cores',
    kind: 'pixel',
    side: 32,
    fold: 2,
    channels: [32, 64],
    layers: 1,
    attention: 1,
    headSize: 32,
    groups: 8,
    millions: 0.66,
    batch: 16,
    steps: 1000,
    learningRate: 1e-3,
  },
  small: {
    describe: 'a small dataset in minutes on 2 CPU cores (the demo)',
    kind: 'pixel',
    side: 64,
    fold: 2,
    channels: [64, 96, 128],
    layers: 1,
    attention: 1,
    headSize: 32,
    groups: 16,
    millions: 3.65,
    batch: 16,
    steps: 4000,
    learningRate: 8e-4,
  },
  medium: {
    describe: 'hours on CPU cores, minutes on a GPU',
    kind: 'pixel',
    side: 128,
    fold: 2,
    channels: [96, 192, 288, 384],
    layers: 2,
    attention: 2,
    headSize: 32,
    groups: 32,
    millions: 48,
    batch: 32,
    steps: 30_000,
    learningRate: 3e-4,
  },
  large: {
    describe: 'uses a whole GPU',
    kind: 'pixel',
    side: 256,
    fold: 2,
    channels: [128, 256, 384, 512, 512],
    layers: 2,
    attention: 2,
    headSize: 64,
    groups: 32,
    millions: 128,
    batch: 64,
    steps: 100_000,
    learningRate: 1e-4,
  },
  'latent-small': {
    describe: 'latents of a VAE; an hour or so on a GPU',
    kind: 'latent',
    side: 256,
    fold: 1,
    channels: [128, 256, 384],
    layers: 2,
    attention: 2,
    headSize: 32,
    groups: 32,
    millions: 42,
    batch: 64,
    steps: 50_000,
    learningRate: 2e-4,
  },
  'latent-large': {
    describe: 'latents of a VAE, as wide as Stable Diffusion 1.x; uses a whole GPU',
    kind: 'latent',
    side: 512,
    fold: 1,
    channels: [320, 640, 1280, 1280],
    layers: 2,
    attention: 3,
    headSize: 40,
    groups: 32,
    millions: 720,
    batch: 64,
    steps: 200_000,
    learningRate: 1e-4,
  },
} as const satisfies Record<string, Size>;

export type SizeName = keyof typeof SIZES;
export const SIZE_NAMES = Object.keys(SIZES) as readonly SizeName[];

/** What a UNet of a size is conditioned on, and what it denoises. */
export interface Shape {
  /** width of the text embeddings, of a text model */
  textWidth?: number;
  /** classes, the null class included, of a class model */
  classes?: number;
  /** of the VAE, of a latent model */
  latentChannels?: number;
  /** pixels folded into channels, in each direction; default: the size's */
  fold?: 1 | 2;
}

/**
 * The UNet of a size. Its finest blocks are plain; the coarsest have attention: to the text, or over the image alone.
 *
 * @param shape what the size leaves open
 */
export function unetOfSize(
  name: SizeName,
  { textWidth, classes = 0, latentChannels, fold = SIZES[name].fold }: Shape,
): UNetConfig {
  const size: Size = SIZES[name];
  if ((size.kind === 'latent') !== (latentChannels !== undefined)) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      size.kind === 'latent'
        ? `The size ${name} denoises latents.`
        : `The size ${name} denoises pixels, without a VAE.`,
      size.kind === 'latent'
        ? 'Give a model whose VAE encodes the images: `vae` MODEL.'
        : 'Leave out `vae`, or choose a latent size (diffmine train --list-sizes).',
    );
  }
  const attends = textWidth === undefined ? 'Attn' : 'CrossAttn';
  const blocks = size.channels.length;
  const kind = (block: number): string => (block >= blocks - size.attention ? attends : '');
  const down = size.channels.map((_, i) => `${kind(i)}DownBlock2D`);
  const up = size.channels.map((_, i) => `${kind(blocks - 1 - i)}UpBlock2D`);
  const channels = latentChannels ?? 3 * fold ** 2;
  return {
    inChannels: channels,
    outChannels: channels,
    blockOutChannels: [...size.channels],
    downBlockTypes: down,
    upBlockTypes: up,
    midBlockType: textWidth === undefined ? 'UNetMidBlock2D' : 'UNetMidBlock2DCrossAttn',
    layersPerBlock: size.layers,
    // diffusers' attention_head_dim is the number of heads where a block attends to text, and their size elsewhere.
    attentionHeadDim: size.channels.map((width) => (textWidth === undefined ? size.headSize : width / size.headSize)),
    transformerLayers: size.channels.map(() => 1),
    crossAttentionDim: textWidth ?? 1280,
    normNumGroups: size.groups,
    normEps: 1e-5,
    useLinearProjection: false,
    upcastAttention: false,
    scaleShift: true,
    numClassEmbeds: classes,
    flipSinToCos: true,
    freqShift: 0,
    pixelFold: fold,
  };
}

/** The schedule of pixel models (Ho et al. 2020); latent models take their VAE's model's. */
export const PIXEL_SCHEDULE: ScheduleConfig = {
  betaSchedule: 'linear',
  trainTimesteps: 1000,
  betaStart: 1e-4,
  betaEnd: 0.02,
  prediction: 'epsilon',
  setAlphaToOne: true,
  stepsOffset: 0,
  clipSample: true,
  clipSampleRange: 1,
};
