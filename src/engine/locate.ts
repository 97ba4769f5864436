// Where the addon is looked for: what set-up wrote (scripts/build.mjs, scripts/prebuilt.mjs), in the first of these places that is writable.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { cacheFolder } from '../util/cache-folder.js';

/** The package's folder, from dist/engine as from src/engine. */
const root = resolve(import.meta.dirname, '../..');

/** An addon that may be loaded. */
export interface Candidate {
  addon: string;
  /** of a prebuilt addon: what opens `libraries`, which the addon finds open */
  preload?: string;
  libraries?: string[];
}

/** The prebuilt addon that set-up chose, if its files are still there. */
function prebuilt(folder: string): Candidate[] {
  let record: Required<Candidate>;
  try {
    record = JSON.parse(readFileSync(join(folder, 'prebuilt.json'), 'utf8')) as Required<Candidate>;
  } catch {
    return [];
  }
  const { addon, preload, libraries } = record;
  return [addon, preload, ...libraries].every((file) => existsSync(file)) ? [{ addon, preload, libraries }] : [];
}

/**
 * Every addon that may be there, best first: DIFFMINE_ADDON alone if it is set, else the prebuilt one that set-up chose, those compiled in the package
 * and in the cache (of packages in read-only folders), a plain CMake build.
 */
export function candidates(): Candidate[] {
  const chosen = process.env['DIFFMINE_ADDON'];
  if (chosen) return [{ addon: resolve(chosen) }];
  const id = createHash('sha256').update(root).digest('hex').slice(0, 12);
  const folders = [join(root, 'build'), join(cacheFolder(), `addon-${id}`)];
  return [
    ...folders.flatMap(prebuilt),
    ...folders.map((folder) => ({ addon: join(folder, 'Release/diffmine.node') })),
    { addon: join(root, 'build/diffmine.node') },
  ];
}

/** The files of `candidates`. */
export const addonCandidates = (): string[] => candidates().map(({ addon }) => addon);

/** The addon's file, or undefined if there is none. */
export function addonPath(): string | undefined {
  return addonCandidates().find((file) => existsSync(file));
}
