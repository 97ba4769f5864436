// What a command is said to cost before it begins: rates of earlier commands, and those that are measured.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Output } from '../../src/cli/output.js';
import { onScan } from '../../src/cli/stages.js';
import type { ScanEvent } from '../../src/stages/scan/options.js';
import { Meter } from '../../src/pipeline/progress.js';
import type { Manifest } from '../../src/runs/manifest.js';
import type { MineRecord } from '../../src/runs/mining.js';
import { FeatureCost } from '../../src/stages/mine/cost.js';
import { knownRate, rateKey, rememberRate } from '../../src/pipeline/remembered-rates.js';
import type { DeviceInfo } from '../../src/engine/types.js';
import { temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();
const before = process.env.DIFFMINE_CACHE;
afterEach(() => {
  jest.restoreAllMocks();
  if (before === undefined) delete process.env.DIFFMINE_CACHE;
  else process.env.DIFFMINE_CACHE = before;
});

test('a rate is remembered by key, the latest hundred of them', async () => {
  process.env.DIFFMINE_CACHE = join(folder, 'new', 'cache');
  expect(await knownRate('a')).toBeUndefined();
  await rememberRate('a', 12.3456);
  await rememberRate('b', 7);
  await rememberRate('a', 13);
  expect([await knownRate('a'), await knownRate('b'), await knownRate('c')]).toEqual([13, 7, undefined]);
  const file = join(folder, 'new', 'cache', 'rates.json');
  const old = Object.fromEntries(
    Array.from({ length: 100 }, (_, i) => [
      `old ${i}`,
      { rate: 1, date: `2020-01-01T00:00:00.${String(i).padStart(3, '0')}Z` },
    ]),
  );
  writeFileSync(file, JSON.stringify(old));
  await rememberRate('new', 5);
  expect(Object.keys(JSON.parse(readFileSync(file, 'utf8')) as object)).toHaveLength(100);
  expect([await knownRate('new'), await knownRate('old 0'), await knownRate('old 1')]).toEqual([5, undefined, 1]);
});

test.each(['{', 'null', '[]', '{"a":{"rate":"fast"}}', '{"a":{"rate":-1,"date":""}}'])(
  'a damaged file is no rate, and is replaced: %s',
  async (content) => {
    process.env.DIFFMINE_CACHE = folder;
    writeFileSync(join(folder, 'rates.json'), content);
    expect(await knownRate('a')).toBeUndefined();
    await rememberRate('b', 2);
    expect(await knownRate('b')).toBe(2);
  },
);

test('where nothing can be written, nothing is remembered and nothing fails', async () => {
  writeFileSync(join(folder, 'file'), '');
  process.env.DIFFMINE_CACHE = join(folder, 'file', 'cache');
  await expect(rememberRate('a', 1)).resolves.toBeUndefined();
  mkdirSync(join(folder, 'taken', 'rates.json'), { recursive: true });
  process.env.DIFFMINE_CACHE = join(folder, 'taken');
  await expect(rememberRate('a', 1)).resolves.toBeUndefined();
  expect(await knownRate('a')).toBeUndefined();
});

test('another model, device, dtype, size or number of processes has another rate', () => {
  const stage = (more: { model?: string; device?: string; options?: object } = {}): Parameters<typeof rateKey>[0] => ({
    format: 'f',
    options: { dtype: 'fp32', batch: 8, size: 64, ...{ shardSize: 1 }, ...more.options },
    model: { fingerprint: more.model ?? 'm' },
    devices: [{ name: more.device ?? 'cpu', threads: 2 } as DeviceInfo],
  });
  const keys = [
    rateKey(stage(), {}),
    rateKey(stage({ model: 'n' }), {}),
    rateKey(stage({ device: 'gpu' }), {}),
    rateKey(stage({ options: { dtype: 'bf16' } }), {}),
    rateKey(stage({ options: { size: 32 } }), {}),
    rateKey(stage(), { workers: 2 }),
    rateKey(stage(), { threads: 1 }),
  ];
  expect(new Set(keys).size).toBe(keys.length);
  expect(rateKey(stage({ options: { shardSize: 64 } }), { threads: 2 })).toBe(keys[0]);
});

test('mining tells its minutes: at the rate of an earlier mining, or else at most those at the rate of the scan', async () => {
  process.env.DIFFMINE_CACHE = join(folder, 'mining');
  const manifest = { format: 'f', options: { dtype: 'fp32', batch: 8, size: 64 } } as const;
  const [model, device] = [{ fingerprint: 'm' }, { name: 'cpu', threads: 2 } as DeviceInfo];
  const cost = (images: number): FeatureCost =>
    new FeatureCost(images, { upBlock: 1, ensemble: 8, batch: 4 } as MineRecord['options'], {
      manifest: { ...manifest, model } as unknown as Manifest,
      device,
      threads: undefined,
    });
  expect(await cost(90).sentence(false)).toBe('Features: 90 images, 8 forward passes each through part of the model.');
  await rememberRate(rateKey({ ...manifest, model, devices: [device] }, {}), 4);
  expect(await cost(90).sentence(true)).toBe(
    "Features: 90 images, counted for each label that needs it, 8 forward passes each through part of the model, at most about 3 min at the scan's rate.",
  );
  await cost(90).remember(40, 4); // too short to measure
  expect(await cost(90).sentence(false)).toContain('at most');
  await cost(90).remember(60, 60);
  expect(await cost(90).sentence(false)).toBe(
    'Features: 90 images, 8 forward passes each through part of the model, about 90 s at the last rate measured here.',
  );
});

test('a meter measures from the end of the first batch, once it has measured for long enough', () => {
  const now = jest.spyOn(performance, 'now');
  const meter = new Meter({}, 1000, { done: 0, total: 10 }, { done: 0, total: 1 });
  expect(meter.rateAfter(0)).toBeUndefined();
  for (const [second, calls] of [
    [100, 16],
    [102, 16],
    [104, 16],
  ] as const) {
    now.mockReturnValue(1000 * second);
    meter.add(calls);
  }
  expect(meter.rateAfter(5)).toBeUndefined();
  expect(meter.rateAfter(4)).toBe(8);
});

describe('what is told', () => {
  const told = (events: readonly Partial<ScanEvent>[]): string[] => {
    const lines: string[] = [];
    const output = { log: (line: string) => lines.push(line), progress: () => undefined, debug: () => undefined };
    const tell = onScan(output as unknown as Output);
    for (const event of events) tell(event as ScanEvent);
    return lines;
  };
  const plan = {
    type: 'plan',
    path: '/run',
    resumed: false,
    images: 12,
    imagesDone: 2,
    unetCalls: 2400,
    atMost: false,
    batch: 8,
    device: 'cpu',
  } as const;
  const calls = (done: number, rate: number): Partial<ScanEvent> => ({
    type: 'unetCalls',
    done,
    total: 2400,
    rate,
    secondsLeft: (2400 - done) / rate,
  });

  test('UNet calls, and minutes at the rate of an earlier command', () => {
    expect(told([{ ...plan, rate: 10 }, calls(100, 10)])).toEqual([
      'Scanning into /run: 10 of 12 images to score, 2,400 UNet calls in batches of 8 on cpu, about 4 min 0 s at the last rate measured here.',
    ]);
    expect(told([{ ...plan, atMost: true }])[0]).toContain('at most 2,400 UNet calls');
    expect(told([{ ...plan, rate: 10, unetCalls: 0 }])[0]).toMatch(/0 UNet calls in batches of 8 on cpu\.$/);
  });

  test('without one, the time once the rate is measured', () => {
    expect(told([plan, calls(8, 10), calls(48, 10), calls(50, 10), calls(60, 10)])).toEqual([
      expect.stringMatching(/on cpu\.$/),
      'About 3 min 55 s left, at 10 UNet calls per second.',
    ]);
    expect(told([plan, calls(2390, 100)])).toHaveLength(1);
  });
});
