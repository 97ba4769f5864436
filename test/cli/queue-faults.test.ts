// Faults of a scan on a queue that take longer than every change can wait for: the bytes are those of a scan without a queue.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { resultBytes } from '../helpers/bytes.js';
import { Fleet, SCAN } from '../helpers/fleet.js';
import { isNightly } from '../helpers/nightly.js';
import { hasPostgres, PostgresServer } from '../helpers/postgres.js';
import { hasRedis, RedisServer } from '../helpers/redis.js';
import { hasS3, S3Server } from '../helpers/s3.js';
import { cli, hasAddon, ROOT } from './cli.js';

(hasAddon && hasRedis && isNightly ? test : test.skip)(
  'scripts/soak.mjs, with few images',
  () => {
    const few = ['--images', '240', '--shard-size', '4', '--kill-every', '5', '--workers', '3'];
    const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/soak.mjs', ...few], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    expect([status, status === 0 ? '' : `${stdout}${stderr}`]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject({ images: 240, shards: 60, differ: 0 });
    expect((JSON.parse(stdout) as { kills: number }).kills).toBeGreaterThan(0);
  },
  600_000,
);

(hasAddon && hasRedis && isNightly ? describe : describe.skip)('faults of a queue', () => {
  let folder: string;
  let redis: RedisServer;
  let fleet: Fleet;
  let reference: Record<string, string>;
  const at = (name: string): string => join(folder, name);
  const expectSame = (name: string): void => {
    expect(resultBytes(at(name), ['shards', 'skipped.jsonl'])).toEqual(reference);
    expect(
      readdirSync(at(name), { recursive: true, encoding: 'utf8' }).filter((file) => file.includes('.tmp-')),
    ).toEqual([]);
  };
  const begin = async (name: string, log = true): Promise<ReturnType<Fleet['run']>> => {
    redis = await RedisServer.start(at(`redis-${name}`), log);
    fleet = new Fleet(redis.url);
    const scan = fleet.run(...SCAN, '--out', at(name), '--queue');
    await scan.until(/6 shards in the queue/);
    return scan;
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'diffmine-queue-'));
    expect(await cli([...SCAN, '--out', at('reference')])).toMatchObject({ code: 0 });
    reference = resultBytes(at('reference'), ['shards', 'skipped.jsonl']);
  }, 600_000);
  afterEach(async () => {
    await fleet.end();
    await redis.kill();
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each([true, false])(
    'Redis is killed and comes back, with a log on the disk: %s',
    async (log) => {
      const scan = await begin(`killed-${log}`, log);
      const workers = [fleet.worker(), fleet.worker()];
      await workers[0]?.until(/Finished shard/);
      await redis.kill();
      await sleep(3000);
      await redis.start();
      expect(await scan.ended).toEqual([0, null]);
      expectSame(`killed-${log}`);
    },
    600_000,
  );

  test.each([1, 5])(
    '%i workers, of which one after another is killed and replaced',
    async (count) => {
      const scan = await begin(`workers-${count}`);
      let workers = Array.from({ length: count }, () => fleet.worker());
      for (let kills = 0; kills < 3; kills += 1) {
        await sleep(500 + 3000 * Math.random());
        const [victim, ...others] = workers;
        victim?.kill();
        workers = [...others, fleet.worker()];
      }
      expect(await scan.ended).toEqual([0, null]);
      expectSame(`workers-${count}`);
    },
    600_000,
  );

  test('SIGTERM of all workers in the middle of their shards, then others', async () => {
    const scan = await begin('stopped');
    const workers = [fleet.worker(), fleet.worker()];
    await workers[0]?.until(/Finished shard/);
    for (const { child } of workers) child.kill('SIGTERM');
    for (const { ended } of workers) expect(await ended).toEqual([130, null]);
    fleet.worker();
    expect(await scan.ended).toEqual([0, null]);
    expectSame('stopped');
  }, 600_000);

  test('two commands begin the same run at once', async () => {
    redis = await RedisServer.start(at('redis-twice'));
    fleet = new Fleet(redis.url);
    const both = [1, 2].map(() => fleet.run(...SCAN, '--out', at('twice'), '--queue'));
    fleet.worker();
    for (const { ended } of both) expect(await ended).toEqual([0, null]);
    expectSame('twice');
  }, 600_000);

  (hasS3 ? test : test.skip)(
    'the run is in a bucket, and shares nothing else with its workers',
    async () => {
      const server = await S3Server.start();
      const before = { ...process.env };
      Object.assign(process.env, server.env());
      try {
        redis = await RedisServer.start(at('redis-bucket'));
        fleet = new Fleet(redis.url);
        const scan = fleet.run(...SCAN, '--out', 's3://runs/queue', '--queue');
        await scan.until(/6 shards in the queue/);
        const workers = [fleet.worker('--exit-when-done'), fleet.worker('--exit-when-done')];
        await workers[0]?.until(/Finished shard/);
        workers[0]?.kill();
        expect(await scan.ended).toEqual([0, null]);
        expect(await workers[1]?.ended).toEqual([0, null]);
        expect(await cli(['pull', 's3://runs/queue', at('bucket')])).toMatchObject({ code: 0 });
        expectSame('bucket');
        expect((await cli(['status', 's3://runs/queue'])).stdout).toMatch(/6 of 6 shards finished/);
      } finally {
        process.env = before;
        server.stop();
      }
    },
    600_000,
  );

  (hasPostgres ? test : test.skip)(
    'PostgreSQL hands out the shards, and takes back those of a worker that is stopped',
    async () => {
      const server = await PostgresServer.start(at('postgres'));
      try {
        fleet = new Fleet(server.url);
        const scan = fleet.run(...SCAN, '--out', at('by-postgres'), '--queue');
        await scan.until(/6 shards in the queue/);
        const stopped = fleet.worker();
        await stopped.until(/Finished shard/);
        stopped.child.kill('SIGTERM');
        expect(await stopped.ended).toEqual([130, null]);
        expect(await fleet.worker('--exit-when-done').ended).toEqual([0, null]);
        expect(await scan.ended).toEqual([0, null]);
        expectSame('by-postgres');
      } finally {
        await fleet.end();
        server.stop();
      }
    },
    600_000,
  );

  test.each(['translate', 'cotypicality', 'localize'])(
    '%s',
    async (stage) => {
      redis = await RedisServer.start(at(`redis-${stage}`));
      fleet = new Fleet(redis.url);
      const golden = join(ROOT, 'test', 'data', 'golden');
      const model = ['--model', join(golden, 'tiny-sd15'), '--preset', 'cars', '--size', '32', '--shard-size', '2'];
      const common = [...model, '--device', 'cpu', '--threads', '1'];
      const data = join(golden, 'mini-dataset');
      const translate = [
        'translate',
        data,
        ...common,
        '--inversion-steps',
        '4',
        '--inference-steps',
        '2',
        '--images-per-label',
        '2',
      ];
      const commands: Record<string, [command: string[], parts: string[]]> = {
        translate: [translate, ['shards', '1920', 'index.html']],
        cotypicality: [
          [
            'cotypicality',
            at('parallel'),
            ...common,
            '--samples',
            '2',
            '--ensemble',
            '2',
            '--patch',
            '8',
            '--clusters',
            '2',
          ],
          ['shards', 'clusters'],
        ],
        localize: [
          ['localize', data, ...common, '--samples', '1', '--bootstrap', '10', '--overlays', '2'],
          ['shards', 'localize/overlays'],
        ],
      };
      const [command, parts] = commands[stage] as [string[], string[]];
      if (stage === 'cotypicality')
        expect(await cli([...translate, '--out', at('parallel')])).toMatchObject({ code: 0 });
      expect(await cli([...command, '--out', at(`${stage}-alone`)])).toMatchObject({ code: 0 });
      fleet.worker();
      const queued = fleet.run(...command, '--out', at(`${stage}-queued`), '--queue');
      expect([await queued.ended, queued.stderr.includes('in the queue')]).toEqual([[0, null], true]);
      expect(resultBytes(at(`${stage}-queued`), parts)).toEqual(resultBytes(at(`${stage}-alone`), parts));
    },
    600_000,
  );
});
