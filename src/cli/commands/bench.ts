// bench: speed, in numbers that a CI job can keep, and compare with.
import { appendFile } from 'node:fs/promises';

import type { CompareReport } from '../../tools/bench/compare.js';
import {
  benchMarkdown,
  count,
  factor,
  long,
  ofPicture,
  percent,
  percentRange,
  STAGES,
  tera,
  time,
} from '../../tools/bench/markdown.js';
import { OPTIMIZATIONS, type BenchOptimization } from '../../tools/bench/optimizations.js';
import { SAMPLES, type BenchReport, type Cell } from '../../tools/bench/report.js';
import type { TrainingBench } from '../../tools/bench/training.js';
import { DiffmineError, EXIT_CODES } from '../../util/errors.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { command } from '../command.js';
import { BENCH } from '../options.js';
import { byteSize, table } from '../output.js';
import { defined } from '../stages.js';

function trainingText(results: TrainingBench[]): string[] {
  const rows = results.map(({ what, precision, batch, input, checkpointing, measured }) => [
    what,
    precision,
    `${batch} x ${input.join(' x ')}`,
    ...(measured
      ? [
          measured.seconds.median.toFixed(3),
          `${measured.seconds.min.toFixed(3)} ... ${measured.seconds.max.toFixed(3)}`,
          measured.stepsPerSecond.toPrecision(3),
          measured.picturesPerSecond.toPrecision(3),
          byteSize(measured.peakMemory),
        ]
      : ['skipped', '', '', '', '']),
    checkpointing ? 'checkpointed' : '',
  ]);
  return [
    table(
      ['training', 'precision', 'batch', 's a step', 'range', 'steps/s', 'pictures/s', 'peak memory', ''],
      rows,
      [3, 5, 6, 7],
    ),
    ...results.flatMap(({ what, precision, skipped }) =>
      skipped === undefined ? [] : [`skipped ${what} in ${precision}: ${skipped}`],
    ),
  ];
}

const sides = ({ input: [, height, width] }: Cell): string => `${height} x ${width}`;

function cellsText(cells: Cell[]): string[] {
  const lines: string[] = [];
  const measured = cells.flatMap((cell) => (cell.measured ? [{ cell, ...cell.measured }] : []));
  if (measured.length > 0) {
    lines.push(
      table(
        [
          'precision',
          'input',
          'batch',
          's a pass',
          'range',
          'first',
          'evaluations/s',
          'TFLOP/s',
          'matmul',
          'copy GB/s',
          'share',
          'range',
          'peak memory',
        ],
        measured.map(
          ({ cell, seconds, firstSeconds, evaluationsPerSecond, flops, matmul, copy, share, peakMemory }) => [
            cell.precision,
            sides(cell),
            String(cell.batch),
            time(seconds.median),
            `${time(seconds.min)} ... ${time(seconds.max)}`,
            time(firstSeconds),
            evaluationsPerSecond.toPrecision(4),
            tera(flops),
            tera(matmul.median),
            (copy.median / 1e9).toFixed(0),
            percent(share.median),
            `${(100 * share.min).toFixed(1)} ... ${(100 * share.max).toFixed(1)}`,
            byteSize(peakMemory),
          ],
        ),
        [2, 3, 5, 6, 7, 8, 9, 10, 12],
      ),
    );
  }
  const peers = measured.flatMap(({ cell, peers: others }) =>
    (others ?? []).map((other) => [
      cell.precision,
      sides(cell),
      String(cell.batch),
      other.mode,
      other.seconds ? time(other.seconds.median) : 'skipped',
      other.ratio?.toFixed(2) ?? '',
      other.skipped ?? '',
    ]),
  );
  if (peers.length > 0)
    lines.push('', table(['precision', 'input', 'batch', 'peer', 's a pass', 'times faster', ''], peers, [2, 4, 5]));
  const ablations = measured.flatMap(({ cell, ablations: each }) =>
    (each ?? []).map(({ optimization, pass, scan, skipped }) => [
      cell.precision,
      sides(cell),
      String(cell.batch),
      optimization,
      pass ? factor(pass) : '',
      scan ? factor(scan) : '',
      skipped === undefined ? '' : `skipped: ${skipped}`,
    ]),
  );
  if (ablations.length > 0)
    lines.push(
      '',
      table(
        ['dtype', 'input', 'batch', 'optimization', 'a forward pass, times faster with it', 'a scoring call', ''],
        ablations,
        [2, 4, 5],
      ),
    );
  const scans = measured.flatMap(({ cell, scan }) =>
    scan
      ? [
          [
            cell.precision,
            `${cell.pixels} px`,
            String(cell.batch),
            count(scan.imagesPerSecond),
            count(scan.patchesPerSecond),
            long(scan.secondsPerBillionPatches),
            percentRange(scan.share),
          ],
        ]
      : [],
  );
  if (scans.length > 0)
    lines.push(
      '',
      table(
        [`scan at N = ${SAMPLES}`, 'pictures', 'batch', 'images/s', 'patches/s', 'a billion', 'share'],
        scans,
        [2, 3, 4, 5, 6],
      ),
    );
  const staged = measured.filter(({ stages }) => stages);
  if (staged.length > 0) {
    const rows = staged.map((one) => [
      one.cell.precision,
      sides(one.cell),
      String(one.cell.batch),
      ...STAGES.map((name) => {
        const stage = one.stages?.[name];
        return stage ? time(ofPicture(one, name) ?? stage.seconds.median) : '';
      }),
    ]);
    lines.push(
      '',
      table(['seconds a picture', 'input', 'batch', ...STAGES], rows, [2, 3, 4, 5, 6, 7, 8, 9, 10]),
      '  decode runs beside the rest; features: of a chosen picture; cluster: of a label of 1000 patches',
    );
  }
  for (const cell of cells)
    if (cell.skipped !== undefined)
      lines.push(`skipped ${cell.precision} ${sides(cell)}, batch ${cell.batch}: ${cell.skipped}`);
  return lines;
}

function compareText({ baseline, tolerance, comparisons, warnings, passed }: CompareReport): string[] {
  const rows = comparisons.map(({ cell, what, before, now, ratio, verdict, noisy }) => [
    cell,
    what,
    before ? percentRange(before) : '',
    now ? percentRange(now) : '',
    ratio === undefined ? '' : ratio.toFixed(3),
    verdict + (noisy ? ' (noisy)' : ''),
  ]);
  return [
    '',
    `against the baseline of ${baseline.created} (diffmine ${baseline.version}, ${baseline.processor}), shares of the machine's own rate, tolerance ${percent(tolerance)}:`,
    table(['cell', 'what', 'baseline', 'now', 'ratio', ''], rows, [2, 3, 4]),
    ...warnings.map((warning) => `note: ${warning}`),
    passed ? 'No regression.' : 'Slower than the baseline.',
  ];
}

export function benchText(report: BenchReport, comparison?: CompareReport): string {
  const { machine, peer, pipeline, reference, starts } = report;
  const processor = [
    machine.processor,
    ...(machine.threads > 0 ? [`${machine.threads} threads`] : []),
    machine.cpuCapability,
    `LibTorch ${machine.libtorch}`,
  ]
    .filter(Boolean)
    .join(', ');
  return [
    `${report.model} on ${report.device} (${processor})`,
    ...(peer ? [`peer: diffusers ${peer.diffusers}, torch ${peer.torch}, ${peer.threads} threads`] : []),
    ...(report.training ? trainingText(report.training) : []),
    ...cellsText(report.cells),
    ...starts.map(
      ({ precision, loadSeconds, firstResultSeconds }) =>
        `first result in ${precision} after ${firstResultSeconds.toFixed(2)} s, ${loadSeconds.toFixed(2)} s of it loading`,
    ),
    ...(pipeline
      ? [
          `whole pipeline in ${pipeline.precision}: ${pipeline.pictures} pictures of ${pipeline.samples} samples in ${pipeline.seconds.toFixed(1)} s, ${pipeline.picturesPerSecond.toFixed(2)} a second`,
        ]
      : []),
    ...(reference
      ? [
          `whole pipeline: ${reference.pictures} pictures of ${reference.samples} samples, ${reference.precision}: ${time(reference.ours.median)} s; the reference's loop in ${reference.theirPrecision} ${time(reference.theirs.median)} s: ` +
            `${reference.ratio.median.toFixed(2)} times as fast (${reference.ratio.min.toFixed(2)} ... ${reference.ratio.max.toFixed(2)})`,
        ]
      : []),
    ...(comparison ? compareText(comparison) : []),
  ].join('\n');
}

/** Where --summary goes. @throws INVALID_ARGUMENT for auto outside of a job */
function summaryFile(where: string): { file: string; append: boolean } {
  if (where !== 'auto') return { file: where, append: false };
  const file = process.env['GITHUB_STEP_SUMMARY'];
  if (!file)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      '--summary auto needs the variable GITHUB_STEP_SUMMARY, which a GitHub job has.',
      'Elsewhere name a file: --summary bench.md.',
    );
  return { file, append: true };
}

export const benchCommand = command({
  name: 'bench',
  describe:
    "Time the UNet, its stages, training and the whole pipeline as shares of the machine's own speed; compare with a baseline, diffusers and the reference",
  native: true,
  options: { ...BENCH },
  examples: [
    [
      'diffmine bench --device cuda --batch 64,128 --json bench.json',
      'Evaluations, pictures and patches a second, and the share of the card reached',
    ],
    [
      'diffmine bench --device cuda --compare baseline.json --tolerance 5% --summary auto',
      'In CI: exit code 1 where it became slower',
    ],
    ['diffmine bench --ablate all --latents 64', 'What each optimization of the engine is worth here'],
    ['diffmine bench --no-evaluations --training tiny,small --dtype fp32,bf16', 'Steps a second of small models'],
    [
      'diffmine bench --no-evaluations --training model --dtype bf16 --gradient-checkpointing',
      "Of Stable Diffusion 1.5's UNet",
    ],
  ],
  async handle(values, { output, signal }) {
    const { bench } = await import('../../tools/bench/bench.js');
    const { compare } = await import('../../tools/bench/compare.js');
    const { readBaseline } = await import('../../tools/bench/report.js');
    const { openSubject } = await import('../../tools/bench/subject.js');
    const { chooseDevice } = await import('../../runs/device.js');
    const model = values['pipeline-model'];
    const dataset = values['pipeline-data'];
    if ((model === undefined) !== (dataset === undefined))
      throw new DiffmineError('INVALID_ARGUMENT', '--pipeline-model and --pipeline-data go together.');
    const training = values.training;
    if (training === undefined && (values['training-batch'] !== undefined || values['gradient-checkpointing'])) {
      throw new DiffmineError('INVALID_ARGUMENT', 'Nothing says what to train.', 'Name it: --training tiny,model.');
    }
    const evaluations = !values['no-evaluations'];
    if (!evaluations && training === undefined && model === undefined)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        'With --no-evaluations there is nothing to time.',
        'Name --training, or --pipeline-model and --pipeline-data.',
      );
    if (values.latents && values.size)
      throw new DiffmineError('INVALID_ARGUMENT', '--latents and --size say the same: give one of them.');
    if (values.reference && (values.peer === undefined || model === undefined))
      throw new DiffmineError('INVALID_ARGUMENT', '--reference needs --peer, --pipeline-model and --pipeline-data.');
    if (values['peer-compile'] !== undefined && values.peer === undefined)
      throw new DiffmineError('INVALID_ARGUMENT', '--peer-compile needs --peer.');
    if (values.tolerance !== undefined && values.compare === undefined)
      throw new DiffmineError('INVALID_ARGUMENT', '--tolerance needs --compare.');
    if (values.compare !== undefined && !evaluations)
      throw new DiffmineError('INVALID_ARGUMENT', '--compare compares evaluations: leave out --no-evaluations.');
    // What would fail at the end fails before any time is spent.
    const summary = values.summary === undefined ? undefined : summaryFile(values.summary);
    const baseline = values.compare === undefined ? undefined : await readBaseline(values.compare);
    const { id: device } = chooseDevice(values.device, 'fp32');
    const gpu = device.startsWith('cuda');
    const precisions = values.dtype ?? (gpu ? (['fp16'] as const) : (['fp32', 'bf16'] as const));
    for (const precision of precisions) chooseDevice(device, precision);
    let latents = values.latents ?? [32, 64];
    if (values.size) {
      const { pixelsPerCell } = await openSubject(values.model, defined({ variant: values.variant }));
      const odd = values.size.find((side) => side % pixelsPerCell !== 0);
      if (odd !== undefined)
        throw new DiffmineError(
          'INVALID_ARGUMENT',
          `--size ${odd} is no multiple of the ${pixelsPerCell} px of a cell of ${values.model}.`,
        );
      latents = values.size.map((side) => side / pixelsPerCell);
    }
    const report = await bench(
      {
        model: values.model,
        device,
        precisions: [...precisions],
        latents: evaluations ? latents : [],
        batches: values.batch ?? [gpu ? 64 : 2],
        repeats: values.repeats,
        stages: !values['no-stages'],
        ...defined({
          variant: values.variant,
          threads: values.threads,
          peer: values.peer,
          peerCompile: values['peer-compile'],
          baseline,
          disable: values.disable,
          ablate: values.ablate?.flatMap((name): readonly BenchOptimization[] =>
            name === 'all' ? OPTIMIZATIONS : [name],
          ),
        }),
        ...(training && {
          training: defined({
            what: training,
            batch: values['training-batch'],
            checkpointing: values['gradient-checkpointing'],
          }),
        }),
        ...(model === undefined || dataset === undefined
          ? {}
          : { pipeline: { model, dataset, samples: values['pipeline-samples'] } }),
        ...(values.reference ? { reference: defined({ top: values.top, precision: values['reference-dtype'] }) } : {}),
      },
      { signal, log: (line) => output.log(line) },
    );
    const comparison = baseline && compare(baseline, report, values.tolerance ?? 0.05);
    if (values.file !== undefined) await writeFileAtomic(values.file, `${JSON.stringify(report, null, 1)}\n`);
    if (summary?.append) await appendFile(summary.file, benchMarkdown(report, comparison));
    else if (summary) await writeFileAtomic(summary.file, benchMarkdown(report, comparison));
    return {
      text: benchText(report, comparison),
      json: comparison ? { ...report, comparison } : report,
      exitCode: comparison && !comparison.passed ? EXIT_CODES.CHECK_FAILED : 0,
    };
  },
});
