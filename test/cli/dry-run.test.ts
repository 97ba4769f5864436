// --dry-run of scan, run and train: the work and its cost are printed, and nothing is written.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const DATA = join(GOLDEN, 'mini-dataset');
const MODEL = join(GOLDEN, 'tiny-sd15');
const folder = mkdtempSync(join(tmpdir(), 'diffmine-dry-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);
const SCAN = [
  DATA,
  '--model',
  MODEL,
  '--samples',
  '3',
  '--size',
  '48',
  '--shard-size',
  '8',
  '--device',
  'cpu',
  '--threads',
  '1',
];
const withAddon = hasAddon ? test : test.skip;

withAddon('scan and run: images, UNet calls, memory, disk, shards and what is written', async () => {
  const ran = await cli(['run', ...SCAN, '--out', at('new'), '--dry-run']);
  expect(ran).toMatchObject({ code: 0 });
  expect(ran.stdout).toMatch(/^images: +12 images of 3 labels, scored at 60 x 48 px at most$/m);
  expect(ran.stdout).toMatch(/^UNet calls: +72 \(6 per image\)/m); // 3 samples, under the label and the null condition
  expect(ran.stdout).toMatch(/^shards: +2 shards$/m);
  expect(ran.stdout).toMatch(/^time: +unknown without a rate: diffmine estimate measures it$/m);
  expect(ran.stdout).toContain(`${at('new')}: manifest.json, shards/, mine/, report/index.html`);
  expect(ran.stdout).toMatch(/Dry run: nothing was computed or written\.\n$/);
  expect(existsSync(at('new'))).toBe(false);

  const scan = ['scan', ...SCAN, '--out', at('run')];
  expect(await cli([...scan, '--shard', '0/2'])).toMatchObject({ code: 0 });
  const before = readdirSync(at('run'), { recursive: true, encoding: 'utf8' }).sort();
  const again = await cli([...scan, '--dry-run', '--json']);
  expect(again).toMatchObject({ code: 0 });
  expect(JSON.parse(again.stdout)).toMatchObject({
    dryRun: true,
    path: at('run'),
    begun: { shards: 1 },
    estimate: { images: 12, unetCalls: 72, shards: 2 },
  });
  expect(readdirSync(at('run'), { recursive: true, encoding: 'utf8' }).sort()).toEqual(before);
});

withAddon('what scan and train would refuse is refused', async () => {
  expect(await cli(['scan', ...SCAN, '--out', at('x'), '--patch', '64', '--dry-run'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('larger than the images') as string,
  });
  expect(await cli(['run', ...SCAN, '--out', at('x'), '--up-block', '9', '--dry-run'])).toMatchObject({ code: 2 });
  expect(await cli(['train', '--new', 'tiny', '--out', at('x'), '--dry-run'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('No dataset was given') as string,
  });
  expect(existsSync(at('x'))).toBe(false);
});

withAddon('train: steps, memory and what is written', async () => {
  const train = [
    'train',
    DATA,
    '--new',
    'tiny',
    '--train-batch',
    '4',
    '--steps',
    '7',
    '--out',
    at('tuned'),
    '--dry-run',
  ];
  const ran = await cli(train);
  expect(ran).toMatchObject({ code: 0 });
  expect(ran.stdout).toMatch(/^steps: +7 of 4 images at 32 px, [\d.]+ epochs of 12 images$/m);
  expect(ran.stdout).toMatch(/^time: +unknown without a rate: diffmine estimate-train measures it$/m);
  expect(ran.stdout).toContain(`${at('tuned')}: the model folder, train.json`);
  expect(existsSync(at('tuned'))).toBe(false);
});
