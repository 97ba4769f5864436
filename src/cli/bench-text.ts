// The report of `bench` as text for the terminal.
import type { CompareReport } from '../tools/bench/compare.js';
import { count, factor, long, ofImage, percent, percentRange, STAGES, tera, time } from '../tools/bench/markdown.js';
import { SAMPLES, type BenchReport, type Cell } from '../tools/bench/report.js';
import type { TrainingBench } from '../tools/bench/training.js';
import { byteSize } from '../util/bytes.js';
import { count as counted, significant } from '../web/html.js';
import { table } from './output.js';

function trainingText(results: TrainingBench[]): string[] {
  const rows = results.map(({ what, dtype, batch, input, checkpointing, measured }) => [
    what,
    dtype,
    `${batch} x ${input.join(' x ')}`,
    ...(measured
      ? [
          measured.seconds.median.toFixed(3),
          `${measured.seconds.min.toFixed(3)} ... ${measured.seconds.max.toFixed(3)}`,
          significant(measured.stepsPerSecond, 3),
          significant(measured.imagesPerSecond, 3),
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
            significant(unetCallsPerSecond, 4),
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
    ...(machine.threads > 0 ? [counted(machine.threads, 'thread')] : []),
    machine.cpuCapability,
    `LibTorch ${machine.libtorch}`,
  ]
    .filter(Boolean)
    .join(', ');
  return [
    `${report.model} on ${report.device} (${processor})`,
    ...(diffusers
      ? [
          `baseline: diffusers ${diffusers.diffusers}, torch ${diffusers.torch}, ${counted(diffusers.threads, 'thread')}`,
        ]
      : []),
    ...(report.training ? trainingText(report.training) : []),
    ...cellsText(report.cells),
    ...starts.map(
      ({ dtype, loadSeconds, firstResultSeconds }) =>
        `first result in ${dtype} after ${firstResultSeconds.toFixed(2)} s, ${loadSeconds.toFixed(2)} s of it loading`,
    ),
    ...(pipeline
      ? [
          `whole pipeline in ${pipeline.dtype}: ${counted(pipeline.images, 'image')} of ${counted(pipeline.samples, 'sample')} in ${pipeline.seconds.toFixed(1)} s, ${pipeline.imagesPerSecond.toFixed(2)} per second`,
        ]
      : []),
    ...(reference
      ? [
          `whole pipeline: ${counted(reference.images, 'image')} of ${counted(reference.samples, 'sample')}, ${reference.dtype}: ${time(reference.ours.median)} s; the reference's loop in ${reference.theirDtype} ${time(reference.theirs.median)} s: ` +
            `${reference.ratio.median.toFixed(2)} times as fast (${reference.ratio.min.toFixed(2)} ... ${reference.ratio.max.toFixed(2)})`,
        ]
      : []),
    ...(comparison ? compareText(comparison) : []),
  ].join('\n');
}
