// The scan as sharded work: its images, their UNet calls, and how a shard of them is scored.
import { drawTimesteps, type Engine } from '../../engine/index.js';
import type { CallOptions } from '../../engine/types.js';
import { prepareConditions } from '../../models/index.js';
import { isAuto } from '../../pipeline/batch.js';
import { beginStage, type PlannedStage } from '../../pipeline/plan.js';
import type { ShardedStage, WorkOnShard } from '../../pipeline/stage.js';
import { checkContents } from '../../runs/changes.js';
import { readManifest, RUN, type Manifest, type ManifestDraft } from '../../runs/manifest.js';
import { sampleWeights } from '../../runs/pilot.js';
import { Run } from '../../runs/run.js';
import { VERSION } from '../../util/version.js';
import { SCAN, type MapOptions, type ScanEvent, type ScanOptions } from './options.js';
import { callsOf, diskOf, plannedOf, somePrompts } from './image-costs.js';
import { pilotCalls, runPilot } from './pilot.js';
import { promptsOf } from './prompts.js';
import { resolveOptions, type Resolved } from './resolve.js';
import { Race } from './race.js';
import { scoreShard } from './shard.js';
import type { Hooks } from '../../util/hooks.js';

/** What `open` takes, for whom has only the module. */
export const schema = SCAN;

/** Resolves the options of a scan. Nothing is loaded or written. */
export async function plan(
  options: ScanOptions & MapOptions,
  hooks: Hooks<ScanEvent>,
): Promise<PlannedStage<Manifest, ShardedStage<Manifest>>> {
  const resolved = await resolveOptions(options, VERSION, hooks);
  const { draft, images, contrasts, dataset } = resolved;
  const { samples, race, tune } = draft.options;
  return {
    ...plannedOf(resolved),
    noun: 'scan',
    item: 'image',
    out: options.out,
    folder: RUN.noun,
    prompts: somePrompts(resolved),
    engine: { tune: tune === true },
    unetCalls: (begin, end) => samples * callsOf(images.slice(begin, end), contrasts),
    races: race !== undefined,
    pilotCalls: resolved.needsPilot ? pilotCalls(images.length, contrasts.fanOut) : 0,
    disk: (await diskOf(resolved)).total,
    listings: dataset.listings,
    prepare: async () => (resolved.needsPilot ? withPilot(resolved, options.out, hooks) : draft),
    begin: async (final) => {
      const run = await Run.begin(options.out, final, images, {
        anyBatch: isAuto(options.batch),
        anyDtype: isAuto(options.dtype),
        anyShardSize: isAuto(options.shardSize),
        ...hooks,
      });
      return stageOf(run, { ...resolved, draft: final });
    },
  };
}

/** Resolves the options of a scan and begins its run, or resumes it. */
export async function open(
  options: ScanOptions & MapOptions,
  hooks: Hooks<ScanEvent>,
): Promise<ShardedStage<Manifest>> {
  return beginStage(await plan(options, hooks), options, hooks);
}

async function withPilot(resolved: Resolved, out: string, hooks: Hooks<ScanEvent>): Promise<ManifestDraft> {
  const { draft } = await runPilot(resolved, hooks);
  // Another process may have begun the run in the meantime: its pilot stands.
  const begun = await readManifest(out);
  if (!begun?.pilot) return draft;
  const { tBegin, tEnd } = resolved.autoRange ? begun.options : draft.options;
  return { ...draft, options: { ...draft.options, tBegin, tEnd }, pilot: begun.pilot };
}

export function stageOf(run: Run, resolved: Resolved): ShardedStage<Manifest> {
  const { model, devices, images, contrasts } = resolved;
  const { samples, tune, race: racing } = run.manifest.options;
  const race = racing && new Race({ run, contrasts, images }, racing);
  return {
    module: import.meta.url,
    item: 'image',
    folder: run,
    model,
    devices,
    engine: { tune: tune === true },
    minBatch: contrasts.fanOut,
    ...(race ? { rounds: race } : {}),
    unetCalls: (shard) => {
      if (race) return 0; // its rounds have made them
      return samples * callsOf(images.slice(...run.shardRange(shard)), contrasts);
    },
    checkFinished: async (shards, hooks) => checkContents(run, shards, (place) => images.at(place), ['mine'], hooks),
    prepare: async (engine, call) => prepare(run, resolved, race, engine, call),
    countsOf: async (shard) => {
      const { images: done, skipped } = await run.readShard(shard);
      return { done, skipped };
    },
  };
}

async function prepare(
  run: Run,
  resolved: Resolved,
  race: Race | undefined,
  engine: Engine,
  call: CallOptions,
): Promise<WorkOnShard> {
  const { model, images, contrasts, sizes, replay } = resolved;
  const conditions = await prepareConditions(engine, model, promptsOf(resolved), call);
  const { tWeights = 'none', sampler, seed, samples, tBegin, tEnd } = run.manifest.options;
  const weights = sampleWeights(run.manifest.pilot, tWeights, drawTimesteps(sampler, seed, samples, tBegin, tEnd));
  const scoring = { run, engine, conditions, contrasts, sizes, replay, images, weights };
  if (!race) return async (shard, context) => scoreShard(scoring, shard, context);
  return async (shard, context, round) =>
    round === undefined ? race.assemble(shard, context) : race.score(scoring, round, shard, context);
}
