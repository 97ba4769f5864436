// worker: works on the shards of a queue.
import { DiffmineError } from '../../util/errors.js';
import { WORKER, type WorkerSummary } from '../../pipeline/queue/options.js';
import type { DeviceWorkerEvent } from '../../pipeline/queue/device-worker.js';
import { count } from '../../web/html.js';
import { command } from '../command.js';
import { took } from '../stages.js';
import type { Output } from '../output.js';

const shardOf = ({ run, shard, round }: DeviceWorkerEvent): string =>
  `shard ${shard}${round === undefined ? '' : ` of round ${round + 1}`} of ${run}`;

function sentence(event: DeviceWorkerEvent): string {
  switch (event.type) {
    case 'done':
      return event.outcome === 'done'
        ? `Finished ${shardOf(event)} on ${event.device} ${took(event.seconds)}.`
        : `Found ${shardOf(event)} finished.`;
    case 'failed':
      return `Failed at ${shardOf(event)}${event.final ? '' : ', to be tried again'}: ${event.message}`;
    case 'refused':
      return `Refused ${shardOf(event)}: ${event.message}`;
    case 'returned':
      return `Returned ${shardOf(event)} to the queue.`;
  }
}

function workerText({ done, elsewhere, failed, seconds }: WorkerSummary): string {
  return [
    `Finished ${count(done, 'shard')} ${took(seconds)}.`,
    ...(elsewhere > 0 ? [`${count(elsewhere, 'shard')} had been finished elsewhere.`] : []),
    ...(failed > 0 ? [`${count(failed, 'shard')} failed.`] : []),
    'The queue is empty.',
  ].join(' ');
}

/** One line for each thing that happens. */
function logger(
  output: Output,
  format: 'text' | 'json' = 'text',
): {
  line: (message: string) => void;
  fault: (message: string) => void;
  event: (event: DeviceWorkerEvent) => void;
} {
  if (format === 'text')
    return {
      line: (message) => output.log(message),
      fault: () => undefined, // the command line prints it
      event: (event) => output.log(sentence(event)),
    };
  const write = (level: 'info' | 'error', message: string, more: object = {}): void =>
    output.log(JSON.stringify({ time: new Date().toISOString(), level, message, ...more }));
  return {
    line: (message) => write('info', message),
    fault: (message) => write('error', message),
    event: (event) => write(event.type === 'failed' ? 'error' : 'info', sentence(event), { event }),
  };
}

export const workerCommand = command({
  native: true,
  options: WORKER,
  examples: [
    ['diffmine worker --queue redis://head:6379 --devices 0,1', 'Two GPUs, until it is stopped'],
    ['diffmine worker --exit-when-done', 'The queue of DIFFMINE_QUEUE, until nothing is left'],
  ],
  stopping: () => 'Returning the current shards to the queue. Press Ctrl-C again to quit now.',
  async handle(values, { output, signal }) {
    const { serveQueue } = await import('../../pipeline/queue/serve.js');
    const { line, fault, event } = logger(output, values.logFormat);
    try {
      const summary = await serveQueue(values, { signal, onProgress: event, onLog: line });
      return { text: workerText(summary), json: summary };
    } catch (error) {
      if (error instanceof DiffmineError) fault(error.message);
      throw error;
    }
  },
});
