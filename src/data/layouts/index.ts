// The layouts in which the paper's datasets are distributed, by the name of their preset.
import { DiffmineError } from '../../util/errors.js';
import type { Listing } from '../listing.js';
import { cars } from './cars.js';
import { faces } from './faces.js';
import type { Layout, LayoutOptions } from './files.js';
import { geo } from './geo.js';
import { places } from './places.js';
import { xray } from './xray.js';

export type LayoutName = 'cars' | 'faces' | 'geo' | 'places' | 'xray';

const LAYOUTS = { cars, faces, geo, places, xray } as const satisfies Record<LayoutName, Layout>;

export const LAYOUT_NAMES = Object.keys(LAYOUTS) as LayoutName[];

/**
 * Reads a location that is of a known layout.
 *
 * @param wanted one layout, or 'auto': any whose own marks (its lists and tables) are all there
 * @returns undefined if it is of none of them: label folders, or a table
 * @throws DATASET_INVALID if it is of the wanted layout but something is missing (it is named)
 */
export async function readLayout(
  location: string,
  isFolder: boolean,
  wanted: LayoutName | 'auto',
  options: Omit<LayoutOptions, 'wanted'>,
): Promise<{ layout: LayoutName; found: Listing } | undefined> {
  for (const layout of wanted === 'auto' ? LAYOUT_NAMES : [wanted]) {
    const recognized = await LAYOUTS[layout].recognize(location, isFolder, { ...options, wanted: wanted !== 'auto' });
    if (recognized === undefined) continue;
    if ('read' in recognized) return { layout, found: await recognized.read() };
    // of a folder that nobody said is of this layout, half of its marks say little; a file has no other use
    if (wanted === 'auto' && isFolder) continue;
    throw new DiffmineError(
      'DATASET_INVALID',
      `'${location}' looks like the dataset of \`preset\` ${layout}, but ${recognized.missing} is missing.`,
      recognized.hint,
    );
  }
  return undefined;
}
