// Buckets that refuse one kind of request (403), and copies of runs that are interrupted. With a real S3 server behind a proxy.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resultBytes } from '../helpers/bytes.js';
import { Running, SCAN } from '../helpers/fleet.js';
import { isNightly } from '../helpers/nightly.js';
import { FaultyProxy, hasS3, S3Server, type Fate } from '../helpers/s3.js';
import { cli, hasAddon, type Ran } from './cli.js';

const scan = (out: string): string[] => [...SCAN, '--samples', '2', '--out', out];
const PARTS = ['shards', 'skipped.jsonl'];

/** Commands that do not send requests of a kind. */
const NOT_NEEDED = { list: ['push'], put: ['status', 'pull'], get: [''] };

/** What a request asks for. */
function kindOf({ method = '', url = '' }: IncomingMessage): 'list' | 'get' | 'put' | 'delete' {
  if (method === 'PUT') return 'put';
  if (method === 'DELETE') return 'delete';
  return url.includes('list-type=2') ? 'list' : 'get';
}

(hasAddon && hasS3 ? describe : describe.skip)('a bucket', () => {
  let server: S3Server;
  let folder: string;
  const at = (name: string): string => join(folder, name);
  const ok = async (running: Promise<Ran>): Promise<Ran> => {
    const ran = await running;
    expect({ code: ran.code, stderr: ran.code === 0 ? '' : ran.stderr }).toEqual({ code: 0, stderr: '' });
    return ran;
  };
  /** Gives `work` the variables for the bucket behind a proxy. */
  const behind = async <T>(
    fate: (request: IncomingMessage) => Fate,
    work: (env: Record<string, string>) => Promise<T>,
  ): Promise<T> => {
    const proxy = new FaultyProxy(server.port, fate);
    try {
      return await work(server.env(await proxy.listen()));
    } finally {
      await proxy.close();
    }
  };

  beforeAll(async () => {
    server = await S3Server.start();
    folder = mkdtempSync(join(tmpdir(), 'diffmine-bucket-'));
    await ok(cli(scan(at('local'))));
    await ok(cli(['push', at('local'), 's3://runs/whole'], { env: server.env() }));
  }, 300_000);
  afterAll(() => {
    server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test.each(['list', 'put', 'get'] as const)(
    'that refuses to %s says so, and nothing is left of the run',
    async (denied) => {
      const place = `s3://runs/denied-${denied}`;
      await behind(
        (request) => (kindOf(request) === denied ? 403 : 'pass'),
        async (env) => {
          const commands = [
            scan(place),
            ['mine', 's3://runs/whole'],
            ['status', 's3://runs/whole'],
            ['pull', 's3://runs/whole', at(`pulled-${denied}`)],
            ['push', at('local'), place],
          ];
          for (const args of commands) {
            if (NOT_NEEDED[denied].includes(args[0] ?? '')) continue;
            const { code, stderr } = await cli(args, { env });
            expect({ args, code, stderr }).toEqual({
              args,
              code: 5,
              stderr: expect.stringMatching(
                /error: s3:\/\/runs\/[a-z-]+: \w+ [^ ]* ?failed \(403[^\n]*\)\.\nhint: The credentials need to list, read, write and delete objects of this prefix\./,
              ) as string,
            });
          }
        },
      );
      expect(await server.keys(`denied-${denied}/`)).toEqual([]);
      await ok(cli(scan(place), { env: server.env() }));
      await ok(cli(['pull', place, at(`copy-${denied}`)], { env: server.env() }));
      expect(resultBytes(at(`copy-${denied}`), PARTS)).toEqual(resultBytes(at('local'), PARTS));
    },
  );

  test.each(isNightly ? (['SIGINT', 'SIGTERM', 'SIGKILL'] as const) : (['SIGKILL'] as const))(
    'push and pull that end by %s are continued by the same command',
    async (signal) => {
      const place = `s3://runs/copied-${signal.toLowerCase()}`;
      /** Sends the signal at the n-th request of a kind below the run's shards. */
      const interrupted = async (args: string[], kind: 'put' | 'get', n: number): Promise<void> => {
        let running: Running | undefined;
        let seen = 0;
        await behind(
          (request) => {
            if (kindOf(request) === kind && request.url?.includes('/shards/') && (seen += 1) === n)
              running?.child.kill(signal);
            return 'pass';
          },
          async (env) => {
            running = new Running(args, env);
            expect(await running.ended).toEqual(signal === 'SIGKILL' ? [null, signal] : [130, null]);
            if (signal !== 'SIGKILL')
              expect(running.stderr).toMatch(/hint: Run the same command again: what is copied is kept\./);
          },
        );
        await ok(cli(args, { env: server.env() }));
      };
      await interrupted(['push', at('local'), place], 'put', 9);
      await interrupted(['pull', place, at(signal)], 'get', 9);
      expect(resultBytes(at(signal), PARTS)).toEqual(resultBytes(at('local'), PARTS));
      expect(
        readdirSync(at(signal), { recursive: true, encoding: 'utf8' }).filter((name) => /tmp-|pulling/.test(name)),
      ).toEqual([]);
    },
  );
});
