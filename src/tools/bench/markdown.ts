// A benchmark as tables for people: Markdown for the page of a CI job.
import { count as counted, significant } from '../../web/html.js';
import type { CompareReport, Comparison } from './compare.js';
import type { Spread } from './figures.js';
import { cellName, SAMPLES, type BenchReport, type Cell, type Measured } from './report.js';

export const percent = (utilization: number): string => `${(100 * utilization).toFixed(1)} %`;
/** '42.0 % (40.1 ... 43.2)'. */
export const percentRange = ({ median, min, max }: Spread): string =>
  `${percent(median)} (${(100 * min).toFixed(1)} ... ${(100 * max).toFixed(1)})`;
/** '0.123' for seconds, '0.000123' where that would be 0.000. */
export const time = (value: number): string => (value >= 0.1 ? value.toFixed(3) : value.toPrecision(3));
export const tera = (rate: number): string => (rate >= 1e13 ? (rate / 1e12).toFixed(0) : (rate / 1e12).toPrecision(2));

/** '201,601', '0.231'. */
export const count = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3);

/** '1.234 (1.201 ... 1.250)'. */
export const factor = ({ median, min, max }: Spread): string =>
  `${median.toFixed(3)} (${min.toFixed(3)} ... ${max.toFixed(3)})`;

/** '29 min', '1.4 h', '60 days'. */
export function long(seconds: number): string {
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86_400).toFixed(0)} days`;
}

/** In the order of the way of an image. */
export const STAGES = ['decode', 'encode', 'noise', 'unet', 'score', 'select', 'features', 'cluster'] as const;

/** What a stage takes of an image of N = 100 samples, in seconds; undefined for what is not counted by images, or not measured. */
export function ofImage({ stages }: Measured, name: string): number | undefined {
  const stage = stages?.[name];
  if (!stage || stage.per === 'label' || name === 'features' || name === 'decode') return undefined;
  return stage.seconds.median * (stage.per === 'unetCall' ? 2 * SAMPLES : 1);
}

/** Markdown of a table; cells must hold no line breaks. */
function table(header: string[], rows: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(header), line(header.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

const MARKS: Record<Comparison['verdict'], string> = {
  ok: 'ok',
  faster: 'faster',
  regression: '**slower**',
  lost: '**lost**',
  missing: 'missing',
  new: 'new',
};

function comparisonTable({ tolerance, comparisons, warnings, baseline, passed }: CompareReport): string {
  const rows = comparisons.map(({ cell, what, before, now, ratio, verdict, noisy }) => [
    cell,
    what,
    before ? percentRange(before) : '',
    now ? percentRange(now) : '',
    ratio === undefined ? '' : `${ratio >= 1 ? '+' : ''}${(100 * (ratio - 1)).toFixed(1)} %`,
    MARKS[verdict] + (noisy ? ' (noisy)' : ''),
  ]);
  return [
    `### ${passed ? 'No regression' : 'Regression'} against the baseline`,
    `Utilization of the machine's matmul rate; tolerance ${percent(tolerance)}. Baseline: diffmine ${baseline.version}, ${baseline.created}, ${baseline.processor}.`,
    table(['cell', 'what', 'baseline (range)', 'now (range)', 'change', ''], rows),
    ...(warnings.length === 0 ? [] : [warnings.map((warning) => `- ${warning}`).join('\n')]),
  ].join('\n\n');
}

/** The page of a job: figures by cell, stages, diffusers, and the comparison if there is one. */
export function benchMarkdown(report: BenchReport, comparison?: CompareReport): string {
  const { machine, cells, diffusers, reference, starts } = report;
  const measured = cells.flatMap((cell) => (cell.measured ? [[cell, cell.measured] as const] : []));
  const parts = [
    `## diffmine bench: ${report.model} on ${machine.processor}`,
    `${report.device}${machine.threads > 0 ? `, ${counted(machine.threads, 'thread')}` : ''}, LibTorch ${machine.libtorch}, diffmine ${report.version}, ${report.created}.`,
    ...(comparison ? [comparisonTable(comparison)] : []),
  ];
  if (measured.length > 0) {
    parts.push(
      '### Speed',
      table(
        [
          'cell',
          'UNet calls/s',
          'TFLOP/s',
          'matmul, TFLOP/s',
          'share (range)',
          'images/s',
          'patches/s',
          'a billion patches',
          'peak memory, GB',
          'first pass, s',
        ],
        measured.map(([cell, { unetCallsPerSecond, flops, matmul, utilization, scan, peakMemory, firstSeconds }]) => [
          cellName(cell),
          significant(unetCallsPerSecond, 4),
          tera(flops),
          tera(matmul.median),
          percentRange(utilization),
          scan ? count(scan.imagesPerSecond) : '',
          scan ? count(scan.patchesPerSecond) : '',
          scan ? long(scan.secondsPerBillionPatches) : '',
          (peakMemory / 1e9).toFixed(2),
          time(firstSeconds),
        ]),
      ),
      `Images and patches are counted at N = ${SAMPLES}.`,
    );
  }
  const staged = measured.filter(([, { stages }]) => stages);
  if (staged.length > 0) {
    const stage = (result: Measured, name: string): string => {
      const one = result.stages?.[name];
      return one ? time(ofImage(result, name) ?? one.seconds.median) : '';
    };
    parts.push(
      `### Seconds per image, by stage`,
      table(
        ['cell', ...STAGES],
        staged.map(([cell, result]) => [cellName(cell), ...STAGES.map((name) => stage(result, name))]),
      ),
      `At N = ${SAMPLES}; decode runs in parallel with the device. Features: per image with chosen patches. Cluster: per label of 1000 patches.`,
    );
  }
  const diffusersCells = measured.flatMap(([cell, { seconds, diffusersCells: others }]) =>
    (others ?? []).map((other) => [cell, seconds, other] as const),
  );
  if (diffusers && diffusersCells.length > 0) {
    parts.push(
      `### Compared with diffusers ${diffusers.diffusers}, torch ${diffusers.torch}`,
      table(
        ['cell', 'diffusers', 's per pass', 'diffusers, s per pass', 'times faster'],
        diffusersCells.map(([cell, seconds, other]) => [
          cellName(cell),
          other.mode,
          time(seconds.median),
          other.seconds ? time(other.seconds.median) : `skipped: ${other.skipped ?? ''}`,
          other.ratio?.toFixed(2) ?? '',
        ]),
      ),
    );
  }
  const ablations = measured.flatMap(([cell, { ablations: each }]) => (each ?? []).map((one) => [cell, one] as const));
  if (ablations.length > 0) {
    parts.push(
      '### Speedup of each optimization',
      table(
        [
          'cell',
          'optimization',
          'forward pass, times faster with it (range)',
          'scoring call, times faster with it (range)',
        ],
        ablations.map(([cell, { optimization, pass, scan, skipped }]) => [
          cellName(cell),
          optimization,
          skipped === undefined ? (pass ? factor(pass) : '') : `skipped: ${skipped}`,
          scan ? factor(scan) : '',
        ]),
      ),
    );
  }
  if (reference) {
    parts.push(
      '### The whole pipeline, compared with the reference implementation',
      `${counted(reference.images, 'image')} of ${counted(reference.samples, 'sample')}, ${reference.dtype} ${time(reference.ours.median)} s against ${reference.theirDtype} ${time(reference.theirs.median)} s, **${reference.ratio.median.toFixed(2)} times** as fast.`,
    );
  }
  if (starts.length > 0)
    parts.push(
      `Time to the first result: ${starts.map(({ dtype, firstResultSeconds, loadSeconds }) => `${dtype} ${firstResultSeconds.toFixed(1)} s (loading ${loadSeconds.toFixed(1)} s)`).join(', ')}.`,
    );
  const skipped = cells.filter((cell): cell is Cell & { skipped: string } => cell.skipped !== undefined);
  if (skipped.length > 0) parts.push(skipped.map((cell) => `- skipped ${cellName(cell)}: ${cell.skipped}`).join('\n'));
  return `${parts.join('\n\n')}\n`;
}
