// sample as a user runs it: repeated labels, the same command again, another one, mistakes.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SampleSummary } from '../../src/stages/sample/sample.js';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
let folder: string;
const at = (...names: string[]): string => join(folder, ...names);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-sample-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

(hasAddon ? test : test.skip)(
  'sample: labels given several times, the same again, another in its place',
  async () => {
    const command = [
      'sample',
      join(GOLDEN, 'tiny-fold'),
      '--out',
      at('fold'),
      '--labels',
      'class2',
      '--labels',
      'class0',
      '-n',
      '2',
      '--inference-steps',
      '9',
      '--inference-steps',
      '2',
      '--device',
      'cpu',
      '--threads',
      '1',
    ];
    const made = await cli([...command, '--json']);
    expect(made).toMatchObject({
      code: 0,
      stderr: expect.stringContaining(
        'Sampling 4 images of 32 x 32 px, 2 steps with guidance 3: 16 UNet calls on cpu',
      ) as string,
    });
    expect(JSON.parse(made.stdout) as SampleSummary).toMatchObject({
      made: 4,
      kept: 0,
      options: { inferenceSteps: 2 },
      labels: ['class2', 'class0'].map((label) => ({ label, folder: at('fold', label), images: 2 })),
    });
    expect(readdirSync(at('fold')).sort()).toEqual(['class0', 'class2', 'grid.png', 'samples.json']);
    const again = await cli(command);
    expect(again).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^Nothing left to do: 4 images of 2 labels were there before\.\n.*grid\.png\n$/,
      ) as string,
    });
    expect(await cli([...command, '--seed', '5'])).toMatchObject({
      code: 6,
      stderr: expect.stringContaining('seed: these samples have 0, you asked for 5') as string,
    });
  },
  300_000,
);

(hasAddon ? test : test.skip)(
  'sample: mistakes are told',
  async () => {
    const model = join(GOLDEN, 'tiny-fold');
    expect(await cli(['sample', model, '--out', at('no'), '--labels', 'clas1'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("Did you mean 'class1'?") as string,
    });
    expect(await cli(['sample', model, '--out', at('no'), '-n', '0'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--count is "0"') as string,
    });
    expect(await cli(['sample', model])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--out is missing') as string,
    });
    expect(await cli(['sample', join(GOLDEN, 'tiny-sd15'), '--out', at('no')])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--labels "a red car"') as string,
    });
    expect(await cli(['sample', at('nowhere'), '--out', at('no')])).toMatchObject({ code: 3 });
    expect(readdirSync(folder).includes('no')).toBe(false);
  },
  300_000,
);
