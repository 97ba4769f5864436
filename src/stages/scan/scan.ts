// The scan: every image's typicality under its label, shard by shard, into a run directory that can be resumed.
import { runPipeline } from '../../pipeline/pipeline.js';
import { planOf, type Plan } from '../../pipeline/plan.js';
import { readRace } from '../../runs/rounds.js';
import { given } from '../../options/check.js';
import { SCAN, type MapOptions, type ScanEvent, type ScanOptions, type ScanSummary } from './options.js';
import { open, plan } from './stage.js';
import type { Hooks } from '../../util/hooks.js';

export { resolveOptions } from './resolve.js';

/** What `scan` would do. @throws as `scan` before work begins */
export async function planScan(
  { localize, only, ...asked }: ScanOptions & MapOptions,
  writes: string[],
  hooks: Hooks<ScanEvent> = {},
): Promise<Plan> {
  const options = { ...given(SCAN, asked), localize, only };
  return planOf(await plan(options, hooks), options, writes, hooks);
}

/**
 * Scores the images of a dataset and writes a run directory; resumes where an earlier call with the same options, model and data stopped, also one
 * that was killed. Several calls may work on one folder at once: each shard is scored by one of them, and all return when none is left.
 *
 * @throws RUN_MISMATCH where the folder holds another run; before work begins, INVALID_ARGUMENT, DATASET_INVALID, MODEL_*, WEIGHTS_INVALID,
 * DEVICE_UNAVAILABLE; CANCELLED after hooks.signal (finished shards are kept); NUMERICS naming the image
 */
export async function scan(options: ScanOptions & MapOptions, hooks: Hooks<ScanEvent> = {}): Promise<ScanSummary> {
  const begun = performance.now();
  const { localize, only, ...asked } = options;
  const { stage, complete, resumed, done, skipped, shards, unetCalls, engineWaiting, device } = await runPipeline(
    open,
    { ...given(SCAN, asked), localize, only },
    hooks,
  );
  const { place: path, manifest, store } = stage.folder;
  const race = complete ? await readRace(stage.folder) : undefined;
  await store.close();
  const { dtype, batch, samples, patch } = manifest.options;
  return {
    path,
    complete,
    resumed,
    labels: manifest.dataset.labels,
    images: manifest.index.rows,
    scored: done,
    skipped,
    shards,
    unetCalls,
    seconds: (performance.now() - begun) / 1000,
    ...(engineWaiting === undefined ? {} : { engineWaiting }),
    device,
    dtype,
    batch,
    samples,
    patch,
    ...(race ? { race: race.unetCalls } : {}),
  };
}
