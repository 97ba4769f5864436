// estimate: predicts the cost of a scan.
import type { Estimate } from '../../tools/estimate/estimate.js';
import { ESTIMATE } from '../../tools/estimate/options.js';
import { command } from '../command.js';
import { duration } from '../output.js';
import { byteSize } from '../../util/bytes.js';
import { count, whole } from '../../web/html.js';
import { onScan } from '../stages.js';

/** 803291234304 -> '803 GFLOP' */
function operationCount(operations: number): string {
  const [size, unit] = operations >= 1e12 ? [operations / 1e12, 'TFLOP'] : [operations / 1e9, 'GFLOP'];
  return `${Number(size.toPrecision(3))} ${unit}`;
}

const line = (name: string, text: string): string => `${`${name}:`.padEnd(12)} ${text}`;

function memoryLine({ memory, batch, dtype, device }: Estimate): string {
  const { total, weights, activations, available } = memory;
  const of = available === null ? '' : ` of ${byteSize(available)}${device === 'cpu' ? ' free' : ''}`;
  return line(
    'memory',
    `${byteSize(total)}${of} in ${dtype} with batches of ${batch} (computed: weights ${byteSize(weights)}, activations ${byteSize(activations)})`,
  );
}

function timeLine(found: Estimate): string {
  const { hours, hoursAtMost, rate, rateFrom, computedFrom, device, dtype } = found;
  if (hours === undefined || rate === undefined)
    return line('time', 'unknown without a rate: give --rate, or with --like a --device');
  const perSecond = `${rate.toPrecision(3)} UNet calls per second`;
  const where = device === null ? '' : ` on ${device} in ${dtype}`;
  return hoursAtMost === undefined
    ? line('time', `about ${duration(3600 * hours)}${where} at ${perSecond} (${rateFrom})`)
    : line(
        'time',
        `about ${duration(3600 * hours)} to ${duration(3600 * hoursAtMost)}${where} at up to ${perSecond} (computed from ${computedFrom})`,
      );
}

function estimateText(found: Estimate): string {
  const { memory, disk, price, priceAtMost } = found;
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
    line('mining', `at most ${whole(found.featurePasses)} forward passes through part of the UNet, for features`),
    memoryLine(found),
  );
  if (found.device !== 'cpu')
    lines.push(
      line(
        'GPU memory',
        `at least ${byteSize(memory.least.fp32)} in fp32, ${byteSize(memory.least.half)} in fp16 or bf16 (computed, with 1 GB for CUDA)`,
      ),
    );
  lines.push(
    line('disk', `${byteSize(disk.total)} (computed: tables ${byteSize(disk.tables)}, maps ${byteSize(disk.maps)})`),
    timeLine(found),
  );
  if (price !== undefined)
    lines.push(
      line(
        'price',
        priceAtMost === undefined ? price.toFixed(2) : `${price.toFixed(2)} to ${priceAtMost.toFixed(2)} (computed)`,
      ),
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
