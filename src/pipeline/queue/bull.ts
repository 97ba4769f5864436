// The queue engine, BullMQ on Redis or PostgreSQL: loaded only where a queue is used, as its packages are optional. Everything that depends on which of
// the two it is, is here.
import type { Queue, Worker, WorkerOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import { DiffmineError } from '../../util/errors.js';
import type { QueueAddress } from './address.js';
import type { ShardJob } from './job.js';

/** How long the first connection may take, ms. */
const CONNECT = 10_000;
const NAME = 'diffmine';

type Bull = typeof import('bullmq');

/** A connection to a queue, and what is made with it. */
export interface Connection {
  bull: Bull;
  queue: Queue<ShardJob>;
  worker(processor: (job: Job, token: string) => Promise<unknown>, options: Partial<WorkerOptions>): Worker<ShardJob>;
  /** lets go of the server; `force`: without a word to it */
  close(force?: boolean): Promise<void>;
}

export type Job = import('bullmq').Job<ShardJob>;

/** @throws SETUP naming what to install */
async function packages<T>(names: string, load: () => Promise<T>): Promise<T> {
  return load().catch((cause: unknown) => {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'ERR_MODULE_NOT_FOUND' && code !== 'MODULE_NOT_FOUND') throw cause;
    throw new DiffmineError('SETUP', 'The packages for queues are not installed.', `Run npm install ${names}.`, {
      cause,
    });
  });
}

/**
 * Connects to a queue.
 *
 * @param onLog told when the server goes away, and when it is there again
 * @throws IO where the server cannot be reached; SETUP without the packages
 */
export async function connect(address: QueueAddress, onLog?: (line: string) => void): Promise<Connection> {
  await ping(address);
  return address.kind === 'redis' ? connectRedis(address, onLog) : connectPostgres(address, onLog);
}

/**
 * Asks the server of a queue, and leaves nothing there.
 *
 * @throws as connect
 */
export async function ping(address: QueueAddress): Promise<void> {
  return address.kind === 'redis' ? pingRedis(address) : pingPostgres(address);
}

const redisPackages = async () =>
  packages('bullmq ioredis', async () => Promise.all([import('bullmq'), import('ioredis')]));

const postgresPackages = async () => packages('bullmq pg', async () => Promise.all([import('bullmq'), import('pg')]));

function unreachable({ shown }: QueueAddress, cause: unknown): DiffmineError {
  const { message, code } = cause as NodeJS.ErrnoException;
  const why = message.startsWith('NOAUTH') ? 'it needs a password' : message === '' ? (code ?? 'no answer') : message;
  return new DiffmineError(
    'IO',
    `The queue ${shown} cannot be reached: ${why}.`,
    shown.startsWith('redis')
      ? 'Check the address (rediss:// for TLS, redis:// without) and the password, and that the server runs.'
      : 'Check the address and the password, and that the server runs.',
    { cause },
  );
}

async function pingRedis(address: QueueAddress): Promise<void> {
  const [, { Redis }] = await redisPackages();
  const probe = new Redis(address.url, {
    lazyConnect: true,
    connectTimeout: CONNECT,
    commandTimeout: CONNECT,
    retryStrategy: () => null,
  });
  let reason: unknown;
  probe.on('error', (error) => (reason ??= error));
  try {
    await probe.connect();
    await probe.ping();
  } catch (error) {
    throw unreachable(address, reason ?? error);
  } finally {
    probe.disconnect();
  }
}

async function connectRedis(address: QueueAddress, onLog?: (line: string) => void): Promise<Connection> {
  const [bull, { Redis }] = await redisPackages();
  const redis: Redis = new Redis(address.url, {
    maxRetriesPerRequest: null,
    retryStrategy: (times) => Math.min(5000, 200 * 2 ** Math.min(times, 6)),
  });
  const outage = outages(address, onLog);
  redis.on('error', outage.began);
  redis.on('ready', outage.ended);
  const queue = new bull.Queue<ShardJob>(NAME, { connection: redis });
  queue.on('error', () => undefined);
  const workers: Worker<ShardJob>[] = [];
  return {
    bull,
    queue,
    worker: (processor, options) => {
      const worker = new bull.Worker<ShardJob>(NAME, processWith(processor), { ...options, connection: redis });
      workers.push(worker);
      return worker;
    },
    close: async (force = false) => {
      if (!force) for (const one of [...workers, queue]) await one.close();
      redis.disconnect();
    },
  };
}

// BullMQ would wait for ever for a server that takes the connection and never answers
async function pingPostgres(address: QueueAddress): Promise<void> {
  const [, { default: pg }] = await postgresPackages();
  const probe = new pg.Client({ connectionString: address.url, connectionTimeoutMillis: CONNECT });
  probe.on('error', () => undefined);
  try {
    await probe.connect();
  } catch (error) {
    throw unreachable(address, error);
  }
  await probe.end();
}

async function connectPostgres(address: QueueAddress, onLog?: (line: string) => void): Promise<Connection> {
  const [bull] = await postgresPackages();
  const connection = { connectionString: address.url, migrate: true };
  const outage = outages(address, onLog);
  const queue = new bull.Queue<ShardJob, unknown, string, import('bullmq').PostgresQueueBackend>(
    NAME,
    { connection: connection },
    bull.createPostgresBackend as never,
  ) as unknown as Queue<ShardJob>;
  let reason: unknown;
  queue.on('error', (error) => {
    reason ??= error;
    outage.began(error);
  });
  const timeout = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error('no answer')), CONNECT).unref();
  });
  try {
    await Promise.race([queue.waitUntilReady(), timeout]);
    await Promise.race([queue.getJobCounts('waiting'), timeout]);
  } catch (error) {
    void queue.close().catch(() => undefined);
    throw unreachable(address, reason ?? error);
  }
  const workers: Worker<ShardJob>[] = [];
  return {
    bull,
    queue,
    worker: (processor, options) => {
      const worker = new bull.Worker(
        NAME,
        processWith(processor),
        { ...options, connection: connection },
        bull.createPostgresBackend as never,
      ) as unknown as Worker<ShardJob>;
      workers.push(worker);
      return worker;
    },
    close: async (force = false) => {
      if (!force) for (const one of [...workers, queue]) await one.close();
    },
  };
}

const processWith =
  (processor: (job: Job, token: string) => Promise<unknown>) =>
  async (job: Job, token = ''): Promise<unknown> =>
    processor(job, token);

/** Tells of a server that goes away once, and once that it is back. */
function outages(
  { shown }: QueueAddress,
  onLog?: (line: string) => void,
): { began: (error: Error) => void; ended: () => void } {
  let away = false;
  return {
    began: (error) => {
      if (!away) onLog?.(`Lost the queue ${shown} (${error.message}). Waiting for it.`);
      away = true;
    },
    ended: () => {
      if (away) onLog?.(`The queue ${shown} is back.`);
      away = false;
    },
  };
}
