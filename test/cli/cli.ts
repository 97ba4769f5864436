// Runs the command as a user does: a process of its own, its streams apart.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

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
  /** called with each piece of stderr; may send signals */
  onStderr?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
}

/** Runs `diffmine ...args` and waits for its end. */
export function cli(args: string[], options: RunOptions = {}): Promise<Ran> {
  if (!existsSync(path.join(ROOT, 'dist', 'cli', 'main.js')))
    throw new Error('dist/ is missing: run node scripts/setup.mjs');
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [BIN, ...args], {
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

/** Whether the native part is there. Tests that need it are skipped where it is not, but not in CI: there they must run, and fail without it. */
export const hasAddon =
  process.env['CI'] === 'true' || existsSync(path.join(ROOT, 'build', 'Release', 'diffmine.node'));
