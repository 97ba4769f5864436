// translate as a user runs it: a small dataset, Ctrl-C and the same again, another one, mistakes.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Quality, TranslateSummary } from '../../src/stages/translate/options.js';
import { resultBytes } from '../helpers/bytes.js';
import { nightlyTest } from '../helpers/nightly.js';
import { cli, hasAddon, ROOT } from './cli.js';
import { filesWithPaths } from '../helpers/folders.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
let folder: string;
const at = (...names: string[]): string => join(folder, ...names);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-translate-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const command = [
  'translate',
  join(GOLDEN, 'mini-dataset'),
  '--model',
  join(GOLDEN, 'tiny-sd15'),
  '--preset',
  'cars',
  '--size',
  '32',
  '--inversion-steps',
  '10',
  '--inference-steps',
  '5',
  '--device',
  'cpu',
  '--threads',
  '1',
];

(hasAddon ? test : test.skip)(
  'translate: images, a page, how well; stopped by Ctrl-C it goes on',
  async () => {
    const line = [
      ...command,
      '--to',
      '1950',
      '--to',
      '1980',
      '--images-per-label',
      '1',
      '--shard-size',
      '1',
      '--out',
      at('parallel'),
    ];
    let told = '';
    let asked = false;
    const stopped = await cli([...line, '-v'], {
      onStderr: (text, kill) => {
        told += text;
        if (!asked && told.includes('Shard 0 is finished')) {
          asked = true;
          kill('SIGINT');
        }
      },
    });
    expect(stopped).toMatchObject({
      code: 130,
      signal: null,
      stderr: expect.stringContaining('Translating into') as string,
    });
    expect(stopped.stderr).toMatch(
      /hint: Kept: [12] of 3 shards \([12] of 3 images\)\..* Run the same command to resume\./,
    );
    const before = readdirSync(at('parallel', 'shards'));
    expect(before.length).toBeGreaterThan(0);
    expect(before.length).toBeLessThan(3);

    const resumed = await cli([...line, '--evaluate', '--samples', '2', '--json']);
    expect(resumed).toMatchObject({ code: 0, stderr: expect.stringContaining('Resuming') as string });
    expect(JSON.parse(resumed.stdout) as TranslateSummary & { quality: Quality }).toMatchObject({
      complete: true,
      resumed: true,
      translated: 3,
      translations: 4,
      shards: { total: 3, done: 3, here: 3 - before.length },
      quality: { images: 3, translations: 4, samples: 2 },
    });
    expect(readdirSync(at('parallel', '1920', '1920_0')).sort()).toEqual([
      '1950.png',
      '1980.png',
      'reconstruction.png',
      'source.png',
    ]);
    expect(filesWithPaths(at('parallel'))).toEqual([]);
    expect(readFileSync(at('parallel', 'index.html'), 'utf8')).toContain('1980/1980_0/1950.png');

    const again = await cli(line);
    expect(again).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^Nothing left to do here: 3 of 3 images were translated before\.\n4 translations; mean PSNR of the reconstructions .* dB\.\nBelow 20 dB, .*\nThe translation is complete: .*\n.*index\.html\n$/,
      ) as string,
    });
    expect(await cli([...line, '--guidance-scale', '3'])).toMatchObject({
      code: 6,
      stderr: expect.stringContaining('guidance-scale: this translation has 7.5, you asked for 3') as string,
    });
  },
  300_000,
);

(hasAddon ? nightlyTest : test.skip)(
  'translate: two workers, or a process on each of two devices, write the same bytes as one process',
  async () => {
    const shared = command.filter((word, i) => word !== '--device' && command[i - 1] !== '--device');
    const line = (out: string, ...how: string[]): string[] => [
      ...shared,
      ...[
        '--to',
        '1950',
        '--images-per-label',
        '2',
        '--shard-size',
        '1',
        '--batch',
        '6',
        '--out',
        at(out),
        '--json',
        ...how,
      ],
    ];
    const parts = ['shards', 'skipped.jsonl', '1920', '1980'];
    expect(await cli(line('one', '--device', 'cpu'))).toMatchObject({ code: 0 });
    const reference = resultBytes(at('one'), parts);
    expect(Object.keys(reference)).toHaveLength(4 + 1 + 4 * 3);
    for (const how of [
      ['--device', 'cpu', '--workers', '2'],
      ['--devices', 'cpu,cpu'],
    ]) {
      const out = how[0] === '--devices' ? 'devices' : 'workers';
      const { code, stdout, stderr } = await cli(line(out, ...how));
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(JSON.parse(stdout)).toMatchObject({
        complete: true,
        translated: 4,
        shards: { total: 4, done: 4, here: 4 },
      });
      expect(resultBytes(at(out), parts)).toEqual(reference);
    }
    const { code } = await cli(line('part', '--device', 'cpu', '--shard', '1/2'));
    expect(code).toBe(0);
    expect(readdirSync(at('part', 'shards')).sort()).toEqual(['00001.jsonl', '00003.jsonl']);
  },
  300_000,
);

(hasAddon ? test : test.skip)(
  'translate: mistakes are told before work begins',
  async () => {
    const out = ['--out', at('no')];
    expect(await cli([...command, ...out, '--inference-steps', '4'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('not a multiple of the 100 of 10 inversion steps') as string,
    });
    expect(await cli([...command, ...out, '--attention-layers', 'up_blocks.0'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('no such layer "up_blocks.0"') as string,
    });
    expect(await cli([...command, ...out, '--feature-fraction', '80'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('from 0 to 1') as string,
    });
    expect(await cli([...command, ...out, '--boxes', 'boxes.csv'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('need --evaluate') as string,
    });
    expect(await cli([...command, ...out, '--negative', 'nul'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('Did you mean null?') as string,
    });
    expect(
      await cli([
        'translate',
        join(GOLDEN, 'mini-dataset'),
        '--model',
        join(GOLDEN, 'tiny-fold'),
        ...out,
        '--to',
        'clas1',
      ]),
    ).toMatchObject({ code: 2, stderr: expect.stringContaining("Did you mean 'class1'?") as string });
    expect(readdirSync(folder).includes('no')).toBe(false);
  },
  300_000,
);
