// Consistent changes (section 5.1 of the paper): places that are typical in all translations of an image at once, grouped by their appearance under
// every label. Scores shard by shard into a run directory that can be resumed, then groups the places, then writes the page.
import type { z } from 'zod';
import { DiffmineError } from '../../util/errors.js';
import { Engine } from '../../engine/index.js';
import { runPipeline } from '../../pipeline/pipeline.js';
import { planOf, type Plan } from '../../pipeline/plan.js';
import { groupPlaces, type GroupRecord } from './group.js';
import { given, resolved } from '../../options/check.js';
import { COTYPICALITY, type CotypicalityEvent, type CotypicalityOptions, type CotypicalitySummary } from './options.js';
import { writeChangesReport } from './report.js';
import { open, plan, type CotypicalityStage } from './stage.js';
import { OWN_NAMES } from '../../runs/parallel.js';
import { withLocalRun } from '../../runs/store/copy.js';
import { isBucket } from '../../util/place.js';
import type { Hooks } from '../../util/hooks.js';

/** Files of a shard that places are grouped by: without maps, which are most of it. */
const GROUPED = ['sequences.parquet', 'places.parquet', 'scores.parquet', 'features.safetensors', 'skipped.jsonl'];

/** Of a parallel dataset, what is read. */
const reads = (name: string): boolean =>
  !/\/reconstruction\.png$/.test(name) && !(OWN_NAMES as readonly string[]).includes(name);

/**
 * Finds places of a parallel dataset that are typical under all labels, and groups them. Resumes an earlier call with the same options.
 * Several calls can work on one folder at once.
 *
 * @throws RUN_MISMATCH if the folder holds another run; before work begins INVALID_ARGUMENT, DATASET_INVALID, MODEL_*, WEIGHTS_INVALID,
 * DEVICE_UNAVAILABLE; IMAGE_UNREADABLE if no sequence can be scored; CANCELLED after hooks.signal (finished shards are kept); NUMERICS naming the sequence
 */
export async function cotypicality(
  options: CotypicalityOptions,
  hooks: Hooks<CotypicalityEvent> = {},
): Promise<CotypicalitySummary> {
  checkQueue(options);
  return withLocalRun(options.parallel, hooks, { reads, makes: [], lock: '' }, async (parallel, local) =>
    scoreAndGroup({ ...options, parallel }, local),
  );
}

function checkQueue({ queue, parallel }: Pick<CotypicalityOptions, 'queue' | 'parallel'>): void {
  // it is copied to a temporary folder, which only this machine has
  if (queue !== undefined && isBucket(parallel))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`queue\` does not apply to a translation in a bucket (${parallel}).`,
      'Copy it to a directory that all workers see, with diffmine pull, and give that.',
      { option: 'queue' },
    );
}

/** What `cotypicality` would do. @throws as `cotypicality` before work begins */
export async function planCotypicality(
  asked: CotypicalityOptions,
  hooks: Hooks<CotypicalityEvent> = {},
): Promise<Plan> {
  const options = given(COTYPICALITY, asked);
  checkQueue(options);
  return withLocalRun(options.parallel, hooks, { reads, makes: [], lock: '' }, async (parallel, local) => {
    const placed = { ...options, parallel };
    const writes = ['manifest.json', 'shards/', 'clusters/', 'report/index.html'];
    return planOf(await plan(placed, local), placed, writes, local);
  });
}

async function scoreAndGroup(
  options: CotypicalityOptions,
  hooks: Hooks<CotypicalityEvent>,
): Promise<CotypicalitySummary> {
  const begun = performance.now();
  const { stage, complete, resumed, done, skipped, shards, unetCalls, device } = await runPipeline(
    open,
    given(COTYPICALITY, options),
    hooks,
  );
  const { folder: run, resolved: plan } = stage;
  if (complete && done === 0) {
    const [first] = await run.skipped();
    throw new DiffmineError(
      'IMAGE_UNREADABLE',
      `None of the ${run.manifest.index.rows} sequences could be scored${first ? `; the first, ${first.image}, ${first.reason}` : '.'}`,
      'All reasons are in skipped.jsonl of the run directory.',
    );
  }
  const { groups, page } = complete ? await group(stage, resolved(COTYPICALITY, options), hooks) : {};
  const notes: string[] = [];
  for (const shard of await run.doneShards()) notes.push(...(await run.readShard(shard)).notes);
  await run.store.close();
  return {
    path: run.place,
    complete,
    resumed,
    labels: plan.labels,
    sequences: run.manifest.index.rows,
    scored: done,
    skipped,
    shards,
    unetCalls,
    seconds: (performance.now() - begun) / 1000,
    device,
    places: groups?.places ?? 0,
    clusters: groups?.clusters ?? [],
    projection: groups?.projection ?? {
      asked: plan.grouping.projection,
      done: plan.grouping.projection,
      dimensions: plan.grouping.dimensions,
    },
    truth: groups?.truth ?? null,
    notes: [...notes, ...(groups?.notes ?? [])],
    page: page ?? null,
  };
}

/** Groups the places of a complete run, and draws the page. */
async function group(
  { folder: run, resolved: plan }: CotypicalityStage,
  options: z.output<typeof COTYPICALITY>,
  hooks: Hooks<CotypicalityEvent>,
): Promise<{ groups: GroupRecord; page: string }> {
  let engine: Engine | undefined; // without a model; groups that are there already need none
  const lazily = (): Engine =>
    (engine ??= new Engine({
      device: plan.devices[0].id,
      dtype: run.manifest.options.dtype,
      threads: options.threads ?? 0,
    }));
  const lock = await run.locks.wait('clusters', {
    signal: hooks.signal,
    onWaiting: (holder) => hooks.onLog?.(`Waiting for ${holder}, which groups the places of ${options.out}.`),
  });
  try {
    for (const shard of await run.doneShards()) await run.fetchShard(shard, GROUPED);
    const groups = await groupPlaces(run, plan.sequences, lazily, plan.grouping, options.boxes, hooks);
    const page = await writeChangesReport(run, groups, plan.sequences, { rows: options.rows }, hooks);
    for (const made of ['clusters', 'report']) await run.store.keep(made);
    return { groups, page: page.path.replace(run.path, run.place) };
  } finally {
    await lock.release();
    await engine?.dispose();
  }
}
