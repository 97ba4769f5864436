// Kill -9 at random moments, then the same command again: the same bytes as an undisturbed run.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resultBytes } from '../helpers/bytes.js';
import { isNightly } from '../helpers/nightly.js';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const BIN = join(ROOT, 'bin', 'diffmine.js');
const KILLS = isNightly ? 6 : 2;

const scanCommand = (out: string, more: string[] = []): string[] => [
  'scan',
  join(GOLDEN, 'mini-dataset'),
  '--model',
  join(GOLDEN, 'tiny-sd15'),
  '--size',
  'source',
  '--samples',
  '12',
  '--patch',
  '16',
  '--batch',
  '8',
  '--shard-size',
  '1',
  '--device',
  'cpu',
  '--threads',
  '1',
  '--out',
  out,
  ...more,
];
const mineCommand = (out: string): string[] => ['mine', out, '--clusters', '4', '--threads', '1'];

/** Starts a command and kills it after `moment` ms; says whether it ended before. */
async function killedAfter(args: string[], moment: number): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [BIN, ...args], { cwd: ROOT, stdio: 'ignore' });
    const timer = setTimeout(() => child.kill('SIGKILL'), moment);
    child.once('exit', (_, signal) => {
      clearTimeout(timer);
      resolve(signal === null);
    });
  });
}

(hasAddon ? describe : describe.skip)('kill -9 and again', () => {
  let folder: string;
  let scanMs: number;
  let mineMs: number;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'diffmine-kill-'));
    const undisturbed = join(folder, 'undisturbed');
    let begun = performance.now();
    expect(await cli(scanCommand(undisturbed))).toMatchObject({ code: 0 });
    scanMs = performance.now() - begun;
    begun = performance.now();
    expect(await cli(mineCommand(undisturbed))).toMatchObject({ code: 0 });
    mineMs = performance.now() - begun;
  }, 600_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const same = (run: string, moments: number[]): void => {
    expect({ moments, bytes: resultBytes(run) }).toEqual({ moments, bytes: resultBytes(join(folder, 'undisturbed')) });
    // nothing is left of the dead
    expect(readdirSync(run, { recursive: true }).filter((name) => String(name).includes('.tmp-'))).toEqual([]);
  };

  test.each<[string[]]>([...(isNightly ? ([[[]]] as [string[]][]) : []), [['--workers', '2']]])(
    'scan, then mine %j',
    async (more: string[]) => {
      const run = join(folder, `run-${more.length}`);
      const moments: number[] = [];
      for (let kill = 0; kill < KILLS; kill += 1) {
        const moment = scanMs * (0.1 + Math.random());
        moments.push(Math.round(moment));
        if (await killedAfter(scanCommand(run, more), moment)) break;
      }
      expect(await cli(scanCommand(run, more))).toMatchObject({ code: 0, signal: null });
      for (let kill = 0; kill < KILLS / 2; kill += 1) {
        const moment = mineMs * (0.1 + Math.random());
        moments.push(Math.round(moment));
        if (await killedAfter(mineCommand(run), moment)) break;
        // dead or not, what is in mine/ is whole
        if (existsSync(join(run, 'mine')))
          expect(resultBytes(run, ['mine'])).toEqual(resultBytes(join(folder, 'undisturbed'), ['mine']));
      }
      expect(await cli(mineCommand(run))).toMatchObject({ code: 0, signal: null });
      same(run, moments);
    },
    900_000,
  );
});
