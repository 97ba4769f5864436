// Devices of workers that fail: before they work on a shard, at every shard, at one shard. Only a shard that is the cause spends attempts.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Connection } from '../../src/pipeline/queue/bull.js';
import { resultBytes } from '../helpers/bytes.js';
import { SCAN, startRedisFleet, type Fleet, type RedisFleet, type Running } from '../helpers/fleet.js';
import { nightlyTest } from '../helpers/nightly.js';
import { hasRedis, type RedisServer } from '../helpers/redis.js';
import { cli, hasAddon, ROOT } from './cli.js';

const FAULT = pathToFileURL(join(ROOT, 'test', 'support', 'engine-fault.mjs')).href;

(hasAddon && hasRedis ? describe : describe.skip)('a device that fails', () => {
  let started: RedisFleet;
  let folder: string;
  let redis: RedisServer;
  let fleet: Fleet;
  let queue: Connection;
  const at = (name: string): string => join(folder, name);
  const bytesOf = (name: string): Record<string, string> => resultBytes(at(name), ['shards', 'skipped.jsonl']);
  const brokenWorker = (fault: string): Running =>
    fleet.runWith(
      [],
      { NODE_OPTIONS: `--import ${FAULT}`, ENGINE_FAULT: fault },
      ...['worker', '--device', 'cpu', '--threads', '1', '--exit-when-done'],
    );
  /** attempts that the shards in the queue have spent, in order */
  const attempts = async (): Promise<number[]> =>
    (await queue.queue.getJobs(['waiting', 'delayed', 'active', 'failed']))
      .map(({ attemptsMade }) => attemptsMade)
      .sort((a, b) => a - b);

  beforeAll(async () => {
    started = await startRedisFleet();
    ({ folder, redis, fleet, queue } = started);
  }, 300_000);
  afterEach(async () => started.clear());
  afterAll(async () => started.close());

  nightlyTest(
    'costs no shard an attempt, and its worker ends; another one finishes',
    async () => {
      const scan = fleet.run(...SCAN, '--out', at('run'), '--queue');
      await scan.until(/6 shards in the queue/);

      const dies = brokenWorker('load dies');
      expect([await dies.ended, dies.stderr]).toEqual([
        [4, null],
        expect.stringMatching(
          /Refused shard \d .*\ncpu is given up: The process of cpu ended by SIGKILL while it loaded the model, for the 4th time in a row\.\nerror: /,
        ) as string,
      ]);
      expect(await attempts()).toEqual([0, 0, 0, 0, 0, 0]);

      const missing = brokenWorker('load SETUP');
      expect([await missing.ended, missing.stderr]).toEqual([
        [4, null],
        expect.stringMatching(/cpu is given up: The test says so\.\nerror: .*\nhint: Change the device\./) as string,
      ]);
      expect(await attempts()).toEqual([0, 0, 0, 0, 0, 0]);

      // the model does not fit: another run's may
      const small = brokenWorker('load OUT_OF_MEMORY');
      expect([await small.ended, small.stderr]).toEqual([
        [6, null],
        expect.stringMatching(
          /error: Nothing is left but shards that this worker refuses\. The test says so\./,
        ) as string,
      ]);
      expect(await attempts()).toEqual([0, 0, 0, 0, 0, 0]);

      // it may be the shard: the first one spends an attempt, the second clears it. All are due, or the first one might be taken again before a second.
      await queue.queue.promoteJobs();
      const computes = brokenWorker('work INTERNAL');
      expect([await computes.ended, computes.stderr]).toEqual([
        [70, null],
        expect.stringMatching(
          /Failed at shard \d .*, to be tried again: .*\nRefused shard \d .*\ncpu is given up: cpu failed at two shards in a row: The test says so\.\n/,
        ) as string,
      ]);
      expect(await attempts()).toEqual([0, 0, 0, 0, 0, 1]);

      expect(await fleet.worker('--exit-when-done').ended).toEqual([0, null]);
      expect(await scan.ended).toEqual([0, null]);
      expect(bytesOf('run')).toEqual(bytesOf('reference'));
    },
    600_000,
  );

  nightlyTest(
    'at one shard only: that shard fails after its attempts, and the device does the others',
    async () => {
      const scan = fleet.run(...SCAN, '--out', at('poison'), '--queue');
      await scan.until(/6 shards in the queue/);
      const worker = brokenWorker('3 dies');
      expect([await worker.ended, await scan.ended]).toEqual([
        [4, null],
        [4, null],
      ]);
      expect(scan.stderr).toMatch(/1 of 6 shards failed\. Shard 3: The process of cpu ended by SIGKILL at shard 3/);
      expect(worker.stderr).not.toMatch(/given up/);
      const { stdout } = await cli(['status', at('poison'), '--json'], { env: { DIFFMINE_QUEUE: redis.url } });
      expect(JSON.parse(stdout)).toMatchObject({
        shards: { done: 5, missing: [3] },
        queue: { failed: [{ shard: 3, attempts: 4 }] },
      });
    },
    600_000,
  );
});
