// The scan as sharded work: its images, their UNet calls, and how a shard of them is scored.
import { fillPrompt } from '../../data/index.js';
import type { Engine } from '../../engine/index.js';
import type { CallOptions } from '../../engine/types.js';
import { prepareConditions } from '../../models/index.js';
import { isAuto } from '../../pipeline/batch.js';
import { checkNotCancelled } from '../../pipeline/pipeline.js';
import type { ShardedStage, WorkOnShard } from '../../pipeline/stage.js';
import { checkContents } from '../../runs/changes.js';
import type { Manifest } from '../../runs/manifest.js';
import { Run } from '../../runs/run.js';
import { VERSION } from '../../runs/version.js';
import type { ScanEvent, ScanOptions } from './options.js';
import { resolveOptions, type Resolved } from './resolve.js';
import { scoreShard } from './shard.js';
import type { Hooks } from '../../util/hooks.js';

/** Resolves the options of a scan and begins its run, or resumes it. */
export async function open(options: ScanOptions, hooks: Hooks<ScanEvent>): Promise<ShardedStage<Manifest>> {
  const resolved = await resolveOptions(options, VERSION, hooks);
  checkNotCancelled(hooks, 'scan');
  const run = await Run.begin(options.out, resolved.draft, resolved.images, {
    anyBatch: isAuto(options.batch),
    ...hooks,
  });
  return stageOf(run, resolved);
}

export function stageOf(run: Run, resolved: Resolved): ShardedStage<Manifest> {
  const { model, devices, images, contrasts } = resolved;
  const { samples, tune } = run.manifest.options;
  return {
    module: import.meta.url,
    item: 'image',
    folder: run,
    model,
    devices,
    engine: { tune: tune === true },
    minBatch: contrasts.fanOut,
    unetCalls: (shard) => {
      const counts = [...images.slice(...run.shardRange(shard)).countByLabel()];
      return samples * counts.reduce((sum, [label, count]) => sum + count * (contrasts.of(label)?.calls ?? 0), 0);
    },
    checkFinished: async (shards, hooks) => checkContents(run, shards, (place) => images.at(place), ['mine'], hooks),
    prepare: async (engine, call) => prepare(run, resolved, engine, call),
    countsOf: async (shard) => {
      const { images: done, skipped } = await run.readShard(shard);
      return { done, skipped };
    },
  };
}

async function prepare(run: Run, resolved: Resolved, engine: Engine, call: CallOptions): Promise<WorkOnShard> {
  const { model, images, labels, contrasts, sizes, replay } = resolved;
  const { prompt, nullPrompt, against } = run.manifest.options;
  const names = prompt === null ? [...labels] : labels.map((label) => fillPrompt(prompt, label));
  // Only this contrast needs the null condition: a model trained without label dropout has none.
  if (against === 'null') names.push(nullPrompt ?? '');
  const conditions = await prepareConditions(engine, model, names, call);
  const scoring = { run, engine, conditions, contrasts, sizes, replay, images };
  return async (shard, context) => scoreShard(scoring, shard, context);
}
