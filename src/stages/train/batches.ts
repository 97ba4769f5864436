// Batches of a training: images are loaded ahead, in the order of the training, and replaced if their file can no longer be read.
import { prefetch, type Fetched } from '../../data/prefetch.js';
import { elements, fromFloat32 } from '../../engine/tensor.js';
import type { TrainingBatch } from '../../engine/types.js';
import { asDiffmineError, because, DiffmineError, reasonAlone } from '../../util/errors.js';
import type { Data } from './data.js';
import { Order } from './order.js';
import type { TrainSettings } from './options.js';

export interface Example {
  x0: Float32Array;
  /** of the conditions; after the labels' comes the null condition */
  row: number;
}

/** Training batches from a step on. */
export class Batches {
  private readonly order: Order;
  private readonly views: AsyncGenerator<Fetched<number, Example>, void>;

  constructor(
    private readonly data: Data,
    private readonly settings: TrainSettings,
    firstStep: number,
    private readonly onLog?: ((line: string) => void) | undefined,
  ) {
    const { steps, trainBatch: batch } = settings;
    this.order = new Order(data.training.length, settings);
    const numbers = (function* () {
      for (let k = firstStep * batch; k < steps * batch; k++) yield k;
    })();
    // No signal: a step that began is finished and saved.
    this.views = prefetch(
      numbers,
      (k) => this.image(k),
      ({ x0 }) => x0.byteLength,
      { ahead: 4 * batch },
    );
  }

  /** The batches of the next step: one per forward and backward pass. */
  async next(): Promise<TrainingBatch[]> {
    const { trainBatch: batch, gradientAccumulationSteps: accumulate } = this.settings;
    const taken: Example[] = [];
    while (taken.length < batch) {
      const next = await this.views.next();
      if (next.done) throw new DiffmineError('INTERNAL', 'There are no more training images.');
      const { value, error } = next.value;
      if (error) throw error;
      taken.push(value);
    }
    const part = batch / accumulate;
    return Array.from({ length: accumulate }, (_, i) => batchOf(this.data, taken.slice(i * part, (i + 1) * part)));
  }

  async close(): Promise<void> {
    await this.views.return(undefined);
  }

  /** The k-th training image, with the row of its condition. If its file can no longer be read, another image is used. */
  private async image(k: number): Promise<Example> {
    const { training, rows, crops, labels } = this.data;
    const view = this.order.view(k);
    for (let tries = 0; ; tries++) {
      const index = training[(view.index + tries) % training.length] as number;
      try {
        return { x0: await crops.load(index, view), row: view.unlabeled ? labels.length : (rows[index] as number) };
      } catch (thrown) {
        const error = asDiffmineError(thrown);
        if (error.code !== 'IMAGE_UNREADABLE' || tries >= Math.min(100, training.length)) throw error;
        tellUnreadable(this.data, index, error, this.onLog);
      }
    }
  }
}

/** Logs an image that can no longer be read: once, however often it is drawn. */
function tellUnreadable(
  { crops, unreadable }: Data,
  index: number,
  error: DiffmineError,
  onLog?: (line: string) => void,
): void {
  if (unreadable.has(index)) return;
  unreadable.add(index);
  onLog?.(because('skipped', crops.usable[index]?.image.path ?? '', reasonAlone(error)));
}

export function batchOf({ crops: { shape } }: Data, images: readonly Example[]): TrainingBatch {
  const size = elements(shape);
  const x0 = new Float32Array(images.length * size);
  images.forEach((one, i) => x0.set(one.x0, i * size));
  return { x0: fromFloat32([images.length, ...shape], x0), conditions: images.map(({ row }) => row) };
}

/** The middle of a held-out image; undefined, and once a line in the log, if it can no longer be read. */
export async function heldOutExample(
  data: Data,
  index: number,
  onLog?: (line: string) => void,
): Promise<Example | undefined> {
  const { crops, rows } = data;
  try {
    return { x0: await crops.load(index, { across: 0.5, down: 0.5, mirrored: false }), row: rows[index] as number };
  } catch (thrown) {
    const error = asDiffmineError(thrown);
    if (error.code !== 'IMAGE_UNREADABLE') throw error;
    tellUnreadable(data, index, error, onLog);
    return undefined;
  }
}
