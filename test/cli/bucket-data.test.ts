// Datasets in a bucket: label folders, tar shards, Parquet with image bytes and tables give the results of the same images on a disk.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { openDataset } from '../../src/data/index.js';
import { readImageFile } from '../../src/data/open-image.js';
import { Bucket } from '../../src/util/s3/bucket.js';
import { resultBytes } from '../helpers/bytes.js';
import { temporaryFolder } from '../helpers/folders.js';
import { hasS3, S3Server } from '../helpers/s3.js';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const DATA = join(GOLDEN, 'mini-dataset');
const LABELS = readdirSync(DATA);
const images = LABELS.flatMap((label) => readdirSync(join(DATA, label)).map((name) => `${label}/${name}`));

(hasAddon && hasS3 ? describe : describe.skip)('a dataset in a bucket', () => {
  const folder = temporaryFolder();
  const at = (name: string): string => join(folder, name);
  let server: S3Server;
  let web: Server;

  beforeAll(async () => {
    server = await S3Server.start();
    Object.assign(process.env, server.env());
    const bucket = await Bucket.open('s3://runs/data');
    for (const image of images) await bucket.upload(join(DATA, image), `folders/${image}`);
    await bucket.put('folders/1920/.DS_Store', 'x');
    await bucket.put('folders/readme.txt', 'x');
    // WebDataset: a.png, a.cls
    mkdirSync(at('tar'));
    for (const image of images) {
      const name = image.replace('/', '-').replace('.png', '');
      writeFileSync(join(at('tar'), `${name}.png`), readFileSync(join(DATA, image)));
      writeFileSync(join(at('tar'), `${name}.cls`), image.split('/')[0] ?? '');
    }
    const names = readdirSync(at('tar')).sort();
    for (const [i, part] of [names.slice(0, 12), names.slice(12)].entries()) {
      execFileSync('tar', ['-C', at('tar'), '-cf', at(`part-${i}.tar`), ...part]);
      await bucket.upload(at(`part-${i}.tar`), `shards/part-${i}.tar`);
    }
    const address = await new Promise<string>((resolve) => {
      web = createServer((request, response) => {
        try {
          response.end(readFileSync(join(DATA, decodeURIComponent(request.url ?? ''))));
        } catch {
          response.writeHead(404).end();
        }
      });
      web.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(web.address() as AddressInfo).port}`));
    });
    const rows = (root: string): string =>
      `image,label\n${images.map((image) => `${root}${image},${image.split('/')[0]}`).join('\n')}\n`;
    await bucket.put('folders/list.csv', rows(''));
    writeFileSync(at('objects.csv'), rows('s3://runs/data/folders/'));
    writeFileSync(at('web.csv'), rows(`${address}/`));
  }, 300_000);
  afterAll(async () => {
    await new Promise((resolve) => web.close(resolve));
    server.stop();
  });

  const contents = async (location: string): Promise<Record<string, string[]>> => {
    const dataset = await openDataset(location);
    const found: Record<string, string[]> = {};
    for (let i = 0; i < dataset.images.length; i += 1) {
      const image = dataset.images.at(i);
      (found[image.label] ??= []).push((await readImageFile(image.file)).toString('base64'));
    }
    for (const all of Object.values(found)) all.sort();
    return found;
  };

  test('every form holds the same images', async () => {
    const wanted = await contents(DATA);
    expect(Object.values(wanted).flat()).toHaveLength(images.length);
    for (const location of [
      's3://runs/data/folders',
      's3://runs/data/folders/list.csv',
      's3://runs/data/folders/*/*.png',
      's3://runs/data/shards',
      's3://runs/data/shards/part-{0..1}.tar',
      at('objects.csv'),
      at('web.csv'),
    ])
      expect([location, await contents(location)]).toEqual([location, wanted]);
  });

  test('what is not there is said', async () => {
    await expect(openDataset('s3://runs/data/nothing')).rejects.toMatchObject({ code: 'DATASET_INVALID' });
    await expect(openDataset('s3://runs/data/shards/part-{0..2}.tar')).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining('part-2.tar') as string,
    });
    await expect(openDataset('s3://nowhere/data')).rejects.toMatchObject({ code: 'IO' });
    writeFileSync(at('gone.csv'), 'image,label\ns3://runs/data/folders/none.png,1920\n');
    await expect(openDataset(at('gone.csv'))).rejects.toMatchObject({ code: 'DATASET_INVALID' });
  });

  test('scan, mine and report read from the bucket; images and run both lie there', async () => {
    const model = ['--model', join(GOLDEN, 'tiny-sd15'), '--size', 'source', '--patch', '16', '--dtype', 'fp32'];
    const options = [...model, '--samples', '4', '--batch', '8', '--shard-size', '4', '--threads', '1'];
    expect(await cli(['scan', DATA, ...options, '--out', at('local')])).toMatchObject({ code: 0 });
    for (const command of [
      ['scan', 's3://runs/data/folders', ...options, '--out', 's3://runs/run'],
      ['mine', 's3://runs/run', '--clusters', '2'],
      ['report', 's3://runs/run'],
      ['pull', 's3://runs/run', at('pulled')],
    ]) {
      const { code, stderr } = await cli(command);
      expect({ command: command[0], code, stderr: code === 0 ? '' : stderr }).toEqual({
        command: command[0],
        code: 0,
        stderr: '',
      });
    }
    expect(resultBytes(at('pulled'), ['shards'])).toEqual(resultBytes(at('local'), ['shards']));
    expect(readdirSync(join(at('pulled'), 'report'))).toContain('index.html');
  });
});
