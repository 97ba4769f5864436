// The closing sentence of sharded work. It counts what this call did apart from what was finished before.
import { count, whole } from '../web/html.js';
import { took } from './stages.js';

export interface Closing {
  /** the verb's past: `Translated` */
  verb: string;
  /** what is counted: `image` */
  noun: string;
  done: number;
  total: number;
  skipped: number;
  shards: { total: number; done: number; here: number };
  seconds: number;
}

/** `Translated 4 of 5 images (1 skipped) in 3 s.` */
export function closing({ verb, noun, done, total, skipped, shards, seconds }: Closing): string {
  const amount = `${whole(done)} of ${count(total, noun)}${skipped > 0 ? ` (${whole(skipped)} skipped)` : ''}`;
  if (shards.here === 0)
    return `Nothing left to do here: ${amount} ${total === 1 ? 'was' : 'were'} ${verb.toLowerCase()} before.`;
  if (shards.here < shards.done)
    return `${verb} ${shards.here} of ${count(shards.total, 'shard')} ${took(seconds)}. In total: ${amount}.`;
  return `${verb} ${amount} ${took(seconds)}.`;
}

/** `The scan is complete: DIR`, or how far it is. */
export function state(what: string, complete: boolean, shards: Closing['shards'], path: string): string {
  return complete
    ? `The ${what} is complete: ${path}`
    : `${shards.done} of ${count(shards.total, 'shard')} ${shards.done === 1 ? 'is' : 'are'} finished: ${path}`;
}
