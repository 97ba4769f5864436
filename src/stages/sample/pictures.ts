// From what a UNet denoises to pictures: latents through the VAE, pixels unfolded, then 8 bit.
import { DiffmineError } from '../../util/errors.js';
import type { Engine } from '../../engine/index.js';
import { float32, fromFloat32 } from '../../engine/tensor.js';
import type { CallOptions, ModelPart, Picture, Tensor, VaeConfig } from '../../engine/types.js';

/** What must be known of a model to see its pictures; a ModelFolder has it. */
export interface PictureModel {
  kind: 'latent' | 'pixel';
  /** pixels folded into channels, in each direction */
  fold: number;
  /** latent models */
  source?: { vae?: ModelPart<VaeConfig> | undefined } | undefined;
}

/**
 * Pictures of x0 F32 [B, C, h, w]: scaled latents, or pixels in [-1, 1] (folded where the model folds). Values beyond are clipped.
 *
 * @param engine of a latent model, with the model loaded; pixels need none
 * @throws INVALID_ARGUMENT where the channels are no picture's; NUMERICS for NaN; what the engine throws
 */
export async function toPictures(
  engine: Engine | undefined,
  model: PictureModel,
  x0: Tensor,
  call?: CallOptions,
): Promise<Picture[]> {
  const [count = 0, ...shape] = x0.shape;
  const values = float32(x0);
  const size = values.length / Math.max(1, count);
  const pictures: Picture[] = [];
  for (let i = 0; i < count; i++) {
    const own = values.subarray(i * size, (i + 1) * size);
    // one at a time: a VAE's decoder takes far more memory than the UNet does
    pictures.push(
      model.kind === 'latent'
        ? await decode(engine, model, fromFloat32([1, ...shape], own), call)
        : toPicture(own, shape, model.fold),
    );
  }
  return pictures;
}

async function decode(
  engine: Engine | undefined,
  { source }: PictureModel,
  latents: Tensor,
  call?: CallOptions,
): Promise<Picture> {
  const vae = source?.vae;
  if (!engine || !vae)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      'Latents become pictures only with the engine and the VAE of their model.',
    );
  const scaled = fromFloat32(
    latents.shape,
    float32(latents).map((value) => value / vae.config.scalingFactor),
  );
  const decoded = await engine.vaeDecode(scaled, call);
  return toPicture(float32(decoded), decoded.shape.slice(1), 1);
}

/**
 * Planes [3 f f, h, w] in [-1, 1] -> interleaved RGB of f h x f w. Channel (c f + dy) f + dx at (y, x) is colour c of pixel (f y + dy, f x + dx):
 * torch.pixel_unshuffle's order.
 */
function toPicture(planes: Float32Array, shape: number[], fold: number): Picture {
  const [channels = 0, h = 0, w = 0] = shape;
  if (channels !== 3 * fold * fold)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${channels} channels are no RGB picture with ${fold} x ${fold} pixels folded.`,
    );
  const [width, height] = [fold * w, fold * h];
  const pixels = new Uint8ClampedArray(3 * width * height); // clips to 0 ... 255 and rounds to the nearest
  for (let channel = 0; channel < channels; channel++) {
    const colour = Math.floor(channel / (fold * fold));
    const dy = Math.floor(channel / fold) % fold;
    const dx = channel % fold;
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const value = planes[(channel * h + y) * w + x] ?? NaN;
        if (Number.isNaN(value))
          throw new DiffmineError('NUMERICS', 'A picture holds NaN.', 'Check the model; --dtype fp32.');
        pixels[3 * ((fold * y + dy) * width + fold * x + dx) + colour] = 127.5 * (value + 1);
      }
    }
  }
  return { pixels: new Uint8Array(pixels.buffer), width, height };
}
