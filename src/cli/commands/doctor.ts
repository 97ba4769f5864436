// doctor: checks whether this machine has everything that diffmine needs.
import { EXIT_CODES } from '../../util/errors.js';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { command } from '../command.js';
import { table } from '../output.js';

export const doctorCommand = command({
  options: optionsOf('doctor', {
    store: option(fields.path().optional(), {
      group: 'Input',
      description: 'Also check that runs can be stored in this bucket: s3://BUCKET/PREFIX',
    }),
  }),
  async handle({ store }) {
    const { doctor } = await import('../../tools/setup/doctor.js');
    const report = await doctor(store);
    const hints = report.rows.flatMap(({ name, status, hint }) =>
      hint && status !== 'ok' ? [`${name}: ${hint}`] : [],
    );
    return {
      text: [
        `works:    ${report.summary.works}`,
        `missing:  ${report.summary.missing}`,
        `fix:      ${report.summary.fix}`,
        '',
        table(
          ['what', 'state', 'detail'],
          report.rows.map(({ name, status, detail }) => [name, status, detail]),
        ),
        ...hints,
      ].join('\n'),
      json: report,
      exitCode: report.ok ? 0 : EXIT_CODES.SETUP,
    };
  },
});
