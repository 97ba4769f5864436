// Memory of runs with very many images: it grows by bytes per image, not by objects (docs/results/scale.md has 10 million).
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { temporaryFolder } from '../helpers/folders.js';
import { nightlyTest } from '../helpers/nightly.js';
import { ROOT } from './cli.js';

const folder = temporaryFolder();

/** Peak memory of a stage of scripts/scale.mjs in MiB. */
function peak(images: number, stage: string): number {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    // garbage is collected early, so that the peak is of what is held, not of what the machine has left
    [
      '--max-semi-space-size=1',
      '--optimize-for-size',
      'scripts/scale.mjs',
      String(images),
      path.join(folder, String(images)),
      stage,
    ],
    { cwd: ROOT, encoding: 'utf8' },
  );
  expect([status, stderr]).toEqual([0, '']);
  return (JSON.parse(stdout) as { maxRssMiB: number }).maxRssMiB;
}

nightlyTest('planning and resuming take less than 250 bytes per image', () => {
  const [few, many] = [20_000, 220_000];
  const limit = (250 * (many - few)) / 2 ** 20;
  expect(peak(many, 'plan') - peak(few, 'plan')).toBeLessThan(limit);
  for (const images of [few, many]) peak(images, 'finish');
  expect(peak(many, 'resume') - peak(few, 'resume')).toBeLessThan(limit);
});

nightlyTest('ranking works in parts', () => {
  for (const stage of ['plan', 'finish']) peak(10_000, stage);
  expect(peak(10_000, 'rank')).toBeLessThan(1000);
});
