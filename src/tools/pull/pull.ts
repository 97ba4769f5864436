// pull: fetches a model of the Hugging Face hub into the cache, or lists what that would fetch.
import { plan, pull, type HubHooks, type Plan } from '../../models/hub/hub.js';
import { formatHubId, parseHubId, type HubId } from '../../models/hub/id.js';
import { resolved } from '../../options/check.js';
import { DiffmineError } from '../../util/errors.js';
import { PULL, type PullOptions } from './options.js';

export type { PullOptions } from './options.js';

/** A model of the hub and its files that diffmine reads. */
export interface HubModelFiles {
  /** as it was named: owner/name[@revision][:variant] */
  model: string;
  /** the name it has now, if the owner has renamed it */
  renamed?: string;
  /** the commit: 40 hex digits */
  revision: string;
  /** its folder in the cache, absolute */
  path: string;
  /** sizes in bytes; `cached`: how much of it need not be fetched */
  files: { path: string; size: number; cached: number }[];
  /** of all files */
  bytes: number;
  /** to be fetched */
  missing: number;
}

export interface PullSummary extends HubModelFiles {
  dryRun: boolean;
  /** bytes */
  fetched: number;
}

/**
 * Fetches a model as the hub has it now; what is cached already is not fetched again.
 *
 * @param model owner/name[@revision][:variant]
 * @throws INVALID_ARGUMENT for another text; MODEL_INVALID if there is no such model, or it may not be read; IO; CANCELLED
 */
export async function pullModel(model: string, given: PullOptions = {}, hooks: HubHooks = {}): Promise<PullSummary> {
  const { variant, t5, dryRun } = resolved(PULL, given);
  const id = parseHubId(model);
  if (!id)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `'${model}' is not a model of the Hugging Face hub.`,
      'Give owner/name, or owner/name@revision:variant.',
    );
  const wanted: HubId = variant === undefined ? id : { ...id, variant };
  const found = dryRun ? await plan(wanted, { t5 }, hooks) : await pull(wanted, { t5 }, hooks);
  return { ...filesOf(found), dryRun, fetched: 'fetched' in found ? (found.fetched as number) : 0 };
}

/** What a model that is not cached would be, without fetching any of it. @throws as pullModel */
export const planModel = async (id: HubId, t5: boolean | undefined, hooks: HubHooks = {}): Promise<HubModelFiles> =>
  filesOf(await plan(id, { t5 }, hooks));

function filesOf({ id, renamed, commit, path, files }: Plan): HubModelFiles {
  const sum = (of: (file: Plan['files'][number]) => number): number =>
    files.reduce((total, file) => total + of(file), 0);
  return {
    model: formatHubId(id),
    ...(renamed === undefined ? {} : { renamed }),
    revision: commit,
    path,
    files: files.map(({ path: name, size, cached }) => ({ path: name, size, cached })),
    bytes: sum(({ size }) => size),
    missing: sum(({ size, cached }) => size - cached),
  };
}
