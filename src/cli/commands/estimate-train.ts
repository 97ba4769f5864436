// estimate-train, also `estimate train`: predicts the cost of a training.
import type { TrainingEstimate } from '../../tools/estimate/train.js';
import { ESTIMATE_TRAIN } from '../../tools/estimate/options.js';
import { byteSize } from '../../util/bytes.js';
import { count, millions, significant, whole } from '../../web/html.js';
import { command } from '../command.js';
import { leastMemoryLine, line, operationCount, priceLine, timeText } from '../estimates.js';

/** @param unmeasured how to learn the time, where it is not known */
export function trainingText(
  found: TrainingEstimate,
  unmeasured = 'give --rate, or with --like a --device',
  time = timeText(found, 'steps', unmeasured),
): string {
  const { memory, disk, device, dtype } = found;
  const of = memory.available === null ? '' : ` of ${byteSize(memory.available)}${device === 'cpu' ? ' free' : ''}`;
  const epochs =
    found.images === null
      ? ''
      : `, ${significant((found.steps * found.trainBatch) / found.images, 2)} epochs of ${count(found.images, 'image')}`;
  return [
    line('model', `${found.model}, ${millions(found.parameters)} million parameters`),
    line('steps', `${whole(found.steps)} of ${count(found.trainBatch, 'image')} at ${found.size} px${epochs}`),
    line('step', `${operationCount(found.operations)} (computed)`),
    line(
      'memory',
      `${byteSize(memory.total)}${of} (computed: weights, gradients and moments ${byteSize(memory.state)}, activations ${byteSize(memory.activations)} in ${dtype})`,
    ),
    ...(device === 'cpu' ? [] : [leastMemoryLine(memory.least)]),
    ...(disk === null
      ? []
      : [
          line(
            'disk',
            `${byteSize(disk.total)}, ${byteSize(disk.peak)} while a checkpoint is written (computed: ${count(disk.kept, 'checkpoint')} of ${byteSize(disk.checkpoint)}, model ${byteSize(disk.model)})`,
          ),
        ]),
    line('time', time),
    ...priceLine(found),
    ...(memory.fits === false
      ? [
          'This does not fit into memory: use a smaller --train-batch or more --gradient-accumulation-steps, --gradient-checkpointing, or --lora-rank.',
        ]
      : []),
    ...found.notes,
  ].join('\n');
}

export const estimateTrainCommand = command({
  native: ({ like }) => like === undefined,
  options: ESTIMATE_TRAIN,
  examples: [
    ['diffmine estimate-train photos --new small', 'A training from scratch, timed on this machine'],
    [
      'diffmine estimate-train --like sd15 --images 5000 --steps 4000 --device a100 --dtype fp16 --per-hour 1.8',
      'Without weights or a GPU',
    ],
  ],
  async handle(values, { output, signal }) {
    const { estimateTraining } = await import('../../tools/estimate/train.js');
    const found = await estimateTraining(values, { signal, onLog: (line) => output.log(line) });
    return { text: trainingText(found), json: found };
  },
});
