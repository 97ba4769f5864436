// Pictures and their heat maps as files to look at.
import sharp from 'sharp';
import { paint, warm } from '../report/heatmap.js';

/** Smaller pictures are enlarged by a whole factor, as far as it stays within this side, px. */
const SIDE = 256;

/** A scored picture: RGB, width x height. */
export interface Scored {
  pixels: Uint8Array;
  width: number;
  height: number;
}

const zoomOf = ({ width, height }: Scored): number => Math.max(1, Math.floor(SIDE / Math.max(width, height)));

async function enlarged(picture: Scored): Promise<{ pixels: Buffer; width: number; height: number }> {
  const zoom = zoomOf(picture);
  const [width, height] = [picture.width * zoom, picture.height * zoom];
  const image = sharp(picture.pixels, { raw: { width: picture.width, height: picture.height, channels: 3 } });
  return {
    pixels: await (zoom > 1 ? image.resize(width, height, { fit: 'fill', kernel: 'nearest' }) : image).raw().toBuffer(),
    width,
    height,
  };
}

/** The picture, as webp. */
export async function drawPicture(picture: Scored): Promise<Buffer> {
  const { pixels, width, height } = await enlarged(picture);
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .webp({ quality: 86, effort: 3 })
    .toBuffer();
}

/**
 * The picture in grey under its heat map, as PNG: red where the label helps the model, blue where it misleads it.
 *
 * @param heat at the picture's pixels
 * @param scale of the strongest colour
 */
export async function drawOverlay(picture: Scored, heat: Float32Array, scale: number): Promise<Buffer> {
  const { pixels, width, height } = await enlarged(picture);
  const zoom = zoomOf(picture);
  const painted = paint({ values: heat, width: picture.width, height: picture.height }, scale, width, height, {
    width: zoom,
    height: zoom,
  });
  return sharp(warm(pixels, painted), { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 6 })
    .toBuffer();
}
