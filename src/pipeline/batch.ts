// Chooses the batch for `--batch auto` from memory, model and image size.
import { measureImage, scoredSize, type ImageList, type Size, type SizeOptions } from '../data/index.js';
import { DiffmineError } from '../util/errors.js';
import type { DeviceInfo, Dtype, ModelSource, TransformerConfig, UNetConfig } from '../engine/types.js';
import type { ModelFolder } from '../models/index.js';
import { JOINT_TOKENS } from '../models/transformer-size.js';
import { enginesTogether } from './devices.js';
import type { SplitOptions } from './options.js';

/** Fraction of the free memory that activations may use; the rest is for images, other processes and fragmentation. */
const FRACTION = 0.5;
/** Larger batches are not faster: a CPU's matmuls are saturated by a few rows, and a GPU's launches are hidden by a few hundred even for small latents. */
const MOST = { cpu: 16, cuda: 512 } as const;
/** Tensors of more numbers than a 32-bit index counts are taken by slower kernels, or in parts. */
const MOST_NUMBERS = 2 ** 31;

/** Maximum images per engine call: limits decoded images, and the work lost by cancelling. */
const MAX_IMAGES = 16;
/** Number of images measured to estimate the largest size. */
const MEASURED = 64;

/** Sizes of a forward pass: of the UNet's input and of the image. */
export interface Shape {
  /** of the UNet's input: latent cells, or (folded) pixels */
  rows: number;
  columns: number;
  /** pixels of the scored image */
  height: number;
  width: number;
}

/** The UNet's input for an image of height x width px. */
export function unetShape(height: number, width: number, vaeFactor: number, fold: number): Shape {
  const cell = vaeFactor * fold;
  return {
    rows: Math.max(1, Math.floor(height / cell)),
    columns: Math.max(1, Math.floor(width / cell)),
    height,
    width,
  };
}

type Denoiser = Pick<ModelSource, 'unet' | 'transformer'>;

/**
 * Peak bytes of one row (a UNet call) of a forward pass. Of a UNet:
 *
 *     1.5 x dtype x (skips + widest) + 12 x height x width
 *
 * skips: what the down blocks keep for the up blocks, sum over levels of (layers + 1) C h w; widest: the largest working set of a block, 14 C h w
 * if it has a transformer (8 C of GEGLU projection, 4 C of its product, 2 C of residuals), else 6 C h w (a ResNet over concatenated skips);
 * 1.5: allocator and workspaces; the last term: score maps of the mean, its variance and one sample's residual in fp32.
 * Of a transformer: 14 C N instead of skips + widest, for N tokens of image and text (8 C of the feed-forward, 4 C of attention, 2 C of residuals).
 */
export function rowBytes({ unet, transformer }: Denoiser, shape: Shape, dtype: Dtype): number {
  const numbers = transformer
    ? 14 * tokenNumbers(transformer.config, shape)
    : unet
      ? unetNumbers(unet.config, shape)
      : 0;
  return 1.5 * (dtype === 'fp32' ? 4 : 2) * numbers + 12 * shape.height * shape.width;
}

/** Numbers C N of one activation of a transformer. */
export function tokenNumbers(config: TransformerConfig, shape: Pick<Shape, 'rows' | 'columns'>): number {
  const patches = Math.ceil(shape.rows / config.patchSize) * Math.ceil(shape.columns / config.patchSize);
  return config.numAttentionHeads * config.attentionHeadDim * (patches + (config.kind === 'sd3' ? JOINT_TOKENS : 0));
}

function unetNumbers(unet: UNetConfig, shape: Shape): number {
  let skips = (unet.blockOutChannels[0] ?? 0) * shape.rows * shape.columns;
  let widest = 0;
  for (const { numbers, transformer } of levels(unet, shape)) {
    skips += (unet.layersPerBlock + 1) * numbers;
    widest = Math.max(widest, (transformer ? 14 : 6) * numbers);
  }
  return skips + widest;
}

/** Numbers C h w of an activation of each level, and whether it has transformers. */
function levels(unet: UNetConfig, shape: Shape): { numbers: number; transformer: boolean }[] {
  return unet.blockOutChannels.map((channels, level) => ({
    numbers: channels * Math.ceil(shape.rows / 2 ** level) * Math.ceil(shape.columns / 2 ** level),
    transformer: `${unet.downBlockTypes[level]}${unet.upBlockTypes[unet.blockOutChannels.length - 1 - level]}`.includes(
      'CrossAttn',
    ),
  }));
}

/** Numbers of the largest tensor one row needs: a transformer's feed-forward of 4 C N; of a UNet the GEGLU projection's 8 C h w of a transformer, a ResNet's concatenated skips of else 3 C h w. */
function largestTensor({ unet, transformer }: Denoiser, shape: Shape): number {
  if (transformer) return 4 * tokenNumbers(transformer.config, shape);
  if (!unet) return 1;
  return Math.max(...levels(unet.config, shape).map(({ numbers, transformer }) => (transformer ? 8 : 3) * numbers));
}

/** Bytes of a VAE encoder at its peak, of one image: four feature maps of the first level at full resolution, in fp32. */
export function encodeBytes(source: ModelSource, shape: Shape): number {
  return source.vae ? 4 * 4 * (source.vae.config.blockOutChannels[0] ?? 0) * shape.height * shape.width : 0;
}

/**
 * The batch that fits: the largest power of two (so that a little more or less free memory makes no difference) with
 * batch x rowBytes <= available / 2 - encodeBytes and batch x (numbers of the largest tensor) < 2^31, at least `fanOut` (one input under all its
 * conditions), at most 16 on a CPU and 512 on a GPU: 128 for Stable Diffusion at 512 px, 512 at 256 px.
 *
 * @param available bytes free on the device once the weights are loaded, shared by `workers` engines
 */
export function autoBatch(options: {
  source: ModelSource;
  shape: Shape;
  dtype: Dtype;
  device: 'cpu' | 'cuda';
  fanOut: number;
  available: number;
  workers: number;
}): number {
  const { source, shape, dtype, device, fanOut, available, workers } = options;
  const room = (FRACTION * available) / Math.max(1, workers) - encodeBytes(source, shape);
  const fitting = Math.floor(room / rowBytes(source, shape, dtype));
  const counted = Math.floor((MOST_NUMBERS - 1) / largestTensor(source, shape));
  const power = 2 ** Math.floor(Math.log2(Math.max(1, Math.min(fitting, counted, MOST[device]))));
  return Math.max(fanOut, power);
}

/** Whether the batch is to be sized from memory. */
export function isAuto(option: unknown): option is undefined | 'auto' {
  return option === undefined || option === 'auto';
}

/** Bytes of a model's weights when loaded in a dtype, whatever the dtype of the file. */
export function weightBytes(model: Pick<ModelFolder, 'summary'>, dtype: Dtype): number {
  return model.summary().parameters * (dtype === 'fp32' ? 4 : 2);
}

/** The batch that fits next to the weights of all engines that share a device. */
export function batchFor(
  model: Pick<ModelFolder, 'source' | 'summary'>,
  { shape, dtype, fanOut }: { shape: Shape; dtype: Dtype; fanOut: number },
  devices: readonly [DeviceInfo, ...DeviceInfo[]],
  split: SplitOptions,
): number {
  const workers = enginesTogether(devices, split);
  return autoBatch({
    source: model.source,
    shape,
    dtype,
    device: devices[0].id.startsWith('cuda') ? 'cuda' : 'cpu',
    fanOut,
    available: Math.min(...devices.map(({ memoryFree }) => memoryFree)) - workers * weightBytes(model, dtype),
    workers,
  });
}

/** The largest scored shape among up to 64 images, evenly spaced over the list; undefined if none of them can be read. */
export async function largestShape(
  images: ImageList,
  sizes: SizeOptions,
  model: Pick<ModelFolder, 'vaeFactor' | 'fold'>,
): Promise<Shape | undefined> {
  const count = Math.min(MEASURED, images.length);
  const picked = Array.from({ length: count }, (_, i) => images.at(Math.floor((i * images.length) / count)));
  let largest: Size | undefined;
  for (const image of picked) {
    try {
      const size = scoredSize(await measureImage(image.file), sizes);
      if (!largest || size.width * size.height > largest.width * largest.height) largest = size;
    } catch (error) {
      if (!(error instanceof DiffmineError && error.code === 'IMAGE_UNREADABLE')) throw error;
    }
  }
  return largest && unetShape(largest.height, largest.width, model.vaeFactor, model.fold);
}

/** The same, or else the shape of the images that the model was trained on. */
export async function shapeOf(
  images: ImageList,
  sizes: SizeOptions,
  model: Pick<ModelFolder, 'vaeFactor' | 'fold' | 'sampleSize'>,
): Promise<Shape> {
  const { sampleSize, vaeFactor, fold } = model;
  return (await largestShape(images, sizes, model)) ?? unetShape(sampleSize, sampleSize, vaeFactor, fold);
}

/**
 * How many images of the same shape go into one call. A forward pass takes floor(batch / fanOut) inputs (an image's sample each), and a call's last one is
 * rarely full: of 1 ... 16 images the fewest that leave at most 2 % of the places empty, or else the fewest of those that leave the least.
 */
export function imagesPerCall(batch: number, samples: number, fanOut: number, most = MAX_IMAGES): number {
  const inputs = Math.max(1, Math.floor(batch / fanOut));
  const empty = (images: number): number => {
    const places = Math.ceil((images * samples) / inputs) * inputs;
    return (places - images * samples) / places;
  };
  let best = 1;
  for (let images = 1; images <= most && empty(best) > 0.02; images += 1)
    if (empty(images) < empty(best)) best = images;
  return best;
}
