// Takes the features of the candidates, label by label, and clusters them; with trends, those of all labels together.
import { fillPrompt, type Size } from '../../data/index.js';
import { fromFloat32, type Conditions, type Engine } from '../../engine/index.js';
import type { DeviceInfo } from '../../engine/types.js';
import { checkNullCondition, prepareConditions, type ModelFolder } from '../../models/index.js';
import { cluster, clustersFor } from '../../pipeline/cluster.js';
import type { Manifest } from '../../runs/manifest.js';
import type { MineRecord } from '../../runs/mining.js';
import { raceTooShort } from '../../runs/race-words.js';
import type { Replay } from '../../runs/replay.js';
import { imageKey } from '../../runs/run.js';
import type { PatchRow } from '../../runs/columns.js';
import type { Hooks } from '../../util/hooks.js';
import { count } from '../../web/html.js';
import type { Ranked } from './candidates.js';
import { FeatureCost } from './cost.js';
import { diversify } from './diverse.js';
import { evidence, untested, windowsOf, type HeldOut, type Test } from './evidence.js';
import { features, keyOf, unknownImages, type FeatureContext } from './features.js';
import type { KnownFeatures } from './known-features.js';
import type { MineEvent } from './options.js';
import { labelsInOrder, trends, type Trends } from './trends.js';
import type { Found, Mined } from './write.js';

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
  const { engine, model, files, sizes, replay, manifest, heldOut, conditions: ranked, recorded, known } = context;
  const call = { signal: hooks.signal };
  await engine.loadModel(model.source, {
    ...call,
    onProgress: ({ type, done, total }) => type === 'load' && hooks.onProgress?.({ type, done, total }),
  });
  const conditions = await conditionsOf(context, hooks);
  const tests = ranked.map(({ condition }) => testOf(heldOut, condition));
  // an image that is tested and has ranked patches needs one forward pass, as long as memory holds its windows
  const work = ranked.reduce(
    (sum, { candidates }, index) =>
      sum + new Set([...unknownImages(candidates[recorded.rank], known), ...(tests[index] as LabelTest).images]).size,
    0,
  );
  const cost = new FeatureCost(work, recorded, context);
  if (work > 0) hooks.onLog?.(await cost.sentence(ranked.length > 1));
  const started = performance.now();
  let images = 0;
  const { diftT: timestep, upBlock, ensemble, batch } = recorded;
  const passes = {
    ...{ engine, conditions, files, replay, sizes, ...call },
    dift: { timestep, upBlock, ensemble, seed: manifest.options.seed, batch },
  };
  const onImage = (): void => {
    images += 1;
    const rate = images / ((performance.now() - started) / 1000);
    const total = Math.max(work, images);
    hooks.onProgress?.({ type: 'features', done: images, total, rate, secondsLeft: (total - images) / rate });
  };
  const mined: Mined[] = [];
  let reusedFeatures = 0;
  for (const [index, label] of ranked.entries()) {
    const of = { ...passes, condition: index, onImage };
    const { reused, ...found } = await clusterLabel(context, label, tests[index] as LabelTest, of);
    mined.push(found);
    reusedFeatures += reused;
    const { clusters, inertia } = found.clustering;
    const place = { condition: label.condition, done: index + 1, total: ranked.length };
    hooks.onProgress?.({ type: 'cluster', ...place, clusters: clusters.length, inertia });
  }
  await cost.remember(images, (performance.now() - started) / 1000);
  return {
    mined,
    images: ranked.reduce((sum, { candidates }) => sum + new Set(candidates[recorded.rank].map(keyOf)).size, 0),
    reusedFeatures,
    confounds: context.confounds,
    trends: recorded.trends ? await trendsOf(context, mined, passes, hooks) : null,
    notes: [...notesOf(context), ...fewerClusters(mined, recorded)],
  };
}

/** The labels' prompts, encoded; with trends the last is the null condition. */
async function conditionsOf(
  { engine, model, manifest, recorded }: ClusterContext,
  { signal, onLog }: Hooks<MineEvent>,
): Promise<Conditions> {
  const { prompt, nullPrompt, untrained } = manifest.options;
  if (recorded.trends && !untrained)
    await checkNullCondition(model, { named: true, what: 'Elements are followed under it' }, onLog);
  const prompts = manifest.conditions.map((label) => (prompt === null ? label : fillPrompt(prompt, label)));
  return prepareConditions(engine, model, recorded.trends ? [...prompts, nullPrompt] : prompts, { signal });
}

/** A label's images for its evidence, if there are enough, and all of them by imageKey. */
interface LabelTest {
  test: Test | undefined;
  images: ReadonlySet<string>;
}

function testOf(heldOut: HeldOut, label: string): LabelTest {
  const test = heldOut.of(label);
  return { test, images: new Set([...(test?.own ?? []), ...(test?.others ?? [])].map(imageKey)) };
}

/** One label: its features, its diverse list, its clusters and their evidence. */
async function clusterLabel(
  { engine, manifest, sizes, heldOut, recorded, known }: ClusterContext,
  { condition, candidates, facts }: Ranked['conditions'][number],
  { test, images }: LabelTest,
  context: FeatureContext,
): Promise<Mined & { reused: number }> {
  const { rank, top, restarts } = recorded;
  const ranking = candidates[rank];
  const windowed = { images, windowsOf: (size: Size) => windowsOf(size, sizes.patch) };
  const taken = await features(ranking, known, windowed, context);
  const scores = ranking.map(({ typicality }) => typicality);
  const patches = ranking.slice(0, top);
  const own = { values: taken.values.subarray(0, patches.length * taken.width), width: taken.width };
  const diverse = recorded.diverse ? diversify(taken, scores, top).map((place) => ranking[place] as PatchRow) : [];
  const learnFrom = [...patches.keys()].filter((place) => {
    const { image, label } = patches[place] as PatchRow;
    return !test || heldOut.mayLearn(condition, image, label);
  });
  const some = learnFrom.length > 0 && learnFrom.length < patches.length;
  const clustering = await cluster(
    engine,
    own,
    scores.slice(0, top),
    {
      clusters: clustersFor(recorded.clusters, patches.length),
      restarts,
      seed: manifest.options.seed,
      ...(some ? { learnFrom } : {}),
    },
    { signal: context.signal },
  );
  return {
    condition,
    lists: { ...candidates, [rank]: patches, diverse },
    facts,
    clustering,
    evidence: test && learnFrom.length > 0 ? await evidence(clustering, test, taken.windows, context) : [],
    features: fromFloat32([patches.length, taken.width], own.values),
    reused: taken.reused,
  };
}

function notesOf({ notes, manifest, recorded, conditions, heldOut, images }: ClusterContext): string[] {
  const { race, holdout = 0 } = manifest.options;
  const short = race && raceTooShort(race, recorded.top);
  const labels = conditions.map(({ condition }) => condition);
  const wanted = { wanted: recorded.evidenceImages, holdout };
  return [
    ...notes,
    ...(short === undefined ? [] : [short]),
    ...untested(heldOut, labels, images.countByLabel(), wanted),
  ];
}

/** Names the labels with fewer clusters than were asked for. */
function fewerClusters(mined: readonly Mined[], { clusters: wanted, rank }: MineRecord['options']): string[] {
  if (wanted === 'auto') return [];
  const fewer = mined
    .filter(({ clustering }) => clustering.clusters.length < wanted)
    .map(({ condition, clustering, lists }) => {
      const clusters = count(clustering.clusters.length, 'cluster');
      return `${condition} (${clusters} of ${count(lists[rank].length, 'patch', 'patches')})`;
    });
  return fewer.length > 0 ? [`Fewer clusters than ${wanted}, for lack of different patches: ${fewer.join(', ')}.`] : [];
}

/** Elements of all labels together. From the diverse lists as well, which have more of the rare ones. */
async function trendsOf(
  { manifest, recorded, conditions, images, groupOf }: ClusterContext,
  mined: readonly Mined[],
  passes: Omit<FeatureContext, 'condition'>,
  hooks: Hooks<MineEvent>,
): Promise<Trends> {
  const patches = mined.flatMap(({ lists }) => [...lists[recorded.rank], ...lists.diverse]);
  const labels = labelsInOrder(manifest.conditions);
  const nullCondition = { ...passes, condition: conditions.length };
  const settings = { ...recorded, seed: manifest.options.seed };
  return trends(patches, settings, { ...nullCondition, images, labels, groupOf }, hooks);
}
