// Options and events of a worker on a queue.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { DEVICE, SPLIT } from '../../options/shared.js';

/** Of commands that look at a queue or work on it. */
export const QUEUE = option(fields.queue().optional(), {
  group: 'Input',
  description: 'Redis or PostgreSQL server of the queue, such as redis://host:6379',
  shown: 'DIFFMINE_QUEUE',
});

export const WORKER = optionsOf('worker', {
  queue: QUEUE,
  device: DEVICE.device,
  devices: option(SPLIT.devices, {
    group: 'Device',
    description:
      'Devices, separated by commas, each with an engine of its own; 0,1 are the first two GPUs. Replaces `device`',
  }),
  threads: option(fields.whole(1, 1024).optional(), {
    group: 'Device',
    description: 'CPU threads of each engine',
    shown: 'all cores, divided by the devices',
  }),
  exitWhenDone: option(fields.flag().default(false), {
    group: 'Output',
    description: 'Exit when the queue is empty and the runs that were seen in it are complete',
  }),
  metrics: option(fields.whole(0, 65535).optional(), {
    group: 'Output',
    description: 'Port that serves metrics for Prometheus under /metrics; 0 takes a free one',
    shown: 'none',
  }),
  logFormat: option(fields.oneOf(['text', 'json']).default('text'), {
    group: 'Output',
    description: 'Log lines on stderr as text, or as one JSON object per line',
  }),
});

export interface WorkerOptions extends z.input<typeof WORKER> {}

export interface WorkerSummary {
  /** of the queue, without password */
  queue: string;
  devices: string[];
  /** shards that were finished here, that had been finished elsewhere, that failed for good */
  done: number;
  elsewhere: number;
  failed: number;
  unetCalls: number;
  seconds: number;
}
