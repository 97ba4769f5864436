// A grid of images sampled during training, with one row per label.
import { toImages } from '../../models/images.js';
import { sampleDdim } from '../../models/ddim.js';
import { writeGrid } from '../../models/grid.js';
import type { Engine, Trainer } from '../../engine/index.js';
import type { ScheduleConfig } from '../../engine/types.js';
import type { Base } from './base.js';
import type { TrainSettings } from './options.js';

/** Maximum number of labels in a grid. */
const MOST_LABELS = 12;

interface GridOf {
  base: Base;
  schedule: ScheduleConfig;
  labels: string[];
  shape: readonly number[];
  settings: Pick<
    TrainSettings,
    'sampleCount' | 'sampleInferenceSteps' | 'sampleGuidanceScale' | 'seed' | 'trainBatch' | 'gradientAccumulationSteps'
  >;
  engine: Engine;
  trainer: Trainer;
  average: boolean;
  signal?: AbortSignal | undefined;
}

/** Samples and writes the grid, always from the same noise. Returns the labels of its rows. */
export async function drawGrid(
  file: string,
  { base, schedule, labels, shape, settings, engine, trainer, average, signal }: GridOf,
): Promise<string[]> {
  const {
    sampleCount,
    sampleInferenceSteps: sampleSteps,
    sampleGuidanceScale: sampleGuidance,
    seed,
    trainBatch: batch,
    gradientAccumulationSteps: accumulate,
  } = settings;
  const shown = labels.slice(0, MOST_LABELS);
  const rows = shown.flatMap((_, row) => Array.from({ length: sampleCount }, () => row));
  const request = {
    steps: sampleSteps,
    guidance: sampleGuidance,
    seed,
    shape,
    rows,
    nullRow: labels.length,
    spacing: base.spacing,
    samples: rows.map((_, i) => i % sampleCount),
    batch: Math.max(2, batch / accumulate),
  };
  const x0 = await sampleDdim(
    schedule,
    request,
    (x, timesteps, conditions) => trainer.predict({ x, timesteps, conditions }, average),
    { signal },
  );
  const images = await toImages(
    base.kind === 'latent' ? engine : undefined,
    { kind: base.kind, fold: base.fold, source: base.encoder ?? {} },
    x0,
  );
  await writeGrid(
    file,
    shown.map((_, row) => images.slice(row * sampleCount, (row + 1) * sampleCount)),
  );
  return shown;
}
