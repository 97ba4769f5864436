// metrics.jsonl, a training's log: one JSON object per line. Read as it stands, also while the training writes it or after it was killed.
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

/** Values by step, steps ascending. NaN if a value is missing or was not finite. */
export interface Series {
  steps: number[];
  values: number[];
}

export interface Grid {
  step: number;
  /** relative to the training's folder, forward slashes */
  file: string;
  /** of its rows of images, from above */
  labels: string[];
}

export interface Metrics {
  loss: Series;
  gradientNorm: Series;
  learningRate: Series;
  /** since the training began */
  seconds: Series;
  validation: Series;
  grids: Grid[];
  /** the last step that was logged; 0 before the first */
  last: number;
  /** lines without a JSON object that has a step: at most the last one, of an interrupted training */
  torn: number;
}

const number = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : NaN);

/**
 * Reads a log. A step that comes again (a training that was resumed from an earlier checkpoint) takes the place of the former and of all after it.
 * A line that was not written to its end is left out. No file is an empty log.
 */
export async function readMetrics(file: string): Promise<Metrics> {
  const series = (): Series => ({ steps: [], values: [] });
  const metrics: Metrics = {
    loss: series(),
    gradientNorm: series(),
    learningRate: series(),
    seconds: series(),
    validation: series(),
    grids: [],
    last: 0,
    torn: 0,
  };
  const { loss, gradientNorm, learningRate, seconds, validation } = metrics;

  const forgetFrom = (step: number): void => {
    for (const { steps, values } of [loss, gradientNorm, learningRate, seconds, validation]) {
      while (steps.length > 0 && (steps[steps.length - 1] as number) >= step) {
        steps.pop();
        values.pop();
      }
    }
    while (metrics.grids.length > 0 && (metrics.grids[metrics.grids.length - 1] as Grid).step >= step)
      metrics.grids.pop();
  };
  const add = (to: Series, step: number, value: unknown): void => {
    if (to.steps.length > 0 && (to.steps[to.steps.length - 1] as number) >= step) return;
    to.steps.push(step);
    to.values.push(number(value));
  };

  for await (const line of lines(file)) {
    const entry = parse(line);
    if (!entry) {
      if (line.trim() !== '') metrics.torn++;
      continue;
    }
    const step = entry.step as number;
    if ('loss' in entry) {
      if (step <= (loss.steps[loss.steps.length - 1] ?? -1)) forgetFrom(step);
      add(loss, step, entry.loss);
      add(gradientNorm, step, entry.gradientNorm);
      add(learningRate, step, entry.learningRate);
      add(seconds, step, entry.seconds);
    }
    if ('validation' in entry) add(validation, step, entry.validation);
    if (typeof entry.grid === 'string' && isInside(entry.grid)) {
      const labels = Array.isArray(entry.labels) ? entry.labels.map(String) : [];
      metrics.grids = metrics.grids.filter((grid) => grid.file !== entry.grid);
      metrics.grids.push({ step, file: entry.grid, labels });
    }
    metrics.last = Math.max(loss.steps[loss.steps.length - 1] ?? 0, validation.steps[validation.steps.length - 1] ?? 0);
  }
  return metrics;
}

async function* lines(file: string): AsyncGenerator<string> {
  const stream = createReadStream(file, 'utf8');
  try {
    yield* createInterface({ input: stream, crlfDelay: Infinity });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  } finally {
    stream.destroy();
  }
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { step } = entry as { step?: unknown };
    return typeof step === 'number' && Number.isFinite(step) && step >= 0
      ? (entry as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** A path that stays inside the training's folder. */
function isInside(file: string): boolean {
  return file !== '' && !file.startsWith('/') && !file.includes('\\') && !file.split('/').includes('..');
}
