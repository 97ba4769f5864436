// Locks of a run folder: who works on a shard now. A lock dies with its process.
//
// A lock is a file that only one can make (a hard link to its content) and that names its owner: host, pid, and what tells this pid from a later one (the process's start time, the boot
// id, the pid namespace). A dead owner's lock is never deleted to make room, which two processes could do to each other; it is outbid: the first
// lock of a name is NAME.lock, the next NAME.lock.1, and so on, and only one process can make the next one. Who made one then looks again, and steps
// back if any other lives. As everybody makes a lock before looking, of two that believe they hold a name at least one sees the other.
//
// Owners on another machine (or in another container) cannot be asked whether they live: they touch their lock every HEARTBEAT ms, and count as
// dead STALE ms after the last touch, by the clock of the file system.
import { readFileSync, readlinkSync } from 'node:fs';
import { open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DiffmineError } from '../util/errors.js';
import { discard, linkNew, removeLeftovers, temporaryName } from './atomic.js';

const HEARTBEAT = 10_000;
const STALE = 90_000;
/** How long `wait` sleeps before it looks again, ms. */
const POLL = 300;

export interface LockOwner {
  host: string;
  pid: number;
  /** clock ticks after boot, from /proc/PID/stat; '' if there is no /proc */
  started: string;
  /** boot id and pid namespace; '' if there is no /proc */
  system: string;
}

export interface Lock {
  release(): Promise<void>;
}

function startTime(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // the second field is the command in parentheses, which may hold anything; the start time is the 22nd field
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function system(): string {
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return '';
  }
}

/** This process, as an owner of locks. */
export function self(): LockOwner {
  return { host: hostname(), pid: process.pid, started: startTime(process.pid) ?? '', system: system() };
}

function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Whether an owner on this very system lives; undefined for one that is elsewhere. */
export function lives(owner: LockOwner, here: LockOwner = self()): boolean | undefined {
  if (owner.system !== here.system || (here.system === '' && owner.host !== here.host)) {
    // the same machine before its last boot: whoever it was is gone
    const boot = (name: string): string => name.split(' ')[0] ?? '';
    if (owner.host === here.host && owner.system !== '' && boot(owner.system) !== boot(here.system)) return false;
    return undefined;
  }
  if (owner.started === '') return processExists(owner.pid);
  return startTime(owner.pid) === owner.started;
}

function parseOwner(text: string): LockOwner | undefined {
  try {
    const value = JSON.parse(text) as Partial<LockOwner> | null;
    if (typeof value?.host !== 'string' || typeof value.pid !== 'number') return undefined;
    return {
      host: value.host,
      pid: value.pid,
      started: value.started ?? '',
      system: value.system ?? '',
    };
  } catch {
    return undefined;
  }
}

/** A holder in words. */
export function nameOf(holder: LockOwner | true | undefined): string {
  return holder && holder !== true ? `process ${holder.pid} on ${holder.host}` : 'another process';
}

/** Sets a lock's modification time to the file system's now (utimes would set it to this machine's), unless it is gone. */
async function touch(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.write('{', 0);
  } finally {
    await handle.close();
  }
}

/**
 * Makes a lock file of this process, whole at once: who dies in the act leaves no lock of nobody, which would hold for STALE ms.
 *
 * @param first the name of the lock's first generation, beside which the temporary file lies
 * @returns false where the file is there already
 */
async function make(file: string, first: string): Promise<boolean> {
  const temporary = temporaryName(first);
  const content = `${JSON.stringify(self())}\n`;
  try {
    await writeFile(temporary, content);
    const made = await linkNew(temporary, file);
    if (made !== 'refused') return made === 'made';
  } finally {
    await discard(temporary);
  }
  // no hard links here (or somebody took the lock and cleared away what he took for a dead one's): two steps
  try {
    await writeFile(file, content, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    await discard(file);
    throw error;
  }
}

/** All locks of one run folder. */
export class LockFolder {
  private readonly held = new Set<string>();
  private heartbeat: NodeJS.Timeout | undefined;

  constructor(readonly folder: string) {}

  /** The files of one lock, by generation. */
  private async generations(name: string): Promise<{ file: string; generation: number }[]> {
    const first = `${name}.lock`;
    const found: { file: string; generation: number }[] = [];
    for (const entry of await readdir(this.folder)) {
      if (entry === first) found.push({ file: join(this.folder, entry), generation: 0 });
      else if (entry.startsWith(`${first}.`) && /^\d+$/.test(entry.slice(first.length + 1))) {
        found.push({ file: join(this.folder, entry), generation: Number(entry.slice(first.length + 1)) });
      }
    }
    return found.sort((a, b) => a.generation - b.generation);
  }

  /** The owner of a lock file if it is alive, `true` where that cannot be told, false if it is dead or gone. */
  private async aliveOwner(file: string): Promise<LockOwner | boolean> {
    let owner: LockOwner | undefined;
    let age: number;
    try {
      owner = parseOwner(await readFile(file, 'utf8'));
      const alive = owner && lives(owner);
      if (alive !== undefined) return alive && owner ? owner : false;
      age = (await this.now()) - (await stat(file)).mtimeMs;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
    // a lock without a readable owner is being written this moment, or its writer died in the act
    return age < STALE ? (owner ?? true) : false;
  }

  /** The file system's clock. */
  private async now(): Promise<number> {
    const file = join(this.folder, `.clock-${hostname()}-${process.pid}`);
    const handle = await open(file, 'w');
    try {
      await handle.write('.');
      return (await handle.stat()).mtimeMs;
    } finally {
      await handle.close();
      await discard(file);
    }
  }

  /** Who holds `name`: an owner, `true` for somebody unknown, undefined for nobody alive. */
  async holder(name: string): Promise<LockOwner | true | undefined> {
    for (const { file } of await this.generations(name)) {
      const owner = await this.aliveOwner(file);
      if (owner !== false) return owner;
    }
    return undefined;
  }

  /** When the holder of `name` last showed that it is alive, by the file system's clock: Infinity for a process of this system, undefined without a holder. */
  async lastSign(name: string): Promise<number | undefined> {
    for (const { file } of await this.generations(name)) {
      const owner = await this.aliveOwner(file);
      if (owner === false) continue;
      if (owner !== true && lives(owner)) return Infinity;
      return stat(file).then(
        ({ mtimeMs }) => mtimeMs,
        () => undefined,
      );
    }
    return undefined;
  }

  /** Takes lock `name`, or says undefined if a live process (this one too) holds it. Never waits. */
  async acquire(name: string): Promise<Lock | undefined> {
    const found = await this.generations(name);
    for (const { file } of found) if ((await this.aliveOwner(file)) !== false) return undefined;
    const last = found.at(-1);
    const mine = join(this.folder, last ? `${name}.lock.${last.generation + 1}` : `${name}.lock`);
    if (!(await make(mine, join(this.folder, `${name}.lock`)))) return undefined;
    for (const { file } of await this.generations(name)) {
      if (file === mine) continue;
      if ((await this.aliveOwner(file)) !== false) {
        await discard(mine);
        return undefined;
      }
    }
    for (const { file } of found) await discard(file);
    await removeLeftovers(join(this.folder, `${name}.lock`));
    this.keep(mine);
    return {
      release: async () => {
        this.held.delete(mine);
        if (this.held.size === 0) {
          clearInterval(this.heartbeat);
          this.heartbeat = undefined;
        }
        await discard(mine);
      },
    };
  }

  /**
   * Takes lock `name`, however long a live process holds it.
   *
   * @param onWaiting told once who holds it
   * @throws CANCELLED after `signal`
   */
  async wait(
    name: string,
    { signal, onWaiting }: { signal?: AbortSignal | undefined; onWaiting?: (holder: string) => void } = {},
  ): Promise<Lock> {
    for (let told = false; ; told = true) {
      const lock = await this.acquire(name);
      if (lock) return lock;
      if (signal?.aborted) throw new DiffmineError('CANCELLED', 'The wait for another process was cancelled.');
      if (!told) onWaiting?.(nameOf(await this.holder(name)));
      await sleep(POLL, undefined, { signal }).catch(() => undefined);
    }
  }

  private keep(file: string): void {
    this.held.add(file);
    this.heartbeat ??= setInterval(() => {
      for (const held of this.held) touch(held).catch(() => undefined);
    }, HEARTBEAT).unref();
  }
}
