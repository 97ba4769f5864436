// A worker whose network is cut for longer than its shard stays reserved: another one does the shard, and when the first is back, it drops its own work.
// The worker is in a network namespace, from which everything else is reached by one cable.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { resultBytes } from '../helpers/bytes.js';
import { Fleet, SCAN } from '../helpers/fleet.js';
import { isNightly } from '../helpers/nightly.js';
import { hasRedis, RedisServer } from '../helpers/redis.js';
import { hasS3, S3Server } from '../helpers/s3.js';
import { cli, hasAddon } from './cli.js';

const NAME = `dm${process.pid % 100_000}`;
const ADDRESS = `10.${200 + (process.pid % 50)}.77.1`;
const NEIGHBOR = ADDRESS.replace(/1$/, '2');
const ip = (...args: string[]): number | null => spawnSync('ip', args, { stdio: 'ignore' }).status;

/** A network namespace with one cable to this one. */
const hasNamespace =
  isNightly && process.getuid?.() === 0 && ip('netns', 'add', NAME) === 0 && ip('netns', 'exec', NAME, 'true') === 0;
if (isNightly && !hasNamespace) console.warn('The test of a cut network is skipped: it needs network namespaces.');

(hasNamespace && hasAddon && hasRedis && hasS3 ? describe : describe.skip)('a network that is cut', () => {
  let folder: string;
  let store: S3Server;
  let redis: RedisServer;
  const servers: Server[] = [];
  const env = { ...process.env };

  /** A port of the cable that leads to one of this machine. */
  async function forward(port: number): Promise<number> {
    const server = createServer((from) => {
      const to = connect(port, '127.0.0.1');
      from.pipe(to).pipe(from);
      for (const [one, other] of [
        [from, to],
        [to, from],
      ] as const)
        one.on('error', () => other.destroy());
    });
    servers.push(server);
    return new Promise((resolve) =>
      server.listen(0, ADDRESS, () => resolve((server.address() as { port: number }).port)),
    );
  }
  const cable = (state: 'up' | 'down'): void => void execFileSync('ip', ['link', 'set', `${NAME}h`, state]);

  beforeAll(async () => {
    execFileSync('ip', ['link', 'add', `${NAME}h`, 'type', 'veth', 'peer', 'name', `${NAME}n`, 'netns', NAME]);
    execFileSync('ip', ['address', 'add', `${ADDRESS}/24`, 'dev', `${NAME}h`]);
    cable('up');
    execFileSync('ip', ['-n', NAME, 'address', 'add', `${NEIGHBOR}/24`, 'dev', `${NAME}n`]);
    for (const device of ['lo', `${NAME}n`]) execFileSync('ip', ['-n', NAME, 'link', 'set', device, 'up']);
    folder = mkdtempSync(join(tmpdir(), 'diffmine-cut-'));
    store = await S3Server.start();
    Object.assign(process.env, store.env());
    redis = await RedisServer.start(join(folder, 'redis'));
  }, 300_000);
  afterAll(async () => {
    process.env = env;
    for (const server of servers) server.close();
    store?.stop();
    await redis?.kill();
    ip('link', 'delete', `${NAME}h`);
    ip('netns', 'delete', NAME);
    rmSync(folder, { recursive: true, force: true });
  });

  test('its shard is done by another worker, and its own work is dropped', async () => {
    // shards of some seconds, so that the cut comes in the middle of one
    const scan = [...SCAN, '--samples', '120'];
    expect(await cli([...scan, '--out', join(folder, 'alone')])).toMatchObject({ code: 0 });
    const fleet = new Fleet(redis.url);
    try {
      const queued = fleet.run(...scan, '--out', 's3://runs/cut', '--queue');
      await queued.until(/6 shards in the queue/);
      const far = new URL(redis.url);
      far.hostname = ADDRESS;
      far.port = String(await forward(Number(new URL(redis.url).port)));
      const endpoint = `http://${ADDRESS}:${await forward(store.port)}`;
      const cut = fleet.runWith(
        ['ip', 'netns', 'exec', NAME],
        { DIFFMINE_QUEUE: far.href, AWS_ENDPOINT_URL: endpoint },
        ...['worker', '--device', 'cpu', '--threads', '1'],
      );
      await cut.until(/Finished shard/);
      cable('down');
      const other = fleet.worker();
      // the run completes without the worker that is cut off
      expect(await queued.ended).toEqual([0, null]);
      expect(cut.running).toBe(true);
      const finished = (cut.stderr.match(/Finished shard/g) ?? []).length;
      expect((other.stderr.match(/Finished shard/g) ?? []).length).toBe(6 - finished);
      cable('up');
      // it comes back, finishes or finds finished what it was at, and serves the next run
      await cut.until(
        () => (cut.stderr.match(/(Finished|Found) shard \d of s3:\/\/runs\/cut/g) ?? []).length > finished,
      );
      const next = fleet.run(...SCAN, '--out', 's3://runs/next', '--queue');
      other.kill();
      expect(await next.ended).toEqual([0, null]);
      for (let waited = 0; waited < 60 && (await attempts('cut')).length > 6; waited += 1) await sleep(1000);
      expect(await attempts('cut')).toHaveLength(6);
      expect(cut.running).toBe(true);
      cut.child.kill('SIGTERM');
      expect(await cut.ended).toEqual([130, null]);
    } finally {
      await fleet.end();
    }
    expect(await cli(['pull', 's3://runs/cut', join(folder, 'copy')])).toMatchObject({ code: 0 });
    const parts = ['shards', 'skipped.jsonl'];
    expect(resultBytes(join(folder, 'copy'), parts)).toEqual(resultBytes(join(folder, 'alone'), parts));
  }, 600_000);

  /** Folders of shards' files in a run, one per attempt. */
  async function attempts(run: string): Promise<string[]> {
    const keys = await store.keys(`${run}/shards/`);
    return [...new Set(keys.filter((key) => !key.endsWith('.json') || key.split('/').length > 3))]
      .map((key) => key.split('/').slice(0, 4).join('/'))
      .filter((key, i, all) => all.indexOf(key) === i);
  }
});
