// Cells of tiny models: what does not fit is skipped and the rest measured; class models; what the figures are counted by.
import { benchCells, planCells } from '../../src/tools/bench/cells.js';
import { operations } from '../../src/models/operations.js';
import { OPTIMIZATIONS, type BenchOptimization } from '../../src/tools/bench/optimizations.js';
import { openSubject, twoConditions } from '../../src/tools/bench/subject.js';
import { Engine, loadAddon } from '../../src/engine/index.js';
import type { Optimization } from '../../src/engine/types.js';
import { nightlyTest } from '../helpers/nightly.js';

const options = {
  device: 'cpu',
  dtypes: ['fp32' as const],
  latents: [8],
  batches: [4096, 2],
  repeats: 1,
  threads: 1,
  stages: false,
};

test('cells are planned from the smallest, UNet calls come in pairs', async () => {
  const subject = await openSubject('synthetic:sd15');
  const cells = planCells(subject, { dtypes: ['fp16', 'fp32'], latents: [64, 32], batches: [128, 65] });
  expect(cells.map(({ dtype, input, pixels, patch, batch }) => [dtype, ...input, pixels, patch, batch])).toEqual(
    ['fp16', 'fp32'].flatMap((dtype) => [
      [dtype, 4, 32, 32, 256, 32, 64],
      [dtype, 4, 32, 32, 256, 32, 128],
      [dtype, 4, 64, 64, 512, 64, 64],
      [dtype, 4, 64, 64, 512, 64, 128],
    ]),
  );
  expect(cells[3]?.operations).toBe(operations(subject.source, 64, 64));
  expect((await openSubject('synthetic:demo')).pixelsPerCell).toBe(2);
});

test('conditions are those that each kind of model takes', async () => {
  const shapes = async (name: string): Promise<unknown> => {
    const made = twoConditions(await openSubject(`synthetic:${name}`));
    return 'text' in made ? [made.text.shape, made.pooled?.shape] : made.shape;
  };
  expect(await shapes('sdxl')).toEqual([
    [2, 77, 2048],
    [2, 1280],
  ]);
  expect(await shapes('sd3')).toEqual([
    [2, 333, 4096],
    [2, 2048],
  ]);
  expect(await shapes('dit')).toEqual([2]);
});

test('a cell that does not fit is skipped with the reason, the others are measured', async () => {
  const subject = await openSubject('synthetic:tiny');
  const lines: string[] = [];
  const { cells, starts } = await benchCells(subject, planCells(subject, options), options, undefined, 50e6, {
    onLog: (line) => lines.push(line),
  });
  expect(
    cells.map(({ input, batch, measured, skipped }) => [input[1], batch, measured !== undefined, skipped]),
  ).toEqual([
    [8, 2, true, undefined],
    [8, 4096, false, expect.stringMatching(/^a forward pass takes about [\d.]+ GB and 0\.1 GB are free$/)],
  ]);
  expect(starts).toHaveLength(1);
  expect(lines).toHaveLength(2);
  const { measured } = cells[0] ?? {};
  expect(Object.keys(measured ?? {})).not.toEqual(expect.arrayContaining(['stages', 'scan', 'diffusersCells']));
  expect(measured?.matmul.median).toBeGreaterThan(0);
  expect(starts[0]?.firstResultSeconds).toBeGreaterThanOrEqual(
    (starts[0]?.loadSeconds ?? 0) + (measured?.firstSeconds ?? 0),
  );
});

nightlyTest('a class model has stages too; none encodes images', async () => {
  const subject = await openSubject('synthetic:demo');
  const only = { ...options, batches: [4], stages: true };
  const {
    cells: [cell],
  } = await benchCells(subject, planCells(subject, only), only, undefined, 8e9, {});
  expect(cell).toMatchObject({
    input: [12, 8, 8],
    pixels: 16,
    patch: 2,
    measured: { scan: { images: 1, samples: 2 } },
  });
  expect(Object.keys(cell?.measured?.stages ?? {})).toEqual(
    expect.arrayContaining(['decode', 'noise', 'unet', 'score', 'select', 'features', 'cluster']),
  );
});

nightlyTest(
  'optimizations are measured against an engine that has them disabled, where they mean something',
  async () => {
    const subject = await openSubject('synthetic:tiny');
    const only = {
      ...options,
      batches: [2],
      repeats: 2,
      ablate: ['winograd', 'graphs', 'geglu', 'cached-keys'] as BenchOptimization[],
      disable: ['geglu'] as BenchOptimization[],
    };
    const {
      cells: [cell],
    } = await benchCells(subject, planCells(subject, only), only, undefined, 8e9, {});
    expect(cell?.measured?.ablations).toEqual(
      ['none', 'winograd', 'cached-keys'].map((optimization) => ({
        optimization,
        pass: { median: expect.any(Number), min: expect.any(Number), max: expect.any(Number) },
      })),
    );
    const whole = { ...only, stages: true, disable: [], ablate: ['shared-prefix'] as BenchOptimization[] };
    const {
      cells: [scanned],
    } = await benchCells(subject, planCells(subject, whole), whole, undefined, 8e9, {});
    expect(scanned?.measured?.ablations?.[0]?.scan?.median).toBeGreaterThan(0);
  },
);

test("the optimizations are the engine's, and cuDNN's tuning", () => {
  expect([...OPTIMIZATIONS].sort()).toEqual([...loadAddon().buildInfo().optimizations, 'tune'].sort());
  expect(() => new Engine({ device: 'cpu', dtype: 'fp32', disable: ['no such one' as Optimization] })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'There is no optimization "no such one".' }) as Error,
  );
});

test('a benchmark can be cancelled', async () => {
  const subject = await openSubject('synthetic:tiny');
  const only = { ...options, batches: [2] };
  await expect(
    benchCells(subject, planCells(subject, only), only, undefined, 8e9, { signal: AbortSignal.abort() }),
  ).rejects.toMatchObject({ code: 'CANCELLED' });
});
