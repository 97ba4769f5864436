// Maps brought to the scored picture's pixels, smoothed, and compared with boxes.
import type { Box } from './boxes';

export interface PixelMap {
  values: Float32Array;
  width: number;
  height: number;
}

/** Bilinear to `width` x `height`, align_corners = false: pixel i reads the map at (i + 1/2) cells / pixels - 1/2, held at the edges. */
export function upsample(map: PixelMap, width: number, height: number): PixelMap {
  if (map.width === width && map.height === height) return map;
  const taps = (pixels: number, cells: number): { low: number; high: number; weight: number }[] =>
    Array.from({ length: pixels }, (_, i) => {
      const at = Math.max(0, Math.min(cells - 1, ((i + 0.5) * cells) / pixels - 0.5));
      const low = Math.floor(at);
      return { low, high: Math.min(cells - 1, low + 1), weight: at - low };
    });
  const across = taps(width, map.width);
  const values = new Float32Array(width * height);
  taps(height, map.height).forEach(({ low: top, high: bottom, weight: v }, y) => {
    across.forEach(({ low: left, high: right, weight: u }, x) => {
      const row = (r: number): number => (map.values[r * map.width + left] as number) * (1 - u) + (map.values[r * map.width + right] as number) * u;
      values[y * width + x] = row(top) * (1 - v) + row(bottom) * v;
    });
  });
  return { values, width, height };
}

/** The mean over `side` x `side` pixels around each (odd side); at the edges over those that are in the picture. */
export function boxMean({ values, width, height }: PixelMap, side: number): PixelMap {
  const reach = (side - 1) / 2;
  if (reach === 0) return { values, width, height };
  const along = (from: Float32Array | Float64Array, into: Float32Array | Float64Array, length: number, step: number, lines: number, lineStep: number): void => {
    for (let line = 0; line < lines; line++) {
      for (let i = 0; i < length; i++) {
        const [first, last] = [Math.max(0, i - reach), Math.min(length - 1, i + reach)];
        let sum = 0;
        for (let j = first; j <= last; j++) sum += from[line * lineStep + j * step] as number;
        into[line * lineStep + i * step] = sum / (last - first + 1);
      }
    }
  };
  const half = new Float64Array(values.length);
  const out = new Float32Array(values.length);
  along(values, half, width, 1, height, width);
  along(half, out, height, width, width, 1);
  return { values: out, width, height };
}

/** The boxes' union as a mask of width x height: corners truncated after adding, the far ones exclusive, cut at the picture. Boxes are in these pixels. */
export function maskOf(boxes: readonly Box[], width: number, height: number): Uint8Array {
  const mask = new Uint8Array(width * height);
  for (const box of boxes) {
    const clip = (value: number, side: number): number => Math.max(0, Math.min(side, Math.trunc(value)));
    const [left, right] = [clip(box.x, width), clip(box.x + box.width, width)];
    for (let y = clip(box.y, height); y < clip(box.y + box.height, height); y++) mask.fill(1, y * width + left, y * width + Math.max(left, right));
  }
  return mask;
}

/** The index of the first largest value. */
export function peak(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}
