// export: writes tables of a run for other tools, or its patches as images.
import { partOf, resolved, type Given } from '../../options/check.js';
import { DiffmineError } from '../../util/errors.js';
import { command, type CommandContext, type Outcome } from '../command.js';
import { optionsOf } from '../../options/option.js';
import { CROPS, EXPORT } from '../../tools/export/options.js';
import { count } from '../../web/html.js';
import { RUN } from '../options.js';

const OPTIONS = optionsOf('export', { ...RUN, ...EXPORT.shape, ...CROPS.partial({ crops: true }).shape });
type Values = Given<typeof OPTIONS>;

export const exportCommand = command({
  options: OPTIONS,
  examples: [
    ['diffmine export run --out patches.csv', 'The ranked patches, boxes in source pixels'],
    ['diffmine export run --table clusters --json', 'The clusters, on stdout'],
    ['diffmine export run --crops findings --top 20 --margin 0.2', 'The best 20 patches per label as images'],
  ],
  async handle({ run, ...values }, context) {
    return values.crops === undefined ? table({ run, ...values }, context) : crops({ run, ...values }, context);
  },
});

async function crops({ run, ...values }: Values, { output, signal }: CommandContext): Promise<Outcome> {
  const other = (['table', 'format', 'out'] as const).find((key) => values[key] !== undefined);
  if (other !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `\`${other}\` does not apply to \`crops\`.`,
      'Export images and tables with two commands.',
    );
  const { exportCrops } = await import('../../tools/export/crops.js');
  const summary = await exportCrops(
    { run, ...(partOf(CROPS, values) as { crops: string }) },
    { signal, onProgress: output.progress, onLog: (line) => output.log(line) },
  );
  if (summary.missing.length > 0) output.log('If the images have moved, name their folder with `dataset`.');
  return {
    text: `${count(summary.crops, 'patch', 'patches')} of ${count(summary.labels, 'label')}: ${summary.path}`,
    json: summary,
  };
}

async function table({ run, ...values }: Values, { output }: CommandContext): Promise<Outcome | undefined> {
  const stray = (['margin', 'dataset'] as const).find((key) => values[key] !== undefined);
  if (stray !== undefined)
    throw new DiffmineError('INVALID_ARGUMENT', `\`${stray}\` needs \`crops\`: tables have no images.`);
  const { table, format: asked, out, ...selection } = resolved(EXPORT, partOf(EXPORT, values));
  const format = asked ?? (output.json ? 'json' : 'csv');
  if (out === undefined && output.json && format !== 'json') {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--json and --format ${format} cannot both write to stdout.`,
      'Give a file with --out.',
    );
  }
  if (out === undefined && format === 'parquet' && process.stdout.isTTY) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      'Parquet cannot be printed to a terminal.',
      'Give a file with --out, or redirect stdout.',
    );
  }
  const { exportTable } = await import('../../tools/export/export.js');
  const rows = await exportTable({ run, table, format, out: out ?? output.stream(), ...selection });
  return out === undefined
    ? undefined
    : { text: `${count(rows, 'row')}: ${out}`, json: { run, table, format, out, rows } };
}
