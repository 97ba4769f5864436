// doctor: whether this machine has what a run needs.
import { EXIT_CODES } from '../../errors';
import { command } from '../command';
import { table } from '../output';

export const doctorCommand = command({
  name: 'doctor',
  describe: 'Check Node, LibTorch, the native part, devices, memory and threads',
  options: {},
  async handle() {
    const { doctor } = await import('../../setup/doctor.js');
    const report = await doctor();
    const hints = report.rows.flatMap(({ name, status, hint }) => (hint && status !== 'ok' ? [`${name}: ${hint}`] : []));
    return {
      text: [table(['what', 'state', 'detail'], report.rows.map(({ name, status, detail }) => [name, status, detail])), ...hints].join('\n'),
      json: report,
      exitCode: report.ok ? 0 : EXIT_CODES.SETUP,
    };
  },
});
