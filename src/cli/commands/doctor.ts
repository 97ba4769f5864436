// doctor: checks whether this machine has everything that diffmine needs.
import { EXIT_CODES } from '../../util/errors.js';
import { optionsOf } from '../../options/option.js';
import { command } from '../command.js';
import { table } from '../output.js';

export const doctorCommand = command({
  options: optionsOf('doctor', {}),
  async handle() {
    const { doctor } = await import('../../tools/setup/doctor.js');
    const report = await doctor();
    const hints = report.rows.flatMap(({ name, status, hint }) =>
      hint && status !== 'ok' ? [`${name}: ${hint}`] : [],
    );
    return {
      text: [
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
