// Images held out from training, chosen by a hash of their names: `train` keeps them out, `scan` mines them. Adding images moves no other image
// from one side to the other.
import { Random } from '../util/random.js';
import type { ImageList } from './images.js';

/** Uniform in [0, 1), from the image's path in its dataset alone: no seed, so that two commands agree without a list. */
export const holdoutKey = (path: string): number => new Random('holdout', path.normalize('NFC')).next();

/**
 * Paths of the images that are held out: those whose hash is below `fraction`. An image with two labels is held out under both. Of a label whose
 * images are all below it, the one with the highest hash is trained on.
 */
export function heldOut(images: ImageList, fraction: number): Set<string> {
  const chosen = new Set<string>();
  const last = new Map<string, { path: string; key: number }>();
  const trained = new Set<string>();
  for (let i = 0; i < images.length; i++) {
    const [path, label] = [images.path(i), images.label(i)];
    const key = holdoutKey(path);
    if (key < fraction) chosen.add(path);
    else trained.add(label);
    if (key >= (last.get(label)?.key ?? -1)) last.set(label, { path, key });
  }
  for (const [label, { path }] of last) if (!trained.has(label)) chosen.delete(path);
  return chosen;
}
