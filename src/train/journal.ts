// What a training leaves behind while it runs: metrics.jsonl, one JSON object a line, and the watch that tells when it diverges.
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import type { TrainingStep } from '../native/types';

export type Metric =
  | { step: number; loss: number; gradientNorm: number; learningRate: number; seconds: number }
  | { step: number; validation: number }
  | { step: number; sheet: string; labels: string[] };

/** Lines of metrics.jsonl; a last line that was torn by a crash is left out. */
export function readMetrics(file: string): Metric[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8').split('\n').flatMap((line) => {
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

  /** Opens the file to go on after `step`: what was written of later steps, which will be done again, is cut off. */
  static open(file: string, step: number): { journal: Journal; kept: Metric[] } {
    const kept = readMetrics(file).filter((metric) => metric.step <= step);
    const text = kept.map((metric) => `${JSON.stringify(metric)}\n`).join('');
    if (existsSync(file)) truncateSync(file, 0);
    const journal = new Journal(file);
    writeSync(journal.descriptor, text);
    return { journal, kept };
  }

  write(metric: Metric): void {
    writeSync(this.descriptor, `${JSON.stringify(metric)}\n`);
  }

  /** Forces it to the disk: before a checkpoint that counts on it. */
  sync(): void {
    fsyncSync(this.descriptor);
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

/** Weight of the past in the smoothed loss. */
const KEPT = 0.98;
/** Steps before which nothing counts as diverging, and the factor over the least smoothed loss that does. */
const [SETTLED, EXPLODED] = [100, 4];

/** The smoothed loss, and whether it explodes: a function of the losses so far alone. */
export class LossWatch {
  private weight = 0;
  private sum = 0;
  private seen = 0;
  private least = Infinity;

  /** @returns whether the smoothed loss is far above the least it has been */
  add({ loss }: Pick<TrainingStep, 'loss'>): boolean {
    this.sum = KEPT * this.sum + (1 - KEPT) * loss;
    this.weight = KEPT * this.weight + (1 - KEPT);
    this.seen++;
    if (this.seen >= SETTLED / 2) this.least = Math.min(this.least, this.smoothed as number);
    return this.seen >= SETTLED && (this.smoothed as number) > EXPLODED * this.least;
  }

  get smoothed(): number | null {
    return this.seen > 0 ? this.sum / this.weight : null;
  }
}
