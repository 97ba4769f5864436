// Consistent changes (section 5.1 of the paper): what is typical of each label it is shown under, in all translations of an image at once; grouped
// by how it looks under every label. Scored shard by shard into a run folder that can be resumed, then grouped, then shown.
import { fillPrompt } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';
import { prepareConditions } from '../../models/index.js';
import { Engine } from '../../engine/index.js';
import type { Hooks } from '../scan/options.js';
import { shardsOf } from '../scan/plan.js';
import { Meter } from '../scan/progress.js';
import { attemptShard, schedule, waitingFor, type ShardOutcome } from '../scan/schedule.js';
import { isAuto } from '../../pipeline/resolve.js';
import { groupPlaces, type GroupRecord } from './group.js';
import type { CotypicalityEvent, CotypicalityOptions, CotypicalitySummary } from './options.js';
import { writeChangesReport } from './report.js';
import { CotypicalityRun, type ShardRecord } from './run.js';
import { resolveCotypicality, type ResolvedCotypicality } from './resolve.js';
import { unetCallsOf, scoreSequences, type SequenceContext } from './shard.js';

/**
 * Finds places of a parallel dataset that are typical under every label, and groups them; resumes where an earlier call with the same options
 * stopped. Several calls may work on one folder at once.
 *
 * @throws RUN_MISMATCH where the folder holds another run; before work begins INVALID_ARGUMENT, DATASET_INVALID, MODEL_*, WEIGHTS_INVALID,
 * DEVICE_UNAVAILABLE; IMAGE_UNREADABLE where no sequence can be scored; CANCELLED after hooks.signal (finished shards are kept); NUMERICS naming the sequence
 */
export async function cotypicality(
  options: CotypicalityOptions,
  hooks: Hooks<CotypicalityEvent> = {},
): Promise<CotypicalitySummary> {
  const begun = performance.now();
  const resolved = await resolveCotypicality(options, hooks);
  if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The search was cancelled before it began.');
  const run = await CotypicalityRun.begin(
    options.out,
    resolved.draft,
    resolved.parallel.sequences.map(({ key, label, image }) => ({ key, label, image })),
    { anyBatch: isAuto(options.batch), ...hooks },
  );
  const { manifest } = run;
  const lazy = new LazyEngine(options, resolved);
  try {
    const scored = await scoreAll(run, resolved, options, lazy, hooks);
    const done = await run.doneShards();
    const records: ShardRecord[] = [];
    for (const shard of done) records.push(await run.readShard(shard));
    const complete = done.length === manifest.shards;
    const sequences = records.reduce((sum, { sequences: some }) => sum + some, 0);
    let groups: GroupRecord | undefined;
    let report: string | null = null;
    if (complete) {
      await run.writeSkipped();
      if (sequences === 0) {
        const [first] = await run.skipped();
        throw new DiffmineError(
          'IMAGE_UNREADABLE',
          `None of the ${manifest.index.rows} sequences could be scored${first ? `; the first: ${first.reason}` : '.'}`,
          'All reasons are in skipped.jsonl of the run folder.',
        );
      }
      const lock = await run.locks.wait('clusters', {
        signal: hooks.signal,
        onWaiting: (holder) => hooks.log?.(`Waiting for ${holder}, which groups the places of ${options.out}.`),
      });
      try {
        groups = await groupPlaces(run, resolved.sequences, () => lazy.bare(), resolved.grouping, options.boxes, hooks);
        const page = await writeChangesReport(run, groups, resolved.sequences, { rows: options.rows ?? 8 }, hooks);
        report = page.path;
      } finally {
        await lock.release();
      }
    }
    return {
      run: run.path,
      complete,
      resumed: scored.resumed,
      labels: resolved.labels,
      sequences: manifest.index.rows,
      scored: sequences,
      skipped: records.reduce((sum, { skipped }) => sum + skipped, 0),
      shards: { total: manifest.shards, done: done.length, here: scored.here },
      unetCalls: scored.unetCalls,
      seconds: (performance.now() - begun) / 1000,
      device: resolved.device.id,
      places: groups?.places ?? 0,
      clusters: groups?.clusters ?? [],
      projection: groups?.projection ?? {
        asked: resolved.grouping.projection,
        done: resolved.grouping.projection,
        dimensions: resolved.grouping.dimensions,
      },
      truth: groups?.truth ?? null,
      notes: [...records.flatMap(({ notes }) => notes), ...(groups?.notes ?? [])],
      report,
    };
  } finally {
    await lazy.dispose();
  }
}

/** An engine that is made when first asked for: a run that is finished needs none, one that is only grouped none with a model. */
class LazyEngine {
  private engine: Engine | undefined;

  constructor(
    private readonly options: CotypicalityOptions,
    private readonly resolved: ResolvedCotypicality,
  ) {}

  bare(): Engine {
    return (this.engine ??= new Engine({
      device: this.resolved.device.id,
      dtype: this.resolved.draft.options.dtype,
      threads: this.options.threads ?? 0,
    }));
  }

  async dispose(): Promise<void> {
    await this.engine?.dispose();
  }
}

async function scoreAll(
  run: CotypicalityRun,
  resolved: ResolvedCotypicality,
  options: CotypicalityOptions,
  lazy: LazyEngine,
  hooks: Hooks<CotypicalityEvent>,
): Promise<{ resumed: boolean; here: number; unetCalls: number }> {
  const { manifest } = run;
  const { signal, log } = hooks;
  const part = shardsOf(manifest, options.shard);
  const before = new Set(await run.doneShards());
  const todo = part.filter((shard) => !before.has(shard));
  const count = (shards: number[]): number => run.shardLength(...shards);
  const each = unetCallsOf(manifest.options.samples, resolved.labels.length);
  const resumed = before.size > 0;
  hooks.onProgress?.({
    type: 'plan',
    run: run.path,
    resumed,
    shards: part.length,
    shardsDone: part.length - todo.length,
    images: count(part),
    imagesDone: count(part) - count(todo),
    unetCalls: count(todo) * each,
    batch: manifest.options.batch,
    device: resolved.device.id,
  });
  const meter = new Meter(
    hooks,
    count(todo) * each,
    { done: count(part) - count(todo), total: count(part) },
    { done: part.length - todo.length, total: part.length },
  );
  if (todo.length === 0) return { resumed, here: 0, unetCalls: 0 };

  const here = await meter.interruptible('sequence', async () => {
    const call = signal ? { signal } : {};
    const engine = lazy.bare();
    await engine.loadModel(resolved.model.source, {
      ...call,
      onProgress: ({ stage, done, total }) => stage === 'load' && hooks.onProgress?.({ type: 'load', done, total }),
    });
    const { prompt, nullPrompt } = manifest.options;
    const names =
      prompt === null
        ? [...resolved.labels, '']
        : [...resolved.labels.map((label) => fillPrompt(prompt, label)), nullPrompt ?? ''];
    const conditions = await prepareConditions(engine, resolved.model, names, call);
    const context: SequenceContext = {
      run,
      engine,
      conditions,
      labels: resolved.labels,
      sizes: resolved.sizes,
      sequences: resolved.sequences,
      meter,
      ...call,
      ...(log ? { log } : {}),
    };
    return schedule(todo, [async (shard) => tryShard(context, shard, each)], {
      ...call,
      onWaiting: async (shards) => hooks.log?.(await waitingFor(run, shards)),
    });
  });
  meter.finish();
  return { resumed, here, unetCalls: meter.done };
}

async function tryShard(context: SequenceContext, shard: number, each: number): Promise<ShardOutcome> {
  const { run, meter } = context;
  return attemptShard(
    run,
    shard,
    meter,
    async () => scoreSequences(context, shard),
    async () => {
      const { sequences, skipped } = await run.readShard(shard);
      return { unetCalls: (sequences + skipped) * each, done: sequences, skipped };
    },
  );
}
