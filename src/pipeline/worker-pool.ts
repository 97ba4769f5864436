// --workers N and --devices 0,1: child processes with one engine each. The parent hands out shards one at a time, and counts progress as if one process
// did all the work. A process that dies (kill -9, the out-of-memory killer, a crash of the GPU's driver) is started again and repeats its shard; after
// several deaths in a row it is not started again, and the others do its part. Locks are per shard and end with their process, so that several parents
// can share a run and a restarted child can continue at once.
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { asDiffmineError, DiffmineError, type ErrorCode } from '../util/errors.js';
import { threadsOf } from './devices.js';
import { Tally, type Counter } from './progress.js';
import { SlotLost, type EngineMemory, type ShardOutcome, type Slot, type Slots } from './schedule.js';
import type { PipelineEvent, SplitOptions } from './options.js';
import type { Assigned } from './shard.js';
import type { Remaining } from './remaining.js';
import type { Hooks } from '../util/hooks.js';

/** Maximum restarts of a process without a finished shard in between. */
const RESTARTS = 3;
/** Delay before the n-th restart: n times this many ms, so that a shortage of memory or a driver problem can pass. */
const PAUSE = 500;
/** When a process ended, before its work. */
const BEFORE = { open: 'before it had opened the run', load: 'while it loaded the model' } as const;

/** From the parent. `module`: of the stage (ShardedStage.module) */
export type ToWorker =
  /** `lazy`: the model is loaded for the first shard */
  | { type: 'begin'; module: string; options: SplitOptions; lazy: boolean }
  | ({ type: 'shard' } & Assigned)
  | { type: 'remaining' }
  | { type: 'cancel' };

/** What a worker is at: opening the stage, loading the model, or a shard. */
export type Phase = 'open' | 'load' | 'work';

/** From a worker. `count`: one call of the parent's counter. */
export type FromWorker =
  | { type: 'phase'; phase: Phase }
  | { type: 'ready' }
  | { type: 'done'; outcome: ShardOutcome }
  | { type: 'remaining'; remaining: Remaining }
  | { type: 'failed'; code: ErrorCode; message: string; hint?: string }
  | { type: 'memory'; memory: EngineMemory }
  | { type: 'count'; call: Count }
  | { type: 'log'; sentence: string };

/** A call of a Counter, as data. */
export type Count = { [Name in keyof Counter]: [name: Name, ...parameters: Parameters<Counter[Name]>] }[keyof Counter];

/** The process has ended or can no longer be used; `message` says how, after "ended". */
class Died extends Error {}

/** What a worker is told about, beside its shards. */
interface Listener {
  meter: Counter;
  hooks: Hooks<PipelineEvent>;
  onPhase?: (phase: Phase) => void;
  onMemory?: (memory: EngineMemory) => void;
}

/** A worker process as seen by its parent: one request at a time, one answer. */
class WorkerProcess {
  private readonly child: ChildProcess;
  private pending: { resolve: (answer: never) => void; reject: (error: Error) => void } | undefined;
  /** how it ended, once it has */
  private readonly ended: Promise<string>;

  /** @param crashes whether an INTERNAL error of the engine requires a new process: a CUDA context does not recover */
  constructor(
    private readonly listener: Listener,
    private readonly crashes: boolean,
  ) {
    this.child = fork(join(import.meta.dirname, 'worker-process.js'), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.child.on('message', (message: FromWorker) => {
      if (message.type === 'phase') listener.onPhase?.(message.phase);
      else if (message.type === 'ready') this.answer(undefined);
      else if (message.type === 'done') this.answer(message.outcome);
      else if (message.type === 'remaining') this.answer(message.remaining);
      else if (message.type === 'failed') this.fail(message);
      else if (message.type === 'count') replayCount(listener.meter, message.call);
      else if (message.type === 'memory') listener.onMemory?.(message.memory);
      else listener.hooks.onLog?.(message.sentence);
    });
    this.ended = new Promise((resolve) => {
      const end = (how: string): void => {
        this.pending?.reject(new Died(how));
        resolve(how);
      };
      this.child.once('exit', (code, signal) => {
        const how = signal ? `by ${signal}` : `with code ${code}`;
        // what it said before comes first
        if (this.child.connected) this.child.once('disconnect', () => end(how));
        else end(how);
      });
      this.child.once('error', (error) => end(`(${error.message})`));
    });
  }

  private answer(value: unknown): void {
    this.pending?.resolve(value as never);
  }

  private fail({ code, message, hint }: Extract<FromWorker, { type: 'failed' }>): void {
    if (this.crashes && code === 'INTERNAL') {
      this.pending?.reject(new Died(`with an error of its device: ${message.split('\n')[0]}`));
      this.child.kill('SIGKILL');
    } else {
      this.pending?.reject(new DiffmineError(code, message, hint));
    }
  }

  async ask<Answer>(message: ToWorker): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      this.pending = { resolve, reject };
      // of a process that is gone, only its end says how; a message that cannot be sent is that, too
      if (this.child.connected) this.child.send(message, () => undefined);
      else void this.ended.then((how) => reject(new Died(how)));
    }).finally(() => {
      this.pending = undefined;
    });
  }

  cancel(): void {
    if (this.child.connected) this.child.send({ type: 'cancel' } satisfies ToWorker, () => undefined);
  }

  /** A worker ends when its parent lets go of it. */
  async close(): Promise<void> {
    if (this.child.connected) this.child.disconnect();
    await this.ended;
  }
}

function replayCount(meter: Counter, call: Count): void {
  const [name, ...parameters] = call;
  (meter[name] as (...values: unknown[]) => void).call(meter, ...parameters);
}

/** A worker whose process is replaced when it dies. */
export class Worker {
  private process: WorkerProcess | undefined;
  private readonly tally: Tally;
  private readonly listener: Listener;
  /** since a shard was last finished */
  private deaths = 0;
  private begun = false;
  private cancelled = false;
  /** what its process is at, or was at when it ended */
  phase: Phase = 'open';

  /**
   * @param module of the stage that it works on
   * @param queued a queue hands out its shards: it takes no locks, and loads the model for the first shard only
   */
  constructor(
    private readonly module: string,
    private readonly options: SplitOptions,
    meter: Counter,
    private readonly hooks: Hooks<PipelineEvent>,
    private readonly queued?: Pick<Listener, 'onMemory'>,
  ) {
    this.tally = new Tally(meter);
    this.listener = { ...queued, meter: this.tally, hooks, onPhase: (phase) => (this.phase = phase) };
  }

  private get device(): string {
    return this.options.device ?? 'auto';
  }

  /** Loads the model. After a death, the next shard does so too. */
  async begin(): Promise<void> {
    await this.persist(async () => Promise.resolve(), 'while it loaded the model');
  }

  /** How far the work is; finished rounds are closed. */
  async remaining(): Promise<Remaining> {
    return this.persist(async (process) => process.ask<Remaining>({ type: 'remaining' }), 'while it looked for work');
  }

  readonly slot: Slot = async (shard, round) => {
    const outcome = await this.persist(async (process) => {
      this.tally.begin();
      return process.ask<ShardOutcome>({ type: 'shard', shard, round, unlocked: this.queued !== undefined });
    }, `at shard ${shard}`);
    if (outcome === 'done') this.deaths = 0;
    return outcome;
  };

  /** @throws SlotLost if the process dies too often */
  private async persist<Answer>(task: (process: WorkerProcess) => Promise<Answer>, when: string): Promise<Answer> {
    for (;;) {
      try {
        return await task(await this.running());
      } catch (error) {
        if (!(error instanceof Died)) throw this.begun && isGone(error) ? new SlotLost(error) : error;
        if (this.tally.finished) return 'done' as Answer; // of a shard
        this.tally.undo();
        await this.close();
        this.deaths += 1;
        const how = `The process of ${this.device} ended ${error.message} ${this.phase === 'work' ? when : BEFORE[this.phase]}`;
        if (this.deaths <= RESTARTS) {
          this.hooks.onLog?.(`${how}; it is started again (${this.deaths} of ${RESTARTS}).`);
          await sleep(PAUSE * this.deaths, undefined, { signal: this.hooks.signal }).catch(() => undefined);
        }
        if (this.cancelled || this.hooks.signal?.aborted)
          throw new DiffmineError(
            'CANCELLED',
            'The work was cancelled.',
            'Finished shards are kept. Run the same command to resume.',
          );
        if (this.deaths > RESTARTS) {
          throw new SlotLost(
            new DiffmineError(
              'DEVICE_UNAVAILABLE',
              `${how}, for the ${this.deaths}th time in a row.`,
              'Run the same command again: finished shards are kept. If memory ran out (SIGKILL), use fewer `workers` or `devices`, or a smaller `batch` in a new run.',
            ),
            this.phase === 'work',
          );
        }
      }
    }
  }

  private async running(): Promise<WorkerProcess> {
    if (this.process) return this.process;
    const process = new WorkerProcess(this.listener, this.device.startsWith('cuda'));
    this.process = process;
    this.phase = 'open';
    this.tally.begin();
    await process.ask({
      type: 'begin',
      module: this.module,
      options: this.options,
      lazy: this.queued !== undefined,
    });
    this.begun = true;
    return process;
  }

  cancel(): void {
    this.cancelled = true;
    this.process?.cancel();
  }

  async close(): Promise<void> {
    const { process } = this;
    this.process = undefined;
    await process?.close();
  }
}

/** Whether an error means that the device is no longer available or has no free memory. */
function isGone(error: unknown): error is DiffmineError {
  return error instanceof DiffmineError && error.code === 'DEVICE_UNAVAILABLE';
}

/**
 * Starts one process per entry of `devices` (names as in --device).
 *
 * @param module of the stage that they work on
 */
export async function startWorkers(
  module: string,
  options: SplitOptions,
  devices: readonly string[],
  meter: Counter,
  hooks: Hooks<PipelineEvent>,
): Promise<Slots> {
  const threads = threadsOf(options, devices.length);
  const workers = devices.map((device) => {
    const own: SplitOptions = { ...options, device, threads };
    delete own.devices;
    delete own.workers;
    return new Worker(module, own, meter, hooks);
  });
  const cancel = (): void => workers.forEach((worker) => worker.cancel());
  hooks.signal?.addEventListener('abort', cancel, { once: true });
  const close = async (): Promise<void> => {
    hooks.signal?.removeEventListener('abort', cancel);
    await Promise.all(workers.map(async (worker) => worker.close()));
  };
  const begun = await Promise.allSettled(workers.map(async (worker) => worker.begin()));
  const errors = begun.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
  const lost = errors.filter((error) => error instanceof SlotLost);
  if (errors.length > lost.length || lost.length === workers.length) {
    cancel();
    await close();
    throw asDiffmineError(errors.find((error) => !(error instanceof SlotLost)) ?? lost[0]?.reason);
  }
  for (const { reason } of lost) hooks.onLog?.(`${reason.message} The other processes continue without it.`);
  const slots = workers
    .filter((_, i) => begun[i]?.status === 'fulfilled')
    .map(
      ({ slot }): Slot =>
        async (shard, round) =>
          slot(shard, round).catch((error: unknown) => {
            if (error instanceof SlotLost) hooks.onLog?.(`${error.message} The remaining processes do its part.`);
            else cancel(); // what the others are at would be lost on a user who has to act first
            throw error;
          }),
    );
  return { slots, close };
}
