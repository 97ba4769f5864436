// The options of mining with their defaults, checked.
import type { ModelSource } from '../../engine/types.js';
import { LISTS } from '../../runs/schema.js';
import { DiffmineError } from '../../util/errors.js';
import type { MineOptions, MineSettings } from './options.js';
import { MOST_RANKED } from './select.js';

/** @throws INVALID_ARGUMENT naming the option */
export function settings(options: MineOptions): MineSettings {
  const invalid = (message: string, hint?: string): DiffmineError =>
    new DiffmineError('INVALID_ARGUMENT', message, hint);
  const whole = (value: number, min: number, name: string, max = Number.MAX_SAFE_INTEGER): number => {
    if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    throw invalid(`${name} is ${value}; expected a whole number ${range}.`);
  };
  const rank = options.rank ?? 'top';
  if (!LISTS.includes(rank)) throw invalid(`--rank is ${JSON.stringify(rank)}; expected one of ${LISTS.join(', ')}.`);
  const minContrast = options.minContrast ?? 0;
  if (!(minContrast >= 0 && minContrast < 1))
    throw invalid(`--min-contrast is ${minContrast}; expected a number from 0 to below 1.`);
  const diverse = options.diverse ?? false;
  if (diverse && rank !== 'top')
    throw invalid(`--diverse ranks the top list again, but --rank is ${rank}.`, 'Leave one of them out.');
  const groupBy = options.groupBy ?? null;
  const maxPerGroup = options.maxPerGroup ?? null;
  if (maxPerGroup !== null && groupBy === null)
    throw invalid(
      '--max-per-group needs --group-by.',
      'Say what a group is: a column, folder, or a regular expression.',
    );
  return {
    top: whole(options.top ?? 1000, 1, '--top', MOST_RANKED),
    clusters: whole(options.clusters ?? 32, 1, '--clusters'),
    restarts: whole(options.restarts ?? 10, 1, '--restarts'),
    rank,
    timestep: whole(options.timestep ?? 161, 0, '--dift-t'),
    upBlock: whole(options.upBlock ?? 1, 0, '--up-block'),
    ensemble: whole(options.ensemble ?? 8, 1, '--ensemble'),
    keepDuplicates: options.keepDuplicates ?? false,
    minContrast,
    groupBy,
    maxPerGroup: maxPerGroup === null ? null : whole(maxPerGroup, 1, '--max-per-group'),
    diverse,
    recenter: options.recenter ?? false,
  };
}

/**
 * Checks the options of mining against a model, so that `run` refuses before the scan what would fail after it.
 *
 * @throws INVALID_ARGUMENT naming the option
 */
export function checkMining(options: MineOptions, { unet, schedule }: Pick<ModelSource, 'unet' | 'schedule'>): void {
  const { upBlock, timestep } = settings(options);
  const blocks = unet.config.upBlockTypes.length;
  if (upBlock >= blocks)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--up-block is ${upBlock}; this model has the up blocks 0 ... ${blocks - 1}.`,
    );
  if (timestep >= schedule.trainTimesteps)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--dift-t is ${timestep}; this model's timesteps are 0 ... ${schedule.trainTimesteps - 1}.`,
    );
}
