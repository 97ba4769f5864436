// Decodes images ahead of the engine while the previous batch is computed, in order, with bounded memory.
import { availableParallelism } from 'node:os';
import { DiffmineError } from '../util/errors.js';

export interface PrefetchOptions {
  /** items under way or waiting to be taken; twice the processors */
  ahead?: number;
  /** bytes of items waiting to be taken, beyond which no further one is begun; 256 MiB. One under way counts as the largest so far. */
  memory?: number;
  /** no further item is begun once it aborts, and the iteration throws CANCELLED */
  signal?: AbortSignal | undefined;
}

/** An item with its value, or with the reason why it has none. */
export type Fetched<Item, Value> =
  { item: Item; value: Value; error?: undefined } | { item: Item; value?: undefined; error: DiffmineError };

/**
 * Loads items ahead and yields them in order. IMAGE_UNREADABLE becomes a value, so that one bad image stops nothing; every other error
 * is thrown when its item's turn comes.
 *
 * @param size bytes that a loaded value holds
 */
export async function* prefetch<Item, Value>(
  items: Iterable<Item>,
  load: (item: Item) => Promise<Value>,
  size: (value: Value) => number,
  options: PrefetchOptions = {},
): AsyncGenerator<Fetched<Item, Value>, void> {
  const { ahead = 2 * availableParallelism(), memory = 256 * 2 ** 20, signal } = options;
  const source = items[Symbol.iterator]();
  const window: { item: Item; done: Promise<{ value: Value } | { thrown: unknown }>; bytes: number | undefined }[] = [];
  let largest = 0;
  let exhausted = false;

  const begin = (item: Item, finished: (bytes: number) => void): Promise<{ value: Value } | { thrown: unknown }> =>
    load(item).then(
      (value) => {
        const bytes = size(value);
        largest = Math.max(largest, bytes);
        finished(bytes);
        return { value };
      },
      (thrown: unknown) => {
        finished(0);
        return { thrown };
      },
    );
  const held = (): number => window.reduce((sum, { bytes = largest }) => sum + bytes, 0);
  const fill = (): void => {
    while (
      !exhausted &&
      !signal?.aborted &&
      (window.length === 0 || (window.length < ahead && held() + largest <= memory))
    ) {
      const next = source.next();
      if (next.done) {
        exhausted = true;
        return;
      }
      const entry: (typeof window)[number] = {
        item: next.value,
        bytes: undefined,
        done: begin(next.value, (bytes) => (entry.bytes = bytes)),
      };
      window.push(entry);
    }
  };

  try {
    for (;;) {
      fill();
      if (signal?.aborted) throw new DiffmineError('CANCELLED', 'Reading images was cancelled.');
      const first = window.shift();
      if (!first) return;
      const outcome = await first.done;
      if ('value' in outcome) yield { item: first.item, value: outcome.value };
      else if (outcome.thrown instanceof DiffmineError && outcome.thrown.code === 'IMAGE_UNREADABLE')
        yield { item: first.item, error: outcome.thrown };
      else throw outcome.thrown;
    }
  } finally {
    // What is still under way ends before the caller goes on: nothing reads files behind its back.
    await Promise.all(window.map((entry) => entry.done));
  }
}
