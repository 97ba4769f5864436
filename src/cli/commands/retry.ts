// retry: puts the missing shards of a run in the queue again.
import { CONTROL } from '../../tools/queue/options.js';
import { count } from '../../web/html.js';
import { command } from '../command.js';

export const retryCommand = command({
  options: CONTROL,
  examples: [['diffmine retry run', 'After the cause of a failure was removed, or the queue was lost']],
  async handle(values) {
    const { retry } = await import('../../tools/queue/control.js');
    const retried = await retry(values);
    const { path, complete, failed, queued } = retried;
    return {
      text: complete
        ? `The run is complete: ${path}`
        : `${count(queued, 'shard')} of ${path} ${queued === 1 ? 'is' : 'are'} in the queue${failed > 0 ? `, ${failed} of them had failed` : ''}.`,
      json: retried,
    };
  },
});
