// A race from the command line: the same bytes with workers and after kill -9 in each round; what mine, report and estimate say of it.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resultBytes } from '../helpers/bytes.js';
import { isNightly, nightlyTest } from '../helpers/nightly.js';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const OPTIONS = [
  ...[join(GOLDEN, 'mini-dataset'), '--model', join(GOLDEN, 'tiny-sd15'), '--size', 'source', '--samples', '16'],
  ...['--patch', '16', '--batch', '8', '--shard-size', '2', '--device', 'cpu', '--threads', '1'],
  ...['--top', '1', '--race-risk', '0.3', '--race'],
];

(hasAddon ? describe : describe.skip)('scan --race', () => {
  let folder: string;
  let expected: Record<string, string>;
  const at = (name: string): string => join(folder, name);
  const bytesOf = (name: string): Record<string, string> =>
    resultBytes(at(name), ['shards', 'skipped.jsonl', 'race.json']);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'diffmine-race-'));
    const ran = await cli(['scan', ...OPTIONS, '--out', at('run')]);
    expect(ran).toMatchObject({ code: 0 });
    expect(ran.stderr).toMatch(/Round 1 of 6 is finished: \d+ of 12 images continue after 6 of 16 samples\./);
    expect(ran.stdout).toMatch(/Racing made \d+ of 384 UNet calls \(\d+ %\)\./);
    expected = bytesOf('run');
  }, 600_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  nightlyTest(
    'two workers give the same bytes',
    async () => {
      expect(await cli(['scan', ...OPTIONS, '--workers', '2', '--out', at('workers')])).toMatchObject({ code: 0 });
      expect(bytesOf('workers')).toEqual(expected);
    },
    600_000,
  );

  test.each(isNightly ? [1, 2, 3, 4, 5, 6] : [2])(
    'kill -9 in round %i, then again by two workers: the same bytes',
    async (round) => {
      const name = `killed-${round}`;
      let rounds = 0;
      const killed = await cli(['scan', ...OPTIONS, '-v', '--out', at(name)], {
        onStderr: (text, kill) => {
          for (const line of text.split('\n')) {
            if (/Round \d of \d is finished/.test(line)) rounds += 1;
            else if (rounds === round - 1 && /Shard \d+ is finished/.test(line)) kill('SIGKILL');
          }
        },
      });
      expect(killed.signal).toBe('SIGKILL');
      expect(readdirSync(join(at(name), 'rounds')).length).toBeGreaterThanOrEqual(round);
      expect(await cli(['scan', ...OPTIONS, '--workers', '2', '--out', at(name)])).toMatchObject({ code: 0 });
      expect(bytesOf(name)).toEqual(expected);
      expect(existsSync(join(at(name), 'rounds'))).toBe(false);
      expect(readdirSync(at(name), { recursive: true }).filter((file) => String(file).includes('.tmp-'))).toEqual([]);
    },
    600_000,
  );

  test('mining, the report and an estimate know the race', async () => {
    const bottom = await cli(['mine', at('run'), '--rank', 'bottom', '--threads', '1']);
    expect(bottom.code).not.toBe(0);
    expect(bottom.stderr).toMatch(/no ranking of the least typical patches: its scan raced/);
    const mined = await cli(['mine', at('run'), '--top', '5', '--clusters', '2', '--threads', '1']);
    expect(mined).toMatchObject({ code: 0 });
    expect(mined.stderr).toMatch(/raced for the top 1 patch of a label/);
    expect(await cli(['report', at('run')])).toMatchObject({ code: 0 });
    const page = readFileSync(join(at('run'), 'report', 'data', 'run.js'), 'utf8');
    expect(page).toMatch(/This run raced: after 6, 8, 10, 12 and 14 of 16 samples/);
    expect(page).not.toMatch(/shows three lists/);
    const estimate = await cli(['estimate', ...OPTIONS, '--no-calibrate']);
    expect(estimate.stdout).toMatch(/racing: +from \d+ to 384 UNet calls/);
  }, 600_000);

  test('what --race takes', async () => {
    const ran = await cli(['scan', ...OPTIONS.slice(0, -1), '--race=some', '--out', at('bad')]);
    expect(ran.code).toBe(2);
    expect(ran.stderr).toMatch(/--race.*expected no value .*, or half/i);
  });
});
