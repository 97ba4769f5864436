// What a format is: the files that findings become.
import type { Finding, Findings } from '../findings.js';

export interface Format {
  /** one file, or files in a folder */
  isFolder: boolean;
  /** whether it has masks */
  masks: boolean;
  /** The files by name, forward slashes; of a format of one file, only that one. */
  files: (findings: Findings) => Iterable<readonly [name: string, text: string]>;
}

/** To a hundredth of a pixel: what is drawn needs no more. */
export const pixels = (value: number): number => Math.round(value * 100) / 100;

/** The findings of each image. */
export function byImage({ images, findings }: Findings): Finding[][] {
  const found = images.map((): Finding[] => []);
  for (const finding of findings) found[finding.image]?.push(finding);
  return found;
}
