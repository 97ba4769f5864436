// The translation as sharded work: its images, their UNet calls, and how a shard of them is translated.
import type { Engine } from '../../engine/index.js';
import type { CallOptions } from '../../engine/types.js';
import { nullCondition, prepareConditions, type ModelFolder } from '../../models/index.js';
import type { ImageList } from '../../data/index.js';
import { isAuto, shapeOf, type Shape } from '../../pipeline/batch.js';
import { beginStage, type PlannedStage } from '../../pipeline/plan.js';
import type { ShardedStage, WorkOnShard } from '../../pipeline/stage.js';
import { checkContents } from '../../runs/changes.js';
import { TRANSLATION_FORMAT } from '../../runs/parallel.js';
import { TranslationFolder, type TranslationManifest } from './folder.js';
import { TRANSLATE, type TranslateEvent, type TranslateOptions } from './options.js';
import { samplingUnetCalls, type InjectedDenoise, type PlugAndPlay } from './plug-and-play.js';
import { stepsOfFraction } from './timesteps.js';
import { conditionOf, MIN_BATCH, resolveTranslation, targetsOf, type Resolved } from './resolve.js';
import { translateShard } from './shard.js';
import { queriesAndKeys } from './sites.js';
import type { Hooks } from '../../util/hooks.js';

export interface TranslationStage extends ShardedStage<TranslationManifest> {
  folder: TranslationFolder;
}

/** What `open` takes, for whom has only the module. */
export const schema = TRANSLATE;

/** Resolves the options of a translation. Nothing is loaded or written. */
export async function plan(
  options: TranslateOptions,
  hooks: Hooks<TranslateEvent>,
): Promise<PlannedStage<TranslationManifest, TranslationStage>> {
  const resolved = await resolveTranslation(options, hooks);
  const { model, images, devices, sizes, begun, draft } = resolved;
  const callsOf = expectedUnetCalls(draft, images, model);
  const { labels } = draft;
  const { prompt } = draft.options;
  const shape = async (): Promise<Shape> => shapeOf(images, sizes, model);
  const { height, width } = await shape();
  return {
    ...{ format: TRANSLATION_FORMAT, draft, model, devices, begun, shape },
    divided: { items: images.length, unetCallsPerItem: sumOf(0, images.length, callsOf) / images.length },
    noun: 'translation',
    item: 'image',
    out: options.out,
    folder: 'translation',
    prompts: [conditionOf(prompt, images.label(0)), conditionOf(prompt, labels[0] ?? '')],
    unetCalls: (begin, end) => sumOf(begin, end, callsOf),
    // source, reconstruction and translations, before PNG makes them smaller
    disk: sumOf(0, images.length, (place) => 3 * height * width * (2 + targetsOf(labels, images.label(place)).length)),
    listings: resolved.listings,
    begin: async (final) => {
      const folder = await TranslationFolder.begin(options.out, final, images, {
        anyBatch: isAuto(options.batch),
        anyDtype: isAuto(options.dtype),
        anyShardSize: isAuto(options.shardSize),
        ...hooks,
      });
      return stageOf(folder, resolved);
    },
  };
}

/** Resolves the options of a translation and begins its folder, or resumes it. */
export async function open(options: TranslateOptions, hooks: Hooks<TranslateEvent>): Promise<TranslationStage> {
  return beginStage(await plan(options, hooks), options, hooks);
}

function stageOf(folder: TranslationFolder, resolved: Resolved): TranslationStage {
  const { model, images, devices } = resolved;
  const expectedOf = expectedUnetCalls(folder.manifest, images, model);
  return {
    module: import.meta.url,
    item: 'image',
    folder,
    model,
    devices,
    minBatch: MIN_BATCH,
    unetCalls: (shard) => sumOf(...folder.shardRange(shard), expectedOf),
    checkFinished: async (shards, hooks) => checkContents(folder, shards, (place) => images.at(place), [], hooks),
    prepare: async (engine, call) => prepare(folder, resolved, expectedOf, engine, call),
    countsOf: async (shard) => {
      const { translated, skipped } = await folder.readShard(shard);
      return { done: translated.length, skipped: skipped.length };
    },
  };
}

async function prepare(
  folder: TranslationFolder,
  { model, sizes, images }: Resolved,
  expectedOf: (place: number) => number,
  engine: Engine,
  call: CallOptions,
): Promise<WorkOnShard> {
  const { labels: targets, options } = folder.manifest;
  const labels = [...new Set([...folder.images.map(({ label }) => label), ...targets])];
  const conditions = await prepareConditions(
    engine,
    model,
    [...labels.map((label) => conditionOf(options.prompt, label)), nullCondition(options.nullPrompt)],
    call,
  );
  const denoise: InjectedDenoise = async (x, timesteps, conditionIndex, inject) =>
    (await engine.unetForward(conditions, { x, timesteps, conditionIndex, ...(inject ? { inject } : {}) }, call))
      .sample;
  const translating = {
    folder,
    model,
    sizes,
    engine,
    denoise,
    expectedOf,
    rows: new Map(labels.map((label, row) => [label, row])),
    nullRow: labels.length,
    settings: settingsOf(folder.manifest),
    images,
  };
  return async (shard, context) => translateShard(translating, shard, context);
}

function settingsOf({ options }: Pick<TranslationManifest, 'options'>): PlugAndPlay {
  const {
    inversionSteps,
    inferenceSteps: steps,
    guidanceBegin,
    guidanceEnd,
    featureLayers,
    featureFraction,
    attentionLayers,
    attentionFraction,
  } = options;
  return {
    inversionSteps,
    steps,
    guided: [guidanceBegin, guidanceEnd],
    features: featureLayers,
    featureSteps: stepsOfFraction(steps, featureFraction),
    attention: queriesAndKeys(attentionLayers),
    attentionSteps: stepsOfFraction(steps, attentionFraction),
  };
}

function sumOf(begin: number, end: number, valueOf: (place: number) => number): number {
  let sum = 0;
  for (let place = begin; place < end; place += 1) sum += valueOf(place);
  return sum;
}

/** UNet calls of one image, of targets that fit into one pass; those of a label are counted once. */
function expectedUnetCalls(
  { labels, options }: Pick<TranslationManifest, 'labels' | 'options'>,
  images: ImageList,
  { source: { schedule: noise } }: ModelFolder,
): (place: number) => number {
  const settings = settingsOf({ options });
  const known = new Map<string, number>();
  return (place) => {
    const label = images.label(place);
    const before = known.get(label);
    if (before !== undefined) return before;
    const targets = targetsOf(labels, label).map((_, i) => ({ row: i + 1, guidance: options.guidanceScale }));
    const source = {
      end: new Float32Array(),
      saved: new Map<number, Float32Array>(),
      negative: 0,
      targets: [...targets, { row: 0, guidance: 1 }],
    };
    const unetCalls = settings.inversionSteps + samplingUnetCalls(noise, settings, [source], options.batch);
    known.set(label, unetCalls);
    return unetCalls;
  };
}
