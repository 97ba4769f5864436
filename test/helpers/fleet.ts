// A scan on a queue with workers, each a process as a user starts it.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cli, ROOT } from '../cli/cli.js';
import { connect, type Connection } from '../../src/pipeline/queue/bull.js';
import { RedisServer } from './redis.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');

/** A small scan: 12 images in 6 shards. */
export const SCAN = [
  ...['scan', join(GOLDEN, 'mini-dataset'), '--model', join(GOLDEN, 'tiny-sd15'), '--size', 'source'],
  ...['--samples', '6', '--patch', '16', '--batch', '8', '--shard-size', '2', '--device', 'cpu', '--threads', '1'],
];

/** A command under way. */
export class Running {
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  /** exit code and signal */
  readonly ended: Promise<[number | null, NodeJS.Signals | null]>;

  /** @param by a command that runs it */
  constructor(args: string[], env: Record<string, string>, by: readonly string[] = []) {
    const [program = '', ...rest] = [...by, process.execPath, join(ROOT, 'bin', 'diffmine.js'), ...args];
    this.child = spawn(program, rest, {
      cwd: ROOT,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.ended = new Promise((resolve) => this.child.once('close', (...how) => resolve(how)));
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Its child processes. */
  children(): number[] {
    const pid = this.child.pid as number;
    try {
      return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
    } catch {
      return [];
    }
  }

  /** kill -9 of the process and of its engine, as when a machine goes away. */
  kill(): void {
    for (const pid of [...this.children(), this.child.pid as number]) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // gone already
      }
    }
  }

  /** Waits for what it says, or for anything else. */
  async until(condition: RegExp | (() => boolean)): Promise<void> {
    const met = condition instanceof RegExp ? (): boolean => condition.test(this.stderr) : condition;
    for (let waited = 0; !met(); waited += 20) {
      if (!this.running || waited > 120_000) throw new Error(`did not come to it: ${this.stderr}`);
      await sleep(20);
    }
  }
}

/** The commands that share one queue; all of them end with `end`. */
export class Fleet {
  private readonly all: Running[] = [];

  constructor(private readonly url: string) {}

  run(...args: string[]): Running {
    return this.runWith([], {}, ...args);
  }

  /** @param by a command that runs it */
  runWith(by: readonly string[], env: Record<string, string>, ...args: string[]): Running {
    const common = { DIFFMINE_QUEUE: this.url, DIFFMINE_QUEUE_LOCK: '3', OMP_NUM_THREADS: '1' };
    const running = new Running(args, { ...common, ...env }, by);
    this.all.push(running);
    return running;
  }

  worker(...args: string[]): Running {
    return this.run('worker', '--device', 'cpu', '--threads', '1', ...args);
  }

  /** Nothing stays behind a test, failed or not. */
  async end(): Promise<void> {
    for (const one of this.all) if (one.running) one.kill();
    await Promise.all(this.all.map(async ({ ended }) => ended));
    this.all.length = 0;
  }
}

/** A folder with a Redis server, a fleet on it, and `reference`: the scan without a queue, to compare with. */
export interface RedisFleet {
  folder: string;
  redis: RedisServer;
  fleet: Fleet;
  queue: Connection;
  /** after a test: ends the commands and empties the queue */
  clear(): Promise<void>;
  /** after all tests */
  close(): Promise<void>;
}

export async function startRedisFleet(): Promise<RedisFleet> {
  const folder = mkdtempSync(join(tmpdir(), 'diffmine-queue-'));
  const redis = await RedisServer.start(join(folder, 'redis'));
  const fleet = new Fleet(redis.url);
  const queue = await connect({ url: redis.url, kind: 'redis', shown: 'redis' });
  expect(await cli([...SCAN, '--out', join(folder, 'reference')])).toMatchObject({ code: 0 });
  return {
    ...{ folder, redis, fleet, queue },
    async clear() {
      await fleet.end();
      await queue.queue.obliterate({ force: true });
    },
    async close() {
      await queue.close();
      await redis.kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
