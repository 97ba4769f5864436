// The log of a training, metrics.jsonl (one JSON object per line), and the check for divergence.
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { DiffmineError } from '../../util/errors.js';
import type { TrainingStep } from '../../engine/types.js';
import { hasNoSync, writeFileAtomic } from '../../runs/atomic.js';

export type Metric =
  | { step: number; loss: number; gradientNorm: number; learningRate: number; seconds: number }
  | { step: number; validation: number }
  | { step: number; grid: string; labels: string[] };

/** Lines of metrics.jsonl; an incomplete last line is left out. */
export function readMetrics(file: string): Metric[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line) => {
      try {
        return line === '' ? [] : [JSON.parse(line) as Metric];
      } catch {
        return [];
      }
    });
}

export class Journal {
  private readonly descriptor: number;

  private constructor(file: string) {
    this.descriptor = openSync(file, 'a');
  }

  /**
   * Opens the file to continue after `step`: lines of later steps, which will be repeated, are removed.
   *
   * @throws RUN_INVALID if the loss of an earlier step is missing
   */
  static async open(file: string, step: number): Promise<{ journal: Journal; kept: Metric[] }> {
    const kept = readMetrics(file).filter((metric) => metric.step <= step);
    const losses = kept.filter((metric) => 'loss' in metric);
    if (losses.length !== step || losses.some((metric, i) => metric.step !== i + 1)) {
      throw new DiffmineError(
        'RUN_INVALID',
        `${file} lacks losses of the ${step} finished steps.`,
        'Restore it, or begin a new training in another folder.',
      );
    }
    await writeFileAtomic(file, kept.map((metric) => `${JSON.stringify(metric)}\n`).join(''));
    return { journal: new Journal(file), kept };
  }

  write(metric: Metric): void {
    const line = Buffer.from(`${JSON.stringify(metric)}\n`);
    for (let at = 0; at < line.length;) at += writeSync(this.descriptor, line, at);
  }

  /** Syncs it to disk, before a checkpoint that relies on it. */
  sync(): void {
    try {
      fsyncSync(this.descriptor);
    } catch (error) {
      if (!hasNoSync(error)) throw error;
    }
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

/** Window of the smoothed loss: about this many images, and at least this many steps. */
const [IMAGES, STEPS] = [800, 50];
/**
 * A training diverges if the smoothed loss is several times its minimum and far from a trained model's loss, or extremely large. Targets have
 * variance one, so an untrained model has a loss of one.
 */
const [FACTOR, POOR, ABSURD] = [4, 0.5, 10];

/** Smooths the loss and detects divergence; depends only on the losses so far. */
export class LossWatch {
  private readonly kept: number;
  private weight = 0;
  private sum = 0;
  private seen = 0;
  private min = Infinity;

  /** @param batch images per step: with few images losses scatter more, so the window has more steps */
  constructor(batch: number) {
    this.kept = 1 - 1 / Math.max(STEPS, IMAGES / batch);
  }

  /** @returns whether the training diverges */
  add({ loss }: Pick<TrainingStep, 'loss'>): boolean {
    this.sum = this.kept * this.sum + (1 - this.kept) * loss;
    this.weight = this.kept * this.weight + (1 - this.kept);
    this.seen++;
    const now = this.smoothed as number;
    const window = 1 / (1 - this.kept);
    if (this.seen >= window) this.min = Math.min(this.min, now);
    return this.seen >= window && (now > ABSURD || now > Math.max(POOR, FACTOR * this.min));
  }

  get smoothed(): number | null {
    return this.seen > 0 ? this.sum / this.weight : null;
  }
}
