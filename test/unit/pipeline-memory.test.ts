// Running out of memory, on real engines that refuse large batches: every stage starts the shard again with half the batch, and records it.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { Engine } from '../../src/engine/index.js';
import type { PipelineEvent } from '../../src/pipeline/options.js';
import { open as openCotypicality } from '../../src/stages/cotypicality/stage.js';
import { cotypicality } from '../../src/stages/cotypicality/cotypicality.js';
import type { CotypicalityOptions } from '../../src/stages/cotypicality/options.js';
import { Run } from '../../src/runs/run.js';
import { scan } from '../../src/stages/scan/scan.js';
import type { TranslateOptions } from '../../src/stages/translate/options.js';
import { open as openTranslation } from '../../src/stages/translate/stage.js';
import { translate } from '../../src/stages/translate/translate.js';
import { DiffmineError } from '../../src/util/errors.js';
import { resultBytes } from '../helpers/bytes.js';

const MODEL = join(__dirname, '..', 'data', 'golden', 'tiny-fold');
const LABELS = ['class0', 'class1'];
let folder: string;
const at = (...names: string[]): string => join(folder, ...names);

async function draw(file: string, seed: number): Promise<void> {
  mkdirSync(dirname(file), { recursive: true });
  const pixels = Uint8Array.from({ length: 3 * 32 * 32 }, (_, i) => 128 + 90 * Math.sin(i * 0.05 * (seed + 1)));
  await sharp(pixels, { raw: { width: 32, height: 32, channels: 3 } })
    .png()
    .toFile(file);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-memory-'));
  for (const [i, label] of LABELS.entries()) {
    for (const [j, name] of ['a', 'b'].entries()) {
      await draw(at('data', label, `${name}.png`), 2 * i + j);
      for (const [k, target] of LABELS.entries())
        await draw(at('parallel', label, name, `${target === label ? 'source' : target}.png`), 7 * i + 3 * j + k);
    }
  }
});
afterEach(() => jest.restoreAllMocks());
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const outOfMemory = (): never => {
  throw new DiffmineError('OUT_OF_MEMORY', 'The device has no memory left.');
};

/** Engines take no more than `most` rows per forward pass, but for the first `free` calls; returns what was asked. */
function limitMemory(most: number, free: number): number[] {
  const asked: number[] = [];
  const refuse = (rows: number): void => {
    asked.push(rows);
    if (rows > most && asked.length > free) outOfMemory();
  };
  const { scoreTypicality, unetForward } = Engine.prototype;
  jest.spyOn(Engine.prototype, 'scoreTypicality').mockImplementation(async function (this: Engine, ...all) {
    refuse(all[2].batch);
    return scoreTypicality.apply(this, all);
  });
  jest.spyOn(Engine.prototype, 'unetForward').mockImplementation(async function (this: Engine, ...all) {
    refuse(all[1].x.shape[0] ?? 0);
    return unetForward.apply(this, all);
  });
  return asked;
}

const base = { model: MODEL, device: 'cpu', dtype: 'fp32', threads: 1, batch: 12, shardSize: 8 } as const;
const notes = [12, 6].map((batch) => `Out of memory at batch ${batch}: restarted with batch ${batch / 2}.`);

/** The last totals that were told. */
function listen(): {
  hooks: { onProgress: (event: { type: string }) => void; onLog: (line: string) => void };
  told: PipelineEvent[];
  log: string[];
} {
  const told: PipelineEvent[] = [];
  const log: string[] = [];
  return {
    told,
    log,
    hooks: { onProgress: (event) => void told.push(event as PipelineEvent), onLog: (line) => void log.push(line) },
  };
}

test('scan', async () => {
  limitMemory(3, 1);
  const { hooks, told, log } = listen();
  const options = { ...base, dataset: at('data'), samples: 3, patch: 8, maps: false };
  const summary = await scan({ ...options, out: at('scan') }, hooks);
  expect(summary).toMatchObject({ scored: 4, unetCalls: 4 * 3 * 2, complete: true });
  expect(told.filter(({ type }) => type === 'image').at(-1)).toMatchObject({ done: 4, total: 4 });
  expect(log).toContain('Shard 0: out of memory at batch 6, restarting it with batch 3.');
  expect(await (await Run.open(at('scan'))).readShard(0)).toMatchObject({ batch: 3, notes });
});

test('translate', async () => {
  const options: TranslateOptions = {
    ...base,
    dataset: at('data'),
    out: at('small'),
    inversionSteps: 10,
    inferenceSteps: 5,
    guidanceRange: [0, 1],
  };
  await translate({ ...options, batch: 3 });
  limitMemory(3, 1);
  const { hooks, told } = listen();
  const summary = await translate({ ...options, out: at('translated') }, hooks);
  expect(summary).toMatchObject({ translated: 4, complete: true });
  expect(told.filter(({ type }) => type === 'image').at(-1)).toMatchObject({ done: 4, total: 4 });
  const { folder: found } = await openTranslation({ ...options, out: at('translated') }, {});
  expect((await found.readShard(0)).record).toEqual({ shard: 0, batch: 3, notes });
  expect(resultBytes(at('translated'), LABELS)).toEqual(resultBytes(at('small'), LABELS));
});

test('cotypicality', async () => {
  const options: CotypicalityOptions = {
    ...base,
    parallel: at('parallel'),
    out: at('few'),
    samples: 2,
    ensemble: 1,
    patch: 8,
    places: 2,
    clusters: 2,
    dimensions: 2,
    projection: 'none',
  };
  await cotypicality({ ...options, batch: 3 });
  limitMemory(3, 1);
  const { hooks, told } = listen();
  const summary = await cotypicality({ ...options, out: at('cotypical') }, hooks);
  expect(summary).toMatchObject({
    scored: 4,
    unetCalls: 4 * 2 * 2 * 2,
    complete: true,
    notes: expect.arrayContaining(notes) as string[],
  });
  expect(told.filter(({ type }) => type === 'image').at(-1)).toMatchObject({ done: 4, total: 4 });
  const { folder: run } = await openCotypicality({ ...options, out: at('cotypical') }, {});
  expect(await run.readShard(0)).toMatchObject({ sequences: 4, batch: 3, notes });
  const tables = (path: string): Record<string, string> =>
    Object.fromEntries(Object.entries(resultBytes(path, ['shards'])).filter(([name]) => !name.endsWith('shard.json')));
  expect(tables(at('cotypical'))).toEqual(tables(at('few')));
});

test('where the smallest batch does not fit, that is the error, and nothing is finished', async () => {
  const asked = limitMemory(1, 0);
  const options = { ...base, dataset: at('data'), samples: 1, patch: 8, out: at('none') };
  await expect(scan(options)).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
  expect([...new Set(asked)]).toEqual([12, 6, 3, 2]);
  expect(await (await Run.open(at('none'))).doneShards()).toEqual([]);
});
