// Where the addon is looked for. scripts/build.mjs writes it to the first of these places that is writable.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** The package's folder, from dist/engine as from src/engine. */
const root = resolve(import.meta.dirname, '../..');

/** Where LibTorch, the addon of read-only packages and measured rates are kept. */
export function cacheFolder(): string {
  const { DIFFMINE_CACHE: own, XDG_CACHE_HOME: shared } = process.env;
  if (own) return resolve(own);
  if (shared) return join(shared, 'diffmine');
  return process.platform === 'darwin'
    ? join(homedir(), 'Library/Caches/diffmine')
    : join(homedir(), '.cache/diffmine');
}

/** Every place looked at, best first: DIFFMINE_ADDON alone if it is set, else the package, the cache (of packages in read-only folders), a plain CMake build. */
export function addonCandidates(): string[] {
  const chosen = process.env['DIFFMINE_ADDON'];
  if (chosen) return [resolve(chosen)];
  const id = createHash('sha256').update(root).digest('hex').slice(0, 12);
  return [
    join(root, 'build/Release/diffmine.node'),
    join(cacheFolder(), `addon-${id}`, 'Release/diffmine.node'),
    join(root, 'build/diffmine.node'),
  ];
}

/** The addon's file, or undefined if none is built. */
export function addonPath(): string | undefined {
  return addonCandidates().find((file) => existsSync(file));
}
