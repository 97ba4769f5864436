// A disk that is full, at several points of every command that writes: each ends with its error, leaves no half-written files, and the same command then
// completes, with the bytes of an undisturbed run and without repeating what was finished. The disk is a tmpfs of its own.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { findLibTorch } from '../../scripts/libtorch.mjs';
import { configure } from '../../scripts/steps.mjs';
import { resultBytes } from '../helpers/bytes.js';
import { Fleet } from '../helpers/fleet.js';
import { removeInTheEnd } from '../helpers/disk.js';
import { filesOf, startHub, type HubServer } from '../helpers/hub-server.js';
import { isNightly, nightlyTest } from '../helpers/nightly.js';
import { hasRedis, RedisServer } from '../helpers/redis.js';
import { hasS3, S3Server } from '../helpers/s3.js';
import { cli, hasAddon, ROOT, type Ran, type RunOptions } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const DATASET = join(GOLDEN, 'mini-dataset');
const MODEL = join(GOLDEN, 'tiny-sd15');
const ROOM = 512 * 1024;
/** Files with dates or seconds in them. */
const DATED =
  /(^|\/)(locks\/|(manifest|train|samples|quality|bench|compare|demo)\.json$|metrics\.jsonl$|index\.html$|train-report\.html$|(run|data)\.js$|checkpoints\/)/;
/** The disk is full after this fraction of what a command writes. */
const FILLED = [0.02, 0.5, 0.95];

const folder = mkdtempSync(join(tmpdir(), 'diffmine-full-'));
const disk = join(folder, 'disk');
mkdirSync(disk);
removeInTheEnd(disk, folder);
const mount = (options: string): boolean =>
  spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', disk]).status === 0;
const umount = (): void => void spawnSync('umount', ['-l', disk]);
const canMount = process.platform === 'linux' && mount('size=1m');
if (canMount) umount();
else console.warn('Tests of full disks are skipped: no tmpfs may be mounted here.');
const at = (name: string): string => join(folder, name);

/** What is on the disk, kB, in pages as a tmpfs has them. */
function used(): number {
  const { blocks, bfree, bsize } = statfsSync(disk);
  return ((blocks - bfree) * bsize) / 1024;
}

/** Hashes of all files below a folder, and when they were written. */
function contents(path: string, root = path): Map<string, { hash: string; written: number }> {
  const found = new Map<string, { hash: string; written: number }>();
  for (const name of readdirSync(path).sort()) {
    const file = join(path, name);
    const { mtimeMs, ino } = statSync(file);
    if (statSync(file).isDirectory()) for (const [key, value] of contents(file, root)) found.set(key, value);
    else
      found.set(relative(root, file), {
        hash: createHash('sha256').update(readFileSync(file)).digest('hex'),
        written: mtimeMs + ino,
      });
  }
  return found;
}

interface Work {
  args: string[];
  /** puts on the disk what the command works on */
  prepare?: () => void;
  options?: RunOptions;
  /** the results are not on the disk, only what is temporary */
  temporary?: boolean;
  /** the images are written by the command: their list has their times of modification */
  draws?: boolean;
}

async function ok(args: string[], options?: RunOptions): Promise<Ran> {
  const ran = await cli(args, options);
  expect({ args, code: ran.code, stderr: ran.code === 0 ? '' : ran.stderr }).toEqual({ args, code: 0, stderr: '' });
  return ran;
}

async function onDisk<T>(kilobytes: number, work: () => Promise<T>): Promise<T> {
  expect(mount(`size=${kilobytes}k`)).toBe(true);
  try {
    return await work();
  } finally {
    umount();
  }
}

/** Fills the disk at each fraction of what the command writes. */
async function fill({ args, prepare, options, temporary, draws }: Work, fractions: readonly number[]): Promise<void> {
  const results = (): [string, string][] =>
    [...contents(disk)]
      .filter(([name]) => !DATED.test(name) && !(draws && name.endsWith('/index.parquet')))
      .map(([name, { hash }]) => [name, hash]);
  const { begin, end, reference } = await onDisk(ROOM, async () => {
    prepare?.();
    const begin = used();
    await ok(args, options);
    return { begin, end: used(), reference: results() };
  });
  for (const fraction of fractions) {
    const size = Math.min(end - 4, begin + Math.max(0, Math.floor(((end - begin) * fraction) / 4) * 4));
    await onDisk(temporary ? Math.max(4, Math.round(fraction * 64)) : Math.max(4, size), async () => {
      prepare?.();
      const full = await cli(args, options);
      expect({ fraction, code: full.code, signal: full.signal, stderr: full.stderr }).toMatchObject({
        code: 5,
        signal: null,
        stderr: expect.stringMatching(
          /^error: [^\n]*(disk is full|No space left on device)[^\n]*\nhint: [^\n]*space[^\n]*run the same command again/m,
        ) as string,
      });
      const before = contents(disk);
      expect([...before.keys()].filter((name) => /\.tmp-|\.part-|^diffmine-/.test(name))).toEqual([]);
      spawnSync('mount', ['-o', `remount,size=${ROOM}k`, disk]);
      await ok(args, options);
      expect({ fraction, results: results() }).toEqual({ fraction, results: reference });
      // finished shards were not made again; a race that is over has removed those of its rounds
      const after = contents(disk);
      for (const [name, { written }] of before)
        if (/^(?!.*\/rounds\/).*\/shards\/\d/.test(name))
          expect([name, after.get(name)?.written]).toEqual([name, written]);
    });
  }
}

const COMMON = ['--model', MODEL, '--device', 'cpu', '--threads', '1'];
const scan = (out: string, ...more: string[]): string[] => [
  ...['scan', DATASET, ...COMMON, '--size', 'source', '--samples', '4', '--patch', '16', '--batch', '8'],
  ...['--shard-size', '2', '--out', out, ...more],
];
const small = [...COMMON, '--preset', 'cars', '--size', '32'];
const translate = (out: string): string[] => [
  ...['translate', DATASET, ...small, '--inversion-steps', '4', '--inference-steps', '2', '--images-per-label', '2'],
  ...['--shard-size', '1', '--out', out],
];

const copied = (name: string) => (): void => cpSync(at(name), join(disk, name), { recursive: true });

(hasAddon && canMount ? describe : describe.skip)('a full disk', () => {
  beforeAll(async () => {
    const images = (readdirSync(DATASET, { recursive: true }) as string[]).filter((name) =>
      /\.(png|jpe?g)$/.test(name),
    );
    await ok(scan(at('scanned')));
    cpSync(at('scanned'), at('mined'), { recursive: true });
    await ok(['mine', at('mined'), '--clusters', '2']);
    writeFileSync(at('boxes.csv'), ['image,x,y,w,h', ...images.map((image) => `${image},4,4,16,16`)].join('\n'));
    if (isNightly) await ok(translate(at('parallel')));
  }, 300_000);

  const mine: Work = { args: ['mine', join(disk, 'scanned'), '--clusters', '2'], prepare: copied('scanned') };
  test('mine', async () => fill(mine, [0.6]), 300_000);

  const report: Work = { args: ['report', join(disk, 'mined')], prepare: copied('mined') };
  test('report', async () => fill(report, [0.6]), 300_000);

  test('setup: another source is not tried, and the download resumes', async () => {
    const archive = Buffer.alloc(2 ** 20, 'x');
    const ranges: (string | undefined)[] = [];
    const mirror = createServer((request, response) => {
      ranges.push(request.headers.range);
      const begin = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
      response.writeHead(begin > 0 ? 206 : 200, { 'content-length': archive.length - begin });
      response.end(archive.subarray(begin));
    });
    await new Promise<void>((resolve) => mirror.listen(0, '127.0.0.1', resolve));
    const before = { ...process.env };
    const { port } = mirror.address() as AddressInfo;
    // without Python: its LibTorch would be taken
    Object.assign(process.env, {
      DIFFMINE_CACHE: disk,
      DIFFMINE_LIBTORCH_MIRROR: `http://127.0.0.1:${port}`,
      PATH: '',
    });
    delete process.env['LIBTORCH'];
    configure({ log: () => undefined });
    try {
      await onDisk(256, async () => {
        await expect(findLibTorch()).rejects.toMatchObject({
          code: 'SETUP',
          message: expect.stringMatching(/^The disk is full/) as string,
          hint: expect.stringContaining('DIFFMINE_CACHE') as string,
        });
        spawnSync('/bin/mount', ['-o', `remount,size=${ROOM}k`, disk]);
        // it is whole now, and not LibTorch
        await expect(findLibTorch()).rejects.toThrow(/has SHA-256/);
      });
      expect(ranges[0]).toBeUndefined();
      expect(ranges[1]).toMatch(/^bytes=[1-9]/);
    } finally {
      process.env = before;
      mirror.close();
    }
  });

  const nightly: Record<string, () => Work> = {
    compare: () => ({ args: ['compare', at('mined'), at('mined'), '--out', join(disk, 'agreement')] }),
    bench: () => ({
      args: [
        ...[
          'bench',
          '--model',
          'synthetic:tiny',
          '--latents',
          '8',
          '--dtype',
          'fp32',
          '--repeats',
          '1',
          '--threads',
          '1',
        ],
        ...['--device', 'cpu', '--out', join(disk, 'bench.json')],
      ],
      // its one file takes a single page
      prepare: () => writeFileSync(join(disk, 'other'), Buffer.alloc(4096)),
    }),
    scan: () => ({ args: scan(join(disk, 'run')) }),
    run: () => ({ args: ['run', ...scan(join(disk, 'run'), '--clusters', '2').slice(1)] }),
    'a race': () => ({
      args: scan(join(disk, 'run'), '--samples', '16', '--race', '--top', '1', '--race-risk', '0.3'),
    }),
    mine: () => mine,
    report: () => report,
    evaluate: () => ({
      args: ['evaluate', join(disk, 'mined'), '--boxes', at('boxes.csv'), '--bootstrap', '10'],
      prepare: copied('mined'),
    }),
    translate: () => ({ args: translate(join(disk, 'parallel')) }),
    'translate --evaluate': () => ({
      args: [...translate(join(disk, 'parallel')), '--evaluate', '--samples', '2'],
      prepare: copied('parallel'),
    }),
    cotypicality: () => ({
      args: [
        ...['cotypicality', at('parallel'), ...small, '--samples', '2', '--ensemble', '2', '--patch', '8'],
        ...['--clusters', '2', '--shard-size', '1', '--out', join(disk, 'changes')],
      ],
    }),
    localize: () => ({
      args: [
        ...['localize', DATASET, ...small, '--samples', '1', '--bootstrap', '10', '--overlays', '2'],
        ...['--shard-size', '2', '--out', join(disk, 'maps')],
      ],
    }),
    'export of a table': () => ({
      args: [
        'export',
        at('mined'),
        '--table',
        'patches',
        '--format',
        'parquet',
        '--out',
        join(disk, 'patches.parquet'),
      ],
    }),
    'export of text': () => ({
      args: ['export', at('mined'), '--table', 'patches', '--format', 'csv', '--out', join(disk, 'patches.csv')],
    }),
    'export of annotations': () => ({
      args: ['export', at('mined'), '--format', 'yolo', '--out', join(disk, 'annotations')],
    }),
    'export of maps': () => ({
      args: ['export', at('mined'), '--table', 'maps', '--format', 'png', '--out', join(disk, 'maps')],
    }),
    'export of crops': () => ({ args: ['export', at('mined'), '--crops', join(disk, 'crops')] }),
    sample: () => ({
      args: [
        ...['sample', join(GOLDEN, 'tiny-fold'), '--labels', 'class0', '-n', '4', '--inference-steps', '2'],
        ...['--device', 'cpu', '--threads', '1', '--out', join(disk, 'samples')],
      ],
    }),
    train: () => ({
      args: [
        ...['train', DATASET, '--new', 'tiny', '--steps', '8', '--train-batch', '2', '--checkpoint-every', '2'],
        ...['--sample-every', '4', '--sample-count', '1', '--sample-inference-steps', '2', '--size', '32'],
        ...['--device', 'cpu', '--threads', '1', '--out', join(disk, 'model')],
      ],
    }),
    'train --from': () => ({
      args: [
        ...['train', DATASET, '--from', MODEL, '--steps', '2', '--train-batch', '2', '--checkpoint-every', '1'],
        ...['--sample-every', '0', '--size', '32', '--prompt', 'a car, {label}'],
        ...['--device', 'cpu', '--threads', '1', '--out', join(disk, 'model')],
      ],
    }),
    'demo --data-only': () => ({ args: ['demo', '--data-only', join(disk, 'world'), '--images-per-label', '4'] }),
  };
  for (const [name, work] of Object.entries(nightly))
    nightlyTest(`${name}, at several points`, async () => fill(work(), FILLED), 900_000);

  nightlyTest(
    'demo --full',
    async () => {
      const args = [
        ...['demo', '--full', '--images-per-label', '2', '--translated-images', '1', '--size', '32'],
        ...['--samples', '1', '--bootstrap', '10', '--clusters', '2', '--dtype', 'fp32'],
        ...['--device', 'cpu', '--threads', '1', '--out', join(disk, 'demo')],
      ];
      await fill({ args, draws: true }, [0.6]);
    },
    900_000,
  );

  (hasRedis ? describe : describe.skip)('a worker of a queue', () => {
    let redis: RedisServer;
    let fleet: Fleet;
    beforeEach(async () => {
      redis = await RedisServer.start(at('redis'));
      fleet = new Fleet(redis.url);
    });
    afterEach(async () => {
      await fleet.end();
      await redis.kill();
      rmSync(at('redis'), { recursive: true, force: true });
    });

    nightlyTest(
      'whose disk is read-only ends, and leaves its shard to others',
      async () => {
        const run = at('queued');
        const begun = fleet.run(...scan(run, '--queue'));
        await begun.until(/shards in the queue/);
        const readOnly = [
          'unshare',
          '--mount',
          'sh',
          '-c',
          `mount --bind ${run} ${run} && mount -o remount,bind,ro ${run} && exec "$@"`,
          'sh',
        ];
        const worker = fleet.runWith(readOnly, {}, 'worker', '--device', 'cpu', '--threads', '1');
        expect([await worker.ended, worker.stderr]).toEqual([
          [5, null],
          expect.stringMatching(
            /Refused shard \d+ .*: The disk is read-only: .*\nerror: The disk is read-only: [^\n]*\nhint: [^\n]*make it writable/s,
          ) as string,
        ]);
        expect(worker.stderr.match(/Refused/g)).toHaveLength(1);
        await begun.until(/A worker refuses this run\. .*: The disk is read-only/);
        expect(await fleet.worker('--exit-when-done').ended).toEqual([0, null]);
        expect(await begun.ended).toEqual([0, null]);
        expect(resultBytes(run, ['shards', 'skipped.jsonl'])).toEqual(
          resultBytes(at('scanned'), ['shards', 'skipped.jsonl']),
        );
      },
      300_000,
    );

    nightlyTest(
      'ends when the disk is full; no shard has spent an attempt, and another worker finishes when there is space',
      async () => {
        const run = join(disk, 'run');
        const results = (): unknown => resultBytes(run, ['shards', 'skipped.jsonl']);
        const [size, reference] = await onDisk(ROOM, async () => {
          await ok(scan(run));
          return [used(), results()] as const;
        });
        const env = { DIFFMINE_QUEUE: redis.url };
        await onDisk(4 * Math.floor((0.7 * size) / 4), async () => {
          const begun = fleet.run(...scan(run, '--queue'));
          const worker = fleet.worker();
          expect([await worker.ended, worker.stderr]).toEqual([
            [5, null],
            expect.stringMatching(
              /error: [^\n]*(disk is full|No space left on device)[^\n]*\nhint: [^\n]*free some space/,
            ) as string,
          ]);
          const finished = contents(run);
          expect([...finished.keys()].filter((name) => name.includes('.tmp-'))).toEqual([]);
          const { queue } = JSON.parse((await ok(['status', run, '--json'], { env })).stdout) as { queue: object };
          expect(queue).toMatchObject({ active: [], failed: [] });
          expect(begun.running).toBe(true);
          spawnSync('mount', ['-o', `remount,size=${ROOM}k`, disk]);
          expect(await fleet.worker('--exit-when-done').ended).toEqual([0, null]);
          expect(await begun.ended).toEqual([0, null]);
          expect(results()).toEqual(reference);
          const after = contents(run);
          const shards = [...finished].filter(([name]) => /^shards\/\d/.test(name));
          expect(shards.length).toBeGreaterThan(0);
          for (const [name, { written }] of shards) expect([name, after.get(name)?.written]).toEqual([name, written]);
        });
      },
      900_000,
    );
  });

  nightlyTest(
    'mine with a temporary folder that is full',
    async () => {
      cpSync(at('scanned'), at('other'), { recursive: true });
      const args = ['mine', at('other'), '--clusters', '2', '--patch', '8'];
      const prepare = (): void => rmSync(join(at('other'), 'mine'), { recursive: true, force: true });
      await fill({ args, prepare, options: { env: { TMPDIR: disk } }, temporary: true }, [0.06]);
    },
    900_000,
  );

  nightlyTest(
    'a model is downloaded',
    async () => {
      const commit = '0123456789abcdef0123456789abcdef01234567';
      const hub: HubServer = await startHub({ 'tiny/sd15': { files: filesOf(MODEL), commit } });
      try {
        const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(disk, 'hub'), HF_HUB_OFFLINE: '0' };
        await fill({ args: ['pull', 'tiny/sd15'], options: { env } }, FILLED);
      } finally {
        await hub.close();
      }
    },
    900_000,
  );

  (isNightly && hasS3 ? test : test.skip)(
    'a run in a bucket, with a temporary folder that is full',
    async () => {
      const server = await S3Server.start();
      try {
        const env = { ...server.env(), TMPDIR: disk };
        for (const [name, args] of Object.entries({
          scan: scan('s3://runs/full'),
          mine: ['mine', 's3://runs/full', '--clusters', '2'],
          report: ['report', 's3://runs/full'],
        })) {
          await onDisk(16, async () => {
            const full = await cli(args, { env });
            expect({ name, ...full }).toMatchObject({ code: 5, stderr: expect.stringContaining('TMPDIR') as string });
            expect(readdirSync(disk)).toEqual([]);
          });
          await onDisk(ROOM, async () => ok(args, { env }));
        }
        const copy = join(disk, 'copy');
        await fill({ args: ['pull', 's3://runs/full', copy], options: { env: server.env() } }, FILLED);
      } finally {
        server.stop();
      }
    },
    900_000,
  );
});
