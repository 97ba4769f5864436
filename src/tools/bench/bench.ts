// `diffmine bench`: how close a scan runs to the device's limit. Times UNet forward passes, the other stages, training steps and the whole pipeline.
// Baselines (diffusers) are timed in turn with diffmine, and ratios are reported with their spread.
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';

import { openDataset } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';
import { mine } from '../../stages/mine/mine.js';
import { openModel, variantOf } from '../../models/index.js';
import type { Plan } from '../../pipeline/plan.js';
import { buildInfo, devices } from '../../engine/index.js';
import type { Dtype } from '../../engine/types.js';
import { VERSION } from '../../util/version.js';
import { scan } from '../../stages/scan/scan.js';
import { benchCells, planCells, type BenchHooks } from './cells.js';
import type { CellOptions } from './options.js';
import { checkComparable } from './compare.js';
import { Diffusers } from './diffusers.js';
import { benchReference } from './reference.js';
import { warmUpRounds } from './figures.js';
import { BENCH_FORMAT, type BenchReport, type Cell } from './report.js';
import { openSubject } from './subject.js';
import { timeTrainingApart, type TrainingBench, type TrainingTask } from './training.js';

export interface BenchOptions extends CellOptions {
  /** 'synthetic:sd15' (or sdxl, demo, tiny), or a model folder */
  model: string;
  /** weight variant of the model folders, such as 'fp16' */
  variant?: string | undefined;
  /** a Python with torch and diffusers to compare with, in the same run */
  diffusers?: string | undefined;
  /** also time diffusers compiled, in this mode of torch.compile */
  diffusersCompile?: string | undefined;
  /** to time the training of: sizes of src/stages/train/sizes.ts, and 'model' for that of `model`; batch and checkpointing as in TrainingTask */
  training?: ({ what: string[] } & Pick<TrainingTask, 'batch' | 'checkpointing'>) | undefined;
  /** a model and a dataset for the pipeline's speed; `samples` an image, default 10 */
  pipeline?: { model: string; dataset: string; samples?: number };
  /** time the reference's loop over the pipeline's images too; needs `diffusers` and `pipeline`. `top`: patches per label whose features are taken; `dtype`: of the reference implementation, if it is another than ours */
  reference?: { top: number; dtype?: Dtype | undefined };
  /** baseline to compare with; an incomparable one is refused before anything is measured */
  baseline?: BenchReport | undefined;
}

export type { BenchHooks };

async function benchTraining(
  options: BenchOptions,
  { what, batch, checkpointing }: NonNullable<BenchOptions['training']>,
  hooks: BenchHooks,
): Promise<TrainingBench[]> {
  const { device, repeats, threads } = options;
  const disable = (options.disable ?? []).filter((name) => name !== 'tune'); // which no training uses
  const results: TrainingBench[] = [];
  for (const name of what) {
    for (const dtype of options.dtypes) {
      const result = await timeTrainingApart(
        {
          what: name === 'model' ? options.model : name,
          ...variantOf(options),
          device,
          dtype,
          batch,
          checkpointing,
          repeats,
          threads,
          disable,
        },
        hooks.signal,
      );
      results.push(result);
      const { measured, skipped } = result;
      hooks.onLog?.(
        `training ${result.what}, ${dtype}: ${measured ? `${measured.seconds.median.toFixed(3)} s per step` : `skipped, ${skipped ?? ''}`}`,
      );
    }
  }
  return results;
}

async function benchPipeline(
  options: BenchOptions,
  paths: NonNullable<BenchOptions['pipeline']>,
  hooks: BenchHooks,
): Promise<NonNullable<BenchReport['pipeline']>> {
  const folder = await mkdtemp(join(tmpdir(), 'diffmine-bench-'));
  try {
    const samples = paths.samples ?? 10;
    const [dtype = 'fp32'] = options.dtypes;
    const images = (await openDataset(paths.dataset)).images.length;
    const run = join(folder, 'run');
    const start = process.hrtime.bigint();
    const where = { device: options.device, ...(options.threads === undefined ? {} : { threads: options.threads }) };
    await scan(
      { dataset: paths.dataset, model: paths.model, ...variantOf(options), out: run, samples, dtype, ...where },
      { signal: hooks.signal },
    );
    await mine({ run, ...where }, { signal: hooks.signal });
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    return { dtype, images, samples, seconds, imagesPerSecond: images / seconds };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a benchmark would time. */
export interface BenchPlan extends Plan {
  cells: Cell[];
  /** rounds of each cell, with those that warm up */
  rounds: number;
  training: string[];
  /** images of the pipeline; null: it is not timed */
  pipeline: { images: number; samples: number } | null;
}

/** What `bench` would time. @throws as `bench` before work begins */
export async function planBench(
  options: BenchOptions,
  writes: string[],
  { signal, onLog }: BenchHooks = {},
): Promise<BenchPlan> {
  const hooks = { signal, onLog, download: false } as const;
  const { model, device, dtypes, pipeline, baseline } = options;
  const subject = await openSubject(model, variantOf(options), hooks);
  const cells = planCells(subject, options);
  if (baseline) checkComparable(baseline, { model, parameters: subject.parameters, device, cells });
  if (pipeline) await openModel(pipeline.model, variantOf(options), hooks);
  const images = pipeline && (await openDataset(pipeline.dataset)).images.length;
  const rounds = cells.length > 0 ? warmUpRounds(device) + options.repeats : 0;
  return {
    ...{
      dryRun: true,
      path: process.cwd(),
      item: 'measurement',
      items: { total: cells.length, done: 0 },
      shards: null,
    },
    ...{ unit: 'UNet call', calls: rounds * cells.reduce((sum, { batch }) => sum + batch, 0), atMost: false },
    ...{ rate: null, seconds: null, disk: null, dtype: dtypes.join(', '), batch: null, device },
    reuses: [],
    writes,
    cells,
    rounds,
    training: options.training?.what ?? [],
    pipeline: images === undefined ? null : { images, samples: pipeline?.samples ?? 10 },
  };
}

/**
 * Times what is asked for: passes of the UNet at each precision, size and batch (label and null of the same inputs together, as a scan makes them) with
 * the machine's own rates in the same rounds, the stages around them, training steps, scan + mine of a small dataset, and the reference's loop over it.
 *
 * @throws SETUP if the Python of diffusers does not start; INVALID_ARGUMENT if the baseline cannot be compared with; OUT_OF_MEMORY if memory suffices for nothing
 * that was asked for (a part of it is told as skipped); what loading a model throws; CANCELLED
 */
export async function bench(options: BenchOptions, hooks: BenchHooks = {}): Promise<BenchReport> {
  const listed = devices();
  const device = listed.find(({ id }) => id === (options.device === 'cuda' ? 'cuda:0' : options.device)) ?? listed[0];
  const subject = await openSubject(options.model, variantOf(options));
  const plan = planCells(subject, options);
  const { model, parameters } = { model: options.model, parameters: subject.parameters };
  if (options.baseline) checkComparable(options.baseline, { model, parameters, device: options.device, cells: plan });
  const diffusers =
    options.diffusers && plan.length > 0
      ? await Diffusers.start(options.diffusers, options.threads ?? 0, hooks.signal)
      : undefined;
  try {
    const report: BenchReport = {
      format: BENCH_FORMAT,
      version: VERSION,
      created: new Date().toISOString(),
      model,
      parameters,
      device: options.device,
      machine: {
        processor: device?.name ?? cpus()[0]?.model ?? 'unknown',
        threads: options.device.startsWith('cuda') ? 0 : (options.threads ?? device?.threads ?? 0),
        cpuCapability: device?.cpuCapability ?? '',
        computeCapability: device?.computeCapability ?? '',
        libtorch: buildInfo().libtorchLoaded,
      },
      settings: { repeats: options.repeats, disabled: options.disable ?? [] },
      ...(diffusers ? { diffusers: diffusers.info } : {}),
      starts: [],
      cells: [],
    };
    // First, while this process holds nothing of the device.
    if (options.training) report.training = await benchTraining(options, options.training, hooks);
    const skipped = report.training?.find((one) => one.skipped !== undefined);
    if (skipped && report.training?.every(({ measured }) => !measured) && plan.length === 0 && !options.pipeline) {
      throw new DiffmineError(
        'OUT_OF_MEMORY',
        `The training of ${skipped.what} was not measured: ${skipped.skipped ?? ''}.`,
        'Choose a smaller size: see diffmine train --list-sizes.',
      );
    }
    if (plan.length > 0) {
      const diffusersCells = diffusers && {
        diffusers,
        modes: ['eager', ...(options.diffusersCompile === undefined ? [] : [options.diffusersCompile])],
      };
      Object.assign(
        report,
        await benchCells(subject, plan, options, diffusersCells, device?.memoryFree ?? Infinity, hooks),
      );
      const [first] = report.cells;
      if (first?.skipped !== undefined && report.cells.every(({ measured }) => !measured)) {
        throw new DiffmineError(
          'OUT_OF_MEMORY',
          `Nothing was measured: ${first.skipped}.`,
          'Use a smaller `batch` or `latents`.',
        );
      }
    }
    diffusers?.stop(); // its memory and its threads are for what follows
    if (options.pipeline && options.reference && options.diffusers) {
      const { model: folder, dataset, samples = 10 } = options.pipeline;
      const {
        device: id,
        dtypes: [dtype = 'fp32'],
        repeats,
        threads,
        diffusers: python,
      } = options;
      report.reference = await benchReference(
        {
          model: folder,
          ...variantOf(options),
          dataset,
          python,
          device: id,
          dtype,
          theirDtype: options.reference.dtype ?? dtype,
          samples,
          top: options.reference.top,
          repeats,
          ...(threads === undefined ? {} : { threads }),
        },
        hooks,
      );
    } else if (options.pipeline) {
      report.pipeline = await benchPipeline(options, options.pipeline, hooks);
    }
    return report;
  } finally {
    diffusers?.stop();
  }
}
