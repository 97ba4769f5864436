// report: writes the HTML report of a mined run.
import { command } from '../command.js';
import { REPORT, RUN } from '../options.js';
import { defined } from '../stages.js';

export const reportCommand = command({
  name: 'report',
  describe: 'Write the report, RUN/report/index.html, which opens from disk',
  options: { ...RUN, ...REPORT },
  resumeHint: 'Run the same command to write the report again.',
  async handle({ run, dataset, 'control-patches': controlPatches, title }, { output, signal }) {
    const { writeReport } = await import('../../stages/report/report.js');
    const summary = await writeReport(run, defined({ dataset, controlPatches, title }), {
      signal,
      onProgress: output.progress,
      onLog: (line) => output.log(line),
    });
    return { text: summary.path, json: summary };
  },
});
