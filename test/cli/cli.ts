// Runs the command line: in a process that stays for the next command of the test file, or as a user does, in a process of its own.
import { fork, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

export const ROOT = path.join(__dirname, '..', '..');
const BIN = path.join(ROOT, 'bin', 'diffmine.js');
const HOST = path.join(ROOT, 'test', 'support', 'command-host.mjs');

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
  return options.onStderr || busy ? ownProcess(args, options) : hosted(args, options);
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

/** Ends what a hosted command has written to a stream; no command writes it. */
const END = '\0end of command\0';

let host: ChildProcess | undefined;
let busy = false;

afterAll(() => host?.disconnect());

async function hosted(args: string[], { env = {}, cwd = ROOT }: RunOptions): Promise<Ran> {
  busy = true;
  if (!host) {
    const started = fork(HOST, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    started.stdout?.setEncoding('utf8');
    started.stderr?.setEncoding('utf8');
    started.on('exit', () => (host = undefined));
    host = started;
  }
  const child = host;
  const written = { stdout: '', stderr: '' };
  const take = (name: 'stdout' | 'stderr', ended: () => void) => {
    const listen = (text: string): void => {
      written[name] += text;
      if (written[name].endsWith(END)) ended();
    };
    child[name]?.on('data', listen);
    return () => child[name]?.off('data', listen);
  };
  const ran = await new Promise<Ran>((resolve, reject) => {
    let code: number | null = null;
    let waiting = 3; // for the exit code and the end of both streams
    const ended = (): void => {
      waiting -= 1;
      if (waiting === 0) finish({ code, signal: null });
    };
    const onMessage = (message: { code: number }): void => {
      code = message.code;
      ended();
    };
    const onClose = (status: number | null, signal: NodeJS.Signals | null): void => finish({ code: status, signal });
    const release = [take('stdout', ended), take('stderr', ended)];
    child.on('message', onMessage).on('close', onClose).on('error', reject);
    // what this test file has set counts for every command
    child.send({ args, cwd, env: { ...process.env, ...env }, end: END });
    const finish = (how: Pick<Ran, 'code' | 'signal'>): void => {
      child.off('message', onMessage).off('close', onClose).off('error', reject);
      release.forEach((off) => off());
      const [stdout, stderr] = [written.stdout, written.stderr].map((text) => text.replace(END, '')) as [
        string,
        string,
      ];
      resolve({ ...how, stdout, stderr });
    };
  });
  busy = false;
  return ran;
}

/** Whether the native part is there. Tests that need it are skipped if it is not, but not in CI: there they must run, and fail without it. */
export const hasAddon =
  process.env['CI'] === 'true' || existsSync(path.join(ROOT, 'build', 'Release', 'diffmine.node'));
