// A PostgreSQL server of a test: Debian's postgresql on a free port, with a password. It does not run as root: another user owns it.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';

const ROOT = '/usr/lib/postgresql';
const version = existsSync(ROOT) ? readdirSync(ROOT).sort().at(-1) : undefined;
const BIN = join(ROOT, version ?? '', 'bin');

/** Whether the server can be started here: as root, it needs the user that Debian's package makes. */
export const hasPostgres =
  version !== undefined && process.getuid?.() === 0 && spawnSync('id', ['postgres']).status === 0;
if (!hasPostgres) console.log('Skipping tests of queues on PostgreSQL: it is not installed, or this is not root.');

export class PostgresServer {
  private constructor(
    private readonly folder: string,
    readonly url: string,
  ) {}

  static async start(folder: string): Promise<PostgresServer> {
    const port = await new Promise<number>((resolve) => {
      const server = createServer().listen(0, '127.0.0.1', () => {
        const { port: free } = server.address() as AddressInfo;
        server.close(() => resolve(free));
      });
    });
    mkdirSync(folder);
    for (let above = folder; above.length > 5; above = dirname(above)) chmodSync(above, 0o755);
    execFileSync('chown', ['postgres', folder]);
    const password = join(folder, 'password');
    writeFileSync(password, 'toy\n', { mode: 0o644 });
    const data = join(folder, 'data');
    const as = (...command: string[]): void =>
      void execFileSync('setpriv', ['--reuid', 'postgres', '--regid', 'postgres', '--clear-groups', ...command], {
        cwd: folder,
        stdio: 'ignore',
      });
    as(join(BIN, 'initdb'), '-D', data, '-U', 'tester', '-A', 'scram-sha-256', '--pwfile', password, '-N');
    const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${folder} -c fsync=off`;
    as(join(BIN, 'pg_ctl'), '-D', data, '-l', join(folder, 'log'), '-o', options, '-w', 'start');
    return new PostgresServer(data, `postgres://tester:toy@127.0.0.1:${port}/postgres`);
  }

  stop(): void {
    const command = [join(BIN, 'pg_ctl'), '-D', this.folder, '-m', 'immediate', 'stop'];
    execFileSync('setpriv', ['--reuid', 'postgres', '--regid', 'postgres', '--clear-groups', ...command], {
      stdio: 'ignore',
    });
  }
}
