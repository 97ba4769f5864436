// What images belong together: a photo series, a camera, an artist, by a column of the dataset, the folder or a part of the path.
import type { ImageList } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';

/** The group of an image, by path and label; an image that has none is a group of its own. */
export type GroupOf = (path: string, label: string) => string;

/**
 * @param groupBy a further column of the dataset, `folder`, or a regular expression whose captures in the path (else its match) name the group
 * @throws INVALID_ARGUMENT for what is none of these
 */
export function grouping(groupBy: string | null, columns: readonly string[], images: ImageList): GroupOf {
  const alone = (path: string): string => `\0${path}`;
  if (groupBy === null) return alone;
  if (columns.includes(groupBy)) {
    return (path, label) => {
      const extra = images.find(path, label)?.extra;
      const value = extra && Object.hasOwn(extra, groupBy) ? extra[groupBy] : undefined;
      return value ? value : alone(path);
    };
  }
  if (groupBy === 'folder') return (path) => path.slice(0, Math.max(0, path.lastIndexOf('/')));
  const pattern = regularExpression(groupBy, columns);
  return (path) => {
    const match = pattern.exec(path);
    if (!match) return alone(path);
    return match.length > 1 ? match.slice(1).join('\0') : match[0];
  };
}

function regularExpression(text: string, columns: readonly string[]): RegExp {
  const known = columns.length > 0 ? `the columns are ${columns.join(', ')}` : 'the dataset has no further columns';
  const hint = `Give a column (${known}), folder, or a regular expression such as '([^/]+)_\\d+'.`;
  // a plain word is a column that was misspelled, not a pattern
  if (!/[\\^$.*+?()[\]{}|/]/.test(text))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--group-by names no column of the dataset: ${JSON.stringify(text)}.`,
      hint,
    );
  try {
    return new RegExp(text, 'u');
  } catch (error) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--group-by is not a regular expression: ${(error as Error).message}.`,
      hint,
      {
        cause: error,
      },
    );
  }
}

/** How many groups share out the members, as if they were equally large: 1 / sum of squared fractions. 0 without members. */
export function effectiveCount(groups: readonly string[]): number {
  const counts = new Map<string, number>();
  for (const group of groups) counts.set(group, (counts.get(group) ?? 0) + 1);
  const squares = [...counts.values()].reduce((sum, count) => sum + count * count, 0);
  return squares > 0 ? groups.length ** 2 / squares : 0;
}
