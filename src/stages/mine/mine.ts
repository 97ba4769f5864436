// Mining: rank the candidates of a scan, take the features of the best, cluster them; all of it into RUN/mine, which is replaced as a whole.
import { join } from 'node:path';
import { fillPrompt, type ImageList, type SizeOptions } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';
import { prepareConditions, type ModelFolder } from '../../models/index.js';
import { Engine, fromFloat32 } from '../../engine/index.js';
import { count } from '../../web/html.js';
import { removeLeftovers, replaceFolder } from '../../runs/atomic.js';
import { chooseDevice } from '../../runs/device.js';
import { canonicalJson, type Json } from '../../runs/fingerprint.js';
import type { Manifest } from '../../runs/manifest.js';
import { raceTooShort } from '../../runs/race-words.js';
import type { Replay } from '../../runs/replay.js';
import { imageKey, Run } from '../../runs/run.js';
import type { ListName, PatchRow } from '../../runs/schema.js';
import type { Hooks } from '../../util/hooks.js';
import { confoundsOf, type Confounds } from '../../data/confounds.js';
import { cluster } from '../../pipeline/cluster.js';
import { evidence, HeldOut, windowsOf } from './evidence.js';
import { CANDIDATES, diversify } from './diverse.js';
import { features, keyOf, unknownImages, type FeatureContext } from './features.js';
import { effectiveCount, grouping, type GroupOf } from './groups.js';
import { knownFeatures, type KnownFeatures } from './known.js';
import { filesOf, openReplay, openRunDataset, openRunModel } from './open.js';
import { given } from '../../options/check.js';
import { MINE, type MineEvent, type MineOptions, type MineSummary } from './options.js';
import { candidatesFromMaps } from './patches.js';
import { recenter } from './recenter.js';
import { MOST_RANKED, select } from './select.js';
import { clustersFor, settings } from './settings.js';
import { labelsInOrder, trends } from './trends.js';
import { recordOf, write, type Found, type Mined } from './write.js';
import { readMine, type MineRecord, type MineSettings } from '../../runs/mining.js';
import { withLocalRun } from '../../runs/store/copy.js';

export { checkMining } from './settings.js';

/**
 * Mines a finished scan: the best patches of each condition, their features, their clusters. A run that was mined with these options already is left as
 * it is; mining with others takes the place of what was there. Where another process mines the run, this one waits for its turn.
 *
 * The run is in a directory or a bucket.
 *
 * @throws RUN_INVALID where the folder is not a finished scan; RUN_MISMATCH where model or data are not the scan's;
 * CANCELLED after hooks.signal (what was there before stays)
 */
export async function mine(options: MineOptions, hooks: Hooks<MineEvent> = {}): Promise<MineSummary> {
  const pages = /^(report|evaluate|localize)\//;
  const local = { reads: (name: string) => !pages.test(name), makes: ['mine'], lock: 'mine' };
  return withLocalRun(options.run, hooks, local, async (run, hooks) => mineFolder({ ...options, run }, hooks));
}

async function mineFolder({ run: runPath, ...asked }: MineOptions, hooks: Hooks<MineEvent>): Promise<MineSummary> {
  const begun = performance.now();
  const options = given(MINE, asked);
  const run = await Run.open(runPath);
  const { manifest } = run;
  const wanted: MineSettings = {
    ...settings(options, manifest.model.features),
    patch: options.patch ?? manifest.options.patch,
  };
  await checkRun(run, runPath, wanted);
  if (wanted.trends) labelsInOrder(manifest.conditions);
  if (manifest.options.race && wanted.rank === 'bottom')
    throw new DiffmineError(
      'RUN_INVALID',
      `${runPath} has no ranking of the least typical patches: its scan raced, and left out images that score low.`,
      'Scan without --race into a new folder, or use --rank top or random.',
    );
  const device = chooseDevice(
    options.device === undefined || options.device === 'auto' ? manifest.options.device : options.device,
    manifest.options.dtype,
  );
  const batch = options.batch === undefined || options.batch === 'auto' ? manifest.options.batch : options.batch;
  const recorded: MineRecord['options'] = { ...wanted, device: device.id.startsWith('cuda') ? 'cuda' : 'cpu', batch };
  const summary = (record: MineRecord, reused: boolean, reusedFeatures = 0): MineSummary => ({
    path: run.path,
    rank: wanted.rank,
    conditions: record.conditions,
    images: record.images,
    trends: record.trends,
    clusters: wanted.clusters,
    reusedFeatures,
    seconds: (performance.now() - begun) / 1000,
    reused,
    notes: record.notes,
  });

  const lock = await run.locks.wait('mine', {
    signal: hooks.signal,
    onWaiting: (holder) => hooks.onLog?.(`Waiting for ${holder}, which mines ${runPath}.`),
  });
  try {
    const before = await readMine(run);
    if (
      before &&
      before.fingerprint === manifest.fingerprint &&
      canonicalJson(before.options as unknown as Json) === canonicalJson(recorded as unknown as Json)
    ) {
      return summary(before, true);
    }
    await removeLeftovers(join(run.path, 'mine'));
    const model = await openRunModel(manifest, options, hooks);
    const replay = await openReplay(manifest);
    const known = await knownFeatures(run, before, recorded);
    const engine = new Engine({
      device: device.id,
      dtype: manifest.options.dtype,
      threads: options.threads ?? 0,
    });
    try {
      const ranked = await rankAll(run, model, engine, recorded, options, hooks);
      const found = await clusterAll({ engine, model, manifest, replay, recorded, known, ...ranked }, hooks);
      await replaceFolder(join(run.path, 'mine'), async (folder) => write(folder, run, recorded, found));
      return summary(recordOf(run, recorded, found), false, found.reusedFeatures);
    } finally {
      await engine.dispose();
    }
  } finally {
    await lock.release();
  }
}

async function checkRun(run: Run, path: string, { recenter, patch }: MineSettings): Promise<void> {
  const { manifest } = run;
  if (manifest.options.localize !== undefined)
    throw new DiffmineError(
      'RUN_INVALID',
      `${path} has heat maps, but no patches to mine: it was written by localize.`,
      'Scan the images: diffmine scan DATASET --model M --out RUN',
    );
  const done = await run.doneShards();
  if (done.length < manifest.shards) {
    throw new DiffmineError(
      'RUN_INVALID',
      `${path} is not finished: ${done.length} of ${manifest.shards} shards are done.`,
      'Repeat the scan to resume it, then mine.',
    );
  }
  const { maps, size, patch: scanned } = manifest.options;
  const why = recenter ? '`recenter`' : patch === scanned ? undefined : 'Another `patch`';
  if (why !== undefined && !maps)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${why} needs typicality maps, and ${path} was scanned with --no-maps.`,
      `Scan again with maps, or leave ${recenter ? '`recenter`' : '`patch`'} out.`,
    );
  if (size !== 'source' && patch > size)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `A patch of ${patch} px is larger than the images' short side of ${size} px.`,
      'Give a smaller `patch`.',
      { option: 'patch' },
    );
}

/** Images of each label whose properties are measured. */
const MEASURED = 50;

interface Ranked {
  notes: string[];
  confounds: Confounds | null;
  sizes: SizeOptions;
  /** all images of the run */
  images: ImageList;
  /** those that are ranked */
  files: ImageList;
  groupOf: GroupOf;
  heldOut: HeldOut;
  conditions: { condition: string; candidates: Record<ListName, PatchRow[]>; facts: Mined['facts'] }[];
}

/** The candidates of each list, filtered and moved; of the clustered list more than are wanted, where it is to be ranked again. */
async function rankAll(
  run: Run,
  model: ModelFolder,
  engine: Engine,
  recorded: MineRecord['options'],
  options: Omit<MineOptions, 'run'>,
  hooks: Hooks<MineEvent>,
): Promise<Ranked> {
  const { size, sizeRule } = run.manifest.options;
  const { patch } = recorded;
  const sizes: SizeOptions = { size, rule: sizeRule, multiple: model.sizeMultiple, patch };
  const { top, rank } = recorded;
  const wanted: Record<ListName, number> = { top, bottom: top, random: top };
  if (recorded.diverse) wanted.top = Math.min(MOST_RANKED, CANDIDATES * top);
  const { images } = await openRunDataset(run, options);
  const groupOf = grouping(recorded.groupBy, run.manifest.dataset.columns, images);
  const fromMaps =
    patch === run.manifest.options.patch ? undefined : await candidatesFromMaps(run, engine, sizes, hooks);
  const { rankings, dropped } = await select(run, wanted, recorded, {
    images,
    sizes,
    groupOf,
    files: fromMaps?.files,
    signal: hooks.signal,
    onProgress: (done, total) => hooks.onProgress?.({ type: 'compare', done, total }),
  }).finally(() => fromMaps?.remove());
  const notes = fromMaps
    ? [
        `Patches of ${patch} px are ranked from the maps of the scan, whose patches have ${run.manifest.options.patch} px: they have no standard errors.`,
        ...(fromMaps.tooSmall > 0 ? [`${count(fromMaps.tooSmall, 'image')} smaller than a patch left out.`] : []),
      ]
    : [];
  const conditions: Ranked['conditions'] = [];
  for (const [condition, lists] of rankings) {
    const candidates = recorded.recenter
      ? { ...lists, top: await recenter(run, lists.top, 1), bottom: await recenter(run, lists.bottom, -1) }
      : lists;
    const chosen = candidates[rank].slice(0, top);
    conditions.push({
      condition,
      candidates,
      facts: {
        images: spread(chosen.map(({ image, label }) => imageKey({ path: image, label }))),
        groups: recorded.groupBy === null ? null : spread(chosen.map(({ image, label }) => groupOf(image, label))),
        dropped: dropped.get(condition)?.[rank] ?? { duplicates: 0, contrast: 0, groups: 0 },
      },
    });
    hooks.onProgress?.({ type: 'rank', condition, patches: chosen.length });
  }
  const featured = conditions.flatMap(({ candidates }) => candidates[rank]);
  return {
    notes,
    confounds: images.countByLabel().size > 1 ? await confoundsOf(images, MEASURED) : null,
    sizes,
    images,
    groupOf,
    files: await filesOf(run, images, featured, hooks),
    heldOut: HeldOut.choose(images, recorded.evidenceImages, run.manifest.options.seed, groupOf),
    conditions,
  };
}

interface ClusterContext extends Ranked {
  engine: Engine;
  model: ModelFolder;
  manifest: Manifest;
  replay: Replay | undefined;
  recorded: MineRecord['options'];
  known: KnownFeatures;
}

async function clusterAll(context: ClusterContext, hooks: Hooks<MineEvent>): Promise<Found> {
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
  const { prompt, seed } = manifest.options;
  const { rank, top } = recorded;
  const names = manifest.conditions.map((label) => (prompt === null ? label : fillPrompt(prompt, label)));
  // with trends the last is the null condition
  const conditions = await prepareConditions(
    engine,
    model,
    recorded.trends ? [...names, manifest.options.nullPrompt] : names,
    call,
  );
  const tests = ranked.map(({ condition }) => heldOut.of(condition));
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
    notes: [...notes, ...(short === undefined ? [] : [short])],
  };
  const each = `${count(recorded.ensemble, 'forward pass', 'forward passes')} each`;
  if (work > 0) hooks.onLog?.(`Features: ${count(work, 'image')}, ${each} through part of the UNet.`);
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
      found.notes.push(
        `${condition}: ${count(made, 'cluster')} instead of ${recorded.clusters}, because there ${patches.length === 1 ? 'is' : 'are'} ${count(patches.length, 'patch', 'patches')}${patches.length > made ? ', some of them identical' : ''}.`,
      );
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

/** How many of something there are, and as if they had equally many members. */
function spread(members: readonly string[]): { count: number; effective: number } {
  return { count: new Set(members).size, effective: effectiveCount(members) };
}
