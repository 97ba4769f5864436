// Typicality maps as images: a diverging color map centered at zero, red where the label helps the model denoise, blue where it
// hinders, mid-gray where it makes no difference. The page lays them over the image in the blend mode hard-light, under which mid-gray
// changes nothing: what a transparent overlay would show at a fortieth of its size, as no alpha channel has to be kept without loss.

/** A mean typicality map, row-major. */
export interface TypicalityMap {
  values: Float32Array;
  width: number;
  height: number;
}

type Rgb = readonly [number, number, number];
const NEUTRAL: Rgb = [128, 128, 128];
/** the colors of a half and of the whole scale, above zero and below */
const TYPICAL: readonly [Rgb, Rgb] = [
  [222, 124, 64],
  [208, 16, 28],
];
const UNTYPICAL: readonly [Rgb, Rgb] = [
  [78, 138, 208],
  [16, 44, 196],
];
const STEPS = 255;

/** The color of t in -1 ... 1. */
function color(t: number): Rgb {
  const [half, whole] = t < 0 ? UNTYPICAL : TYPICAL;
  const m = 2 * Math.min(1, Math.abs(t));
  const [from, to, fraction] = m < 1 ? [NEUTRAL, half, m] : [half, whole, m - 1];
  const mix = (channel: 0 | 1 | 2): number => Math.round(from[channel] + (to[channel] - from[channel]) * fraction);
  return [mix(0), mix(1), mix(2)];
}

const TABLE = Array.from({ length: 2 * STEPS + 1 }, (_, i) => color((i - STEPS) / STEPS));

/** CSS colors from -1 to 1 in even steps: the legend of `paint`. */
export function legend(stops: number): string[] {
  return Array.from({ length: stops }, (_, i) => {
    return `rgb(${color((2 * i) / (stops - 1) - 1).join(' ')})`;
  });
}

/** The 99th percentile of |value|; 0 for an empty map. NaN and infinities are left out. */
export function strength(map: TypicalityMap): number {
  return quantile(map.values.map(Math.abs).filter(Number.isFinite), 0.99);
}

/**
 * The color scale shared by all images of a label, so that the same color means the same typicality: the 90th percentile of the
 * maps' strengths, which one odd image cannot wash out.
 */
export function commonScale(strengths: readonly number[]): number {
  return quantile(Float32Array.from(strengths), 0.9);
}

function quantile(values: Float32Array, q: number): number {
  if (values.length === 0) return 0;
  values.sort();
  return values[Math.min(values.length - 1, Math.round(q * (values.length - 1)))] ?? 0;
}

/**
 * Colors a map at the size of the context image: RGB, width x height x 3.
 * @param map the mean map
 * @param scale |typicality| of the strongest color
 * @param cell how many context pixels a cell of the map covers, across and down. Resampling is bilinear with align_corners = false, as in
 *   scoring; where the image was cut at the right and bottom before scoring, what the map does not cover stays neutral.
 */
export function paint(
  map: TypicalityMap,
  scale: number,
  width: number,
  height: number,
  cell: { width: number; height: number },
): Buffer {
  const out = Buffer.alloc(3 * width * height, NEUTRAL[0]);
  if (!(scale > 0)) return out;
  resample(map, width, height, cell).forEach((value, i) => {
    const t = value / scale;
    if (!Number.isNaN(t)) out.set(TABLE[STEPS + Math.round(STEPS * Math.max(-1, Math.min(1, t)))] as Rgb, 3 * i);
  });
  return out;
}

/** A map at width x height pixels, NaN where it covers none. @param cell as for `paint` */
export function resample(
  map: TypicalityMap,
  width: number,
  height: number,
  cell: { width: number; height: number },
): Float32Array {
  const out = new Float32Array(width * height).fill(NaN);
  const across = taps(width, map.width, cell.width);
  const down = taps(height, map.height, cell.height);
  for (let y = 0; y < down.length; y++) {
    const { low: top, high: bottom, weight: v } = down[y] as Tap;
    for (let x = 0; x < across.length; x++) {
      const { low: left, high: right, weight: u } = across[x] as Tap;
      const at = (row: number, column: number): number => map.values[row * map.width + column] as number;
      const upper = at(top, left) * (1 - u) + at(top, right) * u;
      const lower = at(bottom, left) * (1 - u) + at(bottom, right) * u;
      out[y * width + x] = upper * (1 - v) + lower * v;
    }
  }
  return out;
}

interface Tap {
  low: number;
  high: number;
  weight: number;
}

/** Where each output pixel reads the map; shorter than `pixels` where the map ends before the image does. */
function taps(pixels: number, cells: number, cell: number): Tap[] {
  const covered = Math.min(pixels, Math.round(cells * cell));
  return Array.from({ length: covered }, (_, i) => {
    const source = Math.max(0, Math.min(cells - 1, (i + 0.5) / cell - 0.5));
    const low = Math.floor(source);
    return { low, high: Math.min(cells - 1, low + 1), weight: source - low };
  });
}

/** An image (RGB) in gray under a painted map of its size, in the blend mode hard-light, as the page lays maps over images. */
export function warm(image: Buffer, painted: Buffer): Buffer {
  return hardLight(grey(image), painted);
}

/** Luma with less contrast, so that the map's colors lead. */
function grey(rgb: Buffer): Buffer {
  const out = Buffer.alloc(rgb.length);
  for (let i = 0; i < rgb.length; i += 3) {
    const luma = 0.2126 * (rgb[i] as number) + 0.7152 * (rgb[i + 1] as number) + 0.0722 * (rgb[i + 2] as number);
    out.fill(Math.round(128 + 0.55 * (luma - 128)), i, i + 3);
  }
  return out;
}

/** `over` on `under` in the blend mode hard-light, as the report's page lays maps over images: mid-gray changes nothing. */
function hardLight(under: Buffer, over: Buffer): Buffer {
  return under.map((below, i) => {
    const above = over[i] as number;
    return Math.round(above < 128 ? (2 * below * above) / 255 : 255 - (2 * (255 - below) * (255 - above)) / 255);
  }) as Buffer;
}
