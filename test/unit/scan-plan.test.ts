// What a scan decides before the engine is asked: contrasts, call sizes, batches, who does which shard.
import type { ModelSource, UNetConfig } from '../../src/engine/types.js';
import { autoBatch, imagesPerCall, rowBytes, unetShape } from '../../src/pipeline/batch.js';
import { planContrasts } from '../../src/stages/scan/contrasts.js';
import { chunks, groupBy } from '../../src/util/group.js';
import { shardsOf } from '../../src/pipeline/shards.js';
import { Meter, Tally } from '../../src/pipeline/progress.js';
import { schedule, SlotLost, type ShardOutcome } from '../../src/pipeline/schedule.js';
import { DiffmineError } from '../../src/util/errors.js';

describe('contrasts', () => {
  const labels = ['a', 'b', 'c'];
  test('against null: label and null, one output', () => {
    const plan = planContrasts(labels, 'null', false);
    expect(plan).toMatchObject({ scored: labels, fanOut: 2 });
    expect(plan.of('b')).toEqual({ conditions: [1, 3], subjects: [0], weights: [[0, 1]], names: ['b'] });
    expect(plan.of('z')).toBeUndefined();
  });
  test('against the others: every label once, their mean', () => {
    const plan = planContrasts(labels, 'others', false);
    expect(plan.fanOut).toBe(3);
    expect(plan.of('b')).toEqual({ conditions: [0, 1, 2], subjects: [1], weights: [[0.5, 0, 0.5]], names: ['b'] });
  });
  test('against a label: that label itself is not scored', () => {
    const plan = planContrasts(labels, 'b', false);
    expect(plan).toMatchObject({ scored: ['a', 'c'], fanOut: 2 });
    expect(plan.of('c')).toEqual({ conditions: [2, 1], subjects: [0], weights: [[0, 1]], names: ['c'] });
    expect(plan.of('b')).toBeUndefined();
  });
  test('all labels: as many outputs, one null', () => {
    expect(planContrasts(labels, 'null', true).of('c')).toEqual({
      conditions: [0, 1, 2, 3],
      subjects: [0, 1, 2],
      weights: [
        [0, 0, 0, 1],
        [0, 0, 0, 1],
        [0, 0, 0, 1],
      ],
      names: labels,
    });
    expect(planContrasts(labels, 'others', true).of('a')?.weights).toEqual([
      [0, 0.5, 0.5],
      [0.5, 0, 0.5],
      [0.5, 0.5, 0],
    ]);
    const against = planContrasts(labels, 'b', true);
    expect(against.fanOut).toBe(3);
    // images of b can be scored under a and c
    expect(against.of('b')).toEqual({
      conditions: [0, 2, 1],
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
      const contrast = planContrasts(labels, against, all).of('c');
      contrast?.weights.forEach((weights, m) => {
        expect(weights).toHaveLength(contrast.conditions.length);
        expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
        expect(weights[contrast.subjects[m] as number]).toBe(0);
      });
    }
  });
  test('what cannot be compared is refused', () => {
    expect(() => planContrasts(labels, 'd', false)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => planContrasts(['a'], 'others', false)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => planContrasts(['a'], 'a', false)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
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
    expect(rowBytes(unet, shape, 'fp32') / 1e6).toBeGreaterThan(130);
    expect(rowBytes(unet, shape, 'fp32') / 1e6).toBeLessThan(200);
    expect(rowBytes(unet, shape, 'bf16') / rowBytes(unet, shape, 'fp32')).toBeCloseTo(0.5, 1);
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
    expect(taken.flat().sort()).toEqual([0, 1, 2, 3, 4, 5]);
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
