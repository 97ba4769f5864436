// The scan: every image's typicality under its label, shard by shard, into a run folder that can be resumed.
import { fillPrompt } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';
import { prepareConditions } from '../../models/index.js';
import { Engine } from '../../engine/index.js';
import { checkContents } from '../../runs/changes.js';
import { Run } from '../../runs/run.js';
import { VERSION } from '../../runs/version.js';
import { processesOf } from './devices.js';
import type { Hooks, ScanEvent, ScanOptions, ScanSummary } from './options.js';
import { shardsOf } from './plan.js';
import { Meter, type Counter } from './progress.js';
import { attemptShard, schedule, waitingFor, type ShardOutcome, type Slot } from './schedule.js';
import { isAuto, resolveOptions, type Resolved } from './resolve.js';
import { scoreShard, type ScoringContext } from './shard.js';
import { startWorkers } from './workers.js';

/**
 * Scores the images of a dataset and writes a run folder; resumes where an earlier call with the same options, model and data stopped, also one
 * that was killed. Several calls may work on one folder at once: each shard is scored by one of them, and all return when none is left.
 *
 * @throws RUN_MISMATCH where the folder holds another run; before work begins, INVALID_ARGUMENT, DATASET_INVALID, MODEL_*, WEIGHTS_INVALID,
 * DEVICE_UNAVAILABLE; CANCELLED after hooks.signal (finished shards are kept); NUMERICS naming the image
 */
export async function scan(options: ScanOptions, hooks: Hooks<ScanEvent> = {}): Promise<ScanSummary> {
  const begun = performance.now();
  const resolved = await resolveOptions(options, VERSION, hooks);
  if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The scan was cancelled before it began.');
  const run = await Run.begin(options.out, resolved.draft, resolved.images, {
    anyBatch: isAuto(options.batch),
    ...hooks,
  });
  const { manifest } = run;
  const part = shardsOf(manifest, options.shard);
  const doneBefore = new Set(await run.doneShards());
  const todo = part.filter((shard) => !doneBefore.has(shard));
  const images = (shards: number[]): number => run.shardLength(...shards);
  const resumed = doneBefore.size > 0;
  await checkContents(
    run,
    part.filter((shard) => doneBefore.has(shard)),
    (place) => resolved.images.at(place),
    ['mine'],
    hooks,
  );
  const unetCalls = todo.reduce((sum, shard) => sum + unetCallsOfShard(run, resolved, shard), 0);
  const devices = resolved.devices.map(({ id }) => id).join(', ');
  hooks.onProgress?.({
    type: 'plan',
    run: run.path,
    resumed,
    shards: part.length,
    shardsDone: part.length - todo.length,
    images: images(part),
    imagesDone: images(part) - images(todo),
    unetCalls,
    batch: manifest.options.batch,
    device: devices,
  });

  const meter = new Meter(
    hooks,
    unetCalls,
    { done: images(part) - images(todo), total: images(part) },
    { done: part.length - todo.length, total: part.length },
  );
  let here = 0;
  if (todo.length > 0) {
    here = await meter.interruptible('image', async () => {
      const processes = processesOf(options, resolved.device, todo.length);
      const slots = processes
        ? await startWorkers(options, processes, meter, hooks)
        : await startHere(options, resolved, run, meter, hooks);
      const onWaiting = async (shards: number[]): Promise<void> => hooks.log?.(await waitingFor(run, shards));
      try {
        return await schedule(todo, slots.slots, { ...(hooks.signal ? { signal: hooks.signal } : {}), onWaiting });
      } finally {
        await slots.close();
      }
    });
  }
  meter.finish();

  const done = await run.doneShards();
  const complete = done.length === manifest.shards;
  if (complete) await run.writeSkipped();
  const records = await Promise.all(done.map(async (shard) => run.readShard(shard)));
  return {
    run: run.path,
    complete,
    resumed,
    labels: manifest.dataset.labels,
    images: manifest.index.rows,
    scored: records.reduce((sum, { images }) => sum + images, 0),
    skipped: records.reduce((sum, { skipped }) => sum + skipped, 0),
    shards: { total: manifest.shards, done: done.length, here },
    unetCalls: meter.done,
    seconds: (performance.now() - begun) / 1000,
    device: devices,
    dtype: manifest.options.dtype,
    batch: manifest.options.batch,
    samples: manifest.options.samples,
    patch: manifest.options.patch,
  };
}

/** Something that scores shards until it is closed. */
export interface Slots {
  slots: Slot[];
  close(): Promise<void>;
}

/** This process's engine, as one slot. */
export async function startHere(
  options: Pick<ScanOptions, 'threads'>,
  resolved: Resolved,
  run: Run,
  meter: Counter,
  hooks: Hooks<ScanEvent>,
): Promise<Slots> {
  const { signal, log } = hooks;
  const { model, images, labels, contrasts, sizes, replay, device, draft } = resolved;
  const engine = new Engine({
    device: device.id,
    dtype: draft.options.dtype,
    threads: options.threads ?? 0,
    tune: draft.options.tune === true,
  });
  try {
    const call = signal ? { signal } : {};
    await engine.loadModel(model.source, {
      ...call,
      onProgress: ({ stage, done, total }) => stage === 'load' && hooks.onProgress?.({ type: 'load', done, total }),
    });
    const { prompt, nullPrompt } = draft.options;
    const names =
      prompt === null ? [...labels, ''] : [...labels.map((label) => fillPrompt(prompt, label)), nullPrompt ?? ''];
    const conditions = await prepareConditions(engine, model, names, call);
    const context: ScoringContext = {
      run,
      engine,
      conditions,
      contrasts,
      sizes,
      replay,
      images,
      meter,
      ...call,
      ...(log ? { log } : {}),
    };
    return { slots: [async (shard) => tryShard(context, resolved, shard)], close: async () => engine.dispose() };
  } catch (error) {
    await engine.dispose();
    throw error;
  }
}

/** UNet calls that the images of a shard take. */
function unetCallsOfShard(
  run: Run,
  { images, contrasts }: Pick<Resolved, 'images' | 'contrasts'>,
  shard: number,
): number {
  const counts = [...images.slice(...run.shardRange(shard)).countByLabel()];
  return (
    run.manifest.options.samples *
    counts.reduce((sum, [label, count]) => sum + count * (contrasts.of(label)?.conditions.length ?? 0), 0)
  );
}

async function tryShard(context: ScoringContext, resolved: Resolved, shard: number): Promise<ShardOutcome> {
  const { run, meter } = context;
  return attemptShard(
    run,
    shard,
    meter,
    async () => scoreShard(context, shard),
    async () => {
      const { images, skipped } = await run.readShard(shard);
      return { unetCalls: unetCallsOfShard(run, resolved, shard), done: images, skipped };
    },
  );
}
