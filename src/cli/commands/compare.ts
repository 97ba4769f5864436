// compare: how far two runs agree.
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { COMPARE, type CompareSummary } from '../../tools/compare/options.js';
import { namesOf } from '../../tools/compare/shown.js';
import { count } from '../../web/html.js';
import { command } from '../command.js';
import { RUN } from '../options.js';
import { table } from '../output.js';

const number = (value: number | null): string => (value === null ? '-' : value.toFixed(2));
const percent = (value: number | null): string => (value === null ? '-' : `${Math.round(100 * value)} %`);

export function compareText(summary: CompareSummary): string {
  const { labels, mean, differences } = summary;
  const [a, b] = namesOf(summary.run.path, summary.other.path);
  const shown = (value: unknown): string =>
    value === null ? '-' : typeof value === 'string' ? value : JSON.stringify(value);
  const columns = mean.overlap.map(({ k }) => `top ${k}`);
  const rows = labels.map((one) => [
    one.label,
    String(one.images.common),
    number(one.images.spearman),
    String(one.patches.common),
    number(one.patches.spearman),
    ...one.overlap.map(({ fraction }) => percent(fraction)),
  ]);
  const means = [
    'mean',
    '',
    number(mean.images),
    '',
    number(mean.patches),
    ...mean.overlap.map(({ fraction }) => percent(fraction)),
  ];
  return [
    `${a} and ${b}: ${count(labels.length, 'label')} in common.`,
    ...differences.map(({ name, run, other }) => `  ${name}: ${shown(run)}, ${shown(other)}`),
    '',
    table(
      ['label', 'images', 'correlation', 'patches', 'correlation', ...columns],
      [...rows, means],
      [1, 2, 3, 4, ...columns.map((_, i) => i + 5)],
    ),
    '',
    summary.page,
  ].join('\n');
}

export const compareCommand = command({
  options: optionsOf('compare', {
    ...RUN,
    other: option(fields.path(), { group: 'Input', description: 'Second run: a directory, or s3://BUCKET/PREFIX' }),
    ...COMPARE.shape,
  }),
  examples: [
    ['diffmine compare run-fp32 run-bf16', 'What a dtype changes'],
    ['diffmine compare seed-0 seed-1 --at 10,100 --out agreement', 'What holds for another seed'],
  ],
  async handle(values, { output, signal }) {
    const { compare } = await import('../../tools/compare/compare.js');
    const summary = await compare(values, {
      signal,
      onProgress: output.progress,
      onLog: (line) => output.log(line),
    });
    return { text: compareText(summary), json: summary };
  },
});
