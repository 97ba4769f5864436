// How close a translation's reconstructions are to their sources, in words.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Mean PSNR of the reconstructions, dB, below which a translation is warned about (docs/results/translation.md). */
export const POOR_PSNR = 20;

/** What dB say of a reconstruction. */
export const PSNR_MEANING =
  'PSNR measures the difference in decibels (dB), higher is closer: at 20 dB, pixels differ by 25 of 255 levels (root mean square), at 30 dB by 8.';

/** A warning about reconstructions that lose their sources; undefined where they do not. */
export function reconstructionWarning(psnr: number | null): string | undefined {
  if (psnr === null || psnr >= POOR_PSNR) return undefined;
  return `Below ${POOR_PSNR} dB, reconstructions differ from their sources by more than 25 of 255 levels: the translations lose the source. More inversion steps help, or a model that was trained longer.`;
}

/** @param preferred fraction of the translations */
export function preferenceSentence(preferred: number): string {
  return `Denoised better with the target label than with the source label: ${Math.round(100 * preferred)} % of the translations${preferred <= 0.5 ? ' (chance: 50 %): the model cannot tell these labels apart' : ''}.`;
}

/** The fraction of a translation's images that was measured to be preferred, if it was, of as many images; see Quality. */
export async function measuredPreference(path: string, images: number): Promise<number | undefined> {
  try {
    const quality = JSON.parse(await readFile(join(path, 'quality.json'), 'utf8')) as {
      images: number;
      label: { preferred: number };
    };
    return quality.images === images ? quality.label.preferred : undefined;
  } catch {
    return undefined; // not measured
  }
}
