// Decodes images ahead of the engine while the previous batch is computed, in order, with bounded memory.
import { availableParallelism } from 'node:os';
import { DiffmineError } from '../util/errors.js';

/** Items under way or waiting to be taken: enough to wait for as many answers of a bucket at once. */
const AHEAD = Math.max(32, 2 * availableParallelism());
/** While the size of none is known: each may be huge. */
const AT_FIRST = 2 * availableParallelism();

export interface PrefetchOptions {
  /** items under way or waiting to be taken; 32, and twice the processors until the size of one is known */
  ahead?: number;
  /** bytes of items waiting to be taken, beyond which no further one is begun; 256 MiB. One under way counts as the largest so far. */
  memory?: number;
  /** no further item is begun once it aborts, and the iteration throws CANCELLED */
  signal?: AbortSignal | undefined;
}

/** An item with its value, or with the reason why it has none. */
export type Fetched<Item, Value> =
  { item: Item; value: Value; error?: undefined } | { item: Item; value?: undefined; error: DiffmineError };

type Outcome<Value> = { value: Value } | { thrown: unknown };

/**
 * Loads items ahead and yields them in order. IMAGE_UNREADABLE becomes a value, so that one bad image stops nothing; every other error
 * is thrown when its item's turn comes. An item counts as waiting until the next one is asked for.
 *
 * @param size bytes that a loaded value holds
 */
export async function* prefetch<Item, Value>(
  items: Iterable<Item> | AsyncIterable<Item>,
  load: (item: Item) => Promise<Value>,
  size: (value: Value) => number,
  options: PrefetchOptions = {},
): AsyncGenerator<Fetched<Item, Value>, void> {
  const { ahead, memory = 256 * 2 ** 20, signal } = options;
  const source = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const window: { item: Item; done: Promise<Outcome<Value>>; bytes: number | undefined }[] = [];
  let largest: number | undefined;
  const state = { ended: false };
  /** nothing more is begun */
  const isOver = (): boolean => state.ended || signal?.aborted === true;
  let wake = (): void => undefined;
  let changed = new Promise<void>((resolve) => (wake = resolve));
  const change = (): void => {
    wake();
    changed = new Promise((resolve) => (wake = resolve));
  };

  const hasRoom = (): boolean => {
    if (window.length === 0) return true;
    const held = window.reduce((sum, { bytes = largest ?? 0 }) => sum + bytes, 0);
    return window.length < (ahead ?? (largest === undefined ? AT_FIRST : AHEAD)) && held + (largest ?? 0) <= memory;
  };
  const begin = (item: Item): void => {
    const done = load(item).then(
      (value): Outcome<Value> => {
        entry.bytes = size(value);
        largest = Math.max(largest ?? 0, entry.bytes);
        change();
        return { value };
      },
      (thrown: unknown): Outcome<Value> => {
        entry.bytes = 0;
        change();
        return { thrown };
      },
    );
    const entry: (typeof window)[number] = { item, bytes: undefined, done };
    window.push(entry);
  };
  const fill = async (): Promise<void> => {
    while (!isOver()) {
      if (hasRoom()) {
        const next = await source.next();
        if (next.done === true || isOver()) return;
        begin(next.value);
        change();
      } else await changed;
    }
  };
  const filling = fill().finally(() => {
    state.ended = true;
    change();
  });
  filling.catch(() => undefined); // heard below, after what was begun

  try {
    for (;;) {
      if (signal?.aborted) throw new DiffmineError('CANCELLED', 'Reading images was cancelled.');
      const [first] = window;
      if (!first) {
        if (state.ended) {
          await filling;
          return;
        }
        await changed;
        continue;
      }
      const outcome = await first.done;
      if ('value' in outcome) yield { item: first.item, value: outcome.value };
      else if (outcome.thrown instanceof DiffmineError && outcome.thrown.code === 'IMAGE_UNREADABLE')
        yield { item: first.item, error: outcome.thrown };
      else throw outcome.thrown;
      window.shift();
      change();
    }
  } finally {
    // Reads in progress end before the caller continues: no files are read after that.
    state.ended = true;
    change();
    await filling.catch(() => undefined);
    await source.return?.();
    await Promise.all(window.map((entry) => entry.done));
  }
}
