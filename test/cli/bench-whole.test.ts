// Whole runs in the benchmark: the ranking study of two scans, and the reference's loop where Python has diffusers.
import { execFile, spawnSync } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';

import type { RankStudy } from '../../src/tools/bench/ranking.js';
import type { BenchReport } from '../../src/tools/bench/report.js';
import { temporaryFolder } from '../helpers/folders.js';
import { nightlyTest } from '../helpers/nightly.js';
import { cli, hasAddon, ROOT } from './cli.js';

const folder = temporaryFolder();
const golden = path.join(ROOT, 'test', 'data', 'golden');
const [model, images] = [path.join(golden, 'tiny-sd15'), path.join(golden, 'mini-dataset')];
const study = (...args: string[]): Promise<{ stdout: string }> =>
  promisify(execFile)(process.execPath, [path.join(ROOT, 'scripts', 'rank-study.mjs'), ...args]);

(hasAddon ? nightlyTest : test.skip)('rank-study compares scans in two precisions, and refuses others', async () => {
  const scan = async (name: string, ...args: string[]): Promise<string> => {
    const out = path.join(folder, name);
    expect(
      await cli([
        'scan',
        images,
        '--model',
        model,
        '--out',
        out,
        '--samples',
        '2',
        '--batch',
        '4',
        '--no-maps',
        '--threads',
        '1',
        '--device',
        'cpu',
        '-q',
        ...args,
      ]),
    ).toMatchObject({ code: 0 });
    return out;
  };
  const [fp32, bf16] = [await scan('fp32', '--dtype', 'fp32'), await scan('bf16', '--dtype', 'bf16')];
  const same = JSON.parse((await study(fp32, fp32, '--top', '5', '--json')).stdout) as RankStudy;
  expect(same).toMatchObject({ dtypes: ['fp32', 'fp32'], samples: 2, overlap: 1, largestFall: 0, unmatched: 0 });
  expect([same.imageCorrelation, same.candidateCorrelation]).toEqual([expect.closeTo(1, 12), expect.closeTo(1, 12)]);
  const reduced = JSON.parse((await study(fp32, bf16, '--top', '5', '--json')).stdout) as RankStudy;
  expect(reduced.dtypes).toEqual(['fp32', 'bf16']);
  expect(
    reduced.labels.map(({ label, images: count, top, candidates }) => [label, count, top, candidates > 4]),
  ).toEqual(['1920', '1950', '1980'].map((label) => [label, 4, 5, true]));
  expect(reduced.labels.every(({ change }) => change > 0)).toBe(true);
  expect((await study(fp32, bf16)).stdout).toMatch(/^1950 +4 /m);
  const other = await scan('other', '--patch', '4');
  await expect(study(fp32, other)).rejects.toMatchObject({
    stderr: expect.stringContaining('differ in more than the dtype') as string,
  });
});

const python = process.env['DIFFUSERS_PYTHON'] ?? 'python3';
const hasDiffusers =
  spawnSync(
    python,
    ['-c', 'import torch, diffusers, numpy, PIL; from safetensors.torch import load_file; assert load_file.__doc__'],
    { stdio: 'ignore' },
  ).status === 0;
if (!hasDiffusers)
  process.stderr.write(
    `${python} has no diffusers: the reference's loop is not tested (DIFFUSERS_PYTHON names another).\n`,
  );

(hasAddon && hasDiffusers ? test : test.skip)(
  "the reference's loop over the same images",
  async () => {
    const ran = await cli([
      'bench',
      '--no-unet',
      '--reference',
      '--diffusers',
      python,
      '--pipeline-model',
      model,
      '--pipeline-data',
      images,
      '--pipeline-samples',
      '2',
      '--top',
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
    expect(ran).toMatchObject({ code: 0 });
    const { reference } = JSON.parse(ran.stdout) as BenchReport;
    expect(reference).toMatchObject({ images: 12, samples: 2, top: 2, dtype: 'fp32', theirDtype: 'fp32' });
    expect(reference?.ratio.median).toBeCloseTo((reference?.theirs.median ?? 0) / (reference?.ours.median ?? 1), 9);
    expect(Object.keys(reference?.stages ?? {}).sort()).toEqual([
      'cluster',
      'encode',
      'features',
      'imports',
      'load',
      'losses',
      'patches',
      'unet',
    ]);
  },
  600_000,
);
