// Properties of whole images that may tell labels apart without any element, and which of them do. Loads nothing: the command line prints from it.
import type { Figure } from '../metrics/bootstrap.js';

/** What is measured of an image; a format counts by how much more often it occurs in images of the label. */
export const PROPERTIES = ['brightness', 'contrast', 'sharpness', 'size', 'aspect ratio', 'format'] as const;
export type Property = (typeof PROPERTIES)[number];

export interface Confound {
  label: string;
  property: Property;
  /** how often an image of the label has more of it than an image of another label */
  auroc: Figure;
}

/** The confounds that tell a label from the others by themselves: whose interval lies beyond 0.5 by more than `by`. */
export function telling(confounds: readonly Confound[], by = 0.1): Confound[] {
  return confounds.filter(
    ({ auroc: { low, high } }) => low !== null && high !== null && (low > 0.5 + by || high < 0.5 - by),
  );
}
