// bench: measures speed, and compares it with a baseline in CI.
import { appendFile } from 'node:fs/promises';

import type { CompareReport } from '../../tools/bench/compare.js';
import {
  benchMarkdown,
  count,
  factor,
  long,
  ofImage,
  percent,
  percentRange,
  STAGES,
  tera,
  time,
} from '../../tools/bench/markdown.js';
import { OPTIMIZATIONS } from '../../tools/bench/optimizations.js';
import { SAMPLES, type BenchReport, type Cell } from '../../tools/bench/report.js';
import type { TrainingBench } from '../../tools/bench/training.js';
import { pick } from '../../util/pick.js';
import { DiffmineError, EXIT_CODES } from '../../util/errors.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { resolved } from '../../options/check.js';
import { BENCH } from '../../tools/bench/options.js';
import { command } from '../command.js';
import { table } from '../output.js';
import { byteSize } from '../../util/bytes.js';

function trainingText(results: TrainingBench[]): string[] {
  const rows = results.map(({ what, dtype, batch, input, checkpointing, measured }) => [
    what,
    dtype,
    `${batch} x ${input.join(' x ')}`,
    ...(measured
      ? [
          measured.seconds.median.toFixed(3),
          `${measured.seconds.min.toFixed(3)} ... ${measured.seconds.max.toFixed(3)}`,
          measured.stepsPerSecond.toPrecision(3),
          measured.imagesPerSecond.toPrecision(3),
          byteSize(measured.peakMemory),
        ]
      : ['skipped', '', '', '', '']),
    checkpointing ? 'checkpointed' : '',
  ]);
  return [
    table(
      ['training', 'dtype', 'batch', 's a step', 'range', 'steps/s', 'images/s', 'peak memory', ''],
      rows,
      [3, 5, 6, 7],
    ),
    ...results.flatMap(({ what, dtype, skipped }) =>
      skipped === undefined ? [] : [`skipped ${what} in ${dtype}: ${skipped}`],
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
          'dtype',
          'input',
          'batch',
          's a pass',
          'range',
          'first',
          'UNet calls/s',
          'TFLOP/s',
          'matmul',
          'copy GB/s',
          'utilization',
          'range',
          'peak memory',
        ],
        measured.map(
          ({ cell, seconds, firstSeconds, unetCallsPerSecond, flops, matmul, copy, utilization, peakMemory }) => [
            cell.dtype,
            sides(cell),
            String(cell.batch),
            time(seconds.median),
            `${time(seconds.min)} ... ${time(seconds.max)}`,
            time(firstSeconds),
            unetCallsPerSecond.toPrecision(4),
            tera(flops),
            tera(matmul.median),
            (copy.median / 1e9).toFixed(0),
            percent(utilization.median),
            `${(100 * utilization.min).toFixed(1)} ... ${(100 * utilization.max).toFixed(1)}`,
            byteSize(peakMemory),
          ],
        ),
        [2, 3, 5, 6, 7, 8, 9, 10, 12],
      ),
    );
  }
  const diffusersCells = measured.flatMap(({ cell, diffusersCells: others }) =>
    (others ?? []).map((other) => [
      cell.dtype,
      sides(cell),
      String(cell.batch),
      other.mode,
      other.seconds ? time(other.seconds.median) : 'skipped',
      other.ratio?.toFixed(2) ?? '',
      other.skipped ?? '',
    ]),
  );
  if (diffusersCells.length > 0)
    lines.push(
      '',
      table(['dtype', 'input', 'batch', 'diffusers', 's a pass', 'times faster', ''], diffusersCells, [2, 4, 5]),
    );
  const ablations = measured.flatMap(({ cell, ablations: each }) =>
    (each ?? []).map(({ optimization, pass, scan, skipped }) => [
      cell.dtype,
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
            cell.dtype,
            `${cell.pixels} px`,
            String(cell.batch),
            count(scan.imagesPerSecond),
            count(scan.patchesPerSecond),
            long(scan.secondsPerBillionPatches),
            percentRange(scan.utilization),
          ],
        ]
      : [],
  );
  if (scans.length > 0)
    lines.push(
      '',
      table(
        [`scan at N = ${SAMPLES}`, 'images', 'batch', 'images/s', 'patches/s', 'a billion', 'utilization'],
        scans,
        [2, 3, 4, 5, 6],
      ),
    );
  const staged = measured.filter(({ stages }) => stages);
  if (staged.length > 0) {
    const rows = staged.map((one) => [
      one.cell.dtype,
      sides(one.cell),
      String(one.cell.batch),
      ...STAGES.map((name) => {
        const stage = one.stages?.[name];
        return stage ? time(ofImage(one, name) ?? stage.seconds.median) : '';
      }),
    ]);
    lines.push(
      '',
      table(['seconds per image', 'input', 'batch', ...STAGES], rows, [2, 3, 4, 5, 6, 7, 8, 9, 10]),
      '  decode runs beside the rest; features: of a chosen image; cluster: of a label of 1000 patches',
    );
  }
  for (const cell of cells)
    if (cell.skipped !== undefined)
      lines.push(`skipped ${cell.dtype} ${sides(cell)}, batch ${cell.batch}: ${cell.skipped}`);
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
    `against the baseline of ${baseline.created} (diffmine ${baseline.version}, ${baseline.processor}), utilization of the machine's matmul rate, tolerance ${percent(tolerance)}:`,
    table(['cell', 'what', 'baseline', 'now', 'ratio', ''], rows, [2, 3, 4]),
    ...warnings.map((warning) => `note: ${warning}`),
    passed ? 'No regression.' : 'Slower than the baseline.',
  ];
}

export function benchText(report: BenchReport, comparison?: CompareReport): string {
  const { machine, diffusers, pipeline, reference, starts } = report;
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
    ...(diffusers
      ? [`baseline: diffusers ${diffusers.diffusers}, torch ${diffusers.torch}, ${diffusers.threads} threads`]
      : []),
    ...(report.training ? trainingText(report.training) : []),
    ...cellsText(report.cells),
    ...starts.map(
      ({ dtype, loadSeconds, firstResultSeconds }) =>
        `first result in ${dtype} after ${firstResultSeconds.toFixed(2)} s, ${loadSeconds.toFixed(2)} s of it loading`,
    ),
    ...(pipeline
      ? [
          `whole pipeline in ${pipeline.dtype}: ${pipeline.images} images of ${pipeline.samples} samples in ${pipeline.seconds.toFixed(1)} s, ${pipeline.imagesPerSecond.toFixed(2)} a second`,
        ]
      : []),
    ...(reference
      ? [
          `whole pipeline: ${reference.images} images of ${reference.samples} samples, ${reference.dtype}: ${time(reference.ours.median)} s; the reference's loop in ${reference.theirDtype} ${time(reference.theirs.median)} s: ` +
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
      '--summary auto needs the environment variable GITHUB_STEP_SUMMARY, which only GitHub jobs have.',
      'Give a file instead: --summary bench.md.',
    );
  return { file, append: true };
}

export const benchCommand = command({
  native: true,
  options: BENCH,
  examples: [
    [
      'diffmine bench --device cuda --batch 64,128 --out bench.json',
      'UNet calls, images and patches per second, and matmul utilization of the GPU',
    ],
    [
      'diffmine bench --device cuda --compare baseline.json --tolerance 5% --summary auto',
      'In CI: exit code 1 on a slowdown',
    ],
    ['diffmine bench --ablate all --latents 64', 'Speedup of each engine optimization on this machine'],
    ['diffmine bench --no-unet --training tiny,small --dtype fp32,bf16', 'Training steps per second of small models'],
    [
      'diffmine bench --no-unet --training model --dtype bf16 --gradient-checkpointing',
      "The same for Stable Diffusion 1.5's UNet",
    ],
  ],
  async handle(asked, { output, signal }) {
    const values = resolved(BENCH, asked);
    const { bench } = await import('../../tools/bench/bench.js');
    const { compare } = await import('../../tools/bench/compare.js');
    const { readBaseline } = await import('../../tools/bench/report.js');
    const { openSubject } = await import('../../tools/bench/subject.js');
    const { chooseDevice } = await import('../../runs/device.js');
    const model = values.pipelineModel;
    const dataset = values.pipelineData;
    if ((model === undefined) !== (dataset === undefined))
      throw new DiffmineError('INVALID_ARGUMENT', '--pipeline-model and --pipeline-data go together.');
    const training = values.training;
    if (training === undefined && (values.trainBatch !== undefined || values.gradientCheckpointing)) {
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        'There is no training to time.',
        'Name at least one size, or model: --training tiny,model.',
      );
    }
    const unetCalls = values.unet;
    if (!unetCalls && training === undefined && model === undefined)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        'With --no-unet there is nothing to time.',
        'Name --training, or --pipeline-model and --pipeline-data.',
      );
    if (values.latents && values.size)
      throw new DiffmineError('INVALID_ARGUMENT', '--latents and --size set the same value: give one of them.');
    if (values.reference && (values.diffusers === undefined || model === undefined))
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '--reference needs --diffusers, --pipeline-model and --pipeline-data.',
      );
    if (values.diffusersCompile !== undefined && values.diffusers === undefined)
      throw new DiffmineError('INVALID_ARGUMENT', '--diffusers-compile needs --diffusers.');
    if (asked.tolerance !== undefined && values.compare === undefined)
      throw new DiffmineError('INVALID_ARGUMENT', '--tolerance needs --compare.');
    if (values.compare !== undefined && !unetCalls)
      throw new DiffmineError('INVALID_ARGUMENT', '--compare compares UNet calls: leave out --no-unet.');
    // What would fail at the end fails before any time is spent.
    const summary = values.summary === undefined ? undefined : summaryFile(values.summary);
    const baseline = values.compare === undefined ? undefined : await readBaseline(values.compare);
    const { id: device } = chooseDevice(values.device, 'fp32');
    const gpu = device.startsWith('cuda');
    const dtypes = values.dtype ?? (gpu ? (['fp16'] as const) : (['fp32', 'bf16'] as const));
    for (const dtype of dtypes) chooseDevice(device, dtype);
    let latents = values.latents ?? [32, 64];
    if (values.size) {
      const { pixelsPerCell } = await openSubject(values.model, pick(values, 'variant'));
      const odd = values.size.find((side) => side % pixelsPerCell !== 0);
      if (odd !== undefined)
        throw new DiffmineError(
          'INVALID_ARGUMENT',
          `--size ${odd} is not a multiple of the ${pixelsPerCell} px of a cell of ${values.model}.`,
        );
      latents = values.size.map((side) => side / pixelsPerCell);
    }
    const report = await bench(
      {
        model: values.model,
        device,
        dtypes: [...dtypes],
        latents: unetCalls ? latents : [],
        batches: values.batch ?? [gpu ? 64 : 2],
        repeats: values.repeats,
        stages: values.stages,
        ...pick(values, 'variant', 'threads', 'diffusers', 'diffusersCompile', 'disable'),
        ...(baseline ? { baseline } : {}),
        ...(values.ablate
          ? { ablate: values.ablate.flatMap((name) => (name === 'all' ? [...OPTIMIZATIONS] : [name])) }
          : {}),
        ...(training && {
          training: {
            what: training,
            checkpointing: values.gradientCheckpointing,
            ...(values.trainBatch === undefined ? {} : { batch: values.trainBatch }),
          },
        }),
        ...(model === undefined || dataset === undefined
          ? {}
          : { pipeline: { model, dataset, samples: values.pipelineSamples } }),
        ...(values.reference
          ? { reference: { top: values.top, ...(values.referenceDtype ? { dtype: values.referenceDtype } : {}) } }
          : {}),
      },
      { signal, onLog: (line) => output.log(line) },
    );
    const comparison = baseline && compare(baseline, report, values.tolerance);
    if (values.out !== undefined) await writeFileAtomic(values.out, `${JSON.stringify(report, null, 1)}\n`);
    if (summary?.append) await appendFile(summary.file, benchMarkdown(report, comparison));
    else if (summary) await writeFileAtomic(summary.file, benchMarkdown(report, comparison));
    return {
      text: benchText(report, comparison),
      json: comparison ? { ...report, comparison } : report,
      exitCode: comparison && !comparison.passed ? EXIT_CODES.CHECK_FAILED : 0,
    };
  },
});
