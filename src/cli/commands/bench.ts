// bench: speed, in numbers that a CI job can keep.
import type { BenchReport } from '../../bench/bench';
import type { TrainingBench } from '../../bench/training';
import { DiffmineError } from '../../errors';
import { command } from '../command';
import { BENCH } from '../options';
import { byteSize, table } from '../output';
import { defined } from '../stages';

function trainingText(results: TrainingBench[]): string[] {
  const rows = results.map(({ what, precision, batch, input, checkpointing, measured }) => [
    what, precision, `${batch} x ${input.join(' x ')}`,
    ...(measured
      ? [
          measured.seconds.median.toFixed(3), `${measured.seconds.min.toFixed(3)} ... ${measured.seconds.max.toFixed(3)}`, measured.stepsPerSecond.toPrecision(3), measured.picturesPerSecond.toPrecision(3),
          byteSize(measured.peakMemory),
        ]
      : ['skipped', '', '', '', '']),
    checkpointing ? 'checkpointed' : '',
  ]);
  return [
    table(['training', 'precision', 'batch', 's a step', 'range', 'steps/s', 'pictures/s', 'peak memory', ''], rows, [3, 5, 6, 7]),
    ...results.flatMap(({ what, precision, skipped }) => (skipped === undefined ? [] : [`skipped ${what} in ${precision}: ${skipped}`])),
  ];
}

export function benchText(report: BenchReport): string {
  const { machine, peer, pipeline } = report;
  const rows = report.unet.map(({ precision, latent, seconds, evaluationsPerSecond, peerSeconds, ratio }) => [
    precision, `${latent} x ${latent}`, seconds.median.toFixed(3), `${seconds.min.toFixed(3)} ... ${seconds.max.toFixed(3)}`, evaluationsPerSecond.toFixed(2),
    ...(peer ? [peerSeconds?.median.toFixed(3) ?? '', ratio?.toFixed(2) ?? ''] : []),
  ]);
  return [
    `${report.model} on ${report.device} (${machine.processor}, ${machine.threads} threads, ${machine.cpuCapability}, LibTorch ${machine.libtorch})`,
    ...(peer ? [`peer: diffusers ${peer.diffusers}, torch ${peer.torch}, ${peer.threads} threads`] : []),
    ...(report.training ? trainingText(report.training) : []),
    ...(rows.length === 0 ? [] : [table(['precision', 'latents', 's a pass', 'range', 'evaluations/s', ...(peer ? ['peer s', 'times faster'] : [])], rows, [2, 4, 5, 6])]),
    ...(pipeline ? [`whole pipeline: ${pipeline.pictures} pictures of ${pipeline.samples} samples in ${pipeline.seconds.toFixed(1)} s, ${pipeline.picturesPerSecond.toFixed(2)} a second`] : []),
  ].join('\n');
}

export const benchCommand = command({
  name: 'bench',
  describe: 'Time the UNet, training and the whole pipeline, beside diffusers where there is one',
  native: true,
  options: { ...BENCH },
  examples: [
    ['diffmine bench --no-evaluations --training tiny,small --precisions fp32,bf16', 'Steps a second of small models'],
    ['diffmine bench --no-evaluations --training model --precisions bf16 --gradient-checkpointing', "Of Stable Diffusion 1.5's UNet"],
  ],
  async handle(values, { output, signal }) {
    const { bench } = await import('../../bench/bench.js');
    const { chooseDevice } = await import('../../run/device.js');
    const model = values['pipeline-model'];
    const dataset = values['pipeline-data'];
    if ((model === undefined) !== (dataset === undefined)) throw new DiffmineError('INVALID_ARGUMENT', '--pipeline-model and --pipeline-data go together.');
    const training = values.training;
    if (training === undefined && (values['training-batch'] !== undefined || values['gradient-checkpointing'])) {
      throw new DiffmineError('INVALID_ARGUMENT', 'Nothing says what to train.', 'Name it: --training tiny,model.');
    }
    if (values['no-evaluations'] && training === undefined && model === undefined) throw new DiffmineError('INVALID_ARGUMENT', 'With --no-evaluations there is nothing to time.', 'Name --training, or --pipeline-model and --pipeline-data.');
    const [device] = values.precisions.map((precision) => chooseDevice(values.device, precision).id); // each precision is checked
    const report = await bench(
      {
        model: values.model, device: device ?? 'cpu', precisions: values.precisions, latents: values['no-evaluations'] ? [] : values.latents, batch: values.batch, repeats: values.repeats,
        ...(values.threads === undefined ? {} : { threads: values.threads }),
        ...(values.peer === undefined ? {} : { peer: values.peer }),
        ...(training && { training: defined({ what: training, batch: values['training-batch'], checkpointing: values['gradient-checkpointing'] }) }),
        ...(model === undefined || dataset === undefined ? {} : { pipeline: { model, dataset } }),
      },
      { signal, log: (line) => output.log(line) },
    );
    return { text: benchText(report), json: report };
  },
});
