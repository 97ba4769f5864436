// estimate: predicts the cost of a scan.
import type { Estimate } from '../../tools/estimate/estimate.js';
import { ESTIMATE } from '../../tools/estimate/options.js';
import { command } from '../command.js';
import { byteSize } from '../../util/bytes.js';
import { count, whole } from '../../web/html.js';
import { leastMemoryLine, line, operationCount, priceLine, timeText } from '../estimates.js';
import { onScan } from '../stages.js';

function memoryLine({ memory, batch, dtype, device }: Estimate): string {
  const { total, weights, activations, available } = memory;
  const of = available === null ? '' : ` of ${byteSize(available)}${device === 'cpu' ? ' free' : ''}`;
  return line(
    'memory',
    `${byteSize(total)}${of} in ${dtype} with batches of ${batch} (computed: weights ${byteSize(weights)}, activations ${byteSize(activations)})`,
  );
}

/** @param unmeasured how to learn the time, where it is not known */
export function estimateText(found: Estimate, unmeasured = 'give --rate, or with --like a --device'): string {
  const { memory, disk } = found;
  const lines = [
    line('model', found.model),
    line(
      'images',
      `${count(found.images, 'image')} of ${count(found.labels, 'label')}, scored at ${found.width} x ${found.height} px at most`,
    ),
    line(
      'UNet calls',
      `${whole(found.unetCalls)} (${found.unetCallsPerImage} per image), ${operationCount(found.operations)} each (computed)`,
    ),
  ];
  if (found.unetCallsExpected !== undefined)
    lines.push(
      line(
        'racing',
        `from ${whole(found.unetCallsAtLeast ?? 0)} to ${whole(found.unetCalls)} UNet calls, which the images decide; about ${whole(found.unetCallsExpected)} ` +
          `(${Math.round((100 * found.unetCallsExpected) / found.unetCalls)} %) if they race as the demo's dataset did (measured there only)`,
      ),
    );
  if (found.pilotCalls > 0)
    lines.push(
      line('pilot', `${whole(found.pilotCalls)} more UNet calls before the scan, for --t-range auto or --t-weights`),
    );
  lines.push(
    line('mining', `at most ${whole(found.featurePasses)} forward passes through part of the model, for features`),
    memoryLine(found),
  );
  if (found.device !== 'cpu') lines.push(leastMemoryLine(memory.least));
  lines.push(
    line('disk', `${byteSize(disk.total)} (computed: tables ${byteSize(disk.tables)}, maps ${byteSize(disk.maps)})`),
    line('time', timeText(found, 'UNet calls', unmeasured)),
    ...priceLine(found),
  );
  if (memory.fits === false)
    lines.push('This does not fit into memory: use a smaller --batch or --size, or fewer --workers.');
  return [...lines, ...found.notes].join('\n');
}

export const estimateCommand = command({
  native: ({ like }) => like === undefined,
  options: ESTIMATE,
  examples: [
    ['diffmine estimate photos --model sd15', 'The scan that `run` with these options would do, timed on this machine'],
    [
      'diffmine estimate --like sd15 --images 5000 --size 512 --device h100 --dtype fp16 --per-hour 2.5',
      'Without weights or a GPU',
    ],
  ],
  async handle(values, { output, signal }) {
    const { estimate } = await import('../../tools/estimate/estimate.js');
    const found = await estimate(values, { signal, onProgress: onScan(output), onLog: (line) => output.log(line) });
    return { text: estimateText(found), json: found };
  },
});
