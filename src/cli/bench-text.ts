// The report of `bench` as text for the terminal.
import type { CompareReport } from '../tools/bench/compare.js';
import type { BenchReport } from '../tools/bench/report.js';
import { benchSentences, benchTables, comparisonTable, type BenchTable } from '../tools/bench/tables.js';
import { count } from '../web/html.js';
import { table } from './output.js';

function section({ title, columns, rows, notes }: BenchTable): string {
  const right = columns.flatMap(({ align }, index) => (align === 'right' ? [index] : []));
  const heads = columns.map(({ head }) => head);
  return [`${title}:`, table(heads, rows, right), ...notes.map((note) => `  ${note}`)].join('\n');
}

export function benchText(report: BenchReport, comparison?: CompareReport): string {
  const { processor, threads, cpuCapability, libtorch } = report.machine;
  const machine = [
    processor,
    threads > 0 ? count(threads, 'thread') : '',
    cpuCapability,
    `LibTorch ${libtorch}`,
  ].filter((part) => part !== '');
  const sentences = benchSentences(report).join('\n');
  return [
    `${report.model} on ${report.device} (${machine.join(', ')})`,
    ...benchTables(report).map(section),
    ...(sentences === '' ? [] : [sentences]),
    ...(comparison
      ? [
          ...comparisonTable(comparison).map(section),
          comparison.passed ? 'No regression.' : 'Slower than the baseline.',
        ]
      : []),
  ].join('\n\n');
}
