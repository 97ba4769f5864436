// Runs the command line: in a process that stays for the next command, or as a user does, in a process of its own.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Host } from '../support/hosted.mjs';

export const ROOT = path.join(__dirname, '..', '..');
const BIN = path.join(ROOT, 'bin', 'diffmine.js');

export interface Ran {
  code: number | null;
  /** the signal that ended the process: always null, or something crashed */
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: Record<string, string>;
  cwd?: string;
  /** a command that runs the process, with its arguments */
  with?: string[];
  /** called with each piece of stderr; may send signals. The command has a process of its own. */
  onStderr?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
}

/** Runs `diffmine ...args` and waits for its end. Commands at the same time have a process each. */
export function cli(args: string[], options: RunOptions = {}): Promise<Ran> {
  if (!existsSync(path.join(ROOT, 'dist', 'cli', 'main.js')))
    throw new Error('dist/ is missing: run node scripts/setup.mjs');
  return (options.onStderr || commandHost.busy ? ownProcess(args, options) : hosted(args, options)).then(
    withoutWarnings,
  );
}

/** No command shows LibTorch's own warnings: they tell users nothing. */
function withoutWarnings(ran: Ran): Ran {
  const warning = /^\[W\d+ .*/m.exec(ran.stderr)?.[0];
  if (warning !== undefined) throw new Error(`LibTorch's warning is shown: ${warning}`);
  return ran;
}

/** Runs `node bin/diffmine.js ...args`: for what the start and the end of a process do. */
export function ownProcess(args: string[], options: RunOptions = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const [program = '', ...rest] = [...(options.with ?? []), process.execPath, BIN, ...args];
    const child = spawn(program, rest, {
      cwd: options.cwd ?? ROOT,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      options.onStderr?.(text, (signal) => child.kill(signal));
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** Of all test files of jest's worker (test/support/environment.cjs). */
declare const commandHost: Host;

const hosted = (args: string[], options: RunOptions): Promise<Ran> =>
  commandHost.run(args, { ...options, env: { ...process.env, ...options.env } });

/** Whether the native part is there. Tests that need it are skipped if it is not, but not in CI: there they must run, and fail without it. */
export const hasAddon =
  process.env['CI'] === 'true' || existsSync(path.join(ROOT, 'build', 'Release', 'diffmine.node'));
