// Draws images and heat maps.
import sharp from 'sharp';
import { paint, warm } from '../../web/heatmap.js';

/** Smaller images are enlarged by a whole factor, as far as it stays within this side, px. */
const SIDE = 256;

/** A scored image: RGB, width x height. */
export interface Scored {
  pixels: Uint8Array;
  width: number;
  height: number;
}

const zoomOf = ({ width, height }: Scored): number => Math.max(1, Math.floor(SIDE / Math.max(width, height)));

async function enlarged(image: Scored): Promise<{ pixels: Buffer; width: number; height: number }> {
  const zoom = zoomOf(image);
  const [width, height] = [image.width * zoom, image.height * zoom];
  const canvas = sharp(image.pixels, { raw: { width: image.width, height: image.height, channels: 3 } });
  return {
    pixels: await (zoom > 1 ? canvas.resize(width, height, { fit: 'fill', kernel: 'nearest' }) : canvas)
      .raw()
      .toBuffer(),
    width,
    height,
  };
}

/** The image, as webp. */
export async function drawImage(image: Scored): Promise<Buffer> {
  const { pixels, width, height } = await enlarged(image);
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .webp({ quality: 86, effort: 3 })
    .toBuffer();
}

/**
 * The image in gray under its heat map, as PNG: red where the label helps the model, blue where it misleads it.
 *
 * @param heat at the image's pixels
 * @param scale of the strongest color
 */
export async function drawOverlay(image: Scored, heat: Float32Array, scale: number): Promise<Buffer> {
  const { pixels, width, height } = await enlarged(image);
  const zoom = zoomOf(image);
  const painted = paint({ values: heat, width: image.width, height: image.height }, scale, width, height, {
    width: zoom,
    height: zoom,
  });
  return sharp(warm(pixels, painted), { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 6 })
    .toBuffer();
}
