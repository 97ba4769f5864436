// `bench` as a user runs it: training alone, each in a process of its own, and what is refused.
import path from 'node:path';

import type { BenchReport } from '../../src/bench/bench';
import { cli, hasAddon, ROOT } from './cli';

const TINY = path.join(ROOT, 'test', 'data', 'golden', 'tiny-sd15');

(hasAddon ? test : test.skip)('bench --training gives steps a second of a size and of a model, and nothing else', async () => {
  const ran = await cli(['bench', '--no-evaluations', '--training', 'tiny,model', '--model', TINY, '--training-batch', '2', '--precisions', 'fp32', '--repeats', '1', '--threads', '1', '--device', 'cpu', '--json']);
  expect(ran).toMatchObject({ code: 0, signal: null });
  const report = JSON.parse(ran.stdout) as BenchReport;
  expect(report).toMatchObject({ format: 'diffmine-bench-1', device: 'cpu', unet: [] });
  expect(report.training?.map(({ what, batch, measured }) => [what, batch, (measured?.stepsPerSecond ?? 0) > 0])).toEqual([['tiny', 2, true], [TINY, 2, true]]);
  // Its own memory, not that of all before it.
  expect(report.training?.every(({ measured }) => measured && measured.peakMemory < 2e9)).toBe(true);
  expect(ran.stderr).toContain('training tiny, fp32: ');
});

test.each([
  [['--training', 'huge'], '--training is "huge"'],
  [['--training-batch', '2'], 'Nothing says what to train.'],
  [['--no-evaluations'], 'there is nothing to time'],
])('bench %p is refused', async (args, words) => {
  const ran = await cli(['bench', ...args]);
  expect(ran).toMatchObject({ code: 2, stdout: '' });
  expect(ran.stderr).toContain(words);
});
