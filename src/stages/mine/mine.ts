// Mining: rank the candidates of a scan, take the features of the best, cluster them; all of it into RUN/mine, which is replaced as a whole.
import { count } from '../../web/html.js';
import { join } from 'node:path';
import { Engine } from '../../engine/index.js';
import { given } from '../../options/check.js';
import { secondsAt, type Plan } from '../../pipeline/plan.js';
import { removeLeftovers, replaceFolder } from '../../runs/atomic.js';
import { chooseDevice } from '../../runs/device.js';
import { canonicalJson, type Json } from '../../runs/fingerprint.js';
import { readMine, type MineRecord, type MineSettings } from '../../runs/mining.js';
import { Run } from '../../runs/run.js';
import { withLocalRun } from '../../runs/store/copy.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { rankAll } from './candidates.js';
import { clusterAll } from './cluster-all.js';
import { KnownFeatures } from './known-features.js';
import { FeatureCost } from './cost.js';
import { openReplay, openRunDataset, openRunModel } from './open-inputs.js';
import { mostImages } from './image-count.js';
import { MINE, type MineEvent, type MineOptions, type MineSummary } from './options.js';
import { settings } from './settings.js';
import { labelsInOrder } from './trends.js';
import { recordOf, write } from './write.js';

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

/** What `mine` would do. @throws as `mine` before work begins */
export async function planMining(options: MineOptions, hooks: Hooks<MineEvent> = {}): Promise<Plan> {
  const reads = (name: string): boolean =>
    /^(manifest\.json|index\.parquet|listings\..*|mine\/mine\.json|shards\/.*\/shard\.json)$/.test(name);
  return withLocalRun(options.run, hooks, { reads, makes: [], lock: '' }, async (run, hooks) => {
    const { before, ...mining } = await resolveMining({ ...options, run });
    const { manifest, recorded, device, batch } = mining;
    const base = { dryRun: true, path: mining.run.path, item: 'image', shards: null, unit: 'forward pass' } as const;
    const facts = { dtype: manifest.options.dtype, batch, device: device.id, disk: null };
    const total = manifest.index.rows;
    if (before)
      return {
        ...{ ...base, ...facts, items: { total, done: total }, calls: 0, atMost: false, rate: null, seconds: 0 },
        ...{ reuses: ['The run is mined with these options already: nothing is left to do.'], writes: [] },
      };
    await openRunModel(manifest, options, hooks);
    await openReplay(manifest);
    const dataset = await openRunDataset(mining.run, options);
    const byLabel = dataset.images.countByLabel();
    const counts = manifest.conditions.map((label) => byLabel.get(label) ?? 0);
    const ranked = manifest.options.allLabels ? counts.map(() => total) : counts;
    const images = mostImages(ranked, counts, recorded);
    const calls = images * recorded.ensemble;
    const rate = await new FeatureCost(images, recorded, { manifest, device, threads: options.threads }).rate();
    return {
      ...{ ...base, ...facts, items: { total, done: 0 }, calls, atMost: true, rate, seconds: secondsAt(calls, rate) },
      reuses: ['The scan is complete. Features that earlier minings have computed are reused.'],
      writes: ['mine/'],
    };
  });
}

/** A mining with its options resolved. `before`: the same, done; `earlier`: one with any options */
async function resolveMining({ run: runPath, ...asked }: MineOptions) {
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
      'Scan without --race into a new folder, or use `rank` top or random.',
    );
  const device = chooseDevice(
    options.device === undefined || options.device === 'auto' ? manifest.options.device : options.device,
    manifest.options.dtype,
  );
  const batch = options.batch === undefined || options.batch === 'auto' ? manifest.options.batch : options.batch;
  const recorded: MineRecord['options'] = { ...wanted, device: device.id.startsWith('cuda') ? 'cuda' : 'cpu', batch };
  const earlier = await readMine(run);
  const done =
    earlier?.fingerprint === manifest.fingerprint &&
    canonicalJson(earlier.options as unknown as Json) === canonicalJson(recorded as unknown as Json);
  return { options, run, manifest, wanted, device, batch, recorded, earlier, before: done ? earlier : undefined };
}

async function mineFolder(asked: MineOptions, hooks: Hooks<MineEvent>): Promise<MineSummary> {
  const begun = performance.now();
  const { run: runPath } = asked;
  const { options, run, manifest, wanted, device, recorded } = await resolveMining(asked);
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
    // another process may have mined it in the meantime
    const { before, earlier } = await resolveMining(asked);
    if (before) return summary(before, true);
    await removeLeftovers(join(run.path, 'mine'));
    const model = await openRunModel(manifest, options, hooks);
    const replay = await openReplay(manifest);
    const known = await KnownFeatures.read(run, earlier, recorded);
    const engine = new Engine({
      device: device.id,
      dtype: manifest.options.dtype,
      threads: options.threads ?? 0,
    });
    try {
      const ranked = await rankAll(run, model, engine, recorded, options, hooks);
      const { threads } = options;
      const work = { engine, model, manifest, replay, recorded, known, device, threads };
      const found = await clusterAll({ ...work, ...ranked }, hooks);
      await replaceFolder(join(run.path, 'mine'), async (folder) => {
        await known.write(
          folder,
          found.mined.flatMap(({ lists }) => lists[recorded.rank]),
        );
        await write(folder, run, recorded, found);
      });
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
      `${path} is not finished: ${done.length} of ${count(manifest.shards, 'shard')} ${manifest.shards === 1 ? 'is' : 'are'} done.`,
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
