// Lanczos downsampling against Pillow, through the function that reads a dataset's images.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { readImage } from '../../../data/index.js';
import type { Tensor } from '../../../engine/types.js';
import { compareMeanAbsolute } from '../compare.js';
import type { Op } from './op.js';
import { number, imageOf, text } from '../params.js';

/** Levels of 255: libvips and Pillow round their filters' coefficients differently, by a level here and there. */
const MEAN_LEVELS = 1;

export const lanczosResizeOp: Op = {
  async run({ input, params, reference }) {
    const { pixels, width, height } = imageOf(input('image_u8'));
    const size = number(params, 'short_side');
    if (Math.min(width, height) < size)
      return { notChecked: 'enlarging: libvips and Pillow differ, and images are only ever shrunk' };
    const folder = await mkdtemp(join(tmpdir(), 'diffmine-verify-'));
    try {
      const { default: sharp } = await import('sharp');
      const file = join(folder, 'image.png');
      await sharp(pixels, { raw: { width, height, channels: 3 } })
        .png()
        .toFile(file);
      const read = await readImage(file, {
        size,
        rule: text(params, 'rule') === 'places' ? 'ceil' : 'floor',
        multiple: 1,
        patch: 1,
      });
      return { judged: { image_u8: compareMeanAbsolute(planar(read), reference('image_u8'), MEAN_LEVELS) } };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** Interleaved RGB -> U8 [3, H, W]. */
function planar({ pixels, width, height }: { pixels: Uint8Array; width: number; height: number }): Tensor {
  const area = width * height;
  return {
    dtype: 'U8',
    shape: [3, height, width],
    data: Uint8Array.from({ length: 3 * area }, (_, i) => pixels[3 * (i % area) + Math.floor(i / area)] ?? 0),
  };
}
