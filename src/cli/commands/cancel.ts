// cancel: takes a run off the queue.
import { CONTROL } from '../../tools/queue/options.js';
import { count } from '../../web/html.js';
import { command } from '../command.js';

export const cancelCommand = command({
  options: CONTROL,
  examples: [['diffmine cancel run', 'Workers finish their current shards and take no others of this run']],
  async handle(values) {
    const { cancel } = await import('../../tools/queue/control.js');
    const cancelled = await cancel(values);
    const { complete, path } = cancelled;
    return {
      text: complete
        ? `The run is complete: ${path}`
        : `${count(cancelled.removed, 'shard')} taken off the queue. Finished shards are kept: ${path}`,
      json: cancelled,
    };
  },
});
