// The validation loss of a training.
import type { Trainer } from '../../engine/index.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { batchOf, heldOutExample, type Example } from './batches.js';
import type { Data } from './data.js';
import type { TrainEvent, TrainSettings } from './options.js';

/** Key of the fixed noise of validation. */
const VALIDATION_KEY = 0x76616c69;

/** Mean loss of the validation images, always with the same noise; null if there are none. */
export async function validationLoss(
  trainer: Trainer,
  data: Data,
  settings: Pick<TrainSettings, 'trainBatch' | 'gradientAccumulationSteps' | 'ema'>,
  hooks: Hooks<TrainEvent>,
): Promise<number | null> {
  const { validation } = data;
  const size = settings.trainBatch / settings.gradientAccumulationSteps;
  let [sum, count] = [0, 0];
  for (let begin = 0; begin < validation.length; begin += size) {
    if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'Training was cancelled.');
    const images: Example[] = [];
    for (const index of validation.slice(begin, begin + size)) {
      const one = await heldOutExample(data, index, hooks.onLog);
      if (one) images.push(one);
    }
    if (images.length > 0)
      sum += images.length * (await trainer.evaluate(batchOf(data, images), VALIDATION_KEY + begin, settings.ema > 0));
    count += images.length;
  }
  return count > 0 ? sum / count : null;
}
