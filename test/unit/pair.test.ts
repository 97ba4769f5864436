// Two labels contrasted with each other: one run and one report for both directions, from a dataset with more labels.
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mine } from '../../src/stages/mine/mine.js';
import { writeReport } from '../../src/stages/report/report.js';
import { readMine } from '../../src/runs/mining.js';
import { Run } from '../../src/runs/run.js';
import { scan } from '../../src/stages/scan/scan.js';
import { temporaryFolder } from '../helpers/folders.js';

const GOLDEN = join(__dirname, '..', 'data', 'golden');
const folder = temporaryFolder();
const out = join(folder, 'run');

test('labels A,B: each against the other, in one run, with a report that says so', async () => {
  cpSync(join(GOLDEN, 'mini-dataset'), join(folder, 'data'), { recursive: true });
  const common = {
    threads: 1,
    device: 'cpu',
    dtype: 'fp32',
    dataset: join(folder, 'data'),
    model: join(GOLDEN, 'tiny-sd15'),
    out,
  } as const;
  const options = { ...common, size: 'source', patch: 16, samples: 2, batch: 16 } as const;
  await scan({ ...options, labels: ['1980,1920'] });
  const run = await Run.open(out);
  expect(run.manifest).toMatchObject({
    conditions: ['1920', '1980'],
    dataset: { images: 8, labels: ['1920', '1980'] },
    options: { labels: ['1980', '1920'], against: 'others', othersPerSample: 'all' },
  });
  expect(await scan({ ...options, labels: ['1980', '1920'] })).toMatchObject({ resumed: true, unetCalls: 0 });
  await expect(scan({ ...options, labels: ['1920', '1980'], against: 'null' })).rejects.toMatchObject({
    code: 'RUN_MISMATCH',
  });
  await expect(scan({ ...options, out: join(folder, 'x'), labels: ['1920', '1930'] })).rejects.toThrow(
    /The dataset has no images of "1930"/,
  );

  await mine({ run: out, threads: 1, top: 8, ensemble: 1 });
  expect((await readMine(run))?.confounds).toMatchObject({ images: 8 });
  await writeReport({ run: out });
  const page = readFileSync(join(out, 'report', 'data', 'run.js'), 'utf8');
  expect(page).toContain('What distinguishes 1980 from 1920');
  expect(page).toContain('"confounds":{"images":8');
});
