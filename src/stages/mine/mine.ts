// Mining: rank the candidates of a scan, take the features of the best, cluster them; all of it into RUN/mine, which is replaced as a whole.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fillPrompt, ImageList, openDataset } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';
import { openModel, prepareConditions, untrained, variantOf, type ModelFolder } from '../../models/index.js';
import { Engine, fromFloat32, writeSafetensors } from '../../engine/index.js';
import type { ModelSource, Tensor } from '../../engine/types.js';
import { count } from '../../web/html.js';
import { removeLeftovers, replaceFolder } from '../../runs/atomic.js';
import { checkContents } from '../../runs/changes.js';
import { chooseDevice } from '../../runs/device.js';
import { sha256File } from '../../util/sha256.js';
import { canonicalJson, type Json } from '../../runs/fingerprint.js';
import type { Manifest } from '../../runs/manifest.js';
import { Replay } from '../../runs/replay.js';
import { imageKey, Run } from '../../runs/run.js';
import {
  CLUSTER_SCHEMA,
  LISTS,
  MINED_PATCH_SCHEMA,
  type ClusterRow,
  type ListName,
  type MinedPatchRow,
} from '../../runs/schema.js';
import { writeTable } from '../../runs/tables.js';
import { cluster, type Clustering } from '../../pipeline/cluster.js';
import { features } from './features.js';
import type { MineEvent, MineOptions, MineSettings, MineSummary } from './options.js';
import { rank, type Rankings } from './rank.js';
import { MINE_FORMAT, readMine, type MineRecord } from '../../runs/mining.js';
import type { Hooks } from '../../util/hooks.js';

/** DuckDB's limit of min(..., K). */
const MOST_RANKED = 999_999;

function settings(options: MineOptions): MineSettings {
  const whole = (value: number, min: number, name: string, max = Number.MAX_SAFE_INTEGER): number => {
    if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    throw new DiffmineError('INVALID_ARGUMENT', `${name} is ${value}; expected a whole number ${range}.`);
  };
  const list = options.rank ?? 'top';
  if (!LISTS.includes(list))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--rank is ${JSON.stringify(list)}; expected one of ${LISTS.join(', ')}.`,
    );
  return {
    top: whole(options.top ?? 1000, 1, '--top', MOST_RANKED),
    clusters: whole(options.clusters ?? 32, 1, '--clusters'),
    restarts: whole(options.restarts ?? 10, 1, '--restarts'),
    rank: list,
    timestep: whole(options.timestep ?? 161, 0, '--dift-t'),
    upBlock: whole(options.upBlock ?? 1, 0, '--up-block'),
    ensemble: whole(options.ensemble ?? 8, 1, '--ensemble'),
  };
}

/**
 * Checks the options of mining against a model, so that `run` refuses before the scan what would fail after it.
 *
 * @throws INVALID_ARGUMENT naming the option
 */
export function checkMining(options: MineOptions, { unet, schedule }: Pick<ModelSource, 'unet' | 'schedule'>): void {
  const { upBlock, timestep } = settings(options);
  const blocks = unet.config.upBlockTypes.length;
  if (upBlock >= blocks)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--up-block is ${upBlock}; this model has the up blocks 0 ... ${blocks - 1}.`,
    );
  if (timestep >= schedule.trainTimesteps)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--dift-t is ${timestep}; this model's timesteps are 0 ... ${schedule.trainTimesteps - 1}.`,
    );
}

async function openRunModel(manifest: Manifest, options: Pick<MineOptions, 'model' | 'variant'>): Promise<ModelFolder> {
  const model = await openModel(options.model ?? manifest.model.path, variantOf({ ...manifest.model, ...options }));
  if (model.fingerprint === manifest.model.fingerprint)
    return manifest.options.untrained ? untrained(model, manifest.options.seed) : model;
  throw new DiffmineError(
    'RUN_MISMATCH',
    `The model in ${model.path} is not the one this run was scanned with.`,
    'If the model has moved, give its folder with --model. Otherwise scan again into a new folder.',
  );
}

/** The files of the ranked images; the whole list of the dataset is not kept. */
async function openRunFiles(
  run: Run,
  rankings: Rankings,
  rank: ListName,
  { dataset: path, imageRoot }: Pick<MineOptions, 'dataset' | 'imageRoot'>,
  hooks: Hooks<MineEvent>,
): Promise<ImageList> {
  const { dataset: recorded, options } = run.manifest;
  const { encoding, imageRoot: before } = recorded;
  const root = imageRoot ?? before;
  const dataset = await openDataset(path ?? recorded.path, {
    layout: recorded.layout ?? 'auto',
    checksum: options.checksum === true,
    ...(encoding === undefined ? {} : { encoding }),
    ...(root === undefined ? {} : { imageRoot: root }),
  });
  if (dataset.fingerprint !== recorded.fingerprint) {
    throw new DiffmineError(
      'RUN_MISMATCH',
      `The dataset ${dataset.path} is not the one that this run was scanned from: its images have changed.`,
      'Restore it, or scan again into a new folder.',
    );
  }
  const wanted = new Map(
    [...rankings.values()]
      .flatMap((lists) => lists[rank])
      .map(({ image, label }) => [imageKey({ path: image, label }), { path: image, label }]),
  );
  const files = ImageList.from(
    [...wanted.values()].flatMap(({ path: image, label }) => dataset.images.find(image, label) ?? []),
  );
  const places = new Map(
    [...(await run.placesOf(wanted.values()))].map(([key, place]) => {
      const { path: image, label } = wanted.get(key) as { path: string; label: string };
      return [place, files.find(image, label)] as const;
    }),
  );
  const shards = [...new Set([...places.keys()].map((place) => Math.floor(place / options.shardSize)))].sort(
    (a, b) => a - b,
  );
  await checkContents(run, shards, (place) => places.get(place), ['mine'], hooks);
  return files;
}

async function openReplay(manifest: Manifest): Promise<Replay | undefined> {
  if (manifest.replayFile === null) return undefined;
  const replay = Replay.open(manifest.replayFile);
  if ((await sha256File(manifest.replayFile)) === manifest.options.replay) return replay;
  throw new DiffmineError(
    'RUN_MISMATCH',
    `The replay file ${manifest.replayFile} has changed since the scan.`,
    'Restore it, or scan again into a new folder.',
  );
}

/**
 * Mines a finished scan: the best patches of each condition, their features, their clusters. A run that was mined with these options already is left as
 * it is; mining with others takes the place of what was there. Where another process mines the run, this one waits for its turn.
 *
 * @throws RUN_INVALID where the folder is not a finished scan; RUN_MISMATCH where model or data are not the scan's;
 * CANCELLED after hooks.signal (what was there before stays)
 */
export async function mine(
  runPath: string,
  options: MineOptions = {},
  hooks: Hooks<MineEvent> = {},
): Promise<MineSummary> {
  const begun = performance.now();
  const wanted = settings(options);
  const run = await Run.open(runPath);
  const { manifest } = run;
  if (manifest.options.localize !== undefined)
    throw new DiffmineError(
      'RUN_INVALID',
      `${runPath} has heat maps, but no patches to mine: it was written by localize.`,
      'Scan the images: diffmine scan DATASET --model M --out RUN',
    );
  const done = await run.doneShards();
  if (done.length < manifest.shards) {
    throw new DiffmineError(
      'RUN_INVALID',
      `${runPath} is not finished: ${done.length} of ${manifest.shards} shards are done.`,
      'Repeat the scan to resume it, then mine.',
    );
  }
  const device = chooseDevice(
    options.device === undefined || options.device === 'auto' ? manifest.options.device : options.device,
    manifest.options.dtype,
  );
  const batch = options.batch === undefined || options.batch === 'auto' ? manifest.options.batch : options.batch;
  const recorded: MineRecord['options'] = { ...wanted, device: device.id.startsWith('cuda') ? 'cuda' : 'cpu', batch };
  const summary = (record: MineRecord, reused: boolean): MineSummary => ({
    run: run.path,
    rank: wanted.rank,
    conditions: record.conditions,
    images: record.images,
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
    const model = await openRunModel(manifest, options);
    const replay = await openReplay(manifest);
    const rankings = await rank(run, wanted.top);
    const files = await openRunFiles(run, rankings, wanted.rank, options, hooks);
    for (const [condition, lists] of rankings)
      hooks.onProgress?.({ type: 'rank', condition, patches: lists[wanted.rank].length });

    const engine = new Engine({
      device: device.id,
      dtype: manifest.options.dtype,
      threads: options.threads ?? 0,
    });
    try {
      const found = await clusterAll({ engine, model, manifest, files, replay, rankings, recorded }, hooks);
      await replaceFolder(join(run.path, 'mine'), async (folder) => write(folder, run, rankings, recorded, found));
      return summary(recordOf(run, recorded, found), false);
    } finally {
      await engine.dispose();
    }
  } finally {
    await lock.release();
  }
}

interface Found {
  clusterings: Map<string, Clustering & { features: Tensor }>;
  images: number;
  notes: string[];
}

interface ClusterContext {
  engine: Engine;
  model: ModelFolder;
  manifest: Manifest;
  files: ImageList;
  replay: Replay | undefined;
  rankings: Rankings;
  recorded: MineRecord['options'];
}

async function clusterAll(
  { engine, model, manifest, files, replay, rankings, recorded }: ClusterContext,
  hooks: Hooks<MineEvent>,
): Promise<Found> {
  const { signal } = hooks;
  const call = { signal };
  await engine.loadModel(model.source, {
    ...call,
    onProgress: ({ type, done, total }) => type === 'load' && hooks.onProgress?.({ type, done, total }),
  });
  const { prompt, size, sizeRule, patch, seed } = manifest.options;
  const names = manifest.conditions.map((label) => (prompt === null ? label : fillPrompt(prompt, label)));
  const conditions = await prepareConditions(engine, model, names, call);
  const chosen = [...rankings].map(([condition, lists]) => ({ condition, patches: lists[recorded.rank] }));
  const total = chosen.reduce(
    (sum, { patches }) => sum + new Set(patches.map(({ image, label }) => imageKey({ path: image, label }))).size,
    0,
  );
  const found: Found = { clusterings: new Map(), images: total, notes: [] };
  const started = performance.now();
  let images = 0;
  for (const [index, { condition, patches }] of chosen.entries()) {
    const taken = await features(patches, {
      engine,
      conditions,
      condition: index,
      files,
      replay,
      ...call,
      sizes: { size, rule: sizeRule, multiple: model.sizeMultiple, patch },
      dift: {
        timestep: recorded.timestep,
        upBlock: recorded.upBlock,
        ensemble: recorded.ensemble,
        seed,
        batch: recorded.batch,
      },
      onImage: () => {
        images += 1;
        const rate = images / ((performance.now() - started) / 1000);
        hooks.onProgress?.({ type: 'features', done: images, total, rate, secondsLeft: (total - images) / rate });
      },
    });
    const clustering = await cluster(
      engine,
      taken,
      patches.map(({ typicality }) => typicality),
      { clusters: recorded.clusters, restarts: recorded.restarts, seed },
      call,
    );
    const made = clustering.clusters.length;
    if (made < recorded.clusters)
      found.notes.push(
        `${condition}: ${count(made, 'cluster')} instead of ${recorded.clusters}, because there ${patches.length === 1 ? 'is' : 'are'} ${count(patches.length, 'patch', 'patches')}${patches.length > made ? ', some of them identical' : ''}.`,
      );
    found.clusterings.set(condition, {
      ...clustering,
      features: fromFloat32([patches.length, taken.width], taken.values),
    });
    hooks.onProgress?.({
      type: 'cluster',
      condition,
      done: index + 1,
      total: chosen.length,
      clusters: made,
      inertia: clustering.inertia,
    });
  }
  return found;
}

function recordOf(run: Run, recorded: MineRecord['options'], found: Found): MineRecord {
  const conditions = [...found.clusterings].map(([condition, { assignment, clusters, inertia }]) => ({
    condition,
    patches: assignment.length,
    clusters: clusters.length,
    inertia,
  }));
  return {
    format: MINE_FORMAT,
    fingerprint: run.manifest.fingerprint,
    options: recorded,
    conditions,
    images: found.images,
    notes: found.notes,
  };
}

async function write(
  folder: string,
  run: Run,
  rankings: Rankings,
  recorded: MineRecord['options'],
  found: Found,
): Promise<void> {
  const patches: MinedPatchRow[] = [];
  for (const [condition, lists] of rankings) {
    const clustering = found.clusterings.get(condition);
    for (const list of LISTS) {
      const clustered = list === recorded.rank ? clustering : undefined;
      lists[list].forEach((row, index) => {
        // `place` is not a column of this table
        patches.push({
          ...row,
          rank: index + 1,
          cluster: clustered?.assignment[index] ?? null,
          distance: clustered?.distances[index] ?? null,
        });
      });
    }
  }
  const clusters = [...found.clusterings].flatMap(([condition, clustering]) =>
    clustering.clusters.map(({ size, medianTypicality, inertia }, index): ClusterRow => ({
      condition,
      cluster: index,
      size,
      median_typicality: medianTypicality,
      inertia,
    })),
  );
  const tensors: Record<string, Tensor> = {};
  for (const [condition, { features: values, centers, clusters: made }] of found.clusterings) {
    if (made.length === 0) continue;
    tensors[`features.${condition}`] = values;
    tensors[`centers.${condition}`] = fromFloat32([made.length, values.shape[1] ?? 0], centers);
  }
  await writeTable(join(folder, 'patches.parquet'), patches, MINED_PATCH_SCHEMA);
  await writeTable(join(folder, 'clusters.parquet'), clusters, CLUSTER_SCHEMA);
  writeSafetensors(join(folder, 'features.safetensors'), tensors);
  await writeFile(join(folder, 'mine.json'), `${JSON.stringify(recordOf(run, recorded, found), null, 1)}\n`);
}
