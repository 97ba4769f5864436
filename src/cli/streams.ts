// stdout and stderr: a result must be written completely or fail; a message that cannot be written must never end a run.
//
// Node opens /dev/null instead of a closed descriptor 0, 1 or 2 before any script runs, so `>&-` discards results as `>/dev/null` does, and a data file
// can never take the number of a standard stream. The two cannot be told apart: Python's subprocess.DEVNULL and Node's stdio 'ignore' look the same.
import { fstatSync, fsyncSync, writeSync } from 'node:fs';

import { DiffmineError } from '../util/errors.js';

const STDOUT = 1;

/** Keeps errors of both streams out of uncaughtException: writers learn of them through their callbacks. */
export function guardStreams(): void {
  for (const name of ['stdout', 'stderr'] as const) {
    try {
      if (process[name].listenerCount('error') === 0) process[name].on('error', () => undefined);
    } catch {
      // a descriptor that Node cannot open as a stream: writing fails below
    }
  }
}

/** Writes a message. Where it cannot be written (a full disk, a closed pipe, a closed terminal), work continues without it. */
export function writeMessage(text: string): void {
  try {
    process.stderr.write(text);
  } catch {
    // as above
  }
}

/**
 * Writes a result. A reader that went away (`| head`) is no error: it has what it wanted.
 *
 * @throws IO if the result cannot be written whole
 */
export async function writeResult(data: string | Uint8Array): Promise<void> {
  if (data.length === 0) return;
  try {
    if (fstatSync(STDOUT).isFile()) writeFile(Buffer.from(data));
    else
      await new Promise<void>((resolve, reject) =>
        process.stdout.write(data, (error) => (error ? reject(error) : resolve())),
      );
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EPIPE') return;
    throw new DiffmineError(
      'IO',
      `Cannot write to stdout: ${message.split(',')[0]}.`,
      'Free some space or send the output elsewhere, then run the same command again. Files written so far are kept.',
      { cause },
    );
  }
}

/** Node's own stream ignores short writes, which a disk that is nearly full returns; network file systems report a full disk only on fsync. */
function writeFile(bytes: Buffer): void {
  for (let at = 0; at < bytes.length;) at += writeSync(STDOUT, bytes, at);
  try {
    fsyncSync(STDOUT);
  } catch (error) {
    if (['ENOSPC', 'EDQUOT', 'EIO', 'EFBIG'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

const isSet = (value: string | undefined): boolean =>
  value !== undefined && value !== '' && value !== '0' && value !== 'false';

/** What stderr can show. `bars`: redrawn lines and cursor movement; otherwise progress comes as lines. */
export function terminalOf(
  env: NodeJS.ProcessEnv,
  isTty: boolean,
  platform: NodeJS.Platform = process.platform,
): { bars: boolean; colors: boolean } {
  const term = env['TERM'] ?? (platform === 'win32' ? 'windows' : '');
  const dumb = term === '' || term === 'dumb';
  const capable = isTty && !dumb;
  return {
    bars: capable && !isSet(env['CI']),
    colors: !env['NO_COLOR'] && (capable || (isSet(env['FORCE_COLOR']) && !dumb)),
  };
}
