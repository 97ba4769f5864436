// export: writes a table of a run for other tools.
import { resolved } from '../../options/check.js';
import { DiffmineError } from '../../util/errors.js';
import { command } from '../command.js';
import { optionsOf } from '../../options/option.js';
import { EXPORT } from '../../tools/export/options.js';
import { RUN } from '../options.js';

export const exportCommand = command({
  name: 'export',
  describe: 'Export a table of a run as JSON, CSV or Parquet',
  options: optionsOf('export', { ...RUN, ...EXPORT.shape }),
  places: ['run'],
  examples: [
    ['diffmine export run --out patches.csv', 'The ranked patches, boxes in source pixels'],
    ['diffmine export run --table clusters --json', 'The clusters, on stdout'],
  ],
  async handle({ run, ...options }, { output }) {
    const { table, format: asked, out } = resolved(EXPORT, options);
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
    const rows = await exportTable({ run, table, format, out: out ?? output.stream() });
    return out === undefined
      ? undefined
      : { text: `${rows} ${rows === 1 ? 'row' : 'rows'}: ${out}`, json: { run, table, format, out, rows } };
  },
});
