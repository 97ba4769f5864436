// Faults of a scan on a queue that take longer than every change can wait for: the bytes are those of a scan without a queue.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { resultBytes } from '../helpers/bytes.js';
import { Fleet, SCAN } from '../helpers/fleet.js';
import { isNightly } from '../helpers/nightly.js';
import { hasRedis, RedisServer } from '../helpers/redis.js';
import { cli, hasAddon } from './cli.js';

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
});
