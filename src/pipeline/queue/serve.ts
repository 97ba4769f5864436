// diffmine worker: serves a queue with the devices of this machine until it is stopped, or until nothing is left.
import { setTimeout as sleep } from 'node:timers/promises';
import { resolved } from '../../options/check.js';
import { chooseDevices, threadsOf } from '../devices.js';
import { asDiffmineError, DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { quoted } from '../../util/shell.js';
import type { Counter } from '../progress.js';
import { queueAddress } from './address.js';
import { connect, type Connection } from './bull.js';
import { depthOf } from './jobs.js';
import { Metrics } from './metrics.js';
import { WORKER, type WorkerOptions, type WorkerSummary } from './options.js';
import { DeviceWorker, within, type Known, type DeviceWorkerEvent } from './device-worker.js';

/** How long a shard stays reserved after the last sign of life of its worker, s. */
const LOCK = 30;
export const LOCK_VARIABLE = 'DIFFMINE_QUEUE_LOCK';
/** Between two looks of an idle device for what is missing, ms: the first, and at most. */
const LOOK = { first: 1000, most: 15_000 };
/** A worker refuses all shards of a run, hundreds in a second: that it does is told once in this time, ms. */
const REFUSED_AGAIN = 60_000;
/** How long the end may take that lets go of the queue in good order, ms. */
const END = 10_000;

/**
 * Works on the shards of a queue.
 *
 * @returns once nothing is left, with `exitWhenDone`
 * @throws CANCELLED after hooks.signal: the current shards are back in the queue; IO where the queue cannot be reached; DEVICE_UNAVAILABLE if no device is
 *   left; with `exitWhenDone`, the error of a shard that failed for good or that this worker refuses
 */
export async function serveQueue(options: WorkerOptions, hooks: Hooks<DeviceWorkerEvent> = {}): Promise<WorkerSummary> {
  const begun = performance.now();
  const settings = resolved(WORKER, options);
  const address = queueAddress(settings.queue);
  const { devices } = chooseDevices({ device: settings.device, devices: settings.devices, dtype: 'fp32' });
  const times = timing();
  const connection = await connect(address, hooks.onLog);
  const metrics = new Metrics(async () => depthOf(connection));
  const told = { done: 0, elsewhere: 0, failed: 0, unetCalls: 0 };
  let failure: DiffmineError | undefined;
  // when it was told, by run and reason
  const refused = new Map<string, number>();
  const refusing = new Set<string>();
  const isNews = ({ run, message }: { run: string; message: string }): boolean => {
    const what = `${run}\n${message}`;
    const now = performance.now();
    if (now - (refused.get(what) ?? -Infinity) < REFUSED_AGAIN) return false;
    refused.set(what, now);
    return true;
  };
  const onEvent = (event: DeviceWorkerEvent): void => {
    metrics.event(event);
    if (event.type === 'refused') {
      refusing.add(event.run);
      if (!isNews(event)) return;
    }
    if (event.type === 'done') told[event.outcome === 'done' ? 'done' : 'elsewhere'] += 1;
    if (event.type === 'failed' && event.final) {
      told.failed += 1;
      failure ??= new DiffmineError(event.code, event.message, `See: diffmine status ${quoted(event.run)}`);
    }
    hooks.onProgress?.(event);
  };
  const counter: Counter = {
    add: (unetCalls) => {
      told.unetCalls += unetCalls;
      metrics.unetCalls(unetCalls);
    },
    image: (_, reason) => metrics.image(reason !== undefined),
    drop: () => undefined,
    uncount: () => undefined,
    shard: () => undefined,
    time: () => undefined,
  };
  const known: Known = new Set();
  const workers: DeviceWorker[] = [];
  try {
    if (settings.metrics !== undefined)
      hooks.onLog?.(`Metrics: http://localhost:${await metrics.listen(settings.metrics)}/metrics`);
    hooks.onLog?.(`Working on the queue ${address.shown} with ${devices.map(({ id }) => id).join(', ')}.`);
    for (const { id } of devices)
      workers.push(
        new DeviceWorker(connection, {
          device: id,
          threads: threadsOf(settings, devices.length),
          counter: { ...counter, time: (_, waited) => metrics.waited(id, waited) },
          hooks: { signal: hooks.signal, onLog: hooks.onLog },
          onEvent,
          onMemory: (memory) => metrics.memory(id, memory),
          timing: times,
          known,
        }),
      );
    await attend(connection, workers, { known, refusing }, settings.exitWhenDone, hooks);
  } finally {
    await Promise.all(workers.map(async (worker) => worker.stop()));
    await within(END, connection.close());
    await connection.close(true);
    metrics.close();
  }
  if (failure) throw failure;
  return {
    queue: address.shown,
    devices: devices.map(({ id }) => id),
    ...told,
    seconds: (performance.now() - begun) / 1000,
  };
}

/** BullMQ's times: a dead worker's shard is offered again after the reservation, at the next look. */
function timing(): { lockDuration: number; stalledInterval: number } {
  const seconds = Number(process.env[LOCK_VARIABLE] ?? LOCK);
  if (!(seconds >= 1 && seconds <= 3600))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${LOCK_VARIABLE} is ${JSON.stringify(process.env[LOCK_VARIABLE])}; expected seconds from 1 to 3600.`,
    );
  return { lockDuration: 1000 * seconds, stalledInterval: Math.min(5000, 400 * seconds) };
}

/** Looks after the workers until nothing is left, or the signal. */
async function attend(
  connection: Connection,
  workers: readonly DeviceWorker[],
  { known, refusing }: { known: Known; refusing: ReadonlySet<string> },
  exitWhenDone: boolean,
  { signal, onLog }: Hooks<DeviceWorkerEvent>,
): Promise<void> {
  const lost = new Set<DeviceWorker>();
  let pause = LOOK.first;
  let quiet = LOOK.first;
  for (;;) {
    await sleep(pause, undefined, signal ? { signal } : {}).catch(() => undefined);
    if (signal?.aborted) throw stopped();
    for (const worker of workers)
      if (worker.lost && !lost.has(worker)) {
        lost.add(worker);
        onLog?.(`${worker.device} is given up: ${worker.lost.message}`);
        await worker.stop();
      }
    const left = workers.filter((worker) => !lost.has(worker));
    if (left.length === 0) throw workers[0]?.lost ?? stopped();
    const idle = left.filter(({ busy }) => !busy);
    pause = LOOK.first;
    if (idle.length < left.length) quiet = LOOK.first;
    const [first] = idle;
    if (!first) continue;
    const depth = await unlessStopped(depthOf(connection), signal);
    if (depth.waiting > 0) continue;
    const worker = idle.find(({ run }) => run !== undefined && known.has(run)) ?? first;
    const put = await unlessStopped(
      worker.lookForWork().catch((error: unknown) => {
        onLog?.(`Looking for missing shards failed: ${asDiffmineError(error).message}`);
        return 0;
      }),
      signal,
    );
    if (put > 0) continue;
    if (exitWhenDone && idle.length === left.length && depth.active === 0) {
      if (depth.delayed === 0) return;
      const refused = await unlessStopped(refusedHere(connection, refusing), signal);
      if (refused !== undefined)
        throw new DiffmineError('RUN_MISMATCH', `Nothing is left but shards that this worker refuses. ${refused}`);
    }
    // several workers on one file system do not all look at once
    quiet = Math.min(exitWhenDone ? 2 * LOOK.first : LOOK.most, 1.5 * quiet);
    pause = quiet * (0.75 + Math.random() / 2);
  }
}

/** The reason, if all that waits for a later time is of runs that this worker refuses: one before it, on the same machine, may have had another reason. */
async function refusedHere({ queue }: Connection, refusing: ReadonlySet<string>): Promise<string | undefined> {
  const jobs = await queue.getJobs(['delayed']);
  const reasons = jobs.map(({ data }) => (refusing.has(data.run) ? data.refused?.why : undefined));
  return reasons.every((reason) => reason !== undefined) ? reasons[0] : undefined;
}

const stopped = (): DiffmineError =>
  new DiffmineError('CANCELLED', 'Stopped.', 'The current shards are back in the queue: other workers take them.');

/** @throws CANCELLED after the signal: a queue that is away does not answer */
async function unlessStopped<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(stopped());
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
