// The tables and sentences of a benchmark, for the terminal (src/cli/bench-text.ts) and for Markdown (markdown.ts).
import { byteSize } from '../../util/bytes.js';
import { count as counted, significant } from '../../web/html.js';
import type { CompareReport, Comparison } from './compare.js';
import type { Spread } from './figures.js';
import { cellName, SAMPLES, type BenchReport, type Cell, type Measured } from './report.js';

export interface BenchTable {
  title: string;
  columns: { head: string; align: 'left' | 'right' }[];
  rows: string[][];
  /** below the table */
  notes: string[];
}

interface Column<Row> {
  head: string;
  align: 'left' | 'right';
  cell: (row: Row) => string;
}

const text = <Row>(head: string, cell: (row: Row) => string): Column<Row> => ({ head, align: 'left', cell });
const number = <Row>(head: string, cell: (row: Row) => string): Column<Row> => ({ head, align: 'right', cell });

/** A table with one line per row; none if there are no rows. */
function tableOf<Row>(
  title: string,
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  notes: string[] = [],
): BenchTable[] {
  if (rows.length === 0) return [];
  return [
    {
      title,
      columns: columns.map(({ head, align }) => ({ head, align })),
      rows: rows.map((row) => columns.map(({ cell }) => cell(row))),
      notes,
    },
  ];
}

const percent = (fraction: number): string => `${(100 * fraction).toFixed(1)} %`;
/** '42.0 % (40.1 ... 43.2)'. */
const percentRange = ({ median, min, max }: Spread): string =>
  `${percent(median)} (${(100 * min).toFixed(1)} ... ${(100 * max).toFixed(1)})`;
/** '0.123' for seconds, '0.000123' where that would be 0.000. */
const time = (value: number): string => (value >= 0.1 ? value.toFixed(3) : value.toPrecision(3));
const timeRange = ({ median, min, max }: Spread): string => `${time(median)} (${time(min)} ... ${time(max)})`;
const tera = (rate: number): string => (rate >= 1e13 ? (rate / 1e12).toFixed(0) : (rate / 1e12).toPrecision(2));
/** '1.234 (1.201 ... 1.250)'. */
const ratioRange = ({ median, min, max }: Spread): string =>
  `${median.toFixed(3)} (${min.toFixed(3)} ... ${max.toFixed(3)})`;
/** '201,601', '0.231'. */
const rate = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3);

/** '29 min', '1.4 h', '60 days'. */
function long(seconds: number): string {
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86_400).toFixed(0)} days`;
}

type MeasuredCell = Cell & { measured: Measured };
const isMeasured = (cell: Cell): cell is MeasuredCell => cell.measured !== undefined;

/** All tables of a report, without the comparison with a baseline. */
export function benchTables(report: BenchReport): BenchTable[] {
  const cells = report.cells.filter(isMeasured);
  return [
    ...trainingTable(report),
    ...speedTable(cells),
    ...scanTable(cells),
    ...stageTable(cells),
    ...diffusersTable(cells, report.diffusers),
    ...ablationTable(cells),
  ];
}

function trainingTable({ training = [] }: BenchReport): BenchTable[] {
  const measured = training.flatMap((one) => (one.measured ? [{ ...one, ...one.measured }] : []));
  return tableOf('Training', measured, [
    text('training', ({ what }) => what),
    text('dtype', ({ dtype }) => dtype),
    text('input', ({ batch, input }) => `${batch} x ${input.join(' x ')}`),
    number('s per step (range)', ({ seconds }) => timeRange(seconds)),
    number('steps/s', ({ stepsPerSecond }) => significant(stepsPerSecond, 3)),
    number('images/s', ({ imagesPerSecond }) => significant(imagesPerSecond, 3)),
    number('peak memory', ({ peakMemory }) => byteSize(peakMemory)),
    text('', ({ checkpointing }) => (checkpointing ? 'gradient checkpointing' : '')),
  ]);
}

function speedTable(cells: readonly MeasuredCell[]): BenchTable[] {
  return tableOf('Forward passes of the UNet', cells, [
    text('cell', cellName),
    number('s per pass (range)', ({ measured }) => timeRange(measured.seconds)),
    number('first pass, s', ({ measured }) => time(measured.firstSeconds)),
    number('UNet calls/s', ({ measured }) => significant(measured.unetCallsPerSecond, 4)),
    number('TFLOP/s', ({ measured }) => tera(measured.flops)),
    number('matmul, TFLOP/s', ({ measured }) => tera(measured.matmul.median)),
    number('copy, GB/s', ({ measured }) => (measured.copy.median / 1e9).toFixed(0)),
    number('utilization (range)', ({ measured }) => percentRange(measured.utilization)),
    number('peak memory', ({ measured }) => byteSize(measured.peakMemory)),
  ]);
}

function scanTable(cells: readonly MeasuredCell[]): BenchTable[] {
  const scanned = cells.flatMap((cell) => (cell.measured.scan ? [{ ...cell, ...cell.measured.scan }] : []));
  return tableOf(`A scan with ${SAMPLES} samples per image`, scanned, [
    text('cell', cellName),
    text('images', ({ pixels }) => `${pixels} px`),
    number('images/s', ({ imagesPerSecond }) => rate(imagesPerSecond)),
    number('patches/s', ({ patchesPerSecond }) => rate(patchesPerSecond)),
    number('time per billion patches', ({ secondsPerBillionPatches }) => long(secondsPerBillionPatches)),
    number('utilization (range)', ({ utilization }) => percentRange(utilization)),
  ]);
}

/** In the order of the way of an image. */
const STAGES = ['decode', 'encode', 'noise', 'unet', 'score', 'select', 'features', 'cluster'] as const;

/** Seconds of a stage, per image where a scan runs it for each image. */
function stageSeconds({ stages }: Measured, name: string): string {
  const stage = stages?.[name];
  if (!stage) return '';
  return time(stage.seconds.median * (stage.per === 'unetCall' ? 2 * SAMPLES : 1));
}

function stageTable(cells: readonly MeasuredCell[]): BenchTable[] {
  const staged = cells.filter(({ measured }) => measured.stages);
  return tableOf(
    `Seconds per image of each stage, with ${SAMPLES} samples`,
    staged,
    [
      text('cell', cellName),
      ...STAGES.map((name) => number<MeasuredCell>(name, ({ measured }) => stageSeconds(measured, name))),
    ],
    [
      'decode runs in parallel with the device; features: per image with chosen patches; cluster: per label of 1000 patches.',
    ],
  );
}

function diffusersTable(cells: readonly MeasuredCell[], info: BenchReport['diffusers']): BenchTable[] {
  const compared = cells.flatMap((cell) =>
    (cell.measured.diffusersCells ?? []).map((other) => ({ cell, ours: cell.measured.seconds, other })),
  );
  const version = info ? ` ${info.diffusers}, torch ${info.torch}, ${counted(info.threads, 'thread')}` : '';
  return tableOf(`Compared with diffusers${version}`, compared, [
    text('cell', ({ cell }) => cellName(cell)),
    text('diffusers', ({ other }) => other.mode),
    number('s per pass', ({ ours }) => time(ours.median)),
    number('diffusers, s per pass', ({ other }) => (other.seconds ? time(other.seconds.median) : 'skipped')),
    number('times faster', ({ other }) => other.ratio?.toFixed(2) ?? ''),
    text('', ({ other }) => other.skipped ?? ''),
  ]);
}

function ablationTable(cells: readonly MeasuredCell[]): BenchTable[] {
  const ablations = cells.flatMap((cell) => (cell.measured.ablations ?? []).map((one) => ({ cell, ...one })));
  return tableOf('Speedup of each optimization: time without it divided by time with it', ablations, [
    text('cell', ({ cell }) => cellName(cell)),
    text('optimization', ({ optimization }) => optimization),
    number('forward pass (range)', ({ pass }) => (pass ? ratioRange(pass) : '')),
    number('scoring call (range)', ({ scan }) => (scan ? ratioRange(scan) : '')),
    text('', ({ skipped }) => (skipped === undefined ? '' : `skipped: ${skipped}`)),
  ]);
}

/** The comparison with a baseline. */
export function comparisonTable({ baseline, tolerance, comparisons, warnings, passed }: CompareReport): BenchTable[] {
  const { version, created, processor } = baseline;
  return tableOf<Comparison>(
    `${passed ? 'No regression' : 'Slower'}: utilization compared with the baseline of ${created} (diffmine ${version}, ${processor}), tolerance ${percent(tolerance)}`,
    comparisons,
    [
      text('cell', ({ cell }) => cell),
      text('what', ({ what }) => what),
      number('baseline (range)', ({ before }) => (before ? percentRange(before) : '')),
      number('now (range)', ({ now }) => (now ? percentRange(now) : '')),
      number('change', ({ ratio }) => (ratio === undefined ? '' : `${ratio >= 1 ? '+' : ''}${percent(ratio - 1)}`)),
      text('verdict', ({ verdict, noisy }) => `${verdict}${noisy ? ' (noisy)' : ''}`),
    ],
    warnings,
  );
}

/** What was measured once, and what was skipped. */
export function benchSentences({ starts, pipeline, reference, training = [], cells }: BenchReport): string[] {
  const sentences = starts.map(
    ({ dtype, loadSeconds, firstResultSeconds }) =>
      `First result in ${dtype} after ${firstResultSeconds.toFixed(2)} s, ${loadSeconds.toFixed(2)} s of it loading.`,
  );
  if (pipeline)
    sentences.push(
      `Whole pipeline in ${pipeline.dtype}: ${counted(pipeline.images, 'image')} of ${counted(pipeline.samples, 'sample')} in ${pipeline.seconds.toFixed(1)} s, ${pipeline.imagesPerSecond.toFixed(2)} per second.`,
    );
  if (reference) {
    const { images, samples, dtype, ours, theirDtype, theirs, ratio } = reference;
    sentences.push(
      `Whole pipeline: ${counted(images, 'image')} of ${counted(samples, 'sample')}, ${dtype}: ${time(ours.median)} s; the reference implementation in ${theirDtype}: ${time(theirs.median)} s. ` +
        `${ratio.median.toFixed(2)} times as fast (${ratio.min.toFixed(2)} ... ${ratio.max.toFixed(2)}).`,
    );
  }
  for (const { what, dtype, skipped } of training)
    if (skipped !== undefined) sentences.push(`Skipped: training of ${what} in ${dtype}, ${skipped}.`);
  for (const cell of cells)
    if (cell.skipped !== undefined) sentences.push(`Skipped: ${cellName(cell)}, ${cell.skipped}.`);
  return sentences;
}
