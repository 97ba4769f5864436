// cotypicality as a user runs it: a tiny parallel folder, the same command again, mistakes.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import type { CotypicalitySummary } from '../../src/stages/cotypicality/options.js';
import { resultBytes } from '../helpers/bytes.js';
import { nightlyTest } from '../helpers/nightly.js';
import { uniform } from '../helpers/synthetic-run.js';
import { cli, hasAddon, ROOT } from './cli.js';
import { filesWithPaths } from '../helpers/folders.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const LABELS = ['class0', 'class1', 'class2'];
let folder: string;
const at = (...names: string[]): string => join(folder, ...names);
const command = (...more: string[]): string[] => [
  'cotypicality',
  at('parallel'),
  '--model',
  join(GOLDEN, 'tiny-fold'),
  '--out',
  at('run'),
  '--device',
  'cpu',
  '--threads',
  '1',
  '--samples',
  '2',
  '--ensemble',
  '2',
  '--patch',
  '8',
  '--places',
  '3',
  '--clusters',
  '2',
  '--dimensions',
  '4',
  '--shard-size',
  '2',
  ...more,
];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-cotypicality-'));
  for (const [i, label] of LABELS.entries()) {
    mkdirSync(at('parallel', label, 'a'), { recursive: true });
    for (const [j, target] of LABELS.entries()) {
      const next = uniform(10 * i + j);
      const pixels = Buffer.from(Array.from({ length: 3 * 32 * 32 }, () => Math.floor(256 * next())));
      await sharp(pixels, { raw: { width: 32, height: 32, channels: 3 } })
        .png()
        .toFile(at('parallel', label, 'a', target === label ? 'source.png' : `${target}.png`));
    }
  }
  writeFileSync(
    at('boxes.csv'),
    `image,x,y,w,h,slot,kind\n${LABELS.map((label) => `${label}/a.png,0,0,32,32,all,${label}`).join('\n')}\n`,
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

(hasAddon ? test : test.skip)(
  'scores, groups, compares and shows; the same again does nothing',
  async () => {
    const made = await cli(command('--boxes', at('boxes.csv'), '--json'));
    expect(made).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('3 of 3 sequences to score, 36 UNet calls') as string,
    });
    const summary = JSON.parse(made.stdout) as CotypicalitySummary;
    expect(summary).toMatchObject({
      complete: true,
      labels: LABELS,
      scored: 3,
      skipped: 0,
      shards: { total: 2, here: 2 },
      projection: { asked: 'umap', done: 'umap', dimensions: 4 },
    });
    expect(summary.truth?.columns['slot']?.top).toMatchObject({ onElement: 1, purity: 1, chance: 1 });
    expect(summary.page).toBe(at('run', 'report', 'index.html'));
    const page = readFileSync(at('run', 'report', 'index.html'), 'utf8');
    expect(filesWithPaths(at('run', 'report'))).toEqual([]);
    expect(page).toContain("default-src 'none'");
    for (const [, name] of page.matchAll(/(?:src|href)="([^"#]+)"/g))
      expect(existsSync(at('run', 'report', name as string))).toBe(true);

    const again = await cli(command('--boxes', at('boxes.csv')));
    expect(again).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('Already grouped') as string,
      stdout: expect.stringMatching(/co-typical .*1\.00[^]*Consistent changes: .*index\.html\n$/) as string,
    });
    rmSync(at('run', 'shards', '00001'), { recursive: true });
    expect(JSON.parse((await cli(command('--json'))).stdout)).toMatchObject({
      resumed: true,
      shards: { here: 1 },
      unetCalls: 12,
      truth: null,
    });
    expect(await cli(command('--seed', '5'))).toMatchObject({
      code: 6,
      stderr: expect.stringContaining('seed: this co-typicality run has 0, you asked for 5') as string,
    });
  },
  300_000,
);

(hasAddon ? nightlyTest : test.skip)(
  'two workers write the same bytes as one process, and group the same places',
  async () => {
    const parts = ['shards', 'skipped.jsonl', 'clusters'];
    const one = command('--batch', '8', '--shard-size', '1', '--json', '--out', at('one'));
    expect(await cli(one)).toMatchObject({ code: 0 });
    const { code, stdout, stderr } = await cli(
      command('--batch', '8', '--shard-size', '1', '--json', '--out', at('two'), '--workers', '2'),
    );
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(JSON.parse(stdout)).toMatchObject({
      complete: true,
      scored: 3,
      unetCalls: 36,
      shards: { total: 3, here: 3 },
    });
    expect(resultBytes(at('two'), parts)).toEqual(resultBytes(at('one'), parts));
    const mixed = await cli(command('--out', at('refused'), '--devices', 'cpu,cpu'));
    expect(mixed).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--device cpu contradict each other') as string,
    });
  },
  300_000,
);

(hasAddon ? test : test.skip)(
  'mistakes are told, and leave nothing behind',
  async () => {
    const wrong = async (...more: string[]): ReturnType<typeof cli> => cli([...command(...more, '--out', at('no'))]);
    expect(await wrong('--labels', 'class1')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('at least two labels') as string,
    });
    expect(await wrong('--projection', 'tsne')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('umap, pca, none') as string,
    });
    expect(await wrong('--boxes', at('nowhere.csv'))).toMatchObject({ code: 3 });
    expect(
      await cli(['cotypicality', at('nowhere'), '--model', join(GOLDEN, 'tiny-fold'), '--out', at('no')]),
    ).toMatchObject({ code: 3, stderr: expect.stringContaining('no parallel dataset') as string });
    cpSync(at('parallel'), at('lacking'), { recursive: true });
    for (const label of LABELS) rmSync(at('lacking', label, 'a', label === 'class0' ? 'class1.png' : 'class0.png'));
    expect(
      await cli(['cotypicality', at('lacking'), '--model', join(GOLDEN, 'tiny-fold'), '--out', at('no')]),
    ).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('under each of the labels class0, class1, class2') as string,
    });
    expect(readdirSync(folder).includes('no')).toBe(false);
  },
  300_000,
);
