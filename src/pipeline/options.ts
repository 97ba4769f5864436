// Options and events of all sharded work.
import type { z } from 'zod';
import type { DEVICE, SPLIT } from '../options/shared.js';

type Split = Pick<typeof DEVICE, 'device' | 'threads'> & typeof SPLIT;

/** How sharded work is divided. Results are the same for any division on one kind of device. */
export interface SplitOptions extends z.input<z.ZodObject<Split>> {}

export type PipelineEvent =
  /** the model is being fetched from the Hugging Face hub: megabytes */
  | { type: 'download'; done: number; total: number }
  /** the model is being loaded: tensors */
  | { type: 'load'; done: number; total: number }
  /** what is to be done, before the first forward pass; of this process's part of the run */
  | {
      type: 'plan';
      /** of the folder that is written */
      path: string;
      resumed: boolean;
      shards: number;
      shardsDone: number;
      images: number;
      imagesDone: number;
      unetCalls: number;
      /** a race may make fewer */
      atMost: boolean;
      /** UNet calls per second of an earlier command like this one on this machine; undefined if there was none */
      rate?: number;
      batch: number;
      device: string;
    }
  /** a shard was finished, here or by another process */
  | { type: 'shard'; shard: number; done: number; total: number; images: number; skipped: number }
  /** an image was finished, or skipped for `reason` */
  | { type: 'image'; image: string; done: number; total: number; reason?: string }
  /** UNet calls: `rate` per second since the first one, `secondsLeft` at that rate */
  | { type: 'unetCalls'; done: number; total: number; rate: number; secondsLeft: number };
