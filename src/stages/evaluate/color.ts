// The color baseline, without any model: how much more often a pixel's color occurs under its label than over all labels. A map that is better than this
// finds more than color.
import { prefetch } from '../../data/index.js';
import { readScored } from '../../runs/scored.js';
import type { Run } from '../../runs/run.js';
import { curveOf, type Evidence } from './evidence.js';
import { maskIn, typical, type Image } from './images.js';
import { boxMean } from '../../metrics/maps.js';
import type { EvaluateEvent } from './options.js';
import type { ScoredPixels } from '../../metrics/precision.js';
import type { Hooks } from '../../util/hooks.js';

/** Bins a channel, and of the histogram. */
const SIDE = 8;
export const COLORS = SIDE ** 3;

/** The bin of each pixel of interleaved 8-bit RGB. */
export function binsOf(pixels: Uint8Array): Uint16Array {
  const step = 256 / SIDE;
  const bins = new Uint16Array(pixels.length / 3);
  for (let i = 0; i < bins.length; i++) {
    bins[i] =
      (Math.floor((pixels[3 * i] as number) / step) * SIDE + Math.floor((pixels[3 * i + 1] as number) / step)) * SIDE +
      Math.floor((pixels[3 * i + 2] as number) / step);
  }
  return bins;
}

/** How often each color occurs. */
export function histogram(bins: Uint16Array): Float64Array {
  const counts = new Float64Array(COLORS);
  for (const bin of bins) counts[bin] = (counts[bin] as number) + 1;
  return counts;
}

/**
 * log p(c | label) - log mean over labels of p(c | .) of each color c, with p = (n + 1) / (N + COLORS), where the label's counts go without `left`.
 *
 * @param counts of each label
 * @param own the label's place in them
 * @param left the image's own counts
 */
export function logRatios(counts: readonly Float64Array[], own: number, left: Float64Array): Float32Array {
  const without = (counts[own] as Float64Array).map((count, color) => count - (left[color] as number));
  const all = counts.map((one, label) => (label === own ? without : one));
  const totals = all.map((one) => one.reduce((sum, count) => sum + count, COLORS));
  const fraction = (label: number, color: number): number => ((all[label] as Float64Array)[color] as number) + 1;
  return Float32Array.from({ length: COLORS }, (_, color) => {
    const mean =
      all.reduce((sum, _one, label) => sum + fraction(label, color) / (totals[label] as number), 0) / all.length;
    return Math.log(fraction(own, color) / (totals[own] as number) / mean);
  });
}

/**
 * The baseline's evidence for each of `labels`, from the run's own images, each scored by histograms without it.
 *
 * @param root the folder of the source images
 * @returns evidence, or why there is none: the first image that cannot be read
 */
export async function colorEvidence(
  run: Run,
  root: string,
  labels: readonly string[],
  images: readonly Image[],
  smooth: number,
  hooks: Hooks<EvaluateEvent>,
): Promise<Evidence[] | string> {
  const all = [...new Set(images.map(({ label }) => label))];
  const counts = all.map(() => new Float64Array(COLORS));
  let done = 0;
  for await (const { item, value, error } of binsIn(run, root, images, hooks)) {
    if (error) return error.message;
    const sum = counts[all.indexOf(item.label)] as Float64Array;
    for (const bin of value) sum[bin] = (sum[bin] as number) + 1;
    hooks.onProgress?.({ type: 'color', done: ++done, total: 2 * images.length });
  }
  const evidence: Evidence[] = [];
  // read again: the pixels of all labels may be more than memory holds
  for (const label of labels) {
    const own = images.filter((image) => image.label === label);
    const found = new Map<Image, ScoredPixels>();
    for await (const { item, value, error } of binsIn(run, root, own, hooks)) {
      if (error) return error.message;
      const ratios = logRatios(counts, all.indexOf(label), histogram(value));
      const values = Float32Array.from(value, (bin) => ratios[bin] as number);
      found.set(item, {
        scores: boxMean({ values, width: item.width, height: item.height }, smooth).values,
        truth: maskIn(item, typical(item, label)),
      });
      hooks.onProgress?.({ type: 'color', done: ++done, total: 2 * images.length });
    }
    evidence.push({ label, own, ...curveOf(own, found) });
  }
  return evidence;
}

/** The colors of images as they were scored. */
function binsIn(
  run: Run,
  root: string,
  images: readonly Image[],
  { signal }: Hooks<EvaluateEvent>,
): ReturnType<typeof prefetch<Image, Uint16Array>> {
  const load = async (image: Image): Promise<Uint16Array> => binsOf(await readScored(run, root, image));
  return prefetch(images, load, (bins) => bins.byteLength, { signal });
}
