// Locks of a run: who works on a shard now. A lock dies with its process.
//
// A lock is a file (lock-folder.ts) or an object in a bucket (store/bucket-locks.ts) that only one can make and that names its owner: host, pid, and what
// tells this pid from a later one (the process's start time, the boot id, the pid namespace). A dead owner's lock is never deleted to make room, which two processes could do to each other; it is outbid: the first
// lock of a name is NAME.lock, the next NAME.lock.1, and so on, and only one process can make the next one. Who made one then looks again, and steps
// back if any other lives. As everybody makes a lock before looking, of two that believe they hold a name at least one sees the other.
//
// Owners on another machine (or in another container) cannot be asked whether they live: they touch their lock every HEARTBEAT ms, and count as
// dead STALE ms after the last touch, by the clock of the file system or store.
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { DiffmineError } from '../util/errors.js';

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

/** A lock as it is found. */
export interface FoundLock {
  content: string;
  /** when it was last touched, ms since 1970 by the clock of where it is kept; undefined if it is gone */
  touched(): Promise<number | undefined>;
  /** ms since then; Infinity if it is gone */
  age(): Promise<number>;
}

/** All locks of one run. */
export abstract class Locks {
  private readonly held = new Set<string>();
  private heartbeat: NodeJS.Timeout | undefined;

  /** Names of lock files there are, of this lock at least. */
  protected abstract names(name: string): Promise<string[]>;
  /** Makes a lock file, whole at once. @param first the name of the lock's first generation. @returns false where it is there already */
  protected abstract make(file: string, content: string, first: string): Promise<boolean>;
  /** @returns undefined where it is gone */
  protected abstract look(file: string): Promise<FoundLock | undefined>;
  /** Sets the time of a lock file to now, unless it is gone. */
  protected abstract touch(file: string): Promise<void>;
  protected abstract discard(file: string): Promise<void>;
  /** Removes what makers of this lock that died have left. */
  protected abstract clear(first: string): Promise<void>;

  /** The files of one lock, by generation. */
  private async generations(name: string): Promise<{ file: string; generation: number }[]> {
    const first = `${name}.lock`;
    const found: { file: string; generation: number }[] = [];
    for (const file of await this.names(name)) {
      if (file === first) found.push({ file, generation: 0 });
      else if (file.startsWith(`${first}.`) && /^\d+$/.test(file.slice(first.length + 1)))
        found.push({ file, generation: Number(file.slice(first.length + 1)) });
    }
    return found.sort((a, b) => a.generation - b.generation);
  }

  /** The owner of a lock file if it is alive, `true` where that cannot be told, false if it is dead or gone. */
  private async aliveOwner(file: string): Promise<LockOwner | boolean> {
    const found = await this.look(file);
    if (!found) return false;
    const owner = parseOwner(found.content);
    const alive = owner && lives(owner);
    if (owner && alive !== undefined) return alive && owner;
    // a lock without a readable owner is being written this moment, or its writer died in the act
    return (await found.age()) < STALE ? (owner ?? true) : false;
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
      return (await this.look(file))?.touched();
    }
    return undefined;
  }

  /** Takes lock `name`, or says undefined if a live process (this one too) holds it. Never waits. */
  async acquire(name: string): Promise<Lock | undefined> {
    const first = `${name}.lock`;
    const found = await this.generations(name);
    for (const { file } of found) if ((await this.aliveOwner(file)) !== false) return undefined;
    const last = found.at(-1);
    const mine = last ? `${first}.${last.generation + 1}` : first;
    if (!(await this.make(mine, `${JSON.stringify(self())}\n`, first))) return undefined;
    for (const { file } of await this.generations(name)) {
      if (file === mine) continue;
      if ((await this.aliveOwner(file)) !== false) {
        await this.discard(mine);
        return undefined;
      }
    }
    for (const { file } of found) await this.discard(file);
    await this.clear(first);
    this.keep(mine);
    return {
      release: async () => {
        this.held.delete(mine);
        if (this.held.size === 0) {
          clearInterval(this.heartbeat);
          this.heartbeat = undefined;
        }
        await this.discard(mine);
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
      for (const held of this.held) this.touch(held).catch(() => undefined);
    }, HEARTBEAT).unref();
  }
}
