// `submit slurm` on a real cluster: the bytes of a local run, whatever happens to the tasks.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { resultBytes } from '../helpers/bytes.js';
import { temporaryFolder } from '../helpers/folders.js';
import { isNightly, nightlyTest } from '../helpers/nightly.js';
import { kill, missingSlurm, processes, Slurm, until } from '../helpers/slurm.js';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const folder = temporaryFolder();
const missing = hasAddon ? missingSlurm() : 'the addon is not built';
if (missing !== undefined) console.warn(`Slurm tests are skipped: ${missing}.`);

const scan = (out: string, samples: number): string[] => [
  ...['scan', join(GOLDEN, 'mini-dataset'), '--model', join(GOLDEN, 'tiny-sd15'), '--out', join(folder, out)],
  ...['--size', 'source', '--samples', String(samples), '--patch', '16', '--batch', '8', '--shard-size', '2', '-v'],
  ...['--device', 'cpu', '--threads', '1'],
];
const bytes = (out: string): Record<string, string> => resultBytes(join(folder, out), ['shards', 'skipped.jsonl']);

test('without sbatch it says what to do', async () => {
  const { code, stderr } = await cli(['submit', 'slurm', '--parts', '4', '--', ...scan('none', 2)], {
    env: { PATH: folder },
  });
  expect(code).toBe(4);
  expect(stderr).toContain('sbatch is not installed.');
  expect(stderr).toContain('--dry-run');
});

(missing === undefined ? describe : describe.skip)('a Slurm array', () => {
  let slurm: Slurm;
  const references: Record<number, Record<string, string>> = {};
  /** a run that is interrupted takes long enough to be */
  const [SHORT, LONG] = [2, 24];
  const logs = (out: string): string => {
    const jobs = join(folder, `the jobs of ${out}`);
    return readdirSync(jobs)
      .sort()
      .map((name) => readFileSync(join(jobs, name), 'utf8'))
      .join('');
  };
  /** @returns what `submit` prints */
  const submit = async (out: string, parts: number, samples: number, ...more: string[]): Promise<string> => {
    mkdirSync(join(folder, `the jobs of ${out}`), { recursive: true });
    const resources = ['--gpus', '0', '--cpus', '1', '--memory', '1', '--time', '1:00:00'];
    const { code, stdout, stderr } = await cli(
      ['submit', 'slurm', '--parts', String(parts), ...resources, ...more, '--', ...scan(out, samples)],
      { env: slurm.env, cwd: join(folder, `the jobs of ${out}`) },
    );
    expect([code, stderr]).toEqual([0, '']);
    return stdout.trim();
  };
  const idOf = (printed: string): string => /^Submitted \d+ tasks? to slurm: (\d+)$/.exec(printed)?.[1] ?? '';
  /** A process of a job that has finished some of its shards. */
  const halfDone = async (out: string): Promise<number> => {
    const done = (): number => {
      const shards = join(folder, out, 'shards');
      return existsSync(shards) ? readdirSync(shards).filter((name) => /^\d+$/.test(name)).length : 0;
    };
    await until(`${out} has a shard`, () => done() > 0);
    expect(done()).toBeLessThan(6);
    const [pid] = processes((words) => words.includes('bin/diffmine.js scan') && words.includes(join(folder, out)));
    expect(pid).toBeDefined();
    return pid ?? 0;
  };
  /** Slurm waits before it starts a requeued task: meanwhile the other tests run */
  const interrupted: Record<string, string> = {};
  beforeAll(async () => {
    slurm = await Slurm.start(8);
    for (const samples of [SHORT, LONG]) {
      expect(await cli(scan(`reference-${samples}`, samples))).toMatchObject({ code: 0 });
      references[samples] = bytes(`reference-${samples}`);
    }
    interrupted['killed'] = idOf(await submit('killed', 1, LONG));
    kill(await halfDone('killed'));
    if (!isNightly) return;
    interrupted['limit'] = idOf(await submit('limit', 1, LONG));
    await halfDone('limit');
    slurm.ask('scancel', '--batch', '--signal=TERM', `${interrupted['limit']}_0`); // as --signal=B:TERM does
  });
  afterAll(() => slurm?.stop());

  test('gives the bytes of a local run', async () => {
    const job = idOf(await submit('array', 3, SHORT));
    expect(await slurm.finished(job)).toEqual(['COMPLETED', 'COMPLETED', 'COMPLETED']);
    for (const index of [0, 1, 2]) expect(logs('array')).toContain(`Starting with part ${index} of 3, Slurm array`);
    expect(bytes('array')).toEqual(references[SHORT]);
  });

  nightlyTest('completes a run from a sparse resubmission', async () => {
    expect(await cli([...scan('sparse', SHORT), '--shard', '0/3'])).toMatchObject({ code: 0 });
    const script = join(folder, 'sparse.sh');
    writeFileSync(script, await submit('sparse', 8, SHORT, '--dry-run'));
    const job = slurm.ask('sbatch', '--parsable', '--array=3,7', script);
    expect(await slurm.finished(job)).toEqual(['COMPLETED', 'COMPLETED']);
    for (const index of [3, 7]) expect(logs('sparse')).toContain(`Starting with part ${index} of 8, Slurm array`);
    expect(bytes('sparse')).toEqual(references[SHORT]);
  });

  nightlyTest('requeues a task that is killed', async () => {
    expect(await slurm.finished(interrupted['killed'] ?? '')).toEqual(['COMPLETED']);
    expect(logs('killed')).toContain('exit code 137: requeued');
    expect(bytes('killed')).toEqual(references[LONG]);
  });

  nightlyTest('stops a task before its time limit, and requeues it', async () => {
    expect(await slurm.finished(interrupted['limit'] ?? '')).toEqual(['COMPLETED']);
    expect(logs('limit')).toContain('SIGTERM: stopping after the current batch.');
    expect(logs('limit')).toContain('exit code 130: requeued');
    expect(bytes('limit')).toEqual(references[LONG]);
  });

  nightlyTest('does not requeue what is cancelled, or fails for good', async () => {
    const job = idOf(await submit('wrong', 2, LONG));
    await halfDone('wrong');
    slurm.ask('scancel', job);
    expect(await slurm.finished(job)).toEqual(['CANCELLED', 'CANCELLED']);
    expect(logs('wrong')).toContain('SIGTERM: stopping after the current batch.');
    const other = idOf(await submit('wrong', 1, LONG + 1));
    expect(await slurm.finished(other)).toEqual(['FAILED']);
    expect(logs('wrong')).toContain('holds another run');
    expect(logs('wrong')).not.toContain('requeued');
  });

  nightlyTest('moves the task of a node that dies', async () => {
    const job = idOf(await submit('node', 1, LONG));
    await halfDone('node');
    const node = slurm.ask('squeue', '-h', '-j', job, '-o', '%N');
    slurm.powerOff(node as 'n1');
    expect(await slurm.finished(job)).toEqual(['COMPLETED']);
    expect(slurm.ask('scontrol', 'show', 'job', job)).toMatch(/Restarts=1/);
    expect(logs('node')).not.toContain('requeued');
    expect(bytes('node')).toEqual(references[LONG]);
  });
});
