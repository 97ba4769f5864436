// A scan on a queue (Redis): workers that are killed and stopped, a shard that fails, a worker of another version, a race. The bytes are those of a scan
// without a queue. More faults: queue-faults.test.ts.
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Connection } from '../../src/pipeline/queue/bull.js';
import { resultBytes } from '../helpers/bytes.js';
import { SCAN, startRedisFleet, type Fleet, type RedisFleet } from '../helpers/fleet.js';
import { nightlyTest } from '../helpers/nightly.js';
import { hasRedis, type RedisServer } from '../helpers/redis.js';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
/** No server listens there. */
const AWAY = 'redis://:secret@127.0.0.1:1';
const RACE = ['--samples', '8', '--top', '1', '--race-risk', '0.3', '--race'];

(hasAddon && hasRedis ? describe : describe.skip)('a queue', () => {
  let started: RedisFleet;
  let folder: string;
  let redis: RedisServer;
  let fleet: Fleet;
  let queue: Connection;
  let reference: Record<string, string>;
  const at = (name: string): string => join(folder, name);
  const bytesOf = (name: string, ...more: string[]): Record<string, string> =>
    resultBytes(at(name), ['shards', 'skipped.jsonl', ...more]);
  const leftovers = (name: string): string[] =>
    readdirSync(at(name), { recursive: true, encoding: 'utf8' }).filter((file) => file.includes('.tmp-'));

  beforeAll(async () => {
    started = await startRedisFleet();
    ({ folder, redis, fleet, queue } = started);
    reference = bytesOf('reference');
  }, 300_000);
  afterEach(async () => started.clear());
  afterAll(async () => started.close());

  test('kill -9 of a worker, SIGTERM of another, Ctrl-C of the command: the others finish with the same bytes', async () => {
    const scan = fleet.run(...SCAN, '--out', at('run'), '--queue', '-v');
    await scan.until(/6 shards in the queue/);
    const first = fleet.worker();
    await first.until(/Finished shard/);
    first.child.kill('SIGTERM');
    expect(await first.ended).toEqual([130, null]);
    expect(first.stderr).toMatch(/Returned shard \d of .*\/run to the queue\./);
    expect((await queue.queue.getJobs(['waiting'])).map((job) => job?.attemptsMade)).toContain(0);

    const doomed = fleet.worker();
    await doomed.until(() => doomed.children().length > 0);
    doomed.kill();
    await doomed.ended;

    scan.child.kill('SIGINT');
    expect(await scan.ended).toEqual([130, null]);
    expect(scan.stderr).toMatch(/Detaching: the workers on the queue continue\./);
    expect(scan.stderr).toMatch(/diffmine status .*\/run.*diffmine cancel .*\/run/);

    const last = fleet.worker('--exit-when-done');
    expect(await last.ended).toEqual([0, null]);
    expect(last.stdout).toMatch(/The queue is empty\./);
    expect(bytesOf('run')).toEqual(reference);
    expect(leftovers('run')).toEqual([]);
    const status = await cli(['status', at('run'), '--json']);
    expect(JSON.parse(status.stdout)).toMatchObject({ complete: true, shards: { total: 6, done: 6, missing: [] } });
    const env = { DIFFMINE_QUEUE: redis.url };
    for (const command of ['cancel', 'retry'])
      expect((await cli([command, at('run')], { env })).stdout).toBe(`The run is complete: ${at('run')}\n`);
    expect((await cli(['status', at('run')], { env })).stdout).toBe(
      `Run ${at('run')}: complete, 6 of 6 shards finished.\n`,
    );
  }, 300_000);

  nightlyTest(
    'a second SIGTERM ends a worker at once',
    async () => {
      const scan = fleet.run(...SCAN, '--out', at('ended'), '--queue');
      await scan.until(/6 shards in the queue/);
      const worker = fleet.worker();
      await worker.until(/Finished shard/);
      worker.child.kill('SIGTERM');
      await worker.until(/Returning the current shards/);
      worker.child.kill('SIGTERM');
      expect([
        [null, 'SIGTERM'],
        [130, null],
      ]).toContainEqual(await worker.ended); // it may have been faster
      expect(await fleet.worker('--exit-when-done').ended).toEqual([0, null]);
      expect(await scan.ended).toEqual([0, null]);
      expect(bytesOf('ended')).toEqual(reference);
    },
    300_000,
  );

  nightlyTest(
    'a run that was moved is worked on where it was found',
    async () => {
      const scan = fleet.run(...SCAN, '--out', at('first-place'), '--queue');
      await scan.until(/6 shards in the queue/);
      scan.child.kill('SIGTERM');
      expect(await scan.ended).toEqual([130, null]);

      const env = { DIFFMINE_QUEUE: redis.url };
      expect(await cli(['cancel', at('first-place')], { env })).toMatchObject({ code: 0 });
      renameSync(at('first-place'), at('second-place'));
      expect(await cli(['retry', at('second-place')], { env })).toMatchObject({ code: 0 });
      expect(await fleet.worker('--exit-when-done').ended).toEqual([0, null]);
      expect(existsSync(at('first-place'))).toBe(false);
      expect(bytesOf('second-place')).toEqual(reference);
    },
    300_000,
  );

  test('a model that gives NaN fails each shard once; status names them; retry and cancel', async () => {
    const model = at('nan-model');
    cpSync(join(ROOT, 'test', 'data', 'golden', 'tiny-sd15'), model, { recursive: true });
    breakConvOut(join(model, 'unet', 'diffusion_pytorch_model.safetensors'));
    const begin = [...SCAN.map((word) => (word.endsWith('tiny-sd15') ? model : word)), '--out', at('nan'), '--queue'];
    const scan = fleet.run(...begin);
    await scan.until(/6 shards in the queue/);
    const worker = fleet.worker('--exit-when-done', '--log-format', 'json');
    expect(await scan.ended).toEqual([7, null]);
    expect(scan.stderr).toMatch(/6 of 6 shards failed\. Shard 0: .*(NaN|infinite)/);
    expect(await worker.ended).toEqual([7, null]);
    const lines = worker.stderr.split('\n').filter((line) => line.startsWith('{'));
    expect(
      lines.map((line) => JSON.parse(line) as { level: string }).filter(({ level }) => level === 'error'),
    ).toHaveLength(
      7, // the shards, and the end
    );

    const env = { DIFFMINE_QUEUE: redis.url };
    const status = await cli(['status', at('nan')], { env });
    expect(status.stdout).toMatch(/0 of 6 shards finished\.\nMissing: 0-5\nQueue redis:\/\/127.*, 6 failed\./);
    expect(status.stdout).not.toContain('toy');
    expect(status.stdout).toMatch(/ {2}shard 3, NUMERICS after 1 attempt: /);
    expect((await cli(['status', at('nan'), '--missing', 'slurm'])).stdout).toBe('0-5\n');
    expect((await cli(['status', at('nan'), '--missing', 'slurm', '--parts', '2'])).stdout).toBe('0-1\n');
    expect((await cli(['retry', at('nan')], { env })).stdout).toMatch(
      /^6 shards of .* are in the queue, 6 of them had failed/,
    );
    expect((await cli(['cancel', at('nan')], { env })).stdout).toMatch(/^6 shards taken off the queue\./);
    expect((await cli(['status', at('nan')], { env })).stdout).toMatch(/Cancelled: .*retry/);
  }, 300_000);

  nightlyTest(
    'a race across two workers; a run of another version is refused',
    async () => {
      const options = [...SCAN, ...RACE];
      expect(await cli([...options, '--out', at('race-reference')])).toMatchObject({ code: 0 });
      for (const shard of [0, 1, 2, 3])
        await queue.queue.add('shard', { run: at('reference'), id: 'other', shard, version: '0.0.0' });
      const workers = [fleet.worker(), fleet.worker('--metrics', '0')];
      const scan = fleet.run(...options, '--out', at('race'), '--queue');
      expect(await scan.ended).toEqual([0, null]);
      expect(scan.stdout).toMatch(/Racing made \d+ of/);
      expect(bytesOf('race', 'race.json')).toEqual(bytesOf('race-reference', 'race.json'));
      expect(readdirSync(at('race'))).not.toContain('rounds');
      expect(workers.map(({ stderr }) => stderr).join('')).toMatch(
        /Refused shard \d of .*: The run was begun by diffmine 0\.0\.0, this worker is /,
      );
      for (const { stderr } of workers) expect((stderr.match(/Refused/g) ?? []).length).toBeLessThanOrEqual(1); // once a minute
      const port = /Metrics: http:\/\/localhost:(\d+)/.exec(workers[1]?.stderr ?? '')?.[1];
      const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      expect(metrics).toMatch(/^diffmine_unet_calls_total \d+$/m);
      expect(metrics).toMatch(/^diffmine_shards_total\{device="cpu",outcome="done"\} \d+$/m);
      expect(metrics).toMatch(/^diffmine_queue_jobs\{state="waiting"\} \d+$/m);
      expect(metrics).toMatch(/^diffmine_device_memory_bytes\{device="cpu",kind="weights"\} \d+$/m);
    },
    300_000,
  );

  test('a machine without a GPU begins a run for workers that have one; a worker without one refuses it', async () => {
    const scan = fleet.run(...SCAN.map((word) => (word === 'cpu' ? 'cuda' : word)), '--out', at('gpus'), '--queue');
    await scan.until(/6 shards in the queue/);
    expect(scan.stderr).toMatch(/There is no GPU here: the run is planned for GPUs of the workers/);
    const manifest = JSON.parse(readFileSync(join(at('gpus'), 'manifest.json'), 'utf8')) as { options: object };
    expect(manifest.options).toMatchObject({ device: 'cuda', dtype: 'fp32', batch: 8 });
    const worker = fleet.worker();
    await worker.until(/Refused shard/);
    expect(worker.stderr).toMatch(/Refused shard \d of .*cuda/);
  }, 300_000);

  test('a server that takes the connection and never answers is given up, and the command ends', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    const kinds = ['redis', 'postgres'];
    const workers = kinds.map((kind) => fleet.worker('--queue', `${kind}://127.0.0.1:${port}/x`)); // both wait at once
    for (const [i, worker] of workers.entries()) {
      expect(await worker.ended).toEqual([5, null]);
      expect(worker.stderr).toMatch(`error: The queue ${kinds[i]}://127.0.0.1:${port}/x cannot be reached: `);
    }
    const scan = fleet.run(...SCAN, '--out', at('silent'), '--queue', `redis://127.0.0.1:${port}`);
    expect(await scan.ended).toEqual([5, null]);
    expect(existsSync(at('silent'))).toBe(false);
    silent.close();
  }, 120_000);

  test('what is wrong is said before anything is written', async () => {
    const tell = async (...more: string[]): Promise<{ code: number | null; stderr: string }> =>
      cli([...SCAN, '--out', at('refused'), ...more], { env: { DIFFMINE_QUEUE: '' } });
    expect(await tell('--queue')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--queue has no URL/) as string,
    });
    expect((await tell('--queue', 'http://host')).stderr).toMatch(
      /--queue is "http:\/\/host"; expected a URL such as redis:/,
    );
    expect((await tell('--queue', redis.url, '--workers', '2')).stderr).toMatch(
      /--workers does not apply to a run on a queue/,
    );
    const away = await tell('--queue', AWAY);
    expect(away).toMatchObject({
      code: 5,
      stderr: expect.stringMatching(
        /queue redis:\/\/127.0.0.1:1 cannot be reached: .*\nhint: Check the address/,
      ) as string,
    });
    const wrong = await tell('--queue', redis.url.replace('toy', 'other'));
    expect(wrong).toMatchObject({ code: 5, stderr: expect.stringMatching(/cannot be reached: .*WRONGPASS/) as string });
    expect(wrong.stderr).not.toContain('other@');
    expect((await tell('--queue', redis.url.replace(/\/\/.*@/, '//'))).stderr).toMatch(/it needs a password/);
    expect(await tell('--queue', 'redis://:secret@nowhere.invalid:6379')).toMatchObject({
      code: 5,
      stderr: expect.stringMatching(
        /queue redis:\/\/nowhere\.invalid:6379 cannot be reached: .*\nhint: Check the/,
      ) as string,
    });
    for (const stage of ['translate', 'cotypicality', 'localize'])
      expect({
        stage,
        ...(await cli([stage, GOLDEN, '--model', join(GOLDEN, 'tiny-sd15'), '--out', at('refused'), '--queue', AWAY])),
      }).toMatchObject({ stage, code: 5, stderr: expect.stringContaining('cannot be reached') as string });
    const inBucket = ['cotypicality', 's3://runs/x', '--model', join(GOLDEN, 'tiny-sd15'), '--out', at('refused')];
    expect(await cli([...inBucket, '--queue', AWAY])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(
        /--queue does not apply to a translation in a bucket.*\nhint: .*diffmine pull/,
      ) as string,
    });
    expect(existsSync(at('refused'))).toBe(false);
    expect(await cli(['status', folder])).toMatchObject({ code: 3 });
  });
});

/** Makes the weights of the last convolution so large that its results are infinite: finite weights, as a training that diverged leaves. */
function breakConvOut(file: string): void {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >;
  const entry = header['conv_out.weight'];
  if (entry?.dtype !== 'F32') throw new Error('conv_out.weight is not F32');
  for (let at = entry.data_offsets[0]; at < entry.data_offsets[1]; at += 4) bytes.writeFloatLE(3e38, 8 + length + at);
  writeFileSync(file, bytes);
}
