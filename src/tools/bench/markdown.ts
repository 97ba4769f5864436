// A benchmark as Markdown, for the page of a CI job.
import { count } from '../../web/html.js';
import type { CompareReport } from './compare.js';
import type { BenchReport } from './report.js';
import { benchSentences, benchTables, comparisonTable, type BenchTable } from './tables.js';

/** Markdown of a table; cells must hold no line breaks. */
function section({ title, columns, rows, notes }: BenchTable): string {
  const line = (cells: string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const table = [
    line(columns.map(({ head }) => head)),
    line(columns.map(({ align }) => (align === 'right' ? '---:' : '---'))),
    ...rows.map(line),
  ].join('\n');
  return [`### ${title}`, table, ...(notes.length === 0 ? [] : [list(notes)])].join('\n\n');
}

const list = (sentences: string[]): string => sentences.map((sentence) => `- ${sentence}`).join('\n');

/** The page of a job: the comparison if there is one, then all figures. */
export function benchMarkdown(report: BenchReport, comparison?: CompareReport): string {
  const { machine, device, version, created } = report;
  const threads = machine.threads > 0 ? `, ${count(machine.threads, 'thread')}` : '';
  const sentences = benchSentences(report);
  return `${[
    `## diffmine bench: ${report.model} on ${machine.processor}`,
    `${device}${threads}, LibTorch ${machine.libtorch}, diffmine ${version}, ${created}.`,
    ...(comparison ? comparisonTable(comparison) : []).map(section),
    ...benchTables(report).map(section),
    ...(sentences.length === 0 ? [] : [list(sentences)]),
  ].join('\n\n')}\n`;
}
