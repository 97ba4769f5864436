// What a scan decides before the engine is asked: contrasts, call sizes, batches, who does which shard.
import type { ModelSource, UNetConfig } from '../../src/engine/types.js';
import { autoBatch, imagesPerCall, rowBytes, unetShape } from '../../src/pipeline/batch.js';
import { alwaysZero, planContrasts, turnsOf, type ContrastPlan } from '../../src/stages/scan/contrasts.js';
import { Random } from '../../src/util/random.js';
import { chunks, groupBy } from '../../src/util/group.js';
import { shardsOf } from '../../src/pipeline/shards.js';
import { Meter, Tally } from '../../src/pipeline/progress.js';
import { schedule, SlotLost, type ShardOutcome } from '../../src/pipeline/schedule.js';
import { DiffmineError } from '../../src/util/errors.js';

describe('contrasts', () => {
  const labels = ['a', 'b', 'c'];
  const plan = (
    names: string[],
    against: string,
    allLabels = false,
    othersPerSample: number | 'all' = 'all',
  ): ContrastPlan => planContrasts(names, { against, othersPerSample, samples: 20, seed: 7 }, allLabels);
  test('against null: label and null, one output', () => {
    const contrasts = plan(labels, 'null');
    expect(contrasts).toMatchObject({ scored: labels, fanOut: 2 });
    expect(contrasts.of('b')).toEqual({ conditions: [1, 3], calls: 2, subjects: [0], weights: [[0, 1]], names: ['b'] });
    expect(contrasts.of('z')).toBeUndefined();
  });
  test('against the others: every label once, their mean', () => {
    const contrasts = plan(labels, 'others');
    expect(contrasts).toMatchObject({ fanOut: 3, othersPerSample: 'all' });
    expect(contrasts.of('b')).toEqual({
      conditions: [0, 1, 2],
      calls: 3,
      subjects: [1],
      weights: [[0.5, 0, 0.5]],
      names: ['b'],
    });
  });
  test('against a label: that label itself is not scored', () => {
    const contrasts = plan(labels, 'b');
    expect(contrasts).toMatchObject({ scored: ['a', 'c'], fanOut: 2 });
    expect(contrasts.of('c')).toEqual({ conditions: [2, 1], calls: 2, subjects: [0], weights: [[0, 1]], names: ['c'] });
    expect(contrasts.of('b')).toBeUndefined();
  });
  test('all labels: as many outputs, one null', () => {
    expect(plan(labels, 'null', true).of('c')).toEqual({
      conditions: [0, 1, 2, 3],
      calls: 4,
      subjects: [0, 1, 2],
      weights: [
        [0, 0, 0, 1],
        [0, 0, 0, 1],
        [0, 0, 0, 1],
      ],
      names: labels,
    });
    expect(plan(labels, 'others', true).of('a')?.weights).toEqual([
      [0, 0.5, 0.5],
      [0.5, 0, 0.5],
      [0.5, 0.5, 0],
    ]);
    const against = plan(labels, 'b', true);
    expect(against.fanOut).toBe(3);
    // images of b can be scored under a and c
    expect(against.of('b')).toEqual({
      conditions: [0, 2, 1],
      calls: 3,
      subjects: [0, 1],
      weights: [
        [0, 0, 1],
        [0, 0, 1],
      ],
      names: ['a', 'c'],
    });
  });
  test.each(['null', 'others', 'a'])('weights sum to 1 and are 0 at the subject: %s', (against) => {
    for (const all of [false, true]) {
      const contrast = plan(labels, against, all).of('c');
      contrast?.weights.forEach((weights, m) => {
        expect(weights).toHaveLength(contrast.calls);
        expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
        expect(weights[contrast.subjects[m] as number]).toBe(0);
      });
    }
  });
  test('what cannot be compared is refused', () => {
    expect(() => plan(labels, 'd')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => plan(['a'], 'others')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => plan(['a'], 'a')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });

  describe('others in turn', () => {
    const six = ['a', 'b', 'c', 'd', 'e', 'f'];
    const rows = (contrasts: ContrastPlan, label: string): number[][] =>
      contrasts.of(label)?.conditions as unknown as number[][];

    test('a sample takes the label and one other; all images of a label share the order', () => {
      const contrasts = plan(six, 'others', false, 1);
      expect(contrasts).toMatchObject({ fanOut: 2, othersPerSample: 1, scored: six });
      expect(contrasts.of('c')).toMatchObject({ calls: 2, subjects: [0], weights: [[0, 1]], names: ['c'] });
      expect(rows(contrasts, 'c')).toHaveLength(20);
      for (const [own, other] of rows(contrasts, 'c')) {
        expect(own).toBe(2);
        expect(other).not.toBe(2);
      }
      expect(contrasts.of('c')).toBe(contrasts.of('c'));
      expect(rows(plan(six, 'others', false, 1), 'c')).toEqual(rows(contrasts, 'c'));
      expect(rows(contrasts, 'd').map(([, other]) => other)).not.toEqual(
        rows(contrasts, 'c').map(([, other]) => other),
      );
      expect(contrasts.of('z')).toBeUndefined();
    });

    test.each([1, 2, 3, 4])('%i in a sample: all different, balanced over every prefix', (each) => {
      for (let seed = 0; seed < 20; seed += 1) {
        const counts = [0, 0, 0, 0, 0];
        for (const turn of turnsOf([0, 1, 2, 3, 4], each, 53, new Random('test', seed))) {
          expect(new Set(turn).size).toBe(each);
          for (const other of turn) counts[other] = (counts[other] as number) + 1;
          expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        }
      }
    });

    test('a longer scan begins with the same turns', () => {
      const turns = (samples: number): number[][] => turnsOf([3, 1, 4, 5, 9], 2, samples, new Random('test', 1));
      expect(turns(30).slice(0, 11)).toEqual(turns(11));
    });

    // A fixed order of 13 or 21 others falls in step with the golden-ratio sequence: each then sees a part of the timesteps only.
    test.each([2, 3, 5, 8, 13, 21])('each of %i others sees the whole range of timesteps', (others) => {
      const samples = 12 * others;
      const farthest = (order: number[]): number => {
        const seen = Array.from({ length: others }, (): number[] => []);
        order.forEach((other, n) => seen[other]?.push((n * 0.6180339887498949) % 1));
        // Kolmogorov-Smirnov distance to the uniform distribution, times the root of the number of samples
        return Math.max(
          ...seen.map((times) => {
            times.sort((a, b) => a - b);
            const n = times.length;
            return Math.sqrt(n) * Math.max(...times.map((t, i) => Math.max((i + 1) / n - t, t - i / n)));
          }),
        );
      };
      for (let seed = 0; seed < 5; seed += 1) {
        const turns = turnsOf([...Array(others).keys()], 1, samples, new Random('test', seed));
        expect(farthest(turns.flat())).toBeLessThan(2.3); // random points exceed this once in 20,000 times
      }
    });

    test('where turns would cost as much as all labels, their mean is taken', () => {
      for (const each of [1, 5, 7]) {
        const two = plan(['a', 'b'], 'others', false, each);
        expect(two).toMatchObject({ fanOut: 2, othersPerSample: 'all' });
        expect(two.of('b')).toMatchObject({ conditions: [0, 1], subjects: [1], weights: [[1, 0]] });
        // every label's loss is computed once a sample, and every contrast follows from it
        expect(plan(six, 'others', true, each).of('a')).toEqual(plan(six, 'others', true).of('a'));
      }
      expect(plan(six, 'others', false, 5).of('a')).toEqual(plan(six, 'others').of('a'));
      expect(plan(six, 'others', false, 4).of('a')?.calls).toBe(5);
    });

    test('labels equal to all their others are found', () => {
      const keys = ['x', 'x', 'x', 'y', 'null'];
      const four = ['a', 'b', 'c', 'd'];
      expect(alwaysZero(plan(four.slice(0, 3), 'others', false, 1), four.slice(0, 3), keys)).toEqual(['a', 'b', 'c']);
      expect(alwaysZero(plan(four, 'others', false, 1), four, keys)).toEqual([]);
    });
  });
});

describe('plan', () => {
  test('parts cover the shards once', () => {
    const parts = [0, 1, 2].map((index) => shardsOf({ shards: 8 }, { index, count: 3 }));
    expect(parts).toEqual([
      [0, 3, 6],
      [1, 4, 7],
      [2, 5],
    ]);
    expect(shardsOf({ shards: 3 })).toEqual([0, 1, 2]);
    expect(shardsOf({ shards: 1 }, { index: 5, count: 8 })).toEqual([]);
    for (const part of [
      { index: 0, count: 0 },
      { index: 8, count: 8 },
      { index: -1, count: 8 },
    ])
      expect(() => shardsOf({ shards: 9 }, part)).toThrow('no part');
  });
  test('a call holds as few images as fill its forward passes', () => {
    expect(imagesPerCall(8, 100, 2)).toBe(1); // 25 full passes
    expect(imagesPerCall(64, 10, 2)).toBe(16); // 5 full passes
    expect(imagesPerCall(8, 10, 2)).toBe(2); // 20 samples: 5 full passes of 4
    expect(imagesPerCall(2, 7, 2)).toBe(1);
    expect(imagesPerCall(1, 7, 5)).toBe(1);
    expect(imagesPerCall(4096, 10, 2)).toBe(16); // never more, however large the batch
  });
  test('groups keep the order of their first member', () => {
    expect(groupBy(['b1', 'a1', 'b2', 'c1', 'a2'], (item) => item[0] as string)).toEqual([
      ['b1', 'b2'],
      ['a1', 'a2'],
      ['c1'],
    ]);
    expect(chunks([1, 2, 3, 4, 5], 2)).toEqual([[1, 2], [3, 4], [5]]);
  });
});

describe('batch auto', () => {
  const unet = {
    blockOutChannels: [320, 640, 1280, 1280],
    layersPerBlock: 2,
    downBlockTypes: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
    upBlockTypes: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
  } as UNetConfig;
  const source = {
    unet: { config: unet, files: [] },
    vae: { config: { blockOutChannels: [128] }, files: [] },
  } as unknown as ModelSource;
  const shape = unetShape(512, 512, 8, 1);
  const size = (available: number, device: 'cpu' | 'cuda', fanOut = 2, workers = 1): number =>
    autoBatch({ source, shape, dtype: 'fp32', device, fanOut, available, workers });

  test('Stable Diffusion at 512 px takes some 170 MB a row in fp32, half in bf16', () => {
    expect(shape).toEqual({ rows: 64, columns: 64, height: 512, width: 512 });
    expect(rowBytes(source, shape, 'fp32') / 1e6).toBeGreaterThan(130);
    expect(rowBytes(source, shape, 'fp32') / 1e6).toBeLessThan(200);
    expect(rowBytes(source, shape, 'bf16') / rowBytes(source, shape, 'fp32')).toBeCloseTo(0.5, 1);
  });
  test('grows with memory in powers of two, within its bounds', () => {
    expect(size(0, 'cpu')).toBe(2);
    expect(size(0, 'cpu', 7)).toBe(7);
    expect(size(1e12, 'cpu')).toBe(16);
    expect(size(1e12, 'cuda')).toBe(128); // twice that, and GEGLU's projection has more numbers than a 32-bit index counts
    expect(
      autoBatch({
        source,
        shape: unetShape(256, 256, 8, 1),
        dtype: 'bf16',
        device: 'cuda',
        fanOut: 2,
        available: 1e12,
        workers: 1,
      }),
    ).toBe(512);
    expect(size(70e9, 'cuda')).toBe(128);
    expect(size(70e9, 'cuda')).toBe(size(66e9, 'cuda'));
    expect(size(8e9, 'cpu', 2, 4)).toBeLessThan(size(8e9, 'cpu', 2, 1));
  });
});

describe('schedule', () => {
  test('every shard goes to one slot; the slots share them', async () => {
    const taken: number[][] = [[], []];
    const slot =
      (which: number) =>
      async (shard: number): Promise<ShardOutcome> => {
        taken[which]?.push(shard);
        await new Promise((resolve) => setTimeout(resolve, which === 0 ? 1 : 5));
        return shard === 3 ? 'elsewhere' : 'done';
      };
    expect(await schedule([0, 1, 2, 3, 4, 5], [slot(0), slot(1)])).toBe(5);
    expect(taken.flat().sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(Math.min(...taken.map(({ length }) => length))).toBeGreaterThan(0);
  });
  test('what others hold is asked again until it is done', async () => {
    const asked: number[] = [];
    const waited: number[][] = [];
    let left = 2;
    const slot = async (shard: number): Promise<ShardOutcome> => {
      asked.push(shard);
      if (shard !== 1) return 'done';
      left -= 1;
      return left > 0 ? 'busy' : 'elsewhere';
    };
    expect(await schedule([1, 2], [slot], { onWaiting: async (shards) => void waited.push(shards) })).toBe(1);
    expect(asked).toEqual([1, 2, 1]);
    expect(waited).toEqual([[1]]);
  });
  test('a lost slot gives its shard back; another does it, also one that had nothing left to do', async () => {
    const done: number[] = [];
    const lost = async (): Promise<ShardOutcome> => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      throw new SlotLost(new DiffmineError('DEVICE_UNAVAILABLE', 'gone'));
    };
    const good = async (shard: number): Promise<ShardOutcome> => {
      done.push(shard);
      return 'done';
    };
    expect(await schedule([0, 1, 2], [lost, good])).toBe(3);
    expect(done).toEqual([1, 2, 0]);
  });
  test('the last lost slot is the error of the whole', async () => {
    const lost = (ms: number) => async (): Promise<ShardOutcome> => {
      await new Promise((resolve) => setTimeout(resolve, ms));
      throw new SlotLost(new DiffmineError('DEVICE_UNAVAILABLE', `gone after ${ms}`));
    };
    await expect(schedule([0, 1, 2], [lost(5), lost(15)])).rejects.toMatchObject({
      code: 'DEVICE_UNAVAILABLE',
      message: 'gone after 15',
    });
  });
  test('what a dead process counted of its shard is taken back', () => {
    const told: unknown[] = [];
    const meter = new Meter(
      { onProgress: (event) => told.push(event) },
      100,
      { done: 0, total: 5 },
      { done: 0, total: 2 },
    );
    const tally = new Tally(meter);
    tally.begin();
    tally.add(30);
    tally.image('a');
    tally.drop(10);
    tally.image('b', 'bad');
    tally.undo();
    expect(meter.done).toBe(0);
    tally.add(60);
    tally.image('a');
    tally.shard(0, 2, 0);
    expect(tally.finished).toBe(true);
    expect(told.at(-2)).toMatchObject({ type: 'image', image: 'a', done: 1 });
    meter.finish();
    expect(told.at(-1)).toMatchObject({ type: 'unetCalls', done: 60, total: 100 });
  });
  test('an error stops the handing out and is thrown when all is quiet; the cause wins over the cancelling', async () => {
    const done: number[] = [];
    const failing = async (): Promise<ShardOutcome> => Promise.reject(new DiffmineError('NUMERICS', 'x'));
    const cancelled = async (shard: number): Promise<ShardOutcome> => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      done.push(shard);
      throw new DiffmineError('CANCELLED', 'y');
    };
    await expect(schedule([0, 1, 2, 3], [cancelled, failing])).rejects.toMatchObject({ code: 'NUMERICS' });
    expect(done).toEqual([0]);
  });
  test('a cancel stops before the next shard, and while waiting', async () => {
    const abort = new AbortController();
    const slot = async (): Promise<ShardOutcome> => {
      abort.abort();
      return 'busy';
    };
    await expect(schedule([0, 1], [slot], { signal: abort.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});
