// Where diffmine keeps what can be made again.
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Where LibTorch, the addon of read-only packages, measured rates and listings of archives are kept. */
export function cacheFolder(): string {
  const { DIFFMINE_CACHE: own, XDG_CACHE_HOME: shared } = process.env;
  if (own) return resolve(own);
  if (shared) return join(shared, 'diffmine');
  return process.platform === 'darwin'
    ? join(homedir(), 'Library/Caches/diffmine')
    : join(homedir(), '.cache/diffmine');
}
