// Runs in a bucket: the same bytes as in a directory, by one process or several, whatever the store or the network does. With a real S3 server.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resultBytes } from '../helpers/bytes.js';
import { isNightly, nightlyTest } from '../helpers/nightly.js';
import { FaultyProxy, hasS3, S3Server, type Fate } from '../helpers/s3.js';
import { cli, hasAddon, ownProcess, ROOT, type Ran } from './cli.js';

const hasFaketime = existsSync('/usr/bin/faketime');

const GOLDEN = join(ROOT, 'test', 'data', 'golden');

const scan = (out: string, ...more: string[]): string[] => scanWith(4, out, ...more);
const race = (out: string): string[] => scanWith(16, out, '--race', '--top', '1', '--race-risk', '0.3');

const scanWith = (samples: number, out: string, ...more: string[]): string[] => [
  'scan',
  join(GOLDEN, 'mini-dataset'),
  '--model',
  join(GOLDEN, 'tiny-sd15'),
  ...[
    '--size',
    'source',
    '--samples',
    String(samples),
    '--patch',
    '16',
    '--batch',
    '8',
    '--shard-size',
    '2',
    '--threads',
    '1',
  ],
  ...['--out', out, '--dtype', 'fp32', ...more],
];

(hasAddon && hasS3 ? describe : describe.skip)('a run in a bucket', () => {
  let server: S3Server;
  let folder: string;
  const at = (name: string): string => join(folder, name);
  const reference: Record<string, Record<string, string>> = {};
  const env = { ...process.env };

  /** The bytes of a run in the bucket. */
  const bytesOf = async (name: string, parts?: string[]): Promise<Record<string, string>> => {
    const copy = at(`copy-of-${name}`);
    expect(await cli(['pull', `s3://runs/${name}`, copy])).toMatchObject({ code: 0 });
    return resultBytes(copy, parts);
  };
  const ok = async (running: Promise<Ran>): Promise<Ran> => {
    const ran = await running;
    expect({ code: ran.code, stderr: ran.code === 0 ? '' : ran.stderr }).toEqual({ code: 0, stderr: '' });
    return ran;
  };

  beforeAll(async () => {
    server = await S3Server.start();
    Object.assign(process.env, server.env());
    folder = mkdtempSync(join(tmpdir(), 'diffmine-bucket-'));
    await ok(cli(scan(at('local'))));
    await ok(cli(['mine', at('local'), '--clusters', '2']));
    reference['scan'] = resultBytes(at('local'), ['shards', 'skipped.jsonl']);
    reference['mine'] = resultBytes(at('local'), ['mine']);
  }, 300_000);

  afterAll(() => {
    process.env = env;
    server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('scan, mine, report and export give the bytes of a directory', async () => {
    const { stdout } = await ok(cli([...scan('s3://runs/plain'), '--json']));
    expect(JSON.parse(stdout)).toMatchObject({ path: 's3://runs/plain', complete: true, scored: 12 });
    await ok(cli(['mine', 's3://runs/plain', '--clusters', '2']));
    const report = JSON.parse((await ok(cli(['report', 's3://runs/plain', '--json']))).stdout) as { path: string };
    expect(report.path).toBe('s3://runs/plain/report/index.html');
    expect(await bytesOf('plain', ['shards', 'skipped.jsonl'])).toEqual(reference['scan']);
    expect(resultBytes(at('copy-of-plain'), ['mine'])).toEqual(reference['mine']);
    expect(readFileSync(join(at('copy-of-plain'), 'report', 'index.html'), 'utf8')).toContain('<html');
    const aside = ['report', 's3://runs/plain', '--out'];
    await ok(cli([...aside, at('page')]));
    expect(resultBytes(at('page'), ['.'])).toEqual(resultBytes(join(at('copy-of-plain'), 'report'), ['.']));
    expect(await cli([...aside, at('copy-of-plain')])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('is not empty and not a report') as string,
    });
    const table = ['--table', 'patches', '--format', 'csv', '--out'];
    await ok(cli(['export', 's3://runs/plain', ...table, at('bucket.csv')]));
    await ok(cli(['export', at('local'), ...table, at('local.csv')]));
    expect(readFileSync(at('bucket.csv'), 'utf8')).toBe(readFileSync(at('local.csv'), 'utf8'));
    const compared = await ok(cli(['compare', 's3://runs/plain', at('local'), '--out', at('agreement'), '--json']));
    expect(JSON.parse(compared.stdout)).toMatchObject({
      run: { path: 's3://runs/plain' },
      mean: { images: 1, patches: 1 },
      differences: [],
    });
    // nothing of an attempt or a lock is left
    expect((await server.keys('plain/')).filter((key) => /\/locks\/|\.probe|\.tmp/.test(key))).toEqual([]);
  });

  /** Keys below a run that a command gets, in order. */
  const gets = async (run: string, args: string[]): Promise<string[]> => {
    const keys: string[] = [];
    const proxy = new FaultyProxy(server.port, ({ method, url = '' }) => {
      const { pathname } = new URL(url, 'http://store');
      if (method === 'GET' && pathname.startsWith(`/runs/${run}/`))
        keys.push(
          decodeURIComponent(pathname)
            .slice(`/runs/${run}/`.length)
            .replace(/^(shards\/\d+)\/[^/]+\/shards\/\d+/, '$1'),
        );
      return 'pass';
    });
    try {
      await ok(cli(args, { env: server.env(await proxy.listen()) }));
    } finally {
      await proxy.close();
    }
    return [...new Set(keys)].sort();
  };

  nightlyTest('evaluate gives the figures of a directory, and copies only what it reads', async () => {
    const boxes = at('boxes.csv');
    writeFileSync(boxes, 'image,x,y,w,h\n1920/1920_0.png,4,4,20,20\n1950/1950_1.png,0,8,20,22\n');
    await ok(cli(['push', at('local'), 's3://runs/evaluated']));
    await ok(cli(['report', 's3://runs/evaluated']));
    const [before, args] = [await server.keys('evaluated/report/'), ['--boxes', boxes, '--bootstrap', '5']];
    const read = await gets('evaluated', ['evaluate', 's3://runs/evaluated', ...args]);
    await ok(cli(['evaluate', at('local'), ...args]));
    const figures = (run: string): object => {
      const { boxes, mean, labels } = JSON.parse(
        readFileSync(join(run, 'evaluate', 'evaluation.json'), 'utf8'),
      ) as Record<string, object>;
      return { boxes, mean, labels };
    };
    await ok(cli(['pull', 's3://runs/evaluated', at('evaluated')]));
    expect(figures(at('evaluated'))).toEqual(figures(at('local')));
    expect(readFileSync(join(at('evaluated'), 'report', 'data', 'evaluation.js'), 'utf8')).toContain(
      'averagePrecision',
    );
    // the report keeps its other files
    expect((await server.keys('evaluated/report/')).filter((key) => before.includes(key))).toEqual(before);
    expect(read).toContain('shards/00000/maps.safetensors');
    expect(
      read.filter((key) => /(files|shards.*patches)\.parquet$|features|^report\/(?!data\/evaluation.js)/.test(key)),
    ).toEqual([]);
  });

  test('a finished run is resumed without work; other options are refused', async () => {
    await ok(cli(scan('s3://runs/again', '--shard', '0/2')));
    const { stdout } = await ok(cli([...scan('s3://runs/again'), '--json']));
    expect(JSON.parse(stdout)).toMatchObject({ resumed: true, complete: true, shards: { total: 6, done: 6, here: 3 } });
    const again = JSON.parse((await ok(cli([...scan('s3://runs/again'), '--json']))).stdout) as object;
    expect(again).toMatchObject({ shards: { here: 0 }, unetCalls: 0 });
    expect(await cli(scan('s3://runs/again', '--seed', '5'))).toMatchObject({ code: 6 });
    expect(await bytesOf('again', ['shards', 'skipped.jsonl'])).toEqual(reference['scan']);
  });

  test(`two that begin at once${isNightly ? ', with two workers each,' : ''} share the work`, async () => {
    const command = [...scan('s3://runs/shared', ...(isNightly ? ['--devices', 'cpu,cpu'] : [])), '--json'];
    const [one, two] = await Promise.all([ok(cli(command)), ok(cli(command))]);
    const here = [one, two].map(({ stdout }) => (JSON.parse(stdout) as { shards: { here: number } }).shards.here);
    expect((here[0] ?? 0) + (here[1] ?? 0)).toBe(6);
    expect(await bytesOf('shared', ['shards', 'skipped.jsonl'])).toEqual(reference['scan']);
  });

  nightlyTest('a race is decided in the bucket', async () => {
    await ok(cli(race(at('raced'))));
    await ok(cli(race('s3://runs/race')));
    expect(await bytesOf('race', ['shards', 'race.json'])).toEqual(resultBytes(at('raced'), ['shards', 'race.json']));
    expect((await server.keys('race/')).filter((key) => key.includes('/rounds/'))).toEqual([]);
  });

  nightlyTest('translate, cotypicality and localize give the bytes of a directory', async () => {
    const data = join(GOLDEN, 'mini-dataset');
    const common = [
      '--model',
      join(GOLDEN, 'tiny-sd15'),
      '--preset',
      'cars',
      '--size',
      '32',
      '--device',
      'cpu',
      '--dtype',
      'fp32',
    ];
    const both = async (
      name: string,
      args: (place: (name: string) => string) => string[],
      parts: string[],
    ): Promise<void> => {
      for (const place of [at, (one: string) => `s3://runs/${one}`])
        await ok(cli([...args(place), ...common, '--threads', '1', '--out', place(name)]));
      expect(await bytesOf(name, parts)).toEqual(resultBytes(at(name), parts));
    };
    const steps = ['--inversion-steps', '4', '--inference-steps', '2', '--images-per-label', '2', '--shard-size', '2'];
    await both('translation', () => ['translate', data, ...steps], ['shards', '1920', 'index.html']);
    const scores = ['--samples', '2', '--ensemble', '2', '--patch', '8', '--clusters', '2'];
    await both('changes', (place) => ['cotypicality', place('translation'), ...scores], ['shards', 'clusters']);
    const changes = ['cotypicality', 's3://runs/translation', ...scores, ...common, '--out', at('again')];
    const read = await gets('translation', changes);
    expect(read.filter((key) => key.endsWith('/source.png'))).toHaveLength(6);
    expect(read.filter((key) => /reconstruction\.png$|index\.html$/.test(key))).toEqual([]);
    const maps = ['--samples', '1', '--bootstrap', '10', '--overlays', '2', '--baseline', 'untrained'];
    await both('maps', () => ['localize', data, ...maps], ['shards', 'baseline/shards', 'localize/overlays']);
  });

  const through = async (
    fate: (count: number, method: string, conditional: boolean) => Fate,
    name: string,
  ): Promise<number> => {
    let count = 0;
    const proxy = new FaultyProxy(server.port, ({ method = '', headers }) => {
      count += 1;
      return fate(count, method, headers['if-none-match'] !== undefined);
    });
    try {
      await ok(cli(scan(`s3://runs/${name}`), { env: server.env(await proxy.listen()) }));
    } finally {
      await proxy.close();
    }
    expect(await bytesOf(name, ['shards', 'skipped.jsonl'])).toEqual(reference['scan']);
    return proxy.faults;
  };

  test('answers to puts are lost: whoever wrote the record knows that it won', async () => {
    let puts = 0;
    const lost = (_: number, method: string): Fate => (method === 'PUT' && (puts += 1) % 3 === 0 ? 'lose' : 'pass');
    expect(await through(lost, 'lost')).toBeGreaterThan(5);
    // each shard has the files of one attempt
    const attempts = new Set(
      (await server.keys('lost/shards/')).flatMap((key) => /shards\/(\d{5}\/[^/]+)\//.exec(key)?.[1] ?? []),
    );
    expect(attempts.size).toBe(6);
  });

  nightlyTest('every commit record is written twice in doubt', async () => {
    const seen = new Set<string>();
    const proxyFate = (_: number, method: string, conditional: boolean): Fate => {
      if (method !== 'PUT' || !conditional) return 'pass';
      const fate: Fate = seen.size % 2 === 0 ? 'lose' : 'pass';
      seen.add(String(seen.size));
      return fate;
    };
    expect(await through(proxyFate, 'doubt')).toBeGreaterThan(5);
  });

  nightlyTest('a storm of 503 and 409 passes', async () => {
    const storm = (count: number, _: string, conditional: boolean): Fate =>
      count % 4 === 0 ? 503 : conditional && count % 3 === 0 ? 409 : 'pass';
    expect(await through(storm, 'storm')).toBeGreaterThan(10);
  });

  nightlyTest('the server is killed and comes back', async () => {
    let killed = false;
    const running = ownProcess(scan('s3://runs/restart', '-v'), {
      onStderr: (text) => {
        if (killed || !text.includes('Shard 1 is finished')) return;
        killed = true;
        server.kill();
        setTimeout(() => server.restart(), 2000);
      },
    });
    await ok(running);
    expect(killed).toBe(true);
    expect(await bytesOf('restart', ['shards', 'skipped.jsonl'])).toEqual(reference['scan']);
  });

  (hasFaketime ? nightlyTest : test.skip)('a clock that is an hour off', async () => {
    await ok(ownProcess(scan('s3://runs/late'), { with: ['faketime', '-f', '+1h'] }));
    expect(await bytesOf('late', ['shards', 'skipped.jsonl'])).toEqual(reference['scan']);
  });

  test('kill -9 in mid-shard: the next one takes its lock over, and no half shard is seen', async () => {
    const { signal } = await ownProcess(scan('s3://runs/killed', '-v'), {
      onStderr: (text, kill) => text.includes('Shard 1 is finished') && kill('SIGKILL'),
    });
    expect(signal).toBe('SIGKILL');
    await ok(cli(scan('s3://runs/killed')));
    expect(await bytesOf('killed', ['shards', 'skipped.jsonl'])).toEqual(reference['scan']);
  });

  test('push and pull give what was copied; another run there is refused', async () => {
    await ok(cli(['push', at('local'), 's3://runs/pushed']));
    expect(await bytesOf('pushed', ['shards', 'skipped.jsonl'])).toEqual(reference['scan']);
    expect(resultBytes(at('copy-of-pushed'), ['mine'])).toEqual(reference['mine']);
    const { stdout } = await ok(cli([...scan('s3://runs/pushed'), '--json']));
    expect(JSON.parse(stdout)).toMatchObject({ complete: true, shards: { here: 0 } });
    await ok(cli(scan(at('other'), '--seed', '5', '--shard', '0/6')));
    expect(await cli(['push', at('other'), 's3://runs/pushed'])).toMatchObject({ code: 6 });
    await ok(cli(['push', at('other'), 's3://runs/other']));
    const files = (): Record<string, string> => resultBytes(at('copy-of-pushed'));
    const before = files();
    const refused = await cli(['pull', 's3://runs/other', at('copy-of-pushed')]);
    expect(refused).toMatchObject({ code: 6, stderr: expect.stringContaining('holds another run') as string });
    expect(files()).toEqual(before);
    expect((await cli(['pull', 's3://runs/other', folder])).stderr).toMatch(/is not empty and not a run \(it has "/);
  });

  test('pull is killed again and again: what it has copied stays, and another run is not mixed with it', async () => {
    const to = at('half');
    await ok(cli(['push', at('local'), 's3://runs/half']));
    await ok(cli(['push', at('other'), 's3://runs/another']));
    const proxy = new FaultyProxy(server.port, ({ url }) => {
      if ((url ?? '').includes('00002')) child.kill('SIGKILL'); // the first of its files
      return 'pass';
    });
    const env = { ...process.env, ...server.env(await proxy.listen()) };
    const pull = [join(ROOT, 'bin', 'diffmine.js'), 'pull', 's3://runs/half', to];
    const child = spawn(process.execPath, pull, { env, stdio: 'ignore' });
    try {
      expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
      expect(existsSync(join(to, 'manifest.json'))).toBe(false);
      expect(await cli(['pull', 's3://runs/another', to])).toMatchObject({ code: 6 });
      await ok(cli(['pull', 's3://runs/half', to]));
      expect(resultBytes(to, ['shards', 'mine'])).toEqual(resultBytes(at('local'), ['shards', 'mine']));
      expect(readdirSync(to).filter((name) => /tmp-|pulling/.test(name))).toEqual([]);
    } finally {
      await proxy.close();
    }
  });

  test('doctor tells whether a store can be used', async () => {
    expect((await cli(['doctor', '--store', 's3://runs/x'])).stdout).toMatch(/Store +ok/);
    expect((await cli(['doctor', '--store', 's3://nowhere/x'])).stdout).toMatch(/Store +fail .*NoSuchBucket/);
    // a store that accepts every put
    const proxy = new FaultyProxy(server.port, () => 'accept');
    const unsafe = server.env(await proxy.listen());
    try {
      const { code, stderr } = await cli(scan('s3://runs/unsafe'), { env: unsafe });
      expect({ code, stderr }).toMatchObject({
        code: 5,
        stderr: expect.stringContaining('conditional puts') as string,
      });
    } finally {
      await proxy.close();
    }
  });
});
