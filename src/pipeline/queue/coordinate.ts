// The side of a queue that begins a run: puts its shards in the queue, and shows how far the workers are until the run's folder says that all is there.
import { setTimeout as sleep } from 'node:timers/promises';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { quoted } from '../../util/shell.js';
import { VERSION } from '../../util/version.js';
import { count } from '../../web/html.js';
import type { PipelineEvent, SplitOptions } from '../options.js';
import { Detached, type Counter } from '../progress.js';
import type { Part, ShardCounts, ShardedStage } from '../stage.js';
import { hasPassword, queueAddress, QUEUE_VARIABLE, type QueueAddress } from './address.js';
import { connect, ping, type Connection } from './bull.js';
import { describeRun, readDescriptor, writeDescriptor } from './descriptor.js';
import { depthOf, discardJobs, enqueue, queuedRun, queueOf, refill, type FailedShard, type QueuedRun } from './jobs.js';

/** Between two looks at the run's folder, ms: the first, and at most. A look takes at most a tenth of the time. */
const LOOK = { first: 250, most: 5000 };
/** Between two looks at the queue, ms. */
const LOOK_AT_QUEUE = 3000;
/** Without a shard that is taken for so long, ms, it is said that nobody takes any. */
const NOBODY = 10_000;

/** The workers on a queue, for one run. */
export interface Fleet {
  /** Returns when all shards of a part are finished: how many were while this call waited. */
  finish(part: Part, round?: number): Promise<number>;
}

/** @throws INVALID_ARGUMENT for options of one machine */
function checkOptions(options: SplitOptions): void {
  for (const key of ['shard', 'workers', 'devices'] as const)
    if (options[key] !== undefined)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `\`${key}\` does not apply to a run on a queue.`,
        'Give `devices` to diffmine worker; the queue divides the work.',
        { option: key },
      );
}

/**
 * Connects to the queue that options name, before a run begins: one that cannot be reached leaves nothing behind.
 *
 * @throws INVALID_ARGUMENT for options beside it that do not apply; IO where it cannot be reached; SETUP without its packages
 */
export async function reachQueue(options: SplitOptions, { onLog }: Pick<Hooks<never>, 'onLog'>): Promise<Connection> {
  return connect(addressOf(options, onLog), onLog);
}

/** For a plan: asks the queue that options name, and leaves nothing there. @throws as reachQueue */
export async function pingQueue(options: SplitOptions, { onLog }: Pick<Hooks<never>, 'onLog'>): Promise<void> {
  await ping(addressOf(options, onLog));
}

function addressOf(options: SplitOptions, onLog: Hooks<never>['onLog']): QueueAddress {
  checkOptions(options);
  if (hasPassword(options.queue ?? ''))
    onLog?.(`A password on the command line is visible to all users of this machine: use ${QUEUE_VARIABLE}.`);
  return queueAddress(options.queue);
}

/** Hands a run that has begun to the workers of a queue. */
export async function engage(
  connection: Connection,
  stage: ShardedStage,
  options: SplitOptions,
  counter: Counter,
  hooks: Hooks<PipelineEvent>,
): Promise<Fleet> {
  const run = stage.folder.place;
  const descriptor = await describeRun(stage, options, VERSION);
  await writeDescriptor(stage.folder.store, descriptor);
  const queued = queuedRun(run, descriptor);
  await discardJobs(connection, queued.id, 'failed'); // to be tried again
  const watch = new Watch(stage, connection, queued, counter, hooks);
  return { finish: async (part, round) => watch.finish(part, round) };
}

class Watch {
  /** sentences that were told */
  private readonly told = new Set<string>();
  private moved = performance.now();

  constructor(
    private readonly stage: ShardedStage,
    private readonly connection: Connection,
    private readonly run: QueuedRun,
    private readonly counter: Counter,
    private readonly hooks: Hooks<PipelineEvent>,
  ) {}

  async finish(part: Part, round?: number): Promise<number> {
    const done = new Set(await part.folder.doneShards());
    const missing = missingOf(part, done);
    this.hooks.onLog?.(
      `${count(missing.length, 'shard')} in the queue. Ctrl-C detaches: the workers continue without this command.`,
    );
    await enqueue(this.connection, this.run, { missing, ...(round === undefined ? {} : { round }) });
    this.moved = performance.now();
    let here = 0;
    let pause = LOOK.first;
    for (let looked = performance.now(); done.size < part.folder.count;) {
      await this.rest(pause);
      const before = performance.now();
      const found = (await part.folder.doneShards()).filter((shard) => !done.has(shard));
      for (const shard of found) {
        done.add(shard);
        await this.countShard(part, shard);
      }
      here += found.length;
      const now = performance.now();
      if (found.length > 0) this.moved = now;
      pause = Math.min(LOOK.most, Math.max(found.length > 0 ? LOOK.first : 1.2 * pause, 10 * (now - before)));
      if (now - looked > LOOK_AT_QUEUE && done.size < part.folder.count) {
        await this.lookAtQueue(part, missingOf(part, done), round);
        looked = performance.now();
      }
    }
    return here;
  }

  /** @throws CANCELLED after the signal */
  private async rest(ms: number): Promise<void> {
    const { signal } = this.hooks;
    await sleep(ms, undefined, signal ? { signal } : {}).catch(() => undefined);
    if (!signal?.aborted) return;
    const { place } = this.stage.folder;
    throw new Detached(
      'CANCELLED',
      'Detached: the workers continue.',
      `The workers on the queue continue. See how far they are: diffmine status ${quoted(place)}. Attach again: the same command. Stop the run: diffmine cancel ${quoted(place)}.`,
    );
  }

  private async countShard(part: Part, shard: number): Promise<void> {
    // a finished race takes its rounds with it
    const all = { done: part.folder.shardLength(shard), skipped: 0 };
    const { done, skipped }: ShardCounts = await part.countsOf(shard).catch(() => all);
    this.counter.add(part.unetCalls(shard));
    this.counter.uncount(-(done + skipped));
    this.counter.shard(shard, done, skipped);
  }

  /** Fills a queue that lost its jobs; tells what the workers say of this run. */
  private async lookAtQueue(part: Part, missing: number[], round: number | undefined): Promise<void> {
    const descriptor = await readDescriptor(this.run.run);
    if (descriptor?.cancelled)
      throw new Detached(
        'CANCELLED',
        `${this.run.run} was cancelled.`,
        'Finished shards are kept. Run the same command to resume.',
      );
    const depth = await depthOf(this.connection);
    const { active, failed, refused, waiting, delayed } = await queueOf(this.connection, this.run);
    const own = failed.filter((one) => one.round === round);
    if (own.length > 0 && waiting + delayed + active.length === 0) await this.giveUp(part, own, round);
    for (const one of own) this.tell(`${nameOf(one)} failed for good: ${one.message}`);
    for (const why of refused) this.tell(`A worker refuses this run. ${why}`);
    if (depth.waiting === 0) {
      const left = await refill(this.connection, this.run, { missing, ...(round === undefined ? {} : { round }) });
      if (left > 0) this.hooks.onLog?.(`The queue was empty: ${count(left, 'missing shard')} put back.`);
    }
    if (depth.active === 0 && refused.length === 0 && performance.now() - this.moved > NOBODY)
      this.tell('No worker takes a shard yet. Start one: diffmine worker --queue URL');
  }

  /** Nothing is left but shards that failed, if the folder says so too. */
  private async giveUp(part: Part, failed: FailedShard[], round: number | undefined): Promise<void> {
    const missing = missingOf(part, new Set(await part.folder.doneShards()));
    const own = failed.filter(({ shard }) => missing.includes(shard));
    const [first] = own;
    if (!first || own.length < missing.length) return;
    throw new DiffmineError(
      first.code,
      `${own.length} of ${count(part.folder.count, 'shard')}${round === undefined ? '' : ` of round ${round + 1}`} failed. ${nameOf(first)}: ${first.message}`,
      `The other shards are finished. See all: diffmine status ${quoted(this.run.run)}. Remove the cause, then: diffmine retry ${quoted(this.run.run)}`,
    );
  }

  private tell(sentence: string): void {
    if (this.told.has(sentence)) return;
    this.told.add(sentence);
    this.hooks.onLog?.(sentence);
  }
}

function missingOf(part: Part, done: ReadonlySet<number>): number[] {
  return Array.from({ length: part.folder.count }, (_, shard) => shard).filter((shard) => !done.has(shard));
}

const nameOf = ({ shard, round }: { shard: number; round?: number }): string =>
  `Shard ${shard}${round === undefined ? '' : ` of round ${round + 1}`}`;
