// A Redis server of a test: Debian's redis-server on a free port, with a password, which can be killed and started again.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createConnection, createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Whether the server is there. Tests that need it are skipped if it is not, but not in CI: there they must run, and fail without it. */
export const hasRedis = process.env['CI'] === 'true' || spawnSync('redis-server', ['--version']).status === 0;
if (!hasRedis) console.log('Skipping tests of queues: redis-server is not installed.');

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export class RedisServer {
  private child: ChildProcess | undefined;

  private constructor(
    private readonly folder: string,
    private readonly port: number,
    private readonly log: boolean,
  ) {}

  /** @param log keeps what it holds on the disk (AOF), to be there after a crash */
  static async start(folder: string, log = true): Promise<RedisServer> {
    mkdirSync(folder, { recursive: true });
    const server = new RedisServer(folder, await freePort(), log);
    await server.start();
    return server;
  }

  get url(): string {
    return `redis://:toy@127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    this.child = spawn(
      'redis-server',
      [
        ...['--port', String(this.port), '--bind', '127.0.0.1', '--requirepass', 'toy', '--dir', this.folder],
        ...['--appendonly', this.log ? 'yes' : 'no', '--appendfsync', 'everysec', '--save', ''],
        ...['--maxmemory-policy', 'noeviction'],
      ],
      { stdio: 'ignore' },
    );
    const failed = new Promise<never>((_, reject) => {
      this.child?.once('error', reject);
      this.child?.once('exit', (code) => code !== null && reject(new Error(`redis-server ended with code ${code}`)));
    });
    failed.catch(() => undefined);
    const listening = async (): Promise<void> => {
      for (;;) {
        const socket = createConnection(this.port, '127.0.0.1');
        const open = await new Promise((resolve) => {
          socket.once('connect', () => resolve(true));
          socket.once('error', () => resolve(false));
        });
        socket.destroy();
        if (open) return;
        await sleep(50);
      }
    };
    await Promise.race([listening(), failed]);
  }

  /** As a crash would. */
  async kill(): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}
