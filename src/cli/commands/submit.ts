// submit: runs a command as a job array of a cluster.
import { SUBMIT } from '../../tools/submit/options.js';
import { count } from '../../web/html.js';
import { command } from '../command.js';

export const submitCommand = command({
  options: SUBMIT,
  examples: [
    [
      'diffmine submit slurm --parts 32 --time 4:00:00 -- scan photos --model sd15 --out run',
      'A Slurm array of 32 tasks',
    ],
    [
      'diffmine submit k8s --parts 32 --image registry/diffmine --dry-run -- scan /data/photos --model /data/sd15 --out /data/run',
      'Print the manifests of an Indexed Job',
    ],
  ],
  async handle(values, { readLine, signal }) {
    const { submit } = await import('../../tools/submit/submit.js');
    const submission = await submit(values, await readLine(), signal);
    const { system, job, document } = submission;
    return {
      text: job === undefined ? document.trimEnd() : `Submitted ${count(values.parts, 'task')} to ${system}: ${job}`,
      json: submission,
    };
  },
});
