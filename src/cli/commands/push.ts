// push: copies a run from a directory to a bucket.
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { count } from '../../web/html.js';
import { command } from '../command.js';

export const pushCommand = command({
  options: optionsOf('push', {
    run: option(fields.path(), { group: 'Input', description: 'Run directory to copy' }),
    destination: option(fields.path(), { group: 'Input', description: 'Where to copy it: s3://BUCKET/PREFIX' }),
  }),
  examples: [['diffmine push cars s3://scans/cars', 'Copy a run with its results to a bucket']],
  resumeHint: 'What is copied is kept. Run the same command to continue.',
  async handle({ run, destination }, { output, signal }) {
    const { push } = await import('../../tools/copy/copy.js');
    const summary = await push(
      { run, destination },
      { signal, onProgress: output.progress, onLog: (line) => output.log(line) },
    );
    return {
      text: `Copied ${count(summary.shards, 'shard')} and ${count(summary.files, 'other file')} to ${summary.to}.`,
      json: summary,
    };
  },
});
