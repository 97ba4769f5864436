// The C++ benchmark (cpp/tests/bench) beside `diffmine bench`: the same model, the same counts, the same numbers out of the UNet.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { benchCells, planCells } from '../../src/tools/bench/cells.js';
import { openSubject } from '../../src/tools/bench/subject.js';
import { buildInfo, devices, drawNoise, Engine, float32 } from '../../src/engine/index.js';
import { addonPath } from '../../src/engine/locate.js';
import { nightlyTest } from '../helpers/nightly.js';

// `npm run test:all` builds it before jest.
const folder = dirname(addonPath() ?? '');
const program = [folder, dirname(folder)]
  .map((place) => join(place, 'diffmine_bench'))
  .find((file) => existsSync(file));
const run = program !== undefined || process.env['CI'] === 'true' ? nightlyTest : test.skip;

interface Line {
  bench: string;
  [name: string]: unknown;
}
type Numbers = Record<string, number> & {
  seconds: { median: number };
  matmul_flops: { median: number };
  matmul_utilization: { median: number };
};

const parse = (text: string): Line[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

function lines(...args: string[]): Line[] {
  const text = execFileSync(
    program ?? '',
    ['--device', 'cpu', '--model', 'tiny', '--threads', '1', '--seconds', '0.001', ...args],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, GOMP_SPINCOUNT: '1000' } },
  );
  return parse(text);
}

run('a cell has the model, counts and units of diffmine bench, and computes the same', async () => {
  const [cell, operators, ...others] = lines(
    'unet',
    '--dtype',
    'fp32',
    '--latents',
    '16',
    '--batch',
    '4',
    '--tune',
    'off',
    '--repeats',
    '1',
    '--profile',
  );
  expect(others).toEqual([]);
  const ours = cell as unknown as Numbers;

  const subject = await openSubject('synthetic:tiny');
  const options = {
    device: 'cpu',
    dtypes: ['fp32' as const],
    latents: [16],
    batches: [4],
    repeats: 1,
    threads: 1,
    stages: false,
  };
  const { cells } = await benchCells(subject, planCells(subject, options), options, undefined, Infinity, {});
  const theirs = cells[0];
  if (!theirs?.measured) throw new Error('nothing was measured');
  expect(cell).toMatchObject({
    bench: 'unet',
    device: 'cpu',
    model: 'tiny',
    dtype: 'fp32',
    tuned: false,
    libtorch: buildInfo().libtorchCompiled,
    threads: 1,
    parameters: subject.parameters,
    latents: theirs.input[1],
    batch: theirs.batch,
    flops_per_call: theirs.operations,
  });
  // Rates count the same things: UNet calls of a forward pass, and their arithmetic as a fraction of the matmul rate.
  for (const [seconds, calls] of [
    [ours.seconds.median, ours['calls_per_second']],
    [theirs.measured.seconds.median, theirs.measured.unetCallsPerSecond],
  ]) {
    expect((calls ?? NaN) * (seconds ?? NaN)).toBeCloseTo(4, 4);
  }
  expect(ours.matmul_utilization.median * ours.matmul_flops.median * ours.seconds.median).toBeCloseTo(
    4 * theirs.operations,
    -4,
  );
  expect(
    theirs.measured.utilization.median * theirs.measured.matmul.median * theirs.measured.seconds.median,
  ).toBeCloseTo(4 * theirs.operations, -4);

  // Its input, through the addon.
  const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
  try {
    await engine.loadModel({ unet: subject.source.unet, schedule: subject.source.schedule });
    const conditions = await engine.prepareConditions(drawNoise(0, 1000, 2, [77, 32], 0));
    const { sample } = await engine.unetForward(conditions, {
      x: drawNoise(0, 0, 2, [4, 16, 16], 0),
      timesteps: [300, 300],
      conditionIndex: [0, 1, 0, 1],
      fanOut: 2,
    });
    const values = float32(sample);
    const mean = (of: (value: number) => number): number =>
      values.reduce((sum, value) => sum + of(value), 0) / values.length;
    expect(ours['output_mean']).toBeCloseTo(
      mean((value) => value),
      6,
    );
    expect(ours['output_rms']).toBeCloseTo(Math.sqrt(mean((value) => value * value)), 6);
  } finally {
    await engine.dispose();
  }

  expect(operators).toMatchObject({ bench: 'operators', model: 'tiny', batch: 4 });
  const rows = operators?.['rows'] as { name: string; seconds: number; calls: number; percent: number }[];
  // Per forward pass: the linear layers of 16 transformers, those into and out of them, and of the time embedding.
  expect(rows.find(({ name }) => name.includes('linear'))?.calls).toBeGreaterThan(16 * 8);
  expect(rows.map(({ seconds }) => seconds)).toEqual(rows.map(({ seconds }) => seconds).toSorted((a, b) => b - a));
  expect(rows.reduce((sum, { percent }) => sum + percent, 0)).toBeLessThanOrEqual(100.1);
});

run('what cannot be measured is a line, and the rest is measured', () => {
  const args = ['unet', '--dtype', 'fp16,bf16', '--latents', '16', '--batch', '2', '--tune', 'off', '--repeats', '1'];
  let measured: Line[] = [];
  try {
    measured = lines(...args);
  } catch (error) {
    expect((error as { status: number }).status).toBe(1);
    measured = parse((error as { stdout: string }).stdout);
  }
  const [half, brain] = measured;
  expect(half).toMatchObject({ bench: 'unet', dtype: 'fp16' });
  // Some CPUs have fp16; the others say so instead of figures.
  if (!devices()[0]?.dtypes.includes('fp16')) expect(half?.['failed']).toContain('fp16');
  else expect(half).toMatchObject({ batch: 2 });
  expect(brain).toMatchObject({ bench: 'unet', dtype: 'bf16', batch: 2 });
  expect(() => lines('unet', '--batch', 'many')).toThrow(/'many' is not a whole number/);
});

run('attention is compared with float64, by every way that the device has', () => {
  const measured = lines('attention', '--dtype', 'fp32', '--batch', '1', '--repeats', '1');
  expect(measured.map(({ backend, queries, keys, size }) => [backend, queries, keys, size])).toEqual(
    [
      [4096, 4096, 40],
      [1024, 1024, 80],
      [4096, 77, 40],
    ].flatMap((shape) => ['libtorch', 'ours'].map((backend) => [backend, ...shape])),
  );
  for (const { largest_error: error } of measured) expect(error).toBeLessThan(2e-5);
});
