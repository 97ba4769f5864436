// estimate: predicts the cost of a scan.
import type { Estimate } from '../../tools/estimate/estimate.js';
import { ESTIMATE } from '../../tools/estimate/options.js';
import { command } from '../command.js';
import { byteSize, duration } from '../output.js';
import { count } from '../../web/html.js';
import { onScan } from '../stages.js';

function estimateText(found: Estimate): string {
  const { memory, disk } = found;
  const lines = [
    `images:    ${found.images} of ${count(found.labels, 'label')}, scored at ${found.width} x ${found.height} px at most`,
    `UNet calls: ${found.unetCalls} (${found.unetCallsPerImage} per image) in batches of ${found.batch}, ${found.dtype} on ${found.device}`,
    `memory:      ${byteSize(memory.total)} (weights ${byteSize(memory.weights)}, activations ${byteSize(memory.activations)}) of ${byteSize(memory.available)} free`,
    `disk:        ${byteSize(disk.total)} (tables ${byteSize(disk.tables)}, maps ${byteSize(disk.maps)})`,
    found.hours === undefined || found.rate === undefined
      ? 'time:        unknown without a rate'
      : `time:        ${duration(3600 * found.hours)} at ${found.rate.toPrecision(3)} UNet calls per second`,
  ];
  if (found.unetCallsAtLeast !== undefined)
    lines.push(`racing:      from ${found.unetCallsAtLeast} to ${found.unetCalls} UNet calls, which the images decide`);
  if (!memory.fits) lines.push('This does not fit into memory: use a smaller --batch or --size, or fewer --workers.');
  return lines.join('\n');
}

export const estimateCommand = command({
  name: 'estimate',
  describe: 'Estimate memory, UNet calls, time and disk space of a scan',
  native: true,
  options: ESTIMATE,
  places: ['dataset'],
  async handle(values, { output, signal }) {
    const { estimate } = await import('../../tools/estimate/estimate.js');
    const found = await estimate(values, { signal, onProgress: onScan(output), onLog: (line) => output.log(line) });
    return { text: estimateText(found), json: found };
  },
});
