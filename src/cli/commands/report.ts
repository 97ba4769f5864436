// report: writes the HTML report of a mined run.
import { optionsOf } from '../../options/option.js';
import { REPORT } from '../../stages/report/options.js';
import { command } from '../command.js';
import { RUN } from '../options.js';

export const reportCommand = command({
  options: optionsOf('report', { ...RUN, ...REPORT.shape }),
  examples: [
    ['diffmine report run', 'Write run/report/index.html'],
    ['diffmine report s3://scans/cars --out cars', 'The report of a run in a bucket, in a local directory'],
  ],
  resumeHint: 'Run the same command to write the report again.',
  async handle({ run, ...options }, { output, signal }) {
    const { writeReport } = await import('../../stages/report/report.js');
    const summary = await writeReport(
      { run, ...options },
      {
        signal,
        onProgress: output.progress,
        onLog: (line) => output.log(line),
      },
    );
    return { text: summary.path, json: summary };
  },
});
