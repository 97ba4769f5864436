// --devices: a process each; one that is killed is started again and its shard done again, one that dies again and again is given up, and the bytes are
// those of a single process whatever happens. On the CPU: two processes on it behave as two on two GPUs would.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { resultBytes } from '../helpers/bytes.js';
import { nightlyTest } from '../helpers/nightly.js';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');

const command = (out: string, ...more: string[]): string[] => [
  'scan',
  join(GOLDEN, 'mini-dataset'),
  '--model',
  join(GOLDEN, 'tiny-sd15'),
  '--size',
  'source',
  '--samples',
  '6',
  '--patch',
  '16',
  '--batch',
  '8',
  '--shard-size',
  '2',
  '--threads',
  '1',
  '--out',
  out,
  '-v',
  ...more,
];

/** A command under way. */
class Running {
  readonly child: ChildProcess;
  stderr = '';
  readonly ended: Promise<number | null>;

  constructor(args: string[]) {
    this.child = spawn(process.execPath, [join(ROOT, 'bin', 'diffmine.js'), ...args], {
      cwd: ROOT,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.ended = new Promise((resolve) => this.child.once('close', resolve));
  }

  /** Its worker processes, in the order they were started. */
  workers(): number[] {
    const pid = this.child.pid as number;
    try {
      return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
    } catch {
      return [];
    }
  }

  /** Nothing stays behind a test that failed. */
  end(): void {
    for (const pid of [...this.workers(), this.child.pid as number]) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // gone already
      }
    }
  }

  /** Waits for what it says, or for anything else. */
  async until(condition: () => boolean): Promise<void> {
    for (let waited = 0; !condition(); waited += 10) {
      if (this.child.exitCode !== null || waited > 60_000) throw new Error(`did not come to it: ${this.stderr}`);
      await sleep(10);
    }
  }
}

const linux = process.platform === 'linux';

(hasAddon && linux ? describe : describe.skip)('devices', () => {
  let folder: string;
  let reference: Record<string, string>;
  let run: Running | undefined;
  const start = (args: string[]): Running => (run = new Running(args));
  afterEach(() => run?.child.exitCode === null && run.end());
  const at = (name: string): string => join(folder, name);
  const expectSame = (name: string): void => {
    expect(resultBytes(at(name), ['shards', 'skipped.jsonl'])).toEqual(reference);
    expect(readdirSync(at(name), { recursive: true }).filter((file) => String(file).includes('.tmp-'))).toEqual([]);
  };
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'diffmine-devices-'));
    expect(await cli(command(at('one'), '--device', 'cpu'))).toMatchObject({ code: 0 });
    reference = resultBytes(at('one'), ['shards', 'skipped.jsonl']);
    expect(Object.keys(reference)).toHaveLength(6 * 6 + 1);
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('two processes, one display, the same bytes', async () => {
    const { code, stdout, stderr } = await cli([...command(at('two'), '--devices', 'cpu,cpu'), '--json']);
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringMatching(/ on cpu, cpu[.,]/) as string });
    expect(JSON.parse(stdout)).toMatchObject({
      complete: true,
      scored: 12,
      unetCalls: 144,
      shards: { total: 6, done: 6, here: 6 },
      device: 'cpu, cpu',
    });
    expectSame('two');
  }, 300_000);

  test('kill -9 of one: started again at once, the same bytes', async () => {
    const run = start(command(at('killed'), '--devices', 'cpu,cpu'));
    await run.until(() => / is finished/.test(run.stderr));
    const [first] = run.workers();
    process.kill(first as number, 'SIGKILL');
    expect(await run.ended).toBe(0);
    expect(run.stderr).toMatch(/The process of cpu ended by SIGKILL at shard \d; it is started again \(1 of 3\)\./);
    expect(run.stderr).not.toContain('Waiting for');
    expectSame('killed');
  }, 300_000);

  nightlyTest(
    'one that dies again and again is given up; the other does its part',
    async () => {
      const run = start(command(at('given-up'), '--devices', 'cpu,cpu'));
      await run.until(() => / is finished/.test(run.stderr));
      const [doomed, other] = run.workers() as [number, number];
      let victim = doomed;
      for (let death = 1; death <= 4; death += 1) {
        // the other one holds still, so that there is something left to do
        process.kill(other, 'SIGSTOP');
        process.kill(victim, 'SIGKILL');
        await run.until(() => run.stderr.includes(death <= 3 ? `(${death} of 3)` : 'for the 4th time in a row'));
        if (death === 4) break;
        await run.until(() => run.workers().some((pid) => pid !== other && pid !== victim));
        victim = run.workers().find((pid) => pid !== other && pid !== victim) as number;
      }
      process.kill(other, 'SIGCONT');
      expect(await run.ended).toBe(0);
      expectSame('given-up');
    },
    300_000,
  );

  test('if none is left the command fails, and the same command resumes', async () => {
    const run = start(command(at('none-left'), '--devices', 'cpu'));
    let victim = 0;
    for (let death = 1; death <= 4; death += 1) {
      await run.until(() => run.workers().some((pid) => pid !== victim));
      victim = run.workers().find((pid) => pid !== victim) as number;
      process.kill(victim, 'SIGKILL');
      if (death <= 3) await run.until(() => run.stderr.includes(`(${death} of 3)`));
    }
    expect(await run.ended).toBe(4);
    expect(run.stderr).toMatch(
      /error: The process of cpu ended by SIGKILL (before it had opened the run|while it loaded the model), for the 4th time in a row/,
    );
    expect(run.stderr).toContain('finished shards are kept');
    expect(await cli(command(at('none-left'), '--devices', 'cpu'))).toMatchObject({ code: 0 });
    expectSame('none-left');
  }, 300_000);

  nightlyTest(
    'Ctrl-C stops all of them',
    async () => {
      let told = false;
      const onStderr = (text: string, kill: (signal: NodeJS.Signals) => void): void => {
        if (!told && / is finished/.test(text)) kill('SIGINT'); // a second one would end it at once
        told ||= / is finished/.test(text);
      };
      const stopped = await cli(command(at('stopped'), '--devices', 'cpu,cpu'), { onStderr });
      expect(stopped).toMatchObject({ code: 130, signal: null });
      expect(await cli(command(at('stopped'), '--device', 'cpu'))).toMatchObject({ code: 0 });
      expectSame('stopped');
    },
    300_000,
  );

  test.each([
    [['--devices', 'cpu,0', '--device', 'cpu'], 2, /--device cpu contradict each other/],
    [['--devices', 'cpu,cpu', '--workers', '2'], 2, /--devices already sets/],
    [['--devices', 'two'], 2, /--devices is "two"; expected devices with commas/],
    [['--devices', '0,'], 2, /expected devices with commas/],
  ])(
    '%j is refused before anything starts',
    async (more, code, message) => {
      const ran = await cli(command(at('refused'), ...more));
      expect(ran.code).toBe(code);
      expect(ran.stderr).toMatch(message);
    },
    60_000,
  );
});
