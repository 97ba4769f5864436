// --shard-size auto: as many items as take about a minute, decided once.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { Engine } from '../../src/engine/index.js';
import { DiffmineError } from '../../src/util/errors.js';
import type { Manifest } from '../../src/runs/manifest.js';
import { shardSizeAt } from '../../src/pipeline/shard-size.js';
import { VERSION } from '../../src/util/version.js';
import { Run } from '../../src/runs/run.js';
import type { ScanOptions } from '../../src/stages/scan/options.js';
import { scan } from '../../src/stages/scan/scan.js';
import { resolveOptions } from '../../src/stages/scan/resolve.js';
import { dividedOf } from '../../src/stages/scan/image-costs.js';
import { planContrasts } from '../../src/stages/scan/contrasts.js';
import { cotypicality } from '../../src/stages/cotypicality/cotypicality.js';
import { translate } from '../../src/stages/translate/translate.js';
import { planScan } from '../../src/tools/estimate/dry-run.js';
import { estimate } from '../../src/tools/estimate/estimate.js';
import { temporaryFolder } from '../helpers/folders.js';

const GOLDEN = join(__dirname, '..', 'data', 'golden');
const MODEL = join(GOLDEN, 'tiny-fold');
const folder = temporaryFolder();
const at = (...names: string[]): string => join(folder, ...names);
const before = process.env.DIFFMINE_CACHE;

beforeAll(async () => {
  process.env.DIFFMINE_CACHE = at('cache');
  mkdirSync(at('cache'));
  for (const label of ['class0', 'class1']) {
    mkdirSync(at('data', label), { recursive: true });
    for (let i = 0; i < 10; i += 1)
      await sharp({ create: { width: 32, height: 32, channels: 3, background: { r: 20 * i, g: 90, b: 40 } } })
        .png()
        .toFile(at('data', label, `${i}.png`));
  }
});
afterAll(() => {
  if (before === undefined) delete process.env.DIFFMINE_CACHE;
  else process.env.DIFFMINE_CACHE = before;
});

const RATES = (): string => at('cache', 'rates.json');
/** From now on, every rate that was remembered is this one. */
function pretend(rate: number): void {
  const known = JSON.parse(readFileSync(RATES(), 'utf8')) as Record<string, object>;
  writeFileSync(
    RATES(),
    JSON.stringify(Object.fromEntries(Object.entries(known).map(([key, of]) => [key, { ...of, rate }]))),
  );
}

const base = (out: string): ScanOptions => ({
  ...{ dataset: at('data'), model: MODEL, out: at(out), size: 32, patch: 8, samples: 4, batch: 8 },
  ...{ device: 'cpu', dtype: 'fp32', threads: 1, maps: false },
});

const manifestOf = (out: string): Manifest => JSON.parse(readFileSync(at(out, 'manifest.json'), 'utf8')) as Manifest;

describe('a size', () => {
  const alone = { here: 1, everywhere: 1 };
  const of = (items: number, unetCallsPerItem = 200): { items: number; unetCallsPerItem: number } => ({
    items,
    unetCallsPerItem,
  });

  test.each([
    ['a large model on a CPU: one image takes longer', 0.3, 1],
    ['ten images a minute: the nearest power of two', 100 / 3, 8],
    ['sixty images a minute', 200, 64],
    ['a fast model: no more than fit into memory', 1e6, 4096],
  ])('%s', (_, rate, size) => {
    expect(shardSizeAt(rate, of(10_000), alone)).toBe(size);
  });

  test('without a rate it is 64, and there are never more shards than a folder holds well', () => {
    expect(shardSizeAt(undefined, of(1000), alone)).toBe(64);
    expect(shardSizeAt(undefined, of(3_000_000), alone)).toBe(128);
    expect(shardSizeAt(0.01, of(100_000), alone)).toBe(4);
  });

  test('engines that share a rate have a minute each, and enough shards to end together', () => {
    expect(shardSizeAt(200, of(100_000), { here: 4, everywhere: 4 })).toBe(16);
    expect(shardSizeAt(200, of(64), { here: 1, everywhere: 4 })).toBe(4);
    expect(shardSizeAt(200, of(3), { here: 2, everywhere: 2 })).toBe(1);
  });

  test('of a race it follows from the longest round', () => {
    const contrasts = planContrasts(['a', 'b'], { against: 'null', othersPerSample: 1, samples: 32, seed: 0 }, false);
    const images = {
      length: 10,
      countByLabel: () =>
        new Map([
          ['a', 5],
          ['b', 5],
        ]),
    };
    const race = { top: 5, rule: 'risk', risk: 0.01, ends: [4, 8, 16, 32], controls: 0.05 } as const;
    expect(dividedOf(images, { contrasts, samples: 32, race: undefined }).unetCallsPerItem).toBe(64);
    expect(
      dividedOf(images, { contrasts, samples: 32, race: { ...race, ends: [...race.ends] } }).unetCallsPerItem,
    ).toBe(32);
  });
});

const imagesOf = async (out: string): Promise<unknown[]> => {
  const run = await Run.open(at(out));
  const found: unknown[] = [];
  for await (const row of run.images()) found.push(row);
  return found;
};

describe('a run', () => {
  test('is measured once on a machine; then it is divided by the rate that is known, and keeps its shards', async () => {
    let loads = 0;
    const first = await scan(base('first'), {
      onProgress: (event) => {
        if (event.type === 'load' && event.done === event.total) loads += 1;
      },
    });
    expect(loads).toBe(1); // the engine that measured the rate scores
    expect(first.shards.total).toBe(1); // 20 images of a tiny model
    const { shardRate } = manifestOf('first');
    expect(shardRate).toMatchObject({ from: 'measured' });
    expect(shardRate?.unetCallsPerSecond).toBeGreaterThan(0);
    // 4 samples under two conditions: 8 UNet calls per image, 7.5 images per minute
    pretend(1);
    const second = await scan(base('second'));
    expect(second.shards.total).toBe(3);
    expect(await imagesOf('second')).toEqual(await imagesOf('first'));
    expect(manifestOf('second')).toMatchObject({
      options: { shardSize: 8 },
      shardRate: { unetCallsPerSecond: 1, from: 'earlier' },
    });
    pretend(0.5);
    expect(await planScan(base('second'), [])).toMatchObject({
      shards: { total: 3, done: 3 },
      estimate: { shards: 3 },
    });
    expect(await scan(base('second'))).toMatchObject({ resumed: true, complete: true, shards: { total: 3, here: 0 } });
    expect(await planScan(base('third'), [])).toMatchObject({
      ...{ shards: { total: 5, done: 0 }, rate: { perSecond: 0.5, from: 'earlier' }, seconds: 320 },
      estimate: { shards: 5, rateFrom: 'earlier' },
    });
    expect((await estimate({ ...base('third'), rate: 2 })).shards).toBe(2);
    const given = await scan({ ...base('given'), shardSize: 10 });
    expect(given.shards.total).toBe(2);
    expect(manifestOf('given').shardRate).toBeUndefined();
    await expect(scan({ ...base('second'), shardSize: 10 })).rejects.toMatchObject({
      code: 'RUN_MISMATCH',
      message: expect.stringContaining('shard-size: this run has 8, you asked for 10') as string,
    });
  });

  test('that two machines begin has the shards of the first', async () => {
    const { draft, images } = await resolveOptions({ ...base('both'), out: undefined }, VERSION);
    const begin = async (shardSize: number, anyShardSize: boolean): Promise<number> => {
      const own = { ...draft, options: { ...draft.options, shardSize } };
      const run = await Run.begin(at('both'), own, images, { anyShardSize });
      await run.store.close();
      return run.manifest.options.shardSize;
    };
    const sizes = await Promise.all([begin(4, true), begin(8, true), begin(2, true)]);
    expect(new Set(sizes).size).toBe(1);
    await expect(begin(16, false)).rejects.toMatchObject({ code: 'RUN_MISMATCH' });
  });

  test('finds the same, however it is divided', async () => {
    pretend(1000);
    const whole = await scan(base('whole'));
    pretend(0.2);
    const divided = await scan(base('divided'));
    expect([whole.shards.total, divided.shards.total]).toEqual([1, 10]);
    expect(await imagesOf('divided')).toEqual(await imagesOf('whole'));
  });
});

test('translations and searches for consistent changes are divided alike', async () => {
  mkdirSync(at('few'));
  for (const label of ['class0', 'class1']) cpSync(at('data', label), at('few', label), { recursive: true });
  const common = { model: MODEL, batch: 8, device: 'cpu', dtype: 'fp32', threads: 1 } as const;
  const translation = {
    ...{ ...common, dataset: at('few'), imagesPerLabel: 2, inversionSteps: 4, inferenceSteps: 2 },
    guidanceRange: [0, 1] as [number, number],
  };
  expect((await translate({ ...translation, out: at('translated') })).shards.total).toBe(1);
  expect(manifestOf('translated').shardRate?.from).toBe('measured');
  pretend(0.01);
  expect((await translate({ ...translation, out: at('slowly') })).shards.total).toBe(4);

  const search = { ...common, samples: 2, ensemble: 1, patch: 8, size: 32, places: 1, clusters: 2, dimensions: 2 };
  const parallel = at('translated');
  expect((await cotypicality({ ...search, parallel, out: at('changes') })).shards.total).toBe(1);
  expect(manifestOf('changes').shardRate?.from).toBe('measured');
  pretend(0.01);
  expect((await cotypicality({ ...search, parallel, out: at('slow-changes') })).shards.total).toBe(4);
});

test('where measuring runs out of memory, or finds NaN, the rate is computed and the work continues', async () => {
  const score = jest.spyOn(Engine.prototype, 'scoreTypicality');
  try {
    for (const code of ['OUT_OF_MEMORY', 'NUMERICS'] as const) {
      writeFileSync(RATES(), '{}');
      score.mockRejectedValueOnce(new DiffmineError(code, 'Measuring failed.'));
      expect(await scan(base(code))).toMatchObject({ complete: true, scored: 20 });
      expect(manifestOf(code).shardRate?.from).toBe('computed');
    }
    score.mockRejectedValueOnce(new DiffmineError('DEVICE_UNAVAILABLE', 'It is gone.'));
    await expect(scan(base('gone'))).rejects.toMatchObject({ code: 'DEVICE_UNAVAILABLE' });
  } finally {
    score.mockRestore();
  }
});

test('a run on a queue is divided by counted operations, and no engine is opened for it', async () => {
  const { withShardSize } = await import('../../src/pipeline/shard-size.js');
  const { plannedOf } = await import('../../src/stages/scan/image-costs.js');
  writeFileSync(RATES(), '{}');
  const resolved = await resolveOptions({ ...base('queued'), samples: 400, out: undefined }, VERSION);
  const many = { ...plannedOf(resolved), divided: { items: 100_000, unetCallsPerItem: 1e6 } };
  const none = (): never => {
    throw new Error('measured');
  };
  const prompts = new Proxy([null, null] as const, { get: none });
  const draft = await withShardSize(many, { queue: 'redis://nowhere' }, prompts, {}, {});
  expect(draft.shardRate?.from).toBe('computed');
  expect(readFileSync(RATES(), 'utf8')).toBe('{}');
});
