// Measures what a trained model has learned of its labels, on images that it was not trained on.
import { holdoutKey } from '../../data/holdout.js';
import type { Trainer } from '../../engine/index.js';
import { learnedOf, lossRatioOf, type Pair } from '../../models/learned.js';
import type { Learned } from '../../models/training.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { batchOf, heldOutExample } from './batches.js';
import type { Data } from './data.js';
import type { TrainEvent, TrainSettings } from './options.js';

/** Maximum number of images; noise and timestep samples of each. */
const [MOST_IMAGES, SAMPLES] = [96, 8];
/** Key of the noise of the first image. */
const KEY = 0x6c65726e;

/** The held-out images to measure: the same number of each label, as far as there are. */
function chosen({ heldOut, rows, crops, labels }: Data): number[] {
  const keyOf = new Map(heldOut.map((index) => [index, holdoutKey(crops.usable[index]?.image.path ?? '')]));
  const ofLabel = labels.map((_, row) =>
    heldOut.filter((index) => rows[index] === row).sort((a, b) => (keyOf.get(a) ?? 0) - (keyOf.get(b) ?? 0)),
  );
  const found: number[] = [];
  for (let place = 0; found.length < MOST_IMAGES && ofLabel.some((own) => place < own.length); place++)
    for (const own of ofLabel) if (place < own.length) found.push(own[place] as number);
  return found.slice(0, MOST_IMAGES);
}

/**
 * The losses of held-out images under their label and under other labels, with the same noise, at the timesteps of the training. Other labels, not the
 * null condition: that one is trained on few images, so that early in a training any label is better than it.
 *
 * @param losses of the steps so far
 * @returns null if no image is held out, or there is one label alone
 */
export async function measureLearned(
  trainer: Trainer,
  data: Data,
  settings: Pick<TrainSettings, 'ema'>,
  step: number,
  losses: readonly number[],
  hooks: Hooks<TrainEvent>,
): Promise<Learned | null> {
  const count = data.labels.length;
  if (count < 2) return null;
  const images = chosen(data);
  const pairs: Pair[] = [];
  for (const [place, index] of images.entries()) {
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Training was cancelled.');
    hooks.onProgress?.({ type: 'measure', done: place, total: images.length });
    const one = await heldOutExample(data, index, hooks.onLog);
    if (!one) continue;
    const lossOf = (rowOf: (sample: number) => number): Promise<number> =>
      trainer.evaluate(
        batchOf(
          data,
          Array.from({ length: SAMPLES }, (_, sample) => ({ x0: one.x0, row: rowOf(sample) })),
        ),
        KEY + place,
        settings.ema > 0,
      );
    pairs.push({
      label: data.labels[one.row] as string,
      loss: await lossOf(() => one.row),
      // each sample under one of the other labels, in turn
      others: await lossOf((sample) => (one.row + 1 + ((place + sample) % (count - 1))) % count),
    });
  }
  const finite = pairs.filter(({ loss, others }) => Number.isFinite(loss) && Number.isFinite(others));
  return finite.length > 0 ? learnedOf(finite, { step, samples: SAMPLES, lossRatio: lossRatioOf(losses) }) : null;
}
