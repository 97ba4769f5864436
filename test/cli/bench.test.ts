// `bench` as a user runs it: cells against a baseline, training alone, each in a process of its own, and what is refused.
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import type { CompareReport } from '../../src/tools/bench/compare.js';
import type { BenchReport } from '../../src/tools/bench/report.js';
import { temporaryFolder } from '../helpers/folders.js';
import { nightlyTest } from '../helpers/nightly.js';
import { cli, hasAddon, ROOT } from './cli.js';

const TINY = path.join(ROOT, 'test', 'data', 'golden', 'tiny-sd15');

(hasAddon ? nightlyTest : test.skip)(
  'bench --training gives steps a second of a size and of a model, and nothing else',
  async () => {
    const ran = await cli([
      'bench',
      '--no-unet',
      '--training',
      'tiny,model',
      '--model',
      TINY,
      '--train-batch',
      '2',
      '--dtype',
      'fp32',
      '--repeats',
      '1',
      '--threads',
      '1',
      '--device',
      'cpu',
      '--json',
    ]);
    expect(ran).toMatchObject({ code: 0, signal: null });
    const report = JSON.parse(ran.stdout) as BenchReport;
    expect(report).toMatchObject({ format: 'diffmine-bench-5', device: 'cpu', cells: [] });
    expect(
      report.training?.map(({ what, batch, measured }) => [what, batch, (measured?.stepsPerSecond ?? 0) > 0]),
    ).toEqual([
      ['tiny', 2, true],
      [TINY, 2, true],
    ]);
    // Its own memory, not that of all before it.
    expect(report.training?.every(({ measured }) => measured && measured.peakMemory < 2e9)).toBe(true);
    expect(ran.stderr).toContain('training tiny, fp32: ');
  },
);

const folder = temporaryFolder();
const TINY_BENCH = [
  'bench',
  '--model',
  'synthetic:tiny',
  '--latents',
  '8',
  '--dtype',
  'fp32',
  '--repeats',
  '1',
  '--threads',
  '1',
  '--device',
  'cpu',
];

(hasAddon ? describe : describe.skip)('cells', () => {
  const baseline = path.join(folder, 'baseline.json');
  const read = (): BenchReport => JSON.parse(readFileSync(baseline, 'utf8')) as BenchReport;
  /** The baseline with every utilization multiplied. */
  const scaled = async (factor: number): Promise<string> => {
    const file = path.join(folder, `times-${factor}.json`);
    await writeFile(
      file,
      readFileSync(baseline, 'utf8').replace(/"utilization":\s*\{[^}]*\}/g, (utilization) =>
        utilization.replace(/(-?[\d.]+(?:e[+-]?\d+)?)/g, (number) => String(Number(number) * factor)),
      ),
    );
    return file;
  };

  test('a report goes to the file and to stdout, and its figures belong together', async () => {
    const ran = await cli([
      ...TINY_BENCH,
      '--batch',
      '2,4',
      '--json',
      '--out',
      baseline,
      '--summary',
      path.join(folder, 'bench.md'),
    ]);
    expect(ran).toMatchObject({ code: 0, signal: null });
    const report = read();
    expect(JSON.parse(ran.stdout)).toEqual(report);
    expect(report).toMatchObject({
      format: 'diffmine-bench-5',
      model: 'synthetic:tiny',
      device: 'cpu',
      settings: { repeats: 1 },
    });
    expect(
      report.cells.map(({ dtype, input, pixels, patch, batch }) => [dtype, ...input, pixels, patch, batch]),
    ).toEqual([
      ['fp32', 4, 8, 8, 64, 8, 2],
      ['fp32', 4, 8, 8, 64, 8, 4],
    ]);
    for (const { batch, operations, pixels, patch, measured } of report.cells) {
      const { seconds, unetCallsPerSecond, flops, matmul, utilization, scan, stages, peakMemory } = measured ?? never();
      expect(unetCallsPerSecond).toBeCloseTo(batch / seconds.median, 9);
      expect(flops / (unetCallsPerSecond * operations)).toBeCloseTo(1, 9);
      expect(utilization.median / (flops / matmul.median)).toBeCloseTo(1, 9); // one round
      expect(scan?.patchesPerSecond).toBeCloseTo((scan?.imagesPerSecond ?? 0) * (pixels - patch + 1) ** 2, 6);
      expect((scan?.secondsPerBillionPatches ?? 0) * (scan?.patchesPerSecond ?? 0)).toBeCloseTo(1e9, -2);
      expect(Object.fromEntries(Object.entries(stages ?? {}).map(([name, { per }]) => [name, per]))).toEqual({
        decode: 'image',
        encode: 'image',
        noise: 'unetCall',
        unet: 'unetCall',
        score: 'unetCall',
        select: 'image',
        features: 'image',
        cluster: 'label',
      });
      expect(peakMemory).toBeGreaterThan(1e8);
    }
    expect(report.starts).toMatchObject([{ dtype: 'fp32' }]);
    expect(readFileSync(path.join(folder, 'bench.md'), 'utf8')).toMatch(/^\| fp32, 8 x 8, batch 4 \|/m);
  });

  test('slower than the baseline: exit code 1, the verdict as JSON and in Markdown', async () => {
    const page = path.join(folder, 'page.md');
    await writeFile(page, '# Job\n');
    // no luck reaches a fraction of a thousand times as much
    const ran = await cli(
      [...TINY_BENCH, '--batch', '2', '--no-stages', '--json', '--compare', await scaled(1000), '--summary', 'auto'],
      { env: { GITHUB_STEP_SUMMARY: page } },
    );
    expect(ran).toMatchObject({ code: 1, signal: null });
    const { comparison, cells } = JSON.parse(ran.stdout) as BenchReport & { comparison: CompareReport };
    expect(cells).toHaveLength(1);
    expect(comparison).toMatchObject({ tolerance: 0.05, passed: false });
    expect(comparison.comparisons.map(({ cell, what, verdict }) => [cell, what, verdict])).toEqual([
      ['fp32, 8 x 8, batch 2', 'pass', 'regression'],
      ['fp32, 8 x 8, batch 4', 'pass', 'missing'],
    ]);
    expect(readFileSync(page, 'utf8')).toMatch(/^# Job\n## diffmine bench[^]*\| regression \|/);
  });

  nightlyTest('not slower: exit code 0', async () => {
    const ran = await cli([
      ...TINY_BENCH,
      '--batch',
      '2',
      '--no-stages',
      '--compare',
      await scaled(0.001),
      '--tolerance',
      '0.5',
    ]);
    expect(ran).toMatchObject({ code: 0, signal: null });
    expect(ran.stdout).toMatch(/faster/);
    expect(ran.stdout.trimEnd().endsWith('No regression.')).toBe(true);
  });

  test('what cannot be compared is refused before anything is measured', async () => {
    const none = path.join(folder, 'none.json');
    for (const [args, words] of [
      [[...TINY_BENCH.map((word) => (word === '8' ? '16' : word)), '--compare', baseline], 'its cells is'],
      [[...TINY_BENCH, '--compare', baseline, '--model', 'synthetic:demo'], 'its model is synthetic:tiny'],
      [[...TINY_BENCH, '--compare', path.join(ROOT, 'package.json')], 'is not a benchmark report'],
    ] as const) {
      const ran = await cli([...args, '--batch', '2', '--out', none]);
      expect([words, ran.code, ran.stdout]).toEqual([words, 2, '']);
      expect(ran.stderr).toContain(words);
    }
    expect(existsSync(none)).toBe(false);
    expect((await cli([...TINY_BENCH, '--compare', none])).code).toBe(5);
  });
});

test.each<[string[], string]>([
  [['--latents', '8', '--size', '64'], '--latents and --size set the same value'],
  [['--reference'], '--reference needs --diffusers'],
  [['--diffusers-compile', 'default'], '--diffusers-compile needs --diffusers'],
  [['--tolerance', '5%'], '--tolerance needs --compare'],
  [['--compare', 'x', '--tolerance', '120%'], 'a fraction such as 5% or 0.05'],
  [['--summary', 'auto'], 'GITHUB_STEP_SUMMARY'],
  [['--training', 'huge'], '--training is "huge"'],
  [['--train-batch', '2'], 'There is no training to time.'],
  [['--no-unet'], 'there is nothing to time'],
])('bench %p is refused', async (args, words) => {
  const ran = await cli(['bench', ...args], { env: { GITHUB_STEP_SUMMARY: '' } });
  expect(ran).toMatchObject({ code: 2, stdout: '' });
  expect(ran.stderr).toContain(words);
});

function never(): never {
  throw new Error('it was not measured');
}
