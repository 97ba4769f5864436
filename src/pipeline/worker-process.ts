// The program of a worker process (worker-pool.ts): opens the same stage, loads its own engine, and does the shards it is given. It ends when its parent
// disconnects or dies.
import { asDiffmineError, DiffmineError } from '../util/errors.js';
import { startEngine, type StartedEngine } from './pipeline.js';
import { remainingOf } from './remaining.js';
import type { Counter } from './progress.js';
import type { PipelineEvent, SplitOptions } from './options.js';
import type { OpenStage, ShardedStage } from './stage.js';
import type { Count, FromWorker, Phase, ToWorker } from './worker-pool.js';
import type { Hooks } from '../util/hooks.js';

const abort = new AbortController();
const hooks: Hooks<PipelineEvent> = { signal: abort.signal, onLog: (sentence) => send({ type: 'log', sentence }) };
let stage: ShardedStage | undefined;
let engine: StartedEngine | undefined;
let threads: number | undefined;
let unsent = 0;
let lastSent = 0;

function send(message: FromWorker): void {
  if (process.connected) process.send?.(message);
}

const enter = (phase: Phase): void => send({ type: 'phase', phase });

function count(...call: Count): void {
  send({ type: 'count', call });
}

/** UNet calls come after every forward pass: they are sent in sums. */
function flush(): void {
  if (unsent !== 0) count('add', unsent);
  unsent = 0;
  lastSent = performance.now();
}

const counter: Counter = {
  add: (unetCalls) => {
    unsent += unetCalls;
    if (performance.now() - lastSent > 100) flush();
  },
  drop: (unetCalls) => count('drop', unetCalls),
  image: (image, reason) => (reason === undefined ? count('image', image) : count('image', image, reason)),
  uncount: (images) => count('uncount', images),
  shard: (...parameters) => {
    flush();
    count('shard', ...parameters);
  },
  time: (...parameters) => count('time', ...parameters),
};

async function begin({ module, options, lazy }: Extract<ToWorker, { type: 'begin' }>): Promise<void> {
  enter('open');
  const { open } = (await import(module)) as { open: OpenStage<SplitOptions, ShardedStage> };
  stage = await open(options, { signal: abort.signal }); // the parent has logged what there is to say
  threads = options.threads;
  if (!lazy) engine = await load(stage);
  send({ type: 'ready' });
}

async function load(opened: ShardedStage): Promise<StartedEngine> {
  enter('load');
  return startEngine(opened, threads, hooks);
}

async function answer(message: ToWorker): Promise<void> {
  try {
    if (message.type === 'cancel') abort.abort();
    else if (message.type === 'begin') await begin(message);
    else if (!stage) throw new DiffmineError('INTERNAL', 'The worker has no stage.');
    else if (message.type === 'remaining') {
      enter('work');
      send({ type: 'remaining', remaining: await remainingOf(stage, hooks) });
    } else {
      engine ??= await load(stage);
      enter('work');
      const outcome = await engine.shard(message, counter, hooks);
      flush();
      send({ type: 'memory', memory: engine.memory() });
      send({ type: 'done', outcome });
    }
  } catch (thrown) {
    const { code, message: text, hint } = asDiffmineError(thrown);
    flush();
    send({ type: 'failed', code, message: text, ...(hint === undefined ? {} : { hint }) });
  }
}

process.on('message', (message: ToWorker) => void answer(message));
process.once('disconnect', () => {
  abort.abort();
  void Promise.allSettled([engine?.close(), stage?.folder.store.close()]).finally(() => process.exit(0));
});
// Ctrl-C reaches the whole process group; the parent decides what to do
process.on('SIGINT', () => undefined);
