// status: how far a run is.
import { STATUS } from '../../tools/queue/options.js';
import type { Status } from '../../tools/queue/status.js';
import { count } from '../../web/html.js';
import { command } from '../command.js';

/** Failed shards that are listed. */
const SHOWN = 20;

const shardOf = ({ shard, round }: { shard: number; round?: number }): string =>
  `shard ${shard}${round === undefined ? '' : ` of round ${round + 1}`}`;

function queueText({ queue, complete }: Status): string[] {
  if (!queue) return [];
  if ('unreachable' in queue) return [queue.unreachable];
  const { address, waiting, active, delayed, failed, refused } = queue;
  if (complete && waiting + active.length + delayed + failed.length === 0) return [];
  const more = failed.length - SHOWN;
  return [
    `Queue ${address}: ${waiting} waiting, ${active.length} active${active.length > 0 ? ` (${active.map(shardOf).join(', ')})` : ''}, ${delayed} delayed, ${failed.length} failed.`,
    ...failed
      .slice(0, SHOWN)
      .map((one) => `  ${shardOf(one)}, ${one.code} after ${count(one.attempts, 'attempt')}: ${one.message}`),
    ...(more > 0 ? [`  and ${more} more; see --json`] : []),
    ...refused.map((why) => `  refused by ${why}`),
  ];
}

export function statusText(status: Status, missing: string): string {
  const { path, complete, shards, round, cancelled } = status;
  return [
    `Run ${path}: ${complete ? 'complete, ' : ''}${shards.done} of ${count(shards.total, 'shard')} finished.`,
    ...(round
      ? [`Round ${round.round} of ${round.of}: ${round.shards.done} of ${count(round.shards.total, 'shard')} finished.`]
      : []),
    ...(complete || round ? [] : [`Missing: ${missing}`]),
    ...(cancelled ? ['Cancelled: diffmine retry, or the command that began it, puts it in the queue again.'] : []),
    ...queueText(status),
  ].join('\n');
}

export const statusCommand = command({
  options: STATUS,
  examples: [
    ['diffmine status run', 'From the run directory alone, and from the queue of DIFFMINE_QUEUE if it is set'],
    ['sbatch --array=$(diffmine status run --missing slurm --parts 32) job.sh', 'Submit again what is not finished'],
  ],
  async handle(values) {
    const { missingParts, statusOf } = await import('../../tools/queue/status.js');
    const { ranges } = await import('../../tools/queue/stored.js');
    if (values.missing !== undefined) {
      const status = await statusOf({ run: values.run });
      const parts = missingParts(status, values.parts);
      return { text: ranges(parts), json: { parts } };
    }
    const status = await statusOf(values);
    return { text: statusText(status, ranges(status.shards.missing)), json: status };
  },
});
