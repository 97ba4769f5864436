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
    ['diffmine export run --list top --top 100 --format coco --out findings.json', 'Boxes for annotation tools'],
    ['diffmine export run --table maps --format png --out maps', 'Heat maps as images'],
    ['diffmine export run --crops findings --top 20 --margin 0.2', 'The best 20 patches per label as images'],
  ],
  async handle({ run, ...values }, context) {
    return values.crops === undefined ? table({ run, ...values }, context) : crops({ run, ...values }, context);
  },
});

async function crops({ run, ...values }: Values, { output, signal }: CommandContext): Promise<Outcome> {
  const other = (['table', 'format', 'out', 'threshold'] as const).find((key) => values[key] !== undefined);
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
  if (values.margin !== undefined) throw new DiffmineError('INVALID_ARGUMENT', '`margin` needs `crops`.');
  const { table, format: asked, out, threshold, dataset, ...selection } = resolved(EXPORT, partOf(EXPORT, values));
  const format = asked ?? (table === 'maps' ? 'coco' : output.json ? 'json' : 'csv');
  const isTable = format === 'csv' || format === 'json' || format === 'parquet';
  if (threshold !== undefined && (table !== 'maps' || format === 'png'))
    throw new DiffmineError('INVALID_ARGUMENT', '`threshold` applies to maps that are exported as masks.');
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
  if (!isTable) {
    if (table === 'images')
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `The table images has no boxes for ${format}.`,
        'Export it as csv, json or parquet.',
      );
    const { exportAnnotations } = await import('../../tools/export/annotations.js');
    const to = out ?? output.stream();
    const summary = await exportAnnotations({ run, table, format, out: to, threshold, dataset, ...selection });
    if (out === undefined) return undefined;
    const what = table === 'maps' ? count(summary.findings, 'map') : count(summary.findings, 'box', 'boxes');
    return {
      text: `${what} of ${count(summary.images, 'image')}: ${out}`,
      json: { run, table, format, out, ...summary },
    };
  }
  if (dataset !== undefined)
    throw new DiffmineError('INVALID_ARGUMENT', '`dataset` does not apply to tables: they have no images.');
  if (table === 'maps')
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `Maps are no table: ${format} cannot hold them.`,
      'Export them as coco, datumaro or png.',
    );
  const { exportTable } = await import('../../tools/export/export.js');
  const rows = await exportTable({ run, table, format, out: out ?? output.stream(), ...selection });
  return out === undefined
    ? undefined
    : { text: `${count(rows, 'row')}: ${out}`, json: { run, table, format, out, rows } };
}
