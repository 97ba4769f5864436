// The options of mining with their defaults, checked.
import type { ModelSource } from '../../engine/types.js';
import { defaultFeatures, featureBlocksOf, type FeaturePlace } from '../../models/denoiser.js';
import { partOf, resolved } from '../../options/check.js';
import { MINING } from '../../options/scoring.js';
import { DiffmineError } from '../../util/errors.js';
import type { MineOptions, MineSettings } from './options.js';

/** @throws INVALID_ARGUMENT naming the option */
export function settings(
  options: Omit<MineOptions, 'run'>,
  { upBlock, diftT }: FeaturePlace,
): Omit<MineSettings, 'patch'> {
  const { groupBy = null, maxPerGroup = null, ...given } = resolved(MINING, partOf(MINING, options));
  const asked = { ...given, upBlock: given.upBlock ?? upBlock, diftT: given.diftT ?? diftT };
  if (asked.diverse && asked.rank !== 'top')
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`diverse\` ranks the top list again, but \`rank\` is ${asked.rank}.`,
      'Leave one of them out.',
    );
  const idle = (['elements', 'trendImages'] as const).find((name) => options[name] !== undefined);
  if (idle !== undefined && !asked.trends) throw new DiffmineError('INVALID_ARGUMENT', `\`${idle}\` needs \`trends\`.`);
  if (maxPerGroup !== null && groupBy === null)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      '`maxPerGroup` needs `groupBy`.',
      'Say what a group is: a column, folder, or a regular expression.',
    );
  return { ...asked, groupBy, maxPerGroup };
}

/**
 * Checks the options of mining against a model, so that `run` refuses before the scan what would fail after it.
 *
 * @throws INVALID_ARGUMENT naming the option
 */
export function checkMining(
  options: Omit<MineOptions, 'run'>,
  source: Pick<ModelSource, 'unet' | 'transformer' | 'schedule'>,
): void {
  const { upBlock, diftT } = settings(options, defaultFeatures(source));
  const wrong = (option: string, message: string): DiffmineError =>
    new DiffmineError('INVALID_ARGUMENT', message, undefined, { option });
  const blocks = featureBlocksOf(source);
  if (upBlock >= blocks)
    throw wrong(
      'upBlock',
      `\`upBlock\` is ${upBlock}; this model has the ${source.transformer ? 'transformer' : 'up'} blocks 0 ... ${blocks - 1}.`,
    );
  const { trainTimesteps } = source.schedule;
  if (diftT >= trainTimesteps)
    throw wrong('diftT', `\`diftT\` is ${diftT}; this model's timesteps are 0 ... ${trainTimesteps - 1}.`);
}
