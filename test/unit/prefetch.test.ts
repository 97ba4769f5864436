// Reading ahead: order, bounds, bad images, and an end that leaves nothing running.
import { setTimeout as sleep } from 'node:timers/promises';
import path from 'node:path';
import { openDataset } from '../../src/data/dataset.js';
import { Gate } from '../../src/data/gate.js';
import { readImage } from '../../src/data/read-image.js';
import { prefetch } from '../../src/data/prefetch.js';
import { DiffmineError } from '../../src/util/errors.js';
import { GOLDEN, temporaryFolder, writeFiles } from '../helpers/folders.js';

const root = temporaryFolder();

/** A loader whose later items finish first, and that knows how many run. */
function loader(total: number) {
  const state = { running: 0, most: 0, begun: 0 };
  const load = async (item: number): Promise<number> => {
    ++state.begun;
    state.most = Math.max(state.most, ++state.running);
    await sleep((total - item) % 7);
    --state.running;
    if (item % 5 === 3) throw new DiffmineError('IMAGE_UNREADABLE', `bad ${item}`);
    return item * 10;
  };
  return { state, load };
}
const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

test('keeps the order, forwards bad images as values, and runs a bounded number at once', async () => {
  const { state, load } = loader(40);
  const seen: string[] = [];
  for await (const { item, value, error } of prefetch(numbers(40), load, () => 1, { ahead: 6 }))
    seen.push(`${item}:${error ? error.message : value}`);
  expect(seen).toEqual(numbers(40).map((i) => (i % 5 === 3 ? `${i}:bad ${i}` : `${i}:${i * 10}`)));
  expect(state.most).toBeGreaterThan(1);
  expect(state.most).toBeLessThanOrEqual(6);
});

test('begins no item that memory has no room for, but always one', async () => {
  const begun: number[] = [];
  const load = async (item: number): Promise<number> => {
    begun.push(item);
    await sleep(1);
    return item;
  };
  const mostAhead: number[] = [];
  for await (const { item } of prefetch(numbers(30), load, () => 100, { ahead: 8, memory: 350 })) {
    await sleep(5);
    mostAhead.push(begun.length - item - 1);
  }
  expect(begun).toEqual(numbers(30));
  // The first window is begun before any size is known; from then on 3 x 100 bytes fit.
  expect(Math.max(...mostAhead)).toBe(7);
  expect(Math.max(...mostAhead.slice(8))).toBeLessThanOrEqual(3);

  const alone: number[] = [];
  for await (const { item } of prefetch(numbers(5), load, () => 100, { memory: 0 })) alone.push(item);
  expect(alone).toEqual(numbers(5));
});

test('any other error is thrown at its item, after running items have ended', async () => {
  const { state, load } = loader(20);
  const seen: number[] = [];
  const failing = async (item: number): Promise<number> =>
    item === 7 ? Promise.reject(new DiffmineError('IO', 'disk')) : load(item);
  await expect(
    (async () => {
      for await (const { item } of prefetch(numbers(20), failing, () => 1, { ahead: 5 })) seen.push(item);
    })(),
  ).rejects.toThrow('disk');
  expect(seen).toEqual(numbers(7));
  expect(state.running).toBe(0);
});

test('items that come one after another are loaded as they come; a failure of their source is thrown after them', async () => {
  const { state, load } = loader(20);
  let closed = 0;
  async function* source(count: number): AsyncGenerator<number> {
    try {
      for (let i = 0; i < count; i += 1) {
        if (i % 4 === 0) await sleep(3);
        yield i;
      }
      throw new DiffmineError('IO', 'the source ended');
    } finally {
      closed += 1;
    }
  }
  const seen: number[] = [];
  const all = async (): Promise<void> => {
    for await (const { item } of prefetch(source(20), load, () => 1, { ahead: 5 })) seen.push(item);
  };
  await expect(all()).rejects.toThrow('the source ended');
  expect(seen).toEqual(numbers(20));
  expect(state.most).toBeLessThanOrEqual(5);
  for await (const { item } of prefetch(source(20), load, () => 1, { ahead: 5 })) if (item === 6) break;
  expect(closed).toBe(2);
  expect(state.running).toBe(0);
});

test('without a number few are begun while no size is known, then as many as memory has room for', async () => {
  const { availableParallelism } = await import('node:os');
  let begun = 0;
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const load = async (item: number): Promise<number> => {
    begun += 1;
    await held;
    return item;
  };
  const ahead = prefetch(numbers(100), load, () => 1);
  const first = ahead.next();
  await sleep(20);
  expect(begun).toBe(2 * availableParallelism());
  release();
  await first;
  await sleep(20);
  expect(begun).toBe(Math.max(32, 2 * availableParallelism()));
  await ahead.return(undefined);
});

test('leaving early and aborting leave nothing running', async () => {
  const { state, load } = loader(30);
  for await (const { item } of prefetch(numbers(30), load, () => 1, { ahead: 8 })) if (item === 4) break;
  expect(state.running).toBe(0);
  expect(state.begun).toBeLessThan(30);

  const abort = new AbortController();
  const other = loader(30);
  const iterate = async (): Promise<void> => {
    for await (const { item } of prefetch(numbers(30), other.load, () => 1, { ahead: 4, signal: abort.signal }))
      if (item === 2) abort.abort();
  };
  await expect(iterate()).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(other.state.running).toBe(0);
});

test('images of a dataset, one of them bad', async () => {
  const place = path.join(root, 'set');
  const golden = await openDataset(path.join(GOLDEN, 'mini-dataset'));
  writeFiles(place, { 'a/bad.png': 'no image' });
  const images = [...golden.images.slice(0, 2), ...(await openDataset(place)).images, ...golden.images.slice(2)];
  const seen: string[] = [];
  for await (const { item, value, error } of prefetch(
    images,
    ({ file }) => readImage(file, { size: 32, rule: 'floor', multiple: 1, patch: 16 }),
    ({ pixels }) => pixels.byteLength,
  )) {
    seen.push(item.path);
    if (item.path === 'a/bad.png') expect(error?.code).toBe('IMAGE_UNREADABLE');
    else expect(Math.min(value?.width ?? 0, value?.height ?? 0)).toBe(32);
  }
  expect(seen).toEqual(images.map((image) => image.path));
});

test('the gate admits by weight, in order, and a heavy one alone', async () => {
  const gate = new Gate(10);
  const order: string[] = [];
  let inside = 0;
  const enter = (name: string, weight: number): Promise<void> =>
    gate.pass(weight, async () => {
      inside += weight;
      order.push(`${name}@${inside}`);
      await sleep(5);
      inside -= weight;
    });
  await Promise.all([enter('a', 4), enter('b', 6), enter('c', 50), enter('d', 1), enter('e', 9)]);
  expect(order).toEqual(['a@4', 'b@10', 'c@50', 'd@1', 'e@10']);
  await expect(gate.pass(1, () => Promise.reject(new Error('inside')))).rejects.toThrow('inside');
  await gate.pass(10, async () => Promise.resolve());
});
