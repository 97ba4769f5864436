// Takes the features of the candidates, label by label, and clusters them; with trends, those of all labels together.
import { fillPrompt } from '../../data/index.js';
import { fromFloat32, type Engine } from '../../engine/index.js';
import type { DeviceInfo } from '../../engine/types.js';
import { checkNullCondition, prepareConditions, type ModelFolder } from '../../models/index.js';
import { cluster, clustersFor } from '../../pipeline/cluster.js';
import type { Manifest } from '../../runs/manifest.js';
import type { MineRecord } from '../../runs/mining.js';
import { raceTooShort } from '../../runs/race-words.js';
import type { Replay } from '../../runs/replay.js';
import { imageKey } from '../../runs/run.js';
import type { PatchRow } from '../../runs/schema.js';
import type { Hooks } from '../../util/hooks.js';
import { count } from '../../web/html.js';
import type { Ranked } from './candidates.js';
import { FeatureCost } from './cost.js';
import { diversify } from './diverse.js';
import { evidence, untested, windowsOf } from './evidence.js';
import { features, keyOf, unknownImages, type FeatureContext } from './features.js';
import type { KnownFeatures } from './known.js';
import type { MineEvent } from './options.js';
import { labelsInOrder, trends } from './trends.js';
import type { Found } from './write.js';

export interface ClusterContext extends Ranked {
  engine: Engine;
  model: ModelFolder;
  manifest: Manifest;
  replay: Replay | undefined;
  recorded: MineRecord['options'];
  known: KnownFeatures;
  device: DeviceInfo;
  /** undefined: all */
  threads: number | undefined;
}

/** The features of the candidates, and the clusters of each label. @returns what the folder of the mining holds */
export async function clusterAll(context: ClusterContext, hooks: Hooks<MineEvent>): Promise<Found> {
  const {
    engine,
    model,
    manifest,
    sizes,
    files,
    heldOut,
    replay,
    conditions: ranked,
    recorded,
    known,
    notes,
    confounds,
  } = context;
  const { signal } = hooks;
  const call = { signal };
  await engine.loadModel(model.source, {
    ...call,
    onProgress: ({ type, done, total }) => type === 'load' && hooks.onProgress?.({ type, done, total }),
  });
  const { prompt, seed, holdout = 0 } = manifest.options;
  const { rank, top } = recorded;
  const names = manifest.conditions.map((label) => (prompt === null ? label : fillPrompt(prompt, label)));
  if (recorded.trends && !manifest.options.untrained)
    await checkNullCondition(model, { named: true, what: 'Elements are followed under it' }, hooks.onLog);
  // with trends the last is the null condition
  const conditions = await prepareConditions(
    engine,
    model,
    recorded.trends ? [...names, manifest.options.nullPrompt] : names,
    call,
  );
  const labels = ranked.map(({ condition }) => condition);
  const tests = labels.map((label) => heldOut.of(label));
  const tested = tests.map((test) => new Set([...(test?.own ?? []), ...(test?.others ?? [])].map(imageKey)));
  // an image that is tested and has ranked patches needs one forward pass, as long as memory holds its windows
  const work = ranked.reduce(
    (sum, { candidates }, index) =>
      sum + new Set([...unknownImages(candidates[rank], known), ...(tested[index] as Set<string>)]).size,
    0,
  );
  const short = manifest.options.race && raceTooShort(manifest.options.race, top);
  const found: Found = {
    mined: [],
    images: ranked.reduce((sum, { candidates }) => sum + new Set(candidates[rank].map(keyOf)).size, 0),
    reusedFeatures: 0,
    confounds,
    trends: null,
    notes: [
      ...notes,
      ...(short === undefined ? [] : [short]),
      ...untested(heldOut, labels, context.images.countByLabel(), { wanted: recorded.evidenceImages, holdout }),
    ],
  };
  const cost = new FeatureCost(work, recorded, context);
  if (work > 0) hooks.onLog?.(await cost.sentence(ranked.length > 1));
  /** labels with fewer clusters than were asked for */
  const fewer: string[] = [];
  const started = performance.now();
  let images = 0;
  const dift = {
    timestep: recorded.diftT,
    upBlock: recorded.upBlock,
    ensemble: recorded.ensemble,
    seed,
    batch: recorded.batch,
  };
  for (const [index, { condition, candidates, facts }] of ranked.entries()) {
    const context: FeatureContext = {
      engine,
      conditions,
      condition: index,
      files,
      replay,
      ...call,
      sizes,
      dift,
      onImage: () => {
        images += 1;
        const rate = images / ((performance.now() - started) / 1000);
        const total = Math.max(work, images);
        hooks.onProgress?.({ type: 'features', done: images, total, rate, secondsLeft: (total - images) / rate });
      },
    };
    const test = tests[index];
    const taken = await features(
      candidates[rank],
      known,
      { images: tested[index] as Set<string>, windowsOf: (size) => windowsOf(size, sizes.patch) },
      context,
    );
    found.reusedFeatures += taken.reused;
    const scores = candidates[rank].map(({ typicality }) => typicality);
    const patches = candidates[rank].slice(0, top);
    const own = { values: taken.values.subarray(0, patches.length * taken.width), width: taken.width };
    const diverse = recorded.diverse
      ? diversify(taken, scores, top).map((place) => candidates[rank][place] as PatchRow)
      : [];
    const learnFrom = [...patches.keys()].filter((place) => {
      const { image, label } = patches[place] as PatchRow;
      return !test || heldOut.mayLearn(condition, image, label);
    });
    const some = learnFrom.length > 0 && learnFrom.length < patches.length;
    const wanted = clustersFor(recorded.clusters, patches.length);
    const clustering = await cluster(
      engine,
      own,
      scores.slice(0, top),
      { clusters: wanted, restarts: recorded.restarts, seed, ...(some ? { learnFrom } : {}) },
      call,
    );
    const made = clustering.clusters.length;
    if (recorded.clusters !== 'auto' && made < recorded.clusters)
      fewer.push(`${condition} (${count(made, 'cluster')} of ${count(patches.length, 'patch', 'patches')})`);
    found.mined.push({
      condition,
      lists: { ...candidates, [rank]: patches, diverse },
      facts,
      clustering,
      evidence: test && learnFrom.length > 0 ? await evidence(clustering, test, taken.windows, context) : [],
      features: fromFloat32([patches.length, taken.width], own.values),
    });
    hooks.onProgress?.({
      type: 'cluster',
      condition,
      done: index + 1,
      total: ranked.length,
      clusters: made,
      inertia: clustering.inertia,
    });
  }
  await cost.remember(images, (performance.now() - started) / 1000);
  if (fewer.length > 0)
    found.notes.push(`Fewer clusters than ${recorded.clusters}, for lack of different patches: ${fewer.join(', ')}.`);
  if (recorded.trends) {
    // of the diverse lists as well, which have more of the rare elements
    const patches = found.mined.flatMap(({ lists }) => [...lists[recorded.rank], ...lists.diverse]);
    const { images: all, groupOf } = context;
    const labels = labelsInOrder(manifest.conditions);
    const nullCondition = { engine, conditions, condition: ranked.length, files, replay, ...call, sizes, dift };
    found.trends = await trends(
      patches,
      { ...recorded, seed },
      { ...nullCondition, images: all, labels, groupOf },
      hooks,
    );
  }
  return found;
}
