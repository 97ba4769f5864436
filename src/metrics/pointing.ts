// The pointing game: is the highest pixel of a map a positive one?
import type { ScoredPixels } from './precision.js';

/** The index of the first largest value. */
export function peak(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

/** Whether the highest pixel is a positive one; undefined if none is. */
export function points({ scores, truth }: ScoredPixels): boolean | undefined {
  return truth.includes(1) ? truth[peak(scores)] === 1 : undefined;
}
