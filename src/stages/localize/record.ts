// RUN/localize: the results of a localization.
//
//   localize/localize.json       LocalizationRecord
//   localize/index.html, ...     the page; localize/data.js is what it shows
//   localize/images/N.webp     images as they were scored
//   localize/overlays/N-L.png    image N in gray with its heat map for label number L; baseline/N-L.png: of the other model
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Run } from '../../runs/run.js';
import { BASELINE } from '../../runs/store/copy.js';
import { placeIn } from '../../util/place.js';
import type { Localization } from './options.js';

export const LOCALIZATION_FORMAT = 'diffmine-localization-2';
export const LOCALIZATION_FILE = 'localize.json';

export interface LocalizationRecord extends Localization {
  format: typeof LOCALIZATION_FORMAT;
  version: string;
  /** the run's; the baseline's run's */
  fingerprint: string;
  baselineFingerprint: string | null;
}

export const localizationFolder = (run: Run): string => join(run.path, 'localize');
/** The baseline's own run. */
export const baselineFolder = (out: string): string => placeIn(out, BASELINE);

/** What a run of heat maps was found to say; undefined if it is not finished, or was made by another run. */
export async function readLocalization(run: Run): Promise<LocalizationRecord | undefined> {
  try {
    const record = JSON.parse(
      await readFile(join(localizationFolder(run), LOCALIZATION_FILE), 'utf8'),
    ) as Partial<LocalizationRecord> | null;
    return record?.format === LOCALIZATION_FORMAT && record.fingerprint === run.manifest.fingerprint
      ? (record as LocalizationRecord)
      : undefined;
  } catch {
    return undefined;
  }
}
