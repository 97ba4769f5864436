// bench: speed, in numbers that a CI job can keep.
import type { BenchReport } from '../../bench/bench';
import { DiffmineError } from '../../errors';
import { command } from '../command';
import { BENCH } from '../options';
import { table } from '../output';

export function benchText(report: BenchReport): string {
  const { machine, peer, pipeline } = report;
  const rows = report.unet.map(({ precision, latent, seconds, evaluationsPerSecond, peerSeconds, ratio }) => [
    precision, `${latent} x ${latent}`, seconds.median.toFixed(3), `${seconds.min.toFixed(3)} ... ${seconds.max.toFixed(3)}`, evaluationsPerSecond.toFixed(2),
    ...(peer ? [peerSeconds?.median.toFixed(3) ?? '', ratio?.toFixed(2) ?? ''] : []),
  ]);
  return [
    `${report.model} on ${report.device} (${machine.processor}, ${machine.threads} threads, ${machine.cpuCapability}, LibTorch ${machine.libtorch})`,
    ...(peer ? [`peer: diffusers ${peer.diffusers}, torch ${peer.torch}, ${peer.threads} threads`] : []),
    table(['precision', 'latents', 's a pass', 'range', 'evaluations/s', ...(peer ? ['peer s', 'times faster'] : [])], rows, [2, 4, 5, 6]),
    ...(pipeline ? [`whole pipeline: ${pipeline.pictures} pictures of ${pipeline.samples} samples in ${pipeline.seconds.toFixed(1)} s, ${pipeline.picturesPerSecond.toFixed(2)} a second`] : []),
  ].join('\n');
}

export const benchCommand = command({
  name: 'bench',
  describe: 'Time the UNet (and the whole pipeline), beside diffusers where there is one',
  native: true,
  options: { ...BENCH },
  async handle(values, { output, signal }) {
    const { bench } = await import('../../bench/bench.js');
    const { chooseDevice } = await import('../../run/device.js');
    const model = values['pipeline-model'];
    const dataset = values['pipeline-data'];
    if ((model === undefined) !== (dataset === undefined)) throw new DiffmineError('INVALID_ARGUMENT', '--pipeline-model and --pipeline-data go together.');
    const [device] = values.precisions.map((precision) => chooseDevice(values.device, precision).id); // each precision is checked
    const report = await bench(
      {
        model: values.model, device: device ?? 'cpu', precisions: values.precisions, latents: values.latents, batch: values.batch, repeats: values.repeats,
        ...(values.threads === undefined ? {} : { threads: values.threads }),
        ...(values.peer === undefined ? {} : { peer: values.peer }),
        ...(model === undefined || dataset === undefined ? {} : { pipeline: { model, dataset } }),
      },
      { signal, log: (line) => output.log(line) },
    );
    return { text: benchText(report), json: report };
  },
});
