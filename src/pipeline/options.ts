// What all sharded work may be asked for, and what it tells on the way.

/** How sharded work is divided. Results are the same for any division on one kind of device. */
export interface SplitOptions {
  /** 'auto', 'cpu', 'cuda', 'cuda:1'; default 'auto' */
  device?: string;
  /** processes that share the work, each with its own engine; default 1. One that dies is started again and its shard repeated */
  workers?: number;
  /** a process for each of these devices ('cpu', 'cuda:1'; all of one kind), in place of `device` and `workers` */
  devices?: string[];
  /** only shards s with s % count == index */
  shard?: { index: number; count: number };
  /** CPU threads of each engine; default: all cores, shared by the workers */
  threads?: number;
}

export type PipelineEvent =
  /** the model is being loaded: tensors */
  | { type: 'load'; done: number; total: number }
  /** what is to be done, before the first forward pass; of this process's part of the run */
  | {
      type: 'plan';
      run: string;
      resumed: boolean;
      shards: number;
      shardsDone: number;
      images: number;
      imagesDone: number;
      unetCalls: number;
      batch: number;
      device: string;
    }
  /** a shard was finished, here or by another process */
  | { type: 'shard'; shard: number; done: number; total: number; images: number; skipped: number }
  /** an image was finished, or skipped for `reason` */
  | { type: 'image'; image: string; done: number; total: number; reason?: string }
  /** UNet calls: `rate` per second since the first one, `secondsLeft` at that rate */
  | { type: 'unetCalls'; done: number; total: number; rate: number; secondsLeft: number };
