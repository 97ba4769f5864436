// Formats of manifests: their numbers grow with versions of diffmine.
import { DiffmineError } from '../util/errors.js';

/**
 * The error of a manifest that a newer diffmine wrote, which this one cannot read.
 *
 * @param file its name
 * @param own the formats that are read here
 * @returns undefined if it is not newer
 */
export function newerFormat(file: string, manifest: unknown, ...own: readonly string[]): DiffmineError | undefined {
  const { format, version } = (manifest ?? {}) as { format?: unknown; version?: unknown };
  const [, kind = '', number] = /^(diffmine-[a-z]+-)(\d+)$/.exec(String(format)) ?? [];
  const known = own.find((one) => kind !== '' && one.startsWith(kind));
  if (known === undefined || Number(number) <= Number(known.slice(kind.length))) return undefined;
  return new DiffmineError(
    'RUN_INVALID',
    `${file} was written by a newer version of diffmine (${String(version)}): its format is ${String(format)}, this version reads ${known}.`,
    'Install that version or a later one.',
  );
}
