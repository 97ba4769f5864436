// Where a model is: a path on this machine, or a model of the Hugging Face hub, in the cache after this.
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { DiffmineError } from '../util/errors.js';
import type { Wanted } from './hub/files.js';
import { cached, snapshotOf, type HubHooks } from './hub/hub.js';
import { formatHubId, parseHubId, type HubId } from './hub/id.js';

/** What a model of the hub is known by, wherever its files are. */
export interface HubSource {
  /** owner/name */
  id: string;
  /** the commit: 40 hex digits */
  revision: string;
}

export interface Place {
  path: string;
  variant?: string | undefined;
  hub?: HubSource;
}

/**
 * The model of the hub that a location names: owner/name[@revision][:variant]. undefined for a path; one that exists always wins.
 *
 * @throws INVALID_ARGUMENT for two variants
 */
export function hubIdOf(location: string, { variant }: { variant?: string | undefined } = {}): HubId | undefined {
  const id = existsSync(location) ? undefined : parseHubId(location);
  if (id?.variant !== undefined && variant !== undefined && id.variant !== variant)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `'${location}' names the variant ${id.variant}, and \`variant\` is ${variant}.`,
      'Give one of them.',
    );
  return id && { ...id, ...(variant === undefined ? {} : { variant }) };
}

/**
 * Finds a model, and fetches it if it is one of the hub that is not cached.
 *
 * @throws INVALID_ARGUMENT for two variants; what fetching a model throws
 */
export async function locate(location: string, { variant, t5 }: Wanted, hooks: HubHooks = {}): Promise<Place> {
  const id = hubIdOf(location, { variant });
  if (!id) {
    if (parseHubId(location) && existsSync(location))
      hooks.onLog?.(`Using the local path '${location}', not a model of this name on the Hugging Face hub.`);
    return { path: location, variant };
  }
  if (hooks.download === false && !(await cached(id, { t5 })))
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model ${formatHubId(id)} is not in the cache, and a dry run downloads nothing.`,
      `Download it first with diffmine pull ${formatHubId(id)}; with --dry-run that lists its files and their sizes.`,
    );
  const { commit, path } = await snapshotOf(id, { t5 }, hooks);
  hooks.onLog?.(`Using ${id.name} at ${commit.slice(0, 8)} of the Hugging Face hub: ${path}`);
  return { path, variant: id.variant, hub: { id: id.name, revision: commit } };
}

/** A recorded model as it is opened again: where it was, or else its commit of the hub. */
export async function recordedModel({ path, hub }: Pick<Place, 'path' | 'hub'>): Promise<string> {
  if (!hub || (await stat(path).catch(() => undefined))) return path;
  return formatHubId({ name: hub.id, revision: hub.revision });
}

/** A place that means the same from any folder. */
export const absolutePlace = (location: string): string =>
  parseHubId(location) && !existsSync(location) ? location : resolve(location);

/** A place that stays the same model: of the hub, the commit that is cached. */
export async function pinned(location: string, options: Wanted): Promise<string> {
  const { path, hub } = await locate(location, options);
  return hub ? formatHubId({ name: hub.id, revision: hub.revision }) : path;
}
