// --workers N: child processes that each hold an engine. The parent hands out shards one at a time; what the children tell is counted as if one process
// did it all. Locks stay per shard, so that several such parents may share a run.
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { DiffmineError, type ErrorCode } from '../errors';
import { devices as listDevices } from '../native';
import type { Hooks, ScanEvent, ScanOptions } from './options';
import type { Counter } from './progress';
import type { ShardOutcome, Slot } from './schedule';
import type { Slots } from './scan';
import { threadsOf } from './settle';

/** From the parent. */
export type ToWorker = { type: 'begin'; options: ScanOptions } | { type: 'shard'; shard: number } | { type: 'cancel' };

/** From a worker. `count`: one call of the parent's counter. */
export type FromWorker =
  | { type: 'ready' }
  | { type: 'done'; outcome: ShardOutcome }
  | { type: 'failed'; code: ErrorCode; message: string; hint?: string }
  | { type: 'count'; call: Count }
  | { type: 'log'; sentence: string };

/** A call of a Counter, as data. */
export type Count = { [Name in keyof Counter]: [name: Name, ...parameters: Parameters<Counter[Name]>] }[keyof Counter];

/** A worker, from the parent's side: one question at a time, one answer. */
class Worker {
  private readonly child: ChildProcess;
  private settle: { resolve: (outcome: ShardOutcome) => void; reject: (error: Error) => void } | undefined;
  private readonly ended: Promise<void>;

  constructor(meter: Counter, hooks: Hooks<ScanEvent>) {
    this.child = fork(join(__dirname, 'worker.js'), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.child.on('message', (message: FromWorker) => {
      if (message.type === 'ready') this.settle?.resolve('elsewhere');
      else if (message.type === 'done') this.settle?.resolve(message.outcome);
      else if (message.type === 'failed') this.settle?.reject(new DiffmineError(message.code, message.message, message.hint));
      else if (message.type === 'count') replayCount(meter, message.call);
      else hooks.log?.(message.sentence);
    });
    this.ended = new Promise((resolve) => {
      const end = (how: string): void => {
        this.settle?.reject(new DiffmineError('INTERNAL', `A worker process ended ${how}.`, 'Run the same command again: finished shards are kept. If memory ran out, use fewer --workers.'));
        resolve();
      };
      this.child.once('exit', (code, signal) => end(signal ? `by ${signal}` : `with code ${code}`));
      this.child.once('error', (error) => end(`(${error.message})`));
    });
  }

  private async ask(message: ToWorker): Promise<ShardOutcome> {
    return new Promise<ShardOutcome>((resolve, reject) => {
      this.settle = { resolve, reject };
      if (!this.child.connected) reject(new DiffmineError('INTERNAL', 'A worker process is gone.'));
      else this.child.send(message);
    }).finally(() => {
      this.settle = undefined;
    });
  }

  async begin(options: ScanOptions): Promise<void> {
    await this.ask({ type: 'begin', options });
  }

  readonly slot: Slot = async (shard) => this.ask({ type: 'shard', shard });

  cancel(): void {
    if (this.child.connected) this.child.send({ type: 'cancel' } satisfies ToWorker);
  }

  /** A worker ends when its parent lets go of it. */
  async close(): Promise<void> {
    if (this.child.connected) this.child.disconnect();
    await this.ended;
  }
}

function replayCount(meter: Counter, call: Count): void {
  const [name, ...parameters] = call;
  (meter[name] as (...values: unknown[]) => void).apply(meter, parameters);
}

/** Starts `options.workers` processes; on a machine with several GPUs `cuda` and `auto` give each the next one. */
export async function startWorkers(options: ScanOptions, meter: Counter, hooks: Hooks<ScanEvent>): Promise<Slots> {
  const devices = listDevices().filter(({ id }) => id.startsWith('cuda'));
  const spread = ['cuda', 'auto', undefined].includes(options.device) && devices.length > 0;
  const workers = Array.from({ length: options.workers ?? 1 }, () => new Worker(meter, hooks));
  const cancel = (): void => workers.forEach((worker) => worker.cancel());
  hooks.signal?.addEventListener('abort', cancel, { once: true });
  const close = async (): Promise<void> => {
    hooks.signal?.removeEventListener('abort', cancel);
    await Promise.all(workers.map(async (worker) => worker.close()));
  };
  try {
    await Promise.all(
      workers.map(async (worker, index) => {
        const device = spread ? devices[index % devices.length]?.id : options.device;
        await worker.begin({ ...options, ...(device === undefined ? {} : { device }), threads: threadsOf(options) });
      }),
    );
  } catch (error) {
    cancel();
    await close();
    throw error;
  }
  const slots = workers.map(({ slot }): Slot => async (shard) =>
    slot(shard).catch((error: unknown) => {
      cancel(); // what the others are at would be lost on a user who has to act first
      throw error;
    }),
  );
  return { slots, close };
}

