// --volume SOURCE:/PATH
import { DiffmineError } from '../../util/errors.js';

/** @throws INVALID_ARGUMENT for one without a source or an absolute path */
export function volumesOf(volumes: readonly string[] = []): { source: string; path: string }[] {
  return volumes.map((volume) => {
    const [, source, path] = /^([^:]+):(\/.*)$/.exec(volume) ?? [];
    if (source !== undefined && path !== undefined) return { source, path };
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`volume\` is ${JSON.stringify(volume)}; expected a source and an absolute path.`,
      'Write it as data:/data.',
      { option: 'volume' },
    );
  });
}
