// localize as a user runs it: text for people, JSON for programs, exit codes.
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LocalizeSummary } from '../../src/stages/localize/options.js';
import { resultBytes } from '../helpers/bytes.js';
import { cli, hasAddon, ROOT } from './cli.js';
import { filesWithPaths } from '../helpers/folders.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
let folder: string;
const at = (...names: string[]): string => join(folder, ...names);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-localize-'));
  cpSync(join(GOLDEN, 'mini-dataset', '1920'), at('data', 'class0'), { recursive: true });
  writeFileSync(at('boxes.csv'), 'image,x,y,w,h\nclass0/1920_0.png,4,4,20,30\nclass0/1920_1.png,4,4,20,30\n');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const command = (...more: string[]): string[] => [
  'localize',
  at('data'),
  '--model',
  join(GOLDEN, 'tiny-fold'),
  '--size',
  'source',
  '--samples',
  '1',
  '--device',
  'cpu',
  '--threads',
  '1',
  '--bootstrap',
  '10',
  '--overlays',
  '1',
  '--out',
  at('run'),
  ...more,
];

(hasAddon ? test : test.skip)(
  'figures as a table and as JSON; another model is refused the folder',
  async () => {
    const people = await cli(command('--boxes', at('boxes.csv')));
    expect(people).toMatchObject({ code: 0, stdout: expect.stringContaining("paper's AUC-PR") as string });
    expect(people.stdout).toContain(at('run', 'localize', 'index.html'));
    expect(filesWithPaths(at('run', 'localize'))).toEqual([]);
    const { code, stdout } = await cli(command('--boxes', at('boxes.csv'), '--json', '--blur', '0'));
    const summary = JSON.parse(stdout) as LocalizeSummary;
    expect([code, summary.scan.unetCalls, summary.result?.labels[0]?.marked, summary.result?.options.blur]).toEqual([
      0, 0, 2, 0,
    ]);
    expect(await cli(command('--json', '--samples', '2'))).toMatchObject({
      code: 6,
      stdout: expect.stringContaining('RUN_MISMATCH') as string,
    });
  },
  300_000,
);

(hasAddon ? test : test.skip)(
  'two workers, or parts of the shards, write the same maps as one process',
  async () => {
    const parts = ['shards', 'skipped.jsonl'];
    const shared = ['--batch', '4', '--shard-size', '1', '--json'];
    expect(await cli([...command(...shared), '--out', at('one')])).toMatchObject({ code: 0 });
    expect(await cli([...command(...shared), '--out', at('two'), '--workers', '2'])).toMatchObject({ code: 0 });
    expect(resultBytes(at('two'), parts)).toEqual(resultBytes(at('one'), parts));
    for (const shard of ['1/2', '0/2'])
      expect(await cli([...command(...shared), '--out', at('parts'), '--shard', shard])).toMatchObject({ code: 0 });
    expect(resultBytes(at('parts'), parts)).toEqual(resultBytes(at('one'), parts));
  },
  300_000,
);

(hasAddon ? test : test.skip)(
  'wrong options end with a sentence before any work',
  async () => {
    for (const [more, code, words] of [
      [['--labels', 'a,,b'], 2, 'no label "a,,b"'],
      [['--labels', ''], 2, 'own, all, or labels'],
      [['--labels', 'class0,classO'], 2, 'no label "classO"'],
      [['--labels', 'class7'], 2, 'class7'],
      [['--blur', '-1'], 2, '--blur'],
      [['--box-format', 'yolo'], 2, '--box-format'],
      [['--only-marked'], 2, '--only-marked'],
      [['--boxes', at('gone.csv')], 3, 'gone.csv'],
      [['--baseline', at('gone')], 3, 'gone'],
    ] as const) {
      const ran = await cli([...command(...more), '--out', at('none')]);
      expect([ran.code, ran.stderr]).toEqual([code, expect.stringContaining(words)]);
    }
    expect(existsSync(at('none'))).toBe(false);
  },
  300_000,
);
