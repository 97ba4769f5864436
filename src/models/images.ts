// Converts samples of a UNet to images: decodes latents with the VAE, unfolds pixels, rounds to 8 bit.
import { DiffmineError } from '../util/errors.js';
import type { Engine } from '../engine/index.js';
import { float32, fromFloat32 } from '../engine/tensor.js';
import type { CallOptions, ModelPart, Image, Tensor, VaeConfig } from '../engine/types.js';

/** What must be known of a model to see its images; a ModelFolder has it. */
export interface ImageModel {
  kind: 'latent' | 'pixel';
  /** pixels folded into channels, in each direction */
  fold: number;
  /** latent models */
  source?: { vae?: ModelPart<VaeConfig> | undefined } | undefined;
}

/**
 * Images of x0 F32 [B, C, h, w]: scaled latents, or pixels in [-1, 1] (folded where the model folds). Values beyond are clipped.
 *
 * @param engine of a latent model, with the model loaded; pixels need none
 * @throws INVALID_ARGUMENT if the channels are no image's; NUMERICS for NaN; what the engine throws
 */
export async function toImages(
  engine: Engine | undefined,
  model: ImageModel,
  x0: Tensor,
  call?: CallOptions,
): Promise<Image[]> {
  const [count = 0, ...shape] = x0.shape;
  const values = float32(x0);
  const size = values.length / Math.max(1, count);
  const images: Image[] = [];
  for (let i = 0; i < count; i++) {
    const own = values.subarray(i * size, (i + 1) * size);
    // one at a time: a VAE's decoder takes far more memory than the UNet does
    images.push(
      model.kind === 'latent'
        ? await decode(engine, model, fromFloat32([1, ...shape], own), call)
        : toImage(own, shape, model.fold),
    );
  }
  return images;
}

async function decode(
  engine: Engine | undefined,
  { source }: ImageModel,
  latents: Tensor,
  call?: CallOptions,
): Promise<Image> {
  const vae = source?.vae;
  if (!engine || !vae)
    throw new DiffmineError('INVALID_ARGUMENT', 'Decoding latents needs the engine and the VAE of their model.');
  const scaled = fromFloat32(
    latents.shape,
    float32(latents).map((value) => value / vae.config.scalingFactor + vae.config.shiftFactor),
  );
  const decoded = await engine.vaeDecode(scaled, call);
  return toImage(float32(decoded), decoded.shape.slice(1), 1);
}

/**
 * Planes [3 f f, h, w] in [-1, 1] -> interleaved RGB of f h x f w. Channel (c f + dy) f + dx at (y, x) is color c of pixel (f y + dy, f x + dx):
 * torch.pixel_unshuffle's order.
 */
function toImage(planes: Float32Array, shape: number[], fold: number): Image {
  const [channels = 0, h = 0, w = 0] = shape;
  if (channels !== 3 * fold * fold)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${channels} channels are not an RGB image with ${fold} x ${fold} folded pixels.`,
    );
  const [width, height] = [fold * w, fold * h];
  const pixels = new Uint8ClampedArray(3 * width * height); // clips to 0 ... 255 and rounds to the nearest
  for (let channel = 0; channel < channels; channel++) {
    const color = Math.floor(channel / (fold * fold));
    const dy = Math.floor(channel / fold) % fold;
    const dx = channel % fold;
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const value = planes[(channel * h + y) * w + x] ?? NaN;
        if (Number.isNaN(value))
          throw new DiffmineError('NUMERICS', 'An image has NaN values.', 'Check the model; `dtype` fp32.');
        pixels[3 * ((fold * y + dy) * width + fold * x + dx) + color] = 127.5 * (value + 1);
      }
    }
  }
  return { pixels: new Uint8Array(pixels.buffer), width, height };
}
