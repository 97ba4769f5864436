// --dry-run: the work that is left and its cost are printed, nothing is created, changed or locked, and bad input fails as in the real command.
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../helpers/folders.js';
import { cli, hasAddon, ROOT, type Ran } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const DATA = join(GOLDEN, 'mini-dataset');
const MODEL = join(GOLDEN, 'tiny-sd15');
const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);
const WHERE = ['--device', 'cpu', '--threads', '1'];
const SCAN = [DATA, '--model', MODEL, '--samples', '3', '--size', '48', '--shard-size', '8', ...WHERE];
const MINE = ['--top', '4', '--clusters', '1', '--ensemble', '1', '--evidence-images', '2'];
const SAMPLE = [MODEL, '--labels', 'a', '-n', '2', '--inference-steps', '2', '--size', '32', ...WHERE];
const TRANSLATE = [
  ...[DATA, '--model', MODEL, '--size', '32', '--inversion-steps', '4', '--inference-steps', '2'],
  ...['--images-per-label', '1', '--guidance-scale', '1', '--batch', '8', ...WHERE],
];
const withAddon = hasAddon ? test : test.skip;

/** Every file and folder, with when it was changed. */
function snapshot(): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => {
      const { mtimeMs, size } = statSync(at(name));
      return `${name} ${size} ${mtimeMs}`;
    })
    .sort();
}

/** Runs a dry run, and checks that it leaves everything as it is. */
async function dry(args: string[]): Promise<Ran> {
  const before = snapshot();
  const ran = await cli([...args, '--dry-run']);
  expect(snapshot()).toEqual(before);
  return ran;
}

async function plan<T = Record<string, unknown>>(args: string[]): Promise<T> {
  const ran = await dry([...args, '--json']);
  expect(ran).toMatchObject({ code: 0 });
  return JSON.parse(ran.stdout) as T;
}

/** That a command refuses the same in both ways. */
async function refuses(args: string[], text: string): Promise<void> {
  for (const ran of [await dry(args), await cli(args)]) {
    expect(ran.code).not.toBe(0);
    expect(ran.stderr).toContain(text);
  }
}

withAddon('a queue that cannot be reached is told before the run begins', async () => {
  await refuses(['scan', ...SCAN, '--out', at('queued'), '--queue', 'redis://127.0.0.1:1'], 'cannot be reached');
  expect(existsSync(at('queued'))).toBe(false);
});

withAddon('scan, run, mine and evaluate', async () => {
  const ran = await dry(['run', ...SCAN, '--out', at('run')]);
  expect(ran).toMatchObject({ code: 0 });
  expect(ran.stdout).toMatch(/^images: +12 images of 3 labels, scored at 60 x 48 px at most$/m);
  expect(ran.stdout).toMatch(/^UNet calls: +72 \(6 per image\)/m); // 3 samples, under the label and another
  expect(ran.stdout).toMatch(/^shards: +2 shards$/m);
  expect(ran.stdout).toMatch(/^time: +(about \d|under a second on cpu)/m);
  expect(ran.stdout).toContain(`${at('run')}: manifest.json, shards/, mine/, report/index.html`);
  expect(ran.stdout).toMatch(/Dry run: nothing was computed or written\.\n$/);
  expect(existsSync(at('run'))).toBe(false);
  await refuses(['scan', ...SCAN, '--out', at('x'), '--patch', '64'], 'larger than the images');
  await refuses(['run', ...SCAN, '--out', at('x'), '--up-block', '9'], 'up-block');
  mkdirSync(at('foreign'));
  writeFileSync(at('foreign/notes.txt'), '');
  await refuses(['scan', ...SCAN, '--out', at('foreign')], 'is not empty');

  const scan = ['scan', ...SCAN, '--out', at('run')];
  expect(await cli([...scan, '--shard', '0/2'])).toMatchObject({ code: 0 });
  expect(await plan(scan)).toMatchObject({
    ...{ dryRun: true, path: at('run'), items: { total: 12, done: 8 }, shards: { total: 2, done: 1 } },
    ...{ unit: 'UNet call', calls: 24, atMost: false, rate: { perSecond: expect.any(Number) as number } },
    estimate: { images: 12, unetCalls: 72, shards: 2 },
  });
  expect(await plan([...scan, '--shard', '0/2'])).toMatchObject({ calls: 0, shards: { total: 1, done: 1 } });
  await refuses([...scan, '--seed', '5'], 'another run');
  await refuses(['mine', at('run'), ...MINE, ...WHERE], 'not finished');

  expect(await cli(scan)).toMatchObject({ code: 0 });
  const mine = ['mine', at('run'), ...MINE, ...WHERE];
  const planned = await plan<{ calls: number }>(mine);
  expect(planned).toMatchObject({ unit: 'forward pass', atMost: true, writes: ['mine/'] });
  expect(planned.calls).toBeGreaterThan(0);
  await refuses([...mine, '--model', join(GOLDEN, 'tiny-pixel')], 'tiny-pixel');
  expect(await cli(mine)).toMatchObject({ code: 0 });
  expect(await plan(mine)).toMatchObject({ calls: 0, reuses: [expect.stringContaining('already') as string] });

  const { images } = JSON.parse((await cli(['inspect', DATA, '--json'])).stdout) as { images: number };
  expect(images).toBe(12);
  const [label = ''] = readdirSync(DATA, { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? [e.name] : []));
  const [image = ''] = readdirSync(join(DATA, label));
  writeFileSync(at('boxes.csv'), `image,x,y,w,h\n${label}/${image},2,2,10,10\n`);
  writeFileSync(at('other.csv'), `image,x,y,w,h\nnowhere.png,2,2,10,10\n`);
  expect(await plan(['evaluate', at('run'), '--boxes', at('boxes.csv')])).toMatchObject({
    ...{ calls: 0, items: { total: 12 }, writes: ['evaluate/evaluation.json', 'evaluate/maps.webp'] },
  });
  await refuses(['evaluate', at('run'), '--boxes', at('other.csv')], 'No box of');
});

withAddon('localize: the maps of the model and of the baseline', async () => {
  const localize = ['localize', ...SCAN, '--baseline', 'untrained', '--out', at('maps')];
  expect(await plan(localize)).toMatchObject({
    ...{ path: at('maps'), calls: 72, items: { total: 12, done: 0 } },
    baseline: { path: at('maps/baseline'), calls: 72 },
  });
  expect(existsSync(at('maps'))).toBe(false);
  await refuses([...localize, '--only-marked'], 'needs --boxes');
});

withAddon('translate and cotypicality', async () => {
  const translate = ['translate', ...TRANSLATE, '--out', at('parallel')];
  const before = await plan<{ calls: number }>(translate);
  expect(before).toMatchObject({ item: 'image', items: { total: 3, done: 0 } });
  expect(existsSync(at('parallel'))).toBe(false);
  const done = await cli([...translate, '--json']);
  expect(done).toMatchObject({ code: 0 });
  expect(before.calls).toBe((JSON.parse(done.stdout) as { unetCalls: number }).unetCalls);
  expect(await plan(translate)).toMatchObject({ calls: 0, items: { total: 3, done: 3 } });
  await refuses([...translate, '--guidance-scale', '2'], 'another translation');

  const search = ['cotypicality', at('parallel'), '--model', MODEL, '--size', '32', '--samples', '2', ...WHERE];
  expect(await plan([...search, '--out', at('changes')])).toMatchObject({ item: 'sequence', calls: 36 });
  expect(existsSync(at('changes'))).toBe(false);
  await refuses([...search, '--out', at('changes'), '--labels', 'nowhere'], 'no label');
});

withAddon('sample', async () => {
  const sample = ['sample', ...SAMPLE, '--out', at('samples')];
  expect(await plan(sample)).toMatchObject({
    items: { total: 2, done: 0 },
    calls: 8,
    writes: expect.anything() as string[],
  });
  expect(existsSync(at('samples'))).toBe(false);
  expect(await cli(sample)).toMatchObject({ code: 0 });
  expect(await plan([...sample, '-n', '5'])).toMatchObject({ items: { total: 5, done: 2 }, calls: 12 });
  await refuses([...sample, '--seed', '4'], 'another command');
});

withAddon('train', async () => {
  const train = ['train', DATA, '--new', 'tiny', '--train-batch', '4', '--steps', '7', '--out', at('tuned')];
  const ran = await dry(train);
  expect(ran).toMatchObject({ code: 0 });
  expect(ran.stdout).toMatch(/^steps: +7 of 4 images at 32 px, [\d.]+ epochs of 12 images$/m);
  expect(ran.stdout).toContain(`${at('tuned')}: the model folder, train.json`);
  expect(existsSync(at('tuned'))).toBe(false);
  await refuses(['train', '--new', 'tiny', '--out', at('x')], 'No dataset was given');
  await refuses(['train', DATA, '--new', 'tiny', '--out', at('foreign')], 'not a training folder');
});

withAddon('bench', async () => {
  const bench = ['bench', '--model', 'synthetic:tiny', '--latents', '8', '--dtype', 'fp32', '--repeats', '2'];
  expect(await plan([...bench, '--out', at('bench.json'), ...WHERE])).toMatchObject({
    ...{ cells: [{ dtype: 'fp32', batch: 2 }], rounds: 3, calls: 6, writes: [at('bench.json')] },
  });
  await refuses([...bench, '--tolerance', '5%', ...WHERE], '--compare');
});

withAddon('a rate that was measured here is used; a model of the hub is not downloaded', async () => {
  const scan = ['scan', ...SCAN, '--samples', '2', '--shard-size', 'auto', '--out', at('rated')];
  expect(await cli(scan)).toMatchObject({ code: 0 }); // it measures to size its shards
  expect(await plan([...scan.slice(0, -1), at('again')])).toMatchObject({
    rate: { from: 'earlier' },
    estimate: { rateFrom: 'earlier' },
  });
  for (const command of ['scan', 'run', 'translate'])
    expect(await dry([command, DATA, '--model', 'nobody/nothing', '--out', at('hub'), ...WHERE])).toMatchObject({
      stderr: expect.stringContaining('dry run downloads nothing') as string,
    });
});
