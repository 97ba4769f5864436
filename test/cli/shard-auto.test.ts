// --shard auto: a call begins with its own part, takes what is left, and leaves what live processes work on.
import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LockFolder } from '../../src/runs/lock-folder.js';
import { self } from '../../src/runs/locks.js';
import { resultBytes } from '../helpers/bytes.js';
import { temporaryFolder } from '../helpers/folders.js';
import { cli, hasAddon, ROOT, type Ran } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);
const bytes = (name: string): Record<string, string> => resultBytes(at(name), ['shards', 'skipped.jsonl']);

const scan = async (out: string, more: string[], env: Record<string, string> = {}): Promise<Ran> =>
  cli(
    [
      ...['scan', join(GOLDEN, 'mini-dataset'), '--model', join(GOLDEN, 'tiny-sd15'), '--out', at(out), '--json', '-v'],
      ...['--size', 'source', '--samples', '2', '--patch', '16', '--batch', '8', '--shard-size', '2'],
      ...['--device', 'cpu', '--threads', '1', ...more],
    ],
    { env },
  );
const task = (id: number, count: number): Record<string, string> => ({
  SLURM_ARRAY_TASK_ID: String(id),
  SLURM_ARRAY_TASK_MIN: '0',
  SLURM_ARRAY_TASK_MAX: String(count - 1),
});
/** shards in the order in which they were finished */
const order = (stderr: string): number[] =>
  [...stderr.matchAll(/Shard (\d+) is finished/g)].map(([, id]) => Number(id));

(hasAddon ? describe : describe.skip)('--shard auto', () => {
  let reference: Record<string, string>;
  beforeAll(async () => {
    expect(await scan('one', [])).toMatchObject({ code: 0 });
    reference = bytes('one');
  });

  test('begins with its own part and does all that is left', async () => {
    const { code, stderr, stdout } = await scan('alone', ['--shard', 'auto'], task(1, 3));
    expect(code).toBe(0);
    expect(stderr).toContain('Starting with part 1 of 3, Slurm array; then what is left of the others.');
    expect(order(stderr)).toEqual([1, 4, 5, 2, 3, 0]);
    expect(JSON.parse(stdout)).toMatchObject({ complete: true, shards: { total: 6, done: 6, here: 6 } });
    expect(bytes('alone')).toEqual(reference);
  });

  test('the environment changes nothing without auto', async () => {
    const { code, stderr } = await scan('strict', ['--shard', '1/3'], task(0, 2));
    expect(code).toBe(0);
    expect(order(stderr)).toEqual([1, 4]);
    expect(stderr).not.toContain('Starting with part');
    const { stderr: rest } = await scan('strict', [], task(0, 2));
    expect(order(rest)).toEqual([0, 2, 3, 5]);
    expect(bytes('strict')).toEqual(reference);
  });

  test('a task without a number of tasks is refused before anything is written; without a job array all is done in order', async () => {
    const { code, stdout } = await scan('new', ['--shard', 'auto'], { JOB_COMPLETION_INDEX: '3' });
    expect(code).toBe(2);
    expect(stdout).toContain('JOB_COMPLETION_INDEX is 3');
    expect(stdout).toContain('Give their number: --shard auto/32 for 32 tasks.');
    const { stderr: now } = await scan('new', ['--shard', 'auto/4'], { JOB_COMPLETION_INDEX: '3' });
    expect(now).toContain('part 3 of 4, Kubernetes Job');
    expect(order(now)).toEqual([3, 4, 0, 5, 1, 2]);
    const { stderr: nothing } = await scan('new', ['--shard', 'auto/4']);
    expect(nothing).toContain('No job array found');
  });

  test('tasks at once share the work, and a sparse resubmission completes it', async () => {
    expect(await scan('tasks', ['--shard', '0/3'])).toMatchObject({ code: 0 });
    const env = (id: number): Record<string, string> => ({ ...task(id, 8), SLURM_ARRAY_TASK_MIN: '3' });
    const both = await Promise.all([3, 7].map(async (id) => scan('tasks', ['--shard', 'auto'], env(id))));
    const ran = both.map(({ stdout }) => JSON.parse(stdout) as { complete: boolean; shards: { here: number } });
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(ran.some(({ complete }) => complete)).toBe(true);
    expect(ran.reduce((sum, { shards }) => sum + shards.here, 0)).toBe(4);
    expect(bytes('tasks')).toEqual(reference);
  });

  test('what a live process works on is left to it; a dead one is waited for', async () => {
    expect(await scan('held', ['--shard', '0/6'])).toMatchObject({ code: 0 });
    const locks = join(at('held'), 'locks');
    const here = await new LockFolder(locks).acquire('00003');
    // on another machine: shows that it lives by touching its lock
    const elsewhere = { ...self(), host: 'elsewhere', system: 'other pid:[1]' };
    const remote = join(locks, '00004.lock');
    writeFileSync(remote, JSON.stringify(elsewhere));
    const heart = setInterval(() => writeFileSync(remote, readFileSync(remote)), 200);
    // died on another machine 85 s ago: nobody knows for 5 more
    const dead = join(locks, '00005.lock');
    writeFileSync(dead, JSON.stringify(elsewhere));
    const died = new Date(Date.now() - 85_000);
    utimesSync(dead, died, died);
    const { code, stderr, stdout } = await scan('held', ['--shard', 'auto']);
    clearInterval(heart);
    expect(code).toBe(0);
    expect(stderr).toContain('Leaving 2 shards to the processes that work on them.');
    expect(JSON.parse(stdout)).toMatchObject({ complete: false, shards: { total: 6, done: 4 } });
    expect(order(stderr)).toContain(5);
    await here?.release();
    utimesSync(remote, 0, 0);
    expect(await scan('held', ['--shard', 'auto'])).toMatchObject({ code: 0 });
    expect(bytes('held')).toEqual(reference);
  });
});
