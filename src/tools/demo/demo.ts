// The demo: draws a synthetic dataset with ground truth, mines it with a model that was not trained on it, and compares the findings with the planted elements.
//
//   OUT/demo.json   marks the folder as a demo's
//   OUT/world/      the images, boxes.csv, world.json (src/tools/world)
//   OUT/run/        the run, mined, with its evaluation and its report
//   OUT/control/    the same with random weights; without a report
//   and with --full the folders of full.ts and page.ts
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { z } from 'zod';
import { DiffmineError } from '../../util/errors.js';
import { evaluate } from '../../stages/evaluate/evaluate.js';
import { evaluationFolder, GRID_FILE } from '../../runs/evaluation.js';
import { checkMining, mine } from '../../stages/mine/mine.js';
import type { MineOptions } from '../../stages/mine/options.js';
import { openModel, variantOf, type ModelFolder, type OpenOptions } from '../../models/index.js';
import { writeReport } from '../../stages/report/report.js';
import { discard, removeLeftovers, replaceFolder } from '../../runs/atomic.js';
import { canonicalJson, type Json } from '../../runs/fingerprint.js';
import { LockFolder } from '../../runs/lock-folder.js';
import { Run } from '../../runs/run.js';
import type { ScanOptions, ScanSummary } from '../../stages/scan/options.js';
import { scan } from '../../stages/scan/scan.js';
import type { Hooks, Progress } from '../../util/hooks.js';
import { CITIES } from '../world/kinds.js';
import { worldRecord, WORLD_FORMAT, writeWorld } from '../world/world.js';
import { digest } from './digest.js';
import { claimFolder, readJson } from './folder.js';
import { runFull } from './full.js';
import { writeDemoPage } from './page.js';
import { pick } from '../../util/pick.js';
import { resolved } from '../../options/check.js';
import { DEMO, type DemoEvent, type DemoOptions, type DemoStage, type DemoSummary } from './options.js';

/** The model that comes with the package. */
export const DEMO_MODEL = join(import.meta.dirname, '..', '..', '..', 'demo', 'model');
/** The part of the schedule where the model was trained most, and where small things are decided. */
const T_RANGE = [0.05, 0.4] as const;
/** Side of a patch, as a fraction of the image's: planted elements measure 6 to 16 of 64. */
const PATCH = 12 / 64;
/** Patches ranked a city, for each of its images: somewhat fewer than are planted (3.1), so that clusters are of what is typical and not of the rest. */
const RANKED = 2.5;

export type DemoHooks = Hooks<DemoEvent>;

/**
 * Draws a world, scans and mines it, evaluates the run against the boxes beside its controls, writes the report and a grid. Repeated, it resumes where
 * it was stopped and keeps what is finished; with other options it replaces what they change. Of two at once in one folder the second waits.
 *
 * @throws RUN_MISMATCH for a folder that holds something else than a demo; MODEL_INVALID for a model that is missing or knows other labels;
 *   INVALID_ARGUMENT for settings out of range, or the seed of the world that the model learned from; CANCELLED; else as the stages
 */
export async function demo(options: DemoOptions = {}, hooks: DemoHooks = {}): Promise<DemoSummary> {
  const begun = performance.now();
  const asked = resolved(DEMO, options);
  const out = resolve(asked.out);
  const model = await openDemoModel(asked.model ?? DEMO_MODEL, asked.seed, variantOf(asked));
  const mining: Omit<MineOptions, 'run'> = {
    clusters: asked.clusters,
    diverse: true,
    recenter: true,
    top: Math.ceil(RANKED * asked.imagesPerLabel),
    ...pick(asked, 'threads'),
  };
  checkMining(mining, model.source);
  await claimFolder(out, asked.out);
  const locks = new LockFolder(join(out, 'locks'));
  const lock = await locks.wait('demo', {
    ...pick(hooks, 'signal'),
    onWaiting: (holder) => hooks.onLog?.(`Waiting for ${holder}, which runs the demo in ${asked.out}.`),
  });
  try {
    return await inside(out, model, asked, mining, hooks, begun);
  } finally {
    await lock.release();
  }
}

/** What the stages of the demo in one folder share. */
function stagesOf(out: string, hooks: DemoHooks) {
  return {
    told: pick(hooks, 'signal', 'onLog'),
    onProgress: (event: Progress): void => hooks.onProgress?.({ type: 'progress', event }),
    begin: (stage: DemoStage): void => {
      if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The demo was cancelled.');
      hooks.onProgress?.({ type: 'stage', stage });
    },
    /** Works in a folder of the demo; one that was made with other options, model or version is ours to replace. */
    inFolder: async <T>(name: string, work: (folder: string) => Promise<T>): Promise<T> => {
      const folder = join(out, name);
      try {
        return await work(folder);
      } catch (error) {
        const isOther = error instanceof DiffmineError && ['RUN_MISMATCH', 'RUN_INVALID'].includes(error.code);
        if (!isOther || !existsSync(folder)) throw error;
        hooks.onLog?.(`Creating ${folder} again: ${error.message}`);
        await discard(folder);
        return work(folder);
      }
    },
  };
}

type Stages = ReturnType<typeof stagesOf>;
type Asked = z.output<typeof DEMO>;

/** Draws the dataset into the folder, unless it is there. */
async function drawWorld(world: string, asked: Asked, { told, onProgress }: Stages): Promise<void> {
  const settings = { seed: asked.seed, images: asked.imagesPerLabel, size: asked.size, heldout: 1 };
  if (await isWorld(world, settings)) return;
  await removeLeftovers(world);
  await replaceFolder(world, async (folder) => {
    await writeWorld({ out: folder, ...settings }, { ...pick(told, 'signal'), onProgress });
  });
}

function scanOptions(asked: Asked, model: ModelFolder, dataset: string): Omit<ScanOptions, 'out'> {
  const scored = Math.min(asked.size, model.sampleSize);
  return {
    dataset,
    model: model.path,
    ...variantOf(model),
    ...pick(asked, 'samples', 'seed', 'device', 'dtype', 'threads'),
    tRange: T_RANGE,
    // costs as many UNet calls as the null condition, and finds more here (docs/results/estimator.md)
    against: 'others',
    patch: Math.max(1, Math.round(scored * PATCH)),
  };
}

async function inside(
  out: string,
  model: ModelFolder,
  asked: Asked,
  mining: Omit<MineOptions, 'run'>,
  hooks: DemoHooks,
  begun: number,
): Promise<DemoSummary> {
  const { samples, seed } = asked;
  const stages = stagesOf(out, hooks);
  const { begin, inFolder, told, onProgress } = stages;

  begin('world');
  const world = join(out, 'world');
  const boxes = join(world, 'boxes.csv');
  const dataset = join(world, 'heldout');
  await drawWorld(world, asked, stages);

  const scanInto = (name: string, more: Partial<ScanOptions> = {}): Promise<ScanSummary> =>
    inFolder(name, (run) =>
      scan(
        { ...scanOptions(asked, model, dataset), ...more, out: run },
        { ...told, onProgress: (event) => hooks.onProgress?.({ type: 'scan', event }) },
      ),
    );
  begin('scan');
  const scanned = await scanInto('run');
  begin('mine');
  // Demo and model may have moved since the scan.
  const placed: Omit<MineOptions, 'run'> = { ...mining, model: model.path, ...variantOf(model), dataset };
  const mined = await mine(
    { run: scanned.path, ...placed },
    { ...told, onProgress: (event) => hooks.onProgress?.({ type: 'mine', event }) },
  );
  begin('control');
  const control = await scanInto('control', { untrained: true, dtype: scanned.dtype });
  // Its rankings are wanted; what its patches look like is not.
  await mine({ run: control.path, ...placed, diverse: false, clusters: 1, ensemble: 1, restarts: 1 }, told);

  begin('evaluate');
  const evaluation = await evaluate(
    { run: scanned.path, boxes, controlRun: control.path, dataset, seed, ...pick(asked, 'bootstrap') },
    { ...pick(told, 'signal'), onProgress },
  );
  begin('report');
  const report = await writeReport(
    { run: scanned.path, dataset, title: `The demo's synthetic dataset of seed ${seed}` },
    { ...told, onProgress },
  );
  const full = asked.full
    ? await runFull({
        ...{ out, model: model.path, ...variantOf(model), images: dataset, boxes, seed, samples, asked },
        ...{ patch: scanned.patch, tRange: T_RANGE },
        ...{ ...told, onLog: hooks.onLog, begin, inFolder, onProgress: (event) => hooks.onProgress?.(event) },
      })
    : null;
  const summary: DemoSummary = {
    path: out,
    model: model.path,
    world: { path: world, boxes, images: scanned.images, seed },
    ...digest(evaluation),
    page: report.path,
    grid: evaluation.grid ? join(evaluationFolder(await Run.open(scanned.path)), GRID_FILE) : null,
    scan: scanned,
    mine: mined,
    control,
    evaluation,
    full,
    seconds: (performance.now() - begun) / 1000,
  };
  if (full) await writeDemoPage(summary, full);
  return summary;
}

/** The model of the demo: it must know the cities, and must not have seen this world. */
async function openDemoModel(path: string, seed: number, options: OpenOptions): Promise<ModelFolder> {
  if (!existsSync(join(path, 'model_index.json'))) {
    const ours = path === DEMO_MODEL;
    throw new DiffmineError(
      'MODEL_INVALID',
      `${ours ? "The demo's own model" : 'The model'} is missing: ${path} has no model_index.json.`,
      ours
        ? 'It is part of the package: install or clone it again, or give another with `model`.'
        : 'Give a model folder with `model`, or leave it out.',
    );
  }
  const model = await openModel(path, options);
  const unknown = model.conditioning === 'class' ? CITIES.filter((city) => !model.labels?.includes(city)) : [];
  if (unknown.length > 0) {
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model ${path} does not know ${unknown.join(', ')}.`,
      'The demo draws these cities: give a model that was trained on images of `diffmine demo --data-only`.',
    );
  }
  // one for each world that it learned from
  for (const name of (await readdir(path)).filter((one) => /^world.*\.json$/.test(one))) {
    const trained = await readJson(join(path, name));
    if (trained?.['format'] === WORLD_FORMAT && trained['seed'] === seed) {
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `The model was trained on images of seed ${seed}: they are not held out.`,
        'Use another `seed`.',
      );
    }
  }
  return model;
}

async function isWorld(folder: string, settings: Parameters<typeof worldRecord>[0]): Promise<boolean> {
  const record = await readJson(join(folder, 'world.json'));
  return record !== undefined && canonicalJson(record as Json) === canonicalJson(worldRecord(settings) as Json);
}
