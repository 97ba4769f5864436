// Shared by the set-up steps: paths, child processes with a log, locks that end with their process, fingerprints.
// Plain Node without packages: it runs in a fresh clone before anything is installed.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

/** The package's own folder: the clone, or node_modules/diffmine. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Whether a module is the program that was started, not an import of it. */
export function isMain(url) {
  try {
    return process.argv[1] !== undefined && url === pathToFileURL(fs.realpathSync(process.argv[1])).href;
  } catch {
    return false; // `node app` without .js, `node -e CODE word`: the argument is not a file
  }
}

/**
 * The options of a program, as node:util's parseArgs reads them; an unknown one is an error that lists those there are.
 * @param options each { type: 'boolean' | 'string', default?, multiple? }
 * @param places names of the words that may stand beside options
 * @returns the values; words as `places`
 */
export function optionsOf(options = {}, places = [], args = process.argv.slice(2)) {
  const names = Object.entries(options).map(([name, { type }]) => `--${name}${type === 'string' ? ' VALUE' : ''}`);
  const usage =
    `Usage: node ${path.relative(process.cwd(), process.argv[1])} ${[...places, ...names].join(' ')}`.trim();
  try {
    const { values, positionals } = parseArgs({ args, options, allowPositionals: places.length > 0, strict: true });
    if (positionals.length > places.length) throw new Error(`One word too many: ${positionals[places.length]}.`);
    return { ...values, places: positionals };
  } catch (error) {
    throw new SetupError(`${error.message.replace(/\. (This command|To specify).*/s, '').replace(/\.$/, '')}.`, usage);
  }
}

/** A clone has the sources and the lock; an installed package has dist/ alone. */
export const isClone = fs.existsSync(path.join(root, 'src')) && fs.existsSync(path.join(root, 'package-lock.json'));

/** Set-up failed: what is wrong, and how to fix it. The command line maps it by `code`, as every diffmine error. */
export class SetupError extends Error {
  name = 'SetupError';
  code = 'SETUP';
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

/** A word as a shell reads it back, as src/util/shell.ts, which is compiled later. */
export const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** Whether something could not be written because the disk is full. */
export const isFull = (error) => ['ENOSPC', 'EDQUOT'].includes(error?.code);

// A full disk or a closed pipe behind stderr loses lines, never the work.
if (process.stderr.listenerCount('error') === 0) process.stderr.on('error', () => undefined);

const context = { log: (line) => void process.stderr.write(`${line}\n`), signal: undefined };

/**
 * For a caller with an output and a cancel of its own: where lines go, and what ends child processes and downloads.
 * @param {{ log?: (line: string) => void, signal?: AbortSignal }} options
 */
export function configure({ log, signal }) {
  if (log) context.log = log;
  context.signal = signal;
}

/** One line for the person who waits, on stderr: stdout is for results. */
export function say(line) {
  context.log(line);
}

export const cancelSignal = () => context.signal;

/** Where LibTorch and, for packages in read-only folders, the addon are kept: DIFFMINE_CACHE, or the system's place for caches. */
export function cacheFolder() {
  if (process.env.DIFFMINE_CACHE) return path.resolve(process.env.DIFFMINE_CACHE);
  if (process.env.XDG_CACHE_HOME) return path.join(process.env.XDG_CACHE_HOME, 'diffmine');
  return process.platform === 'darwin'
    ? path.join(os.homedir(), 'Library/Caches/diffmine')
    : path.join(os.homedir(), '.cache/diffmine');
}

/** The first of `names` on PATH, or undefined. */
export function which(...names) {
  for (const name of names) {
    for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
      const file = path.join(folder, name);
      try {
        fs.accessSync(file, fs.constants.X_OK);
        if (fs.statSync(file).isFile()) return file;
      } catch {
        // not in this folder
      }
    }
  }
  return undefined;
}

export const isCpp = (file) => /\.(cpp|h|cu|cuh)$/.test(file);

export const findClangFormat = () =>
  which('clang-format', ...Array.from({ length: 12 }, (_, i) => `clang-format-${24 - i}`));

/** What a build needs and is not on the PATH: { name, debian }, the name of Debian's package. */
export function missingTools() {
  return [
    !which('cmake') && { name: 'cmake', debian: 'cmake' },
    !process.env.CXX && !which('g++', 'clang++') && { name: 'a C++20 compiler', debian: 'g++' },
    !which('ninja', 'make') && { name: 'ninja', debian: 'ninja-build' },
  ].filter(Boolean);
}

export function isWritable(folder) {
  try {
    fs.accessSync(folder, fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Runs a program and waits for its end. It never rejects because of the program, only when the caller cancels.
 * @param options.log file that receives stdout and stderr, appended
 * @param options.onLine called with every line as it comes
 * @param options.timeout ms after which the program is killed
 * @returns exit code (null if killed) and the output, stdout and stderr interleaved
 */
export function run(program, args, { log, onLine, timeout, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout,
      signal: context.signal,
      ...options,
    });
    const sink = log ? fs.openSync(log, 'a') : undefined;
    if (sink !== undefined) fs.writeSync(sink, `\n$ ${[program, ...args].join(' ')}\n`);
    let output = '';
    let stdout = '';
    let line = '';
    const take = (stream) => (chunk) => {
      output += chunk;
      if (stream === child.stdout) stdout += chunk;
      if (sink !== undefined) fs.writeSync(sink, chunk);
      if (!onLine) return;
      const lines = (line + chunk).split('\n');
      line = lines.pop();
      lines.forEach(onLine);
    };
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', take(stream));
    let failure;
    child.on('error', (error) => (failure = error));
    child.on('close', (code, signal) => {
      if (sink !== undefined) fs.closeSync(sink);
      if (context.signal?.aborted) return reject(context.signal.reason);
      if (failure) output += failure.message;
      else if (signal) output += `\n(ended by ${signal})`;
      resolve({ code: failure ? -1 : code, output, stdout });
    });
  });
}

/**
 * Waits for all of them, also if one fails, so that nothing still runs after an error.
 * @returns their results; throws the first error
 */
export async function together(...running) {
  const results = await Promise.allSettled(running);
  const failed = results.find(({ status }) => status === 'rejected');
  if (failed) throw failed.reason;
  return results.map(({ value }) => value);
}

export function lastLines(text, count) {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}

/** A reporter for `run`'s onLine: ninja's or make's progress, at most a line every `seconds`. */
export function buildProgress(label, seconds = 20) {
  let last = Date.now();
  return (line) => {
    const step = /^\[\s*(\d+\/\d+|\d+%)\]/.exec(line)?.[1];
    if (!step || Date.now() - last < seconds * 1000) return;
    last = Date.now();
    say(`  ${label}: ${step}`);
  };
}

/** All files below the given files and folders of `base`, sorted, as paths relative to it. */
export function filesBelow(base, entries) {
  const found = [];
  const visit = (name) => {
    const stat = fs.statSync(path.join(base, name), { throwIfNoEntry: false });
    if (!stat) return;
    if (!stat.isDirectory()) found.push(name);
    else for (const child of fs.readdirSync(path.join(base, name))) visit(path.join(name, child));
  };
  entries.forEach(visit);
  return found.sort();
}

/** SHA-256 over the names and contents of files, and any further facts. */
export function fingerprint(base, entries, facts = {}) {
  const hash = createHash('sha256').update(JSON.stringify(facts));
  for (const name of filesBelow(base, entries))
    hash.update(`\0${name}\0`).update(fs.readFileSync(path.join(base, name)));
  return hash.digest('hex');
}

export function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Written to a temporary name and renamed: a reader sees the old text or the new, never a part. */
export function writeAtomically(file, text) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}.tmp`;
  fs.writeFileSync(temporary, text);
  fs.renameSync(temporary, file);
}

/** When a process began, in the kernel's ticks: tells a process from a later one with the same id. Empty if there is no /proc. */
function startOf(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return '';
  }
}

function isHeld(file, text) {
  const age = Date.now() - (fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0);
  let owner;
  try {
    owner = JSON.parse(text);
  } catch {
    return age < 10_000; // if there are no hard links: just being written
  }
  // Another machine's process (a shared home) cannot be asked: its heartbeat can.
  if (owner.host !== os.hostname()) return age < 60_000;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if (error.code === 'ESRCH') return false;
  }
  return startOf(owner.pid) === owner.start;
}

/** Makes the lock `file` of `mine`, which holds `text`; false if there is one. */
function makeLock(mine, file, text) {
  try {
    // A link appears with its content, unlike an exclusive create that is then written.
    fs.linkSync(mine, file);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return fs.statSync(mine).nlink === 2; // NFS: the answer to the first try was lost
  }
  // No hard links here, which each file system says with an errno of its own.
  try {
    fs.writeFileSync(file, text, { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Runs `work` while this process alone holds the lock `file`. A lock whose process is gone (kill -9) counts as none.
 * @param purpose what a waiting process is told
 */
export async function withLock(file, purpose, work) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const mine = `${file}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  const text = JSON.stringify({ host: os.hostname(), pid: process.pid, start: startOf(process.pid) });
  fs.writeFileSync(mine, text);
  let told = false;
  try {
    for (;;) {
      if (makeLock(mine, file, text)) break;
      let other;
      try {
        other = fs.readFileSync(file, 'utf8');
      } catch {
        continue; // released just now
      }
      if (!isHeld(file, other)) {
        // Two waiters may see the same dead lock: moved aside first, then looked at again, so that a new one is never removed.
        const aside = `${mine}.stale`;
        try {
          fs.renameSync(file, aside);
          const taken = fs.readFileSync(aside, 'utf8');
          if (taken !== other) makeLock(aside, file, taken);
        } catch {
          // the other waiter was quicker
        }
        fs.rmSync(aside, { force: true });
        continue;
      }
      if (!told)
        say(`waiting for another process (${/"pid":(\d+)/.exec(other)?.[1] ?? 'unknown'}) to finish ${purpose}`);
      told = true;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  } finally {
    fs.rmSync(mine, { force: true });
  }
  const heartbeat = setInterval(() => fs.utimes(file, new Date(), new Date(), () => {}), 15_000);
  heartbeat.unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    fs.rmSync(file, { force: true });
  }
}

/** Prints an error the way the command line does, and ends with its exit code. */
export function fail(error) {
  say(`error: ${error.message}`);
  if (error.hint) say(`hint: ${error.hint}`);
  if (!(error instanceof SetupError)) say(error.stack);
  process.exitCode = error instanceof SetupError ? 4 : 70;
}
