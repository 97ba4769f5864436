// The synthetic dataset, drawn, scanned and mined with a tiny model of random weights, and evaluated with its boxes.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EvaluateSummary } from '../../src/stages/evaluate/options.js';
import { CITIES } from '../../src/tools/world/kinds.js';
import { cli, hasAddon, ROOT } from './cli.js';

const MODEL = join(ROOT, 'test', 'data', 'golden', 'tiny-sd15');
let folder: string;
const at = (...names: string[]): string => join(folder, ...names);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-evaluate-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('demo --data-only draws the world; a full folder is refused, and so are options that have no effect there', async () => {
  const drawn = await cli([
    'demo',
    '--data-only',
    at('world'),
    '--images-per-label',
    '4',
    '--holdout',
    '0.5',
    '--json',
  ]);
  expect(drawn).toMatchObject({ code: 0 });
  expect(JSON.parse(drawn.stdout)).toMatchObject({
    train: { images: 12 },
    heldout: { path: at('world', 'heldout'), images: 12 },
    labels: [...CITIES],
  });
  expect(readdirSync(at('world', 'heldout', 'oskava'))).toEqual(['00002.png', '00003.png']);
  expect(await cli(['demo', '--data-only', at('world')])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('not empty') as string,
  });
  expect(await cli(['demo', '--data-only', at('other'), '--samples', '4'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--samples has no effect') as string,
  });
  expect(await cli(['demo', '--holdout', '0.5', '--out', at('other')])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--holdout') as string,
  });
  expect(existsSync(at('other'))).toBe(false);
}, 300_000);

(hasAddon ? test : test.skip)(
  'demo without its model: a sentence, a hint, and no folder',
  async () => {
    const { code, stdout } = await cli(['demo', '--model', at('nowhere'), '--out', at('demo'), '--json']);
    expect([code, JSON.parse(stdout)]).toMatchObject([
      3,
      { error: { code: 'MODEL_INVALID', hint: expect.stringContaining('--model') as string } },
    ]);
    expect(existsSync(at('demo'))).toBe(false);
  },
  60_000,
);

(hasAddon ? test : test.skip)(
  'evaluate: a table for people, JSON for programs',
  async () => {
    const scan = [
      'scan',
      at('world', 'heldout'),
      '--model',
      MODEL,
      '--size',
      'source',
      '--patch',
      '12',
      '--samples',
      '2',
      '--device',
      'cpu',
      '--threads',
      '1',
      '--out',
      at('run'),
    ];
    expect(await cli(scan)).toMatchObject({ code: 0 });
    expect(await cli(['mine', at('run'), '--clusters', '2', '--ensemble', '1', '--threads', '1'])).toMatchObject({
      code: 0,
    });
    const command = ['evaluate', at('run'), '--boxes', at('world', 'boxes.csv'), '--bootstrap', '20'];
    const { code, stdout } = await cli([...command, '--json']);
    expect(code).toBe(0);
    const summary = JSON.parse(stdout) as EvaluateSummary;
    expect(summary.labels.map(({ label, images, patches }) => [label, images, patches])).toEqual(
      CITIES.map((city) => [city, 2, 10]),
    );
    expect(summary.boxes.used).toBeGreaterThan(30);
    expect(summary.boxes.used).toBeLessThan(summary.boxes.rows);
    const { averagePrecision, fraction, top } = summary.mean;
    // weights are random: the maps are unrelated to the boxes
    expect(fraction).toBeGreaterThan(0.02);
    expect(averagePrecision.value).toBeLessThan(0.4);
    expect(averagePrecision.low).toBeLessThanOrEqual(averagePrecision.high as number);
    expect(top.map(({ k }) => k)).toEqual([10, 50, 100]);
    expect(summary.kinds.every(({ recall, typicality }) => recall !== null && typicality !== null)).toBe(true);

    const people = await cli(command);
    expect(people.code).toBe(0);
    for (const word of ['vinterhal', 'mean', 'average precision', 'random P@50', 'Elements'])
      expect(people.stdout).toContain(word);
    expect(await cli([...command, '--typical-column', 'town'])).toMatchObject({ code: 2 });
    expect(await cli(['evaluate', at('run'), '--boxes', at('none.csv')])).toMatchObject({ code: 3 });
    expect(existsSync(at('run', 'report'))).toBe(false);
  },
  300_000,
);
