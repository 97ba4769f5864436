// Where a queue is: a URL, which may hold a password and is then never shown.
import { DiffmineError } from '../../util/errors.js';

/** The variable that a queue's URL with its password belongs in: command lines are visible to all users of a machine. */
export const QUEUE_VARIABLE = 'DIFFMINE_QUEUE';

export interface QueueAddress {
  url: string;
  kind: 'redis' | 'postgres';
  /** without password */
  shown: string;
}

/**
 * @param given the option: a URL; '' or nothing means the variable
 * @throws INVALID_ARGUMENT where there is none, or it is no such URL
 */
export function queueAddress(given = '', environment: NodeJS.ProcessEnv = process.env): QueueAddress {
  const url = given === '' ? (environment[QUEUE_VARIABLE] ?? '') : given;
  if (url === '')
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      '`queue` has no URL.',
      `Give one such as redis://host:6379, or set ${QUEUE_VARIABLE}.`,
      { option: 'queue' },
    );
  const kind = /^rediss?:\/\//.test(url) ? 'redis' : /^postgres(ql)?:\/\//.test(url) ? 'postgres' : undefined;
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!kind || !parsed)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      // without the value, which may hold a password
      given === '' ? `${QUEUE_VARIABLE} is not the URL of a queue.` : '`queue` is not the URL of a queue.',
      'Give redis://host:6379, rediss:// for TLS, or postgres://host/database.',
      { option: 'queue' },
    );
  parsed.password = '';
  parsed.search = '';
  return { url, kind, shown: parsed.href };
}

/** Whether a URL holds a password. */
export function hasPassword(url: string): boolean {
  return URL.canParse(url) && new URL(url).password !== '';
}
