// Upsamples maps to the pixels of the scored image, and smooths them.

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
      const row = (r: number): number =>
        (map.values[r * map.width + left] as number) * (1 - u) + (map.values[r * map.width + right] as number) * u;
      values[y * width + x] = row(top) * (1 - v) + row(bottom) * v;
    });
  });
  return { values, width, height };
}

/** The mean over `side` x `side` pixels around each (odd side); at the edges over those that are in the image. */
export function boxMean({ values, width, height }: PixelMap, side: number): PixelMap {
  const reach = (side - 1) / 2;
  if (reach === 0) return { values, width, height };
  const along = (
    from: Float32Array | Float64Array,
    into: Float32Array | Float64Array,
    length: number,
    step: number,
    lines: number,
    lineStep: number,
  ): void => {
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
