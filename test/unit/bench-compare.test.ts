// Holding a benchmark against a baseline: verdicts cell by cell, what cannot be compared, and how it is told.
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { checkComparable, compare } from '../../src/tools/bench/compare.js';
import { benchMarkdown } from '../../src/tools/bench/markdown.js';
import { readBaseline, type BenchReport, type Cell, type Measured } from '../../src/tools/bench/report.js';
import { benchText } from '../../src/cli/bench-text.js';
import { temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();
const spread = (median: number, around = 0.01): { median: number; min: number; max: number } => ({
  median,
  min: median * (1 - around),
  max: median * (1 + around),
});

function measured(utilization: number, over: Partial<Measured> = {}): Measured {
  return {
    seconds: spread(0.5),
    firstSeconds: 2,
    unetCallsPerSecond: 128,
    flops: 4e14 * utilization,
    matmul: spread(4e14),
    copy: spread(2e12),
    utilization: spread(utilization),
    peakMemory: 8e9,
    scan: {
      seconds: spread(2),
      images: 4,
      samples: 32,
      imagesPerSecond: 0.6,
      patchesPerSecond: 120_960.6,
      secondsPerBillionPatches: 8267,
      utilization: spread(utilization * 0.9),
    },
    stages: {
      decode: { seconds: spread(0.01), per: 'image' },
      unet: { seconds: spread(0.004), per: 'unetCall' },
      cluster: { seconds: spread(0.2), per: 'label' },
    },
    ...over,
  };
}

const cell = (side: number, batch: number, result: Measured | string): Cell => ({
  dtype: 'fp16',
  input: [4, side, side],
  pixels: 8 * side,
  patch: side,
  batch,
  operations: 8e11,
  ...(typeof result === 'string' ? { skipped: result } : { measured: result }),
});

const report = (cells: Cell[], over: Partial<BenchReport> = {}): BenchReport => ({
  format: 'diffmine-bench-5',
  version: '0.1.0',
  created: '2026-01-02T03:04:05.678Z',
  model: 'synthetic:sd15',
  parameters: 859_520_964,
  device: 'cuda:0',
  machine: { processor: 'Some GPU', threads: 0, cpuCapability: '', computeCapability: '9.0', libtorch: '2.13.0' },
  settings: { repeats: 5, disabled: [] },
  starts: [{ dtype: 'fp16', loadSeconds: 3, firstResultSeconds: 5 }],
  cells,
  ...over,
});

const verdicts = (before: BenchReport, now: BenchReport, tolerance = 0.05): string[] =>
  compare(before, now, tolerance).comparisons.map(({ what, verdict }) => `${what} ${verdict}`);

test('within the tolerance it is ok, below it a regression, above it faster', () => {
  const before = report([cell(64, 64, measured(0.5))]);
  expect(compare(before, before, 0).passed).toBe(true);
  expect(verdicts(before, report([cell(64, 64, measured(0.476))]))).toEqual(['pass ok', 'scan ok']);
  expect(verdicts(before, report([cell(64, 64, measured(0.474))]))).toEqual(['pass regression', 'scan regression']);
  expect(verdicts(before, report([cell(64, 64, measured(0.53))]))).toEqual(['pass faster', 'scan faster']);
  expect(compare(before, report([cell(64, 64, measured(0.474))]), 0.05).passed).toBe(false);
  expect(compare(before, report([cell(64, 64, measured(0.53))]), 0.05).passed).toBe(true);
});

test('a slower stage other than the UNet changes only the scan', () => {
  const now = measured(0.5);
  const slower = { ...now, scan: now.scan && { ...now.scan, utilization: spread(0.3) } };
  const result = compare(report([cell(64, 64, now)]), report([cell(64, 64, slower)]), 0.05);
  expect(result.comparisons.map(({ what, verdict }) => [what, verdict])).toEqual([
    ['pass', 'ok'],
    ['scan', 'regression'],
  ]);
  expect(result.passed).toBe(false);
});

test('utilization is comparable across cards: another machine causes a warning, not an error', () => {
  const other = report([cell(64, 64, measured(0.5))], {
    machine: { ...report([]).machine, processor: 'Another GPU', libtorch: '2.14.0' },
    device: 'cuda:3',
  });
  const result = compare(other, report([cell(64, 64, measured(0.49, { seconds: spread(5) }))]), 0.05);
  expect(result).toMatchObject({ passed: true });
  expect(result.warnings.join(' ')).toMatch(/another machine \(Another GPU\).*LibTorch 2\.14\.0/);
});

test('a cell that no longer fits fails; a cell that was not requested, or is new, does not', () => {
  const before = report([
    cell(32, 64, measured(0.5)),
    cell(64, 64, measured(0.5)),
    cell(64, 128, measured(0.5)),
    cell(64, 512, 'memory ran out'),
  ]);
  const now = report([
    cell(32, 64, measured(0.5)),
    cell(64, 64, 'memory ran out'),
    cell(64, 256, measured(0.5)),
    cell(64, 512, measured(0.5)),
  ]);
  const result = compare(before, now, 0.05);
  expect(result.comparisons.map(({ cell: name, verdict }) => [name, verdict])).toEqual([
    ['fp16, 32 x 32, batch 64', 'ok'],
    ['fp16, 32 x 32, batch 64', 'ok'],
    ['fp16, 64 x 64, batch 64', 'lost'],
    ['fp16, 64 x 64, batch 256', 'new'],
    ['fp16, 64 x 64, batch 512', 'new'],
    ['fp16, 64 x 64, batch 128', 'missing'],
  ]);
  expect(result.passed).toBe(false);
  expect(result.warnings).toEqual([
    'fp16, 64 x 64, batch 64 is in the baseline and could not be measured now: memory ran out.',
    'fp16, 64 x 64, batch 128 is in the baseline and was not requested now.',
  ]);
  const { comparisons } = compare(before, report([cell(32, 64, measured(0.5, { scan: undefined }))]), 0.05);
  expect(comparisons[0]).toMatchObject({ what: 'pass', verdict: 'ok' });
});

test('a range wider than the tolerance is marked noisy; the median decides', () => {
  const noisy = measured(0.49, { utilization: spread(0.49, 0.2) });
  const result = compare(report([cell(64, 64, measured(0.5))]), report([cell(64, 64, noisy)]), 0.05);
  expect(result.comparisons.map((one) => one.noisy)).toEqual([true, false]);
  expect(result.passed).toBe(true);
  expect(result.warnings.at(-1)).toMatch(/noisy/);
});

test.each([
  ['another model', { model: 'synthetic:tiny', parameters: 12 }, 'its model is synthetic:sd15'],
  ['another device', { device: 'cpu' }, 'its device is cuda, here it is cpu'],
  [
    'no cell in common',
    { cells: [cell(48, 64, measured(0.5))] },
    'its cells is fp16, 64 x 64, batch 64, here it is fp16, 48 x 48, batch 64',
  ],
])('%s cannot be compared', (_, over, words) => {
  const before = report([cell(64, 64, measured(0.5))]);
  expect(() => compare(before, report(before.cells, over), 0.05)).toThrow(words);
  expect(() => checkComparable(before, report(before.cells, over))).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error,
  );
});

test('a baseline with another count of operations is refused', () => {
  const before = report([cell(64, 64, measured(0.5))]);
  const recounted = report([{ ...cell(64, 64, measured(0.5)), operations: 9e11 }]);
  expect(() => compare(before, recounted, 0.05)).toThrow(
    'its count of operations (fp16, 64 x 64, batch 64) is 800000000000, here it is 900000000000',
  );
});

test('other settings cause a warning', () => {
  const before = report([cell(64, 64, measured(0.5))]);
  expect(compare(before, before, 0.05).warnings).toEqual([]);
  const now = report(before.cells, {
    settings: { repeats: 5, disabled: ['tune', 'graphs'] },
    machine: { ...before.machine, threads: 2 },
  });
  expect(compare(before, now, 0.05).warnings).toEqual([
    'The baseline was measured with defaults, this with tune,graphs disabled, 2 threads.',
  ]);
});

test('another matmul rate of the same machine causes a warning', () => {
  const before = report([cell(64, 64, measured(0.5))]);
  const slow = measured(0.5, { matmul: spread(2e14) });
  expect(compare(before, report([cell(64, 64, slow)]), 0.05)).toMatchObject({
    passed: true,
    warnings: [expect.stringContaining('matmul rate is 0.50 times')],
  });
});

test('a model folder may lie elsewhere', () => {
  const before = report([cell(64, 64, measured(0.5))], { model: '/a/sd15' });
  expect(compare(before, { ...before, model: '/b/sd15' }, 0.05).passed).toBe(true);
});

test('a baseline is read back completely; other files are refused', async () => {
  const file = path.join(folder, 'baseline.json');
  const whole = report([cell(64, 64, measured(0.5)), cell(64, 512, 'memory ran out')]);
  await writeFile(file, JSON.stringify(whole));
  expect(await readBaseline(file)).toEqual(whole);
  await expect(readBaseline(path.join(folder, 'absent.json'))).rejects.toMatchObject({ code: 'IO' });
  for (const [text, words] of [
    ['{', 'is not JSON'],
    ['[]', 'is not a benchmark report'],
    ['{"format":"diffmine-bench-1"}', 'has the format "diffmine-bench-1"'],
    [
      JSON.stringify({ ...whole, cells: [{ ...whole.cells[0], measured: { utilization: { median: 0.5 } } }] }),
      'is damaged',
    ],
    [JSON.stringify({ ...whole, machine: null }), 'is damaged'],
  ] as const) {
    await writeFile(file, text);
    await expect(readBaseline(file)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(words) as string,
    });
  }
});

test('the example of docs/reference/formats/benchmark.md is a report', async () => {
  const text = readFileSync(path.join(__dirname, '../../docs/reference/formats/benchmark.md'), 'utf8');
  const example = /```json\n(\{\s*"format": "diffmine-bench-5"[^]*?)```/.exec(text)?.[1] ?? '';
  const file = path.join(folder, 'example.json');
  await writeFile(file, example);
  const read = await readBaseline(file);
  expect(compare(read, read, 0).passed).toBe(true);
  // it names every field of a measured cell
  expect(Object.keys(read.cells[0]?.measured ?? {}).sort()).toEqual(
    Object.keys(measured(0.5, { diffusersCells: [], ablations: [] })).sort(),
  );
  expect(benchMarkdown(read)).toContain('NVIDIA H200');
});

test('as text and as Markdown', () => {
  const before = report([cell(64, 64, measured(0.5)), cell(64, 512, 'memory ran out')]);
  const now = report(
    [
      cell(
        64,
        64,
        measured(0.4, {
          diffusersCells: [
            { mode: 'eager', seconds: spread(1), ratio: 2 },
            { mode: 'max-autotune', skipped: 'no compiler | none' },
          ],
          ablations: [
            { optimization: 'geglu', pass: spread(1.25), scan: spread(1.5) },
            { optimization: 'tune', skipped: 'no room' },
          ],
        }),
      ),
      before.cells[1] as Cell,
    ],
    {
      diffusers: { torch: '2.13.0', diffusers: '0.40.0', threads: 8 },
      reference: {
        images: 3,
        samples: 10,
        top: 50,
        dtype: 'fp16',
        theirDtype: 'fp32',
        ours: spread(2),
        theirs: spread(20),
        ratio: spread(10),
        stages: { unet: 8 },
      },
    },
  );
  const comparison = compare(before, now, 0.05);
  const text = benchText(now, comparison);
  expect(text).toMatch(
    /^fp16, 64 x 64, batch 64 +0\.500 .* 128\.0 +160 +400 +2000 +40\.0 % \(39\.6 \.\.\. 40\.4\) +8\.0 GB$/m,
  );
  expect(text).toMatch(/max-autotune +0\.500 +skipped +no compiler/);
  expect(text).toMatch(/10\.00 times as fast/);
  expect(text).toMatch(/geglu +1\.250 \(1\.238 \.\.\. 1\.262\) +1\.500 \(1\.485 \.\.\. 1\.515\)/);
  expect(text).toMatch(/tune +skipped: no room/);
  expect(text).toMatch(/fp16, 64 x 64, batch 64 +pass .* -20\.0 % +regression$/m);
  expect(text.endsWith('Slower than the baseline.')).toBe(true);

  const page = benchMarkdown(now, comparison);
  expect(page).toContain('### Slower: utilization compared with the baseline of ');
  expect(page).toMatch(
    /^\| fp16, 64 x 64, batch 64 \| pass \| 50\.0 % \(49\.5 \.\.\. 50\.5\) \| 40\.0 % .* \| -20\.0 % \| regression \|$/m,
  );
  expect(page).toContain('no compiler \\| none');
  expect(page).toContain('| geglu | 1.250 (1.238 ... 1.262) | 1.500 (1.485 ... 1.515) |');
  expect(page).toContain('- Skipped: fp16, 64 x 64, batch 512, memory ran out.');
  expect(page).toContain('10.00 times as fast');
  // every row of a table has as many cells as its head
  for (const part of page.split('\n\n').filter((one) => one.startsWith('|'))) {
    const counts = part
      .trim()
      .split('\n')
      .map((line) => line.replaceAll('\\|', '').split('|').length);
    expect(new Set(counts).size).toBe(1);
  }
  expect(benchMarkdown(before)).not.toContain('baseline');
});
