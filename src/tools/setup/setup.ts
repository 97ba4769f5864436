// `diffmine setup`, also run by a command that needs the addon and does not find it. The work is done by scripts/*.mjs,
// which also run in a clone where nothing is compiled yet.
import { DiffmineError, asDiffmineError } from '../../util/errors.js';
import { addonPath } from '../../engine/locate.js';
import type { Hooks } from '../../util/hooks.js';

export interface SetupSummary {
  /** the addon's file */
  addon: string;
  /** whether it had to be compiled */
  built: boolean;
  /** the platform package whose addon is used; null if it was compiled here */
  prebuilt: string | null;
  /** whether the addon has the CUDA backend */
  cuda: boolean;
  libtorch: { folder: string; version: string; source: string };
}

/**
 * Finds or fetches LibTorch, and takes a prebuilt addon or compiles one, each only where needed. Safe to repeat and to run twice at once.
 * @param options.libtorch folder of a LibTorch to use, as the variable LIBTORCH
 * @param options.cuda with the CUDA backend; undefined: as the last time, at first without
 * @param options.build compile even if a prebuilt addon fits; undefined: as the last time, at first only if none fits
 * @throws DiffmineError SETUP: no LibTorch, a missing compiler, a failed build, each with a hint how to fix it
 */
export async function setup(
  options: { libtorch?: string | undefined; cuda?: boolean | undefined; build?: boolean | undefined } = {},
  hooks: Pick<Hooks, 'signal' | 'onLog'> = {},
): Promise<SetupSummary> {
  if (options.libtorch !== undefined) process.env['LIBTORCH'] = options.libtorch;
  try {
    const scripts = await import('../../../scripts/setup.mjs');
    const { addon, built, prebuilt, cuda, libtorch } = await scripts.setup({
      cuda: options.cuda,
      build: options.build,
      log: hooks.onLog,
      signal: hooks.signal,
    });
    return {
      addon,
      built,
      prebuilt,
      cuda,
      libtorch: { folder: libtorch.folder, version: libtorch.version, source: libtorch.source },
    };
  } catch (thrown) {
    const error = asDiffmineError(thrown);
    throw error.code === 'IO'
      ? new DiffmineError(
          'SETUP',
          `Set-up could not write: ${error.message}.`,
          'DIFFMINE_CACHE names another folder for what is downloaded.',
          { cause: thrown },
        )
      : error;
  }
}

/** Sets up if there is no addon yet: the first command that computes need not be preceded by `diffmine setup`. */
export async function ensureSetup(hooks: Pick<Hooks, 'signal' | 'onLog'> = {}): Promise<void> {
  if (!addonPath()) await setup({}, hooks);
}
