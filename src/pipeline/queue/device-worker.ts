// One device of a worker: takes shards of any run from the queue, one at a time, and has them done by an engine in a child process. The child serves one run;
// another run gets another child. The BullMQ worker stays in this process: a child that is busy for minutes could not keep its shard reserved.
import { hostname } from 'node:os';
import { unwritable } from '../../util/disk.js';
import { asDiffmineError, DiffmineError, type ErrorCode } from '../../util/errors.js';
import { VERSION } from '../../util/version.js';
import type { Hooks } from '../../util/hooks.js';
import type { PipelineEvent } from '../options.js';
import type { Counter } from '../progress.js';
import { SlotLost, type EngineMemory, type ShardOutcome } from '../schedule.js';
import type { Remaining } from '../remaining.js';
import { Worker as EngineProcess } from '../worker-pool.js';
import type { Connection, Job } from './bull.js';
import { moduleOf, readDescriptor, runId, type Descriptor } from './descriptor.js';
import type { ShardJob } from './job.js';
import { mayPass, queuedRun, reasonOf, refill, type QueuedRun } from './jobs.js';

/** Until a shard that a worker refused is offered again, ms. */
const REFUSED = 15_000;
/** Until it is tried again to open a run that could not be opened, ms. */
const REFUSED_FOR = 60_000;
/** How long handing a shard back may take, ms: after that its reservation runs out by itself. */
const HAND_BACK = 5000;

/** What a worker tells of. */
export type DeviceWorkerEvent = { device: string; run: string; shard: number; round?: number } & (
  | { type: 'done'; stage: Descriptor['stage']; outcome: ShardOutcome; seconds: number }
  | { type: 'failed'; code: ErrorCode; message: string; final: boolean }
  | { type: 'refused'; message: string }
  | { type: 'returned' }
);

export interface DeviceWorkerOptions {
  /** as in --device */
  device: string;
  /** CPU threads of the engine */
  threads: number;
  counter: Counter;
  hooks: Hooks<PipelineEvent>;
  onEvent: (event: DeviceWorkerEvent) => void;
  onMemory: (memory: EngineMemory) => void;
  /** BullMQ's for this worker */
  timing: { lockDuration: number; stalledInterval: number };
  known: Known;
}

/** Folders of runs that were seen in the queue and are not known to be complete. */
export type Known = Set<string>;

/** The run that a worker works on. */
interface Serving {
  queued: QueuedRun;
  /** as JSON */
  text: string;
  stage: Descriptor['stage'];
  engine: EngineProcess;
}

/** The work cannot be done by this worker, but perhaps by another. */
class Refusal extends Error {}

export class DeviceWorker {
  private readonly worker: ReturnType<Connection['worker']>;
  private serving: Serving | undefined;
  /** one thing at a time: a shard, or a look at what is missing */
  private turn: Promise<unknown> = Promise.resolve();
  private stopping = false;
  /** the job that failed here with an error that may pass, if no shard was finished since */
  private failedJob: string | undefined;
  /** runs whose model failed to load, by their descriptors: what was said */
  private readonly broken = new Map<string, DiffmineError>();
  /** runs that could not be opened here, by their descriptors */
  private readonly refused = new Map<string, { why: string; until: number }>();
  /** working on a shard */
  busy = false;
  /** the device is given up, for this reason */
  lost: DiffmineError | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly options: DeviceWorkerOptions,
  ) {
    this.worker = connection.worker(async (job, token) => this.take(job, token), {
      concurrency: 1,
      maxStalledCount: 20,
      name: `${hostname()}/${process.pid}/${options.device}`,
      ...options.timing,
    });
    this.worker.on('error', () => undefined); // of the connection, which tells of itself; or a reservation that ran out: the work is kept
  }

  /** the folder of the run that its child is open for */
  get run(): string | undefined {
    return this.serving?.queued.run;
  }

  get device(): string {
    return this.options.device;
  }

  // asked again after each wait
  private isStopping(): boolean {
    return this.stopping;
  }

  private async inTurn<T>(task: () => Promise<T>): Promise<T> {
    const turn = this.turn.then(task);
    this.turn = turn.catch(() => undefined);
    return turn;
  }

  private tell(job: Job, event: DistributiveOmit<DeviceWorkerEvent, 'device' | 'run' | 'shard' | 'round'>): void {
    const { run, shard, round } = job.data;
    this.options.onEvent({ device: this.device, run, shard, ...(round === undefined ? {} : { round }), ...event });
  }

  private async take(job: Job, token: string): Promise<unknown> {
    this.busy = true;
    try {
      return await this.inTurn(async () => this.work(job, token));
    } finally {
      this.busy = false;
    }
  }

  private async work(job: Job, token: string): Promise<unknown> {
    const { bull } = this.connection;
    if (this.stopping || this.lost) return this.giveBack(job, token);
    const begun = performance.now();
    try {
      const serving = await this.serve(job.data);
      if (!serving) return 'cancelled';
      if (this.isStopping()) return await this.giveBack(job, token);
      const outcome = await serving.engine.slot(job.data.shard, job.data.round);
      if (outcome === 'done') this.failedJob = undefined;
      const seconds = (performance.now() - begun) / 1000;
      this.tell(job, { type: 'done', stage: serving.stage, outcome, seconds });
      return outcome;
    } catch (thrown) {
      if (thrown instanceof Refusal) return this.leave(job, token, thrown.message);
      const error = errorOf(thrown);
      if (error.code === 'CANCELLED') return this.giveBack(job, token);
      const { serving } = this;
      const phase = serving?.engine.phase ?? 'open';
      const final = !mayPass(error);
      if (serving && final && phase === 'load') this.broken.set(serving.text, error);
      if (!final || phase !== 'work') await this.close(); // its state is not known
      if (this.giveUp(thrown)) return this.leave(job, token, error.message);
      if (serving && !final && phase === 'load') return this.leave(job, token, this.refuse(serving.text, error));
      if (!final && this.failedJob !== undefined && this.failedJob !== job.id) {
        // two shards are not the cause
        this.loseTo(
          new DiffmineError(error.code, `${this.device} failed at two shards in a row: ${error.message}`, error.hint),
        );
        return this.leave(job, token, error.message);
      }
      if (!final) this.failedJob = job.id;
      const last = job.attemptsMade + 1 >= (job.opts.attempts ?? 1);
      this.tell(job, { type: 'failed', code: error.code, message: error.message, final: final || last });
      throw final ? new bull.UnrecoverableError(reasonOf(error)) : new Error(reasonOf(error));
    }
  }

  /** Gives the device up for an error that every shard would meet here. @returns false if it is not one */
  private giveUp(thrown: unknown): boolean {
    if (!isOfMachine(thrown)) return false;
    this.loseTo(errorOf(thrown));
    return true;
  }

  private loseTo(error: DiffmineError): void {
    this.lost = error;
    void this.worker.pause(true).catch(() => undefined); // it takes no other shard
  }

  /** Refuses a run for a while: whoever began it could open it, so what is missing is missing on this machine. Returns the reason. */
  private refuse(text: string, { message, hint }: DiffmineError): string {
    const why = `${message}${hint === undefined ? '' : ` ${hint}`}`;
    this.refused.set(text, { why, until: performance.now() + REFUSED_FOR });
    return why;
  }

  /** The shard is left to workers on other machines, and no attempt is spent. */
  private async leave(job: Job, token: string, why: string): Promise<never> {
    this.tell(job, { type: 'refused', message: why });
    await job.updateData({ ...job.data, refused: { by: hostname(), why } });
    await job.moveToDelayed(Date.now() + REFUSED, token);
    throw new this.connection.bull.DelayedError();
  }

  /** The shard is the next worker's, and no attempt is spent. */
  private async giveBack(job: Job, token: string): Promise<never> {
    this.tell(job, { type: 'returned' });
    await within(HAND_BACK, job.moveToWait(token));
    throw new this.connection.bull.WaitingError();
  }

  /**
   * The child for a run. Undefined if the run was cancelled.
   *
   * @throws Refusal; DiffmineError where its model is known to be damaged
   */
  private async serve({ run, id, version }: ShardJob): Promise<Serving | undefined> {
    if (version !== VERSION)
      throw new Refusal(
        `The run was begun by diffmine ${version}, this worker is ${VERSION}. Install the same version.`,
      );
    const descriptor = await readDescriptor(run).catch((error: unknown) => {
      throw new Refusal(errorOf(error).message);
    });
    if (!descriptor || runId(descriptor, run) !== id)
      throw new Refusal(`${run} is not there. Workers need the run's folder, dataset and model under the same paths.`);
    if (descriptor.cancelled) return undefined;
    this.options.known.add(run);
    return this.open(run, descriptor);
  }

  private async open(run: string, descriptor: Descriptor): Promise<Serving> {
    const text = JSON.stringify([run, descriptor]);
    const broken = this.broken.get(text);
    if (broken) throw broken;
    const refused = this.refused.get(text);
    if (refused && performance.now() < refused.until) throw new Refusal(refused.why);
    if (this.serving?.text === text) return this.serving;
    await this.close();
    const { counter, hooks, device, threads, onMemory } = this.options;
    const options = { ...descriptor.options, out: run, device, threads }; // a run that was moved is where it was found
    const engine = new EngineProcess(moduleOf(descriptor.stage), options, counter, hooks, { onMemory });
    this.serving = { queued: queuedRun(run, descriptor), text, stage: descriptor.stage, engine };
    try {
      await engine.begin();
    } catch (thrown) {
      await this.close();
      const error = errorOf(thrown);
      if (error.code === 'CANCELLED' || isOfMachine(thrown)) throw thrown;
      throw new Refusal(this.refuse(text, error));
    }
    return this.serving;
  }

  /**
   * Looks what is missing of the runs that this worker knows: closes a finished round, finishes a complete run, fills an empty queue. Not while it works.
   *
   * @returns shards that were put in the queue
   */
  async lookForWork(): Promise<number> {
    const look = async (): Promise<number> => {
      let put = 0;
      const { known } = this.options;
      for (const run of [...known]) {
        if (this.stopping || this.lost) break;
        const descriptor = await readDescriptor(run);
        if (!descriptor || descriptor.cancelled) {
          known.delete(run);
          continue;
        }
        const { engine, queued } = await this.open(run, descriptor);
        const remaining: Remaining = await engine.remaining();
        if (remaining.missing.length === 0) known.delete(run);
        else put += await refill(this.connection, queued, remaining);
      }
      return put;
    };
    return this.inTurn(look).catch((thrown: unknown) => {
      if (!(thrown instanceof Refusal)) this.giveUp(thrown);
      throw errorOf(thrown);
    });
  }

  /** Takes no further shard; gives back the current one. */
  async stop(): Promise<void> {
    this.stopping = true;
    await within(HAND_BACK, this.worker.pause(true));
    this.serving?.engine.cancel();
    await this.turn;
    await this.close();
  }

  private async close(): Promise<void> {
    const { serving } = this;
    this.serving = undefined;
    await serving?.engine.close();
  }
}

const errorOf = (thrown: unknown): DiffmineError =>
  thrown instanceof SlotLost ? thrown.reason : asDiffmineError(thrown);

/** Whether every shard would meet an error on this device, so that none is the cause: a disk that cannot be written, a device that fails before its work. */
function isOfMachine(thrown: unknown): boolean {
  if (thrown instanceof SlotLost) return !thrown.atWork;
  const error = asDiffmineError(thrown);
  return unwritable(error) !== undefined || error.code === 'DEVICE_UNAVAILABLE' || error.code === 'SETUP';
}

type DistributiveOmit<T, Key extends PropertyKey> = T extends unknown ? Omit<T, Key> : never;

/** Waits for a promise, but no longer; a server that is away must not keep a worker from ending. */
export async function within(ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([
    promise.then(
      () => undefined,
      () => undefined,
    ),
    timeout,
  ]);
  clearTimeout(timer);
}
