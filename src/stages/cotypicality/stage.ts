// The search for consistent changes as sharded work: its sequences, their UNet calls, and how a shard of them is scored.
import { fillPrompt } from '../../data/index.js';
import type { Engine } from '../../engine/index.js';
import type { CallOptions } from '../../engine/types.js';
import { nullCondition, prepareConditions } from '../../models/index.js';
import { isAuto } from '../../pipeline/batch.js';
import { beginStage, type PlannedStage } from '../../pipeline/plan.js';
import type { PipelineEvent } from '../../pipeline/options.js';
import type { ShardedStage, WorkOnShard } from '../../pipeline/stage.js';
import { COTYPICALITY, type CotypicalityOptions } from './options.js';
import { FAN_OUT, resolveCotypicality, shapeOf, type ResolvedCotypicality } from './resolve.js';
import { COTYPICALITY_FORMAT, CotypicalityRun, type CotypicalityManifest } from './run.js';
import { scoreSequences, unetCallsOf } from './shard.js';
import type { Hooks } from '../../util/hooks.js';

export interface CotypicalityStage extends ShardedStage<CotypicalityManifest> {
  folder: CotypicalityRun;
  resolved: ResolvedCotypicality;
}

/** What `open` takes, for whom has only the module. */
export const schema = COTYPICALITY;

/** Resolves the options of a search. Nothing is loaded or written. */
export async function plan(
  options: CotypicalityOptions,
  hooks: Hooks<PipelineEvent>,
): Promise<PlannedStage<CotypicalityManifest, CotypicalityStage>> {
  const resolved = await resolveCotypicality(options, hooks);
  const { draft, model, devices, begun, parallel, labels } = resolved;
  const each = unetCallsOf(draft.options.samples, labels.length);
  const [first = null, second = null] = promptsOf(resolved);
  return {
    ...{ format: COTYPICALITY_FORMAT, draft, model, devices, begun },
    divided: { items: parallel.sequences.length, unetCallsPerItem: each },
    shape: async () => shapeOf(resolved),
    noun: 'search',
    item: 'sequence',
    out: options.out,
    folder: 'co-typicality run',
    prompts: [first, second],
    unetCalls: (begin, end) => (end - begin) * each,
    begin: async (final) => {
      const run = await CotypicalityRun.begin(
        options.out,
        final,
        parallel.sequences.map(({ key, label, image }) => ({ key, label, image })),
        {
          anyBatch: isAuto(options.batch),
          anyDtype: isAuto(options.dtype),
          anyShardSize: isAuto(options.shardSize),
          ...hooks,
        },
      );
      return stageOf(run, resolved);
    },
  };
}

/** Resolves the options of a search and begins its run, or resumes it. */
export async function open(options: CotypicalityOptions, hooks: Hooks<PipelineEvent>): Promise<CotypicalityStage> {
  return beginStage(await plan(options, hooks), options, hooks);
}

function stageOf(run: CotypicalityRun, resolved: ResolvedCotypicality): CotypicalityStage {
  const each = unetCallsOf(run.manifest.options.samples, resolved.labels.length);
  return {
    module: import.meta.url,
    item: 'sequence',
    folder: run,
    resolved,
    model: resolved.model,
    devices: resolved.devices,
    minBatch: FAN_OUT,
    unetCalls: (shard) => run.shardLength(shard) * each,
    prepare: async (engine, call) => prepare(run, resolved, engine, call),
    countsOf: async (shard) => {
      const { sequences: done, skipped } = await run.readShard(shard);
      return { done, skipped };
    },
  };
}

/** What conditions are prepared of: each label, then the null condition. */
function promptsOf({
  draft,
  labels,
}: {
  draft: Pick<CotypicalityManifest, 'options'>;
  labels: readonly string[];
}): (string | null)[] {
  const { prompt, nullPrompt } = draft.options;
  if (prompt === null) return [...labels, ''];
  return [...labels.map((label) => fillPrompt(prompt, label)), nullCondition(nullPrompt)];
}

async function prepare(
  run: CotypicalityRun,
  { model, labels, sizes, sequences }: ResolvedCotypicality,
  engine: Engine,
  call: CallOptions,
): Promise<WorkOnShard> {
  const conditions = await prepareConditions(engine, model, promptsOf({ draft: run.manifest, labels }), call);
  const scoring = { run, engine, conditions, labels, sizes, sequences };
  return async (shard, context) => scoreSequences(scoring, shard, context);
}
