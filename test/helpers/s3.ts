// A real S3 server for a test file (test/support/s3-server.sh), and a proxy in front of it that fails as networks and services do.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';

const SCRIPT = join(__dirname, '..', 'support', 's3-server.sh');
const found = ['/usr/bin/radosgw', '/usr/bin/ceph-mon', '/usr/bin/ceph-osd'].every((file) => existsSync(file));

/** Whether the server can be started here. In CI it must be. */
export const hasS3 = found && process.getuid?.() === 0;
if (!hasS3 && process.env['CI'] === 'true')
  throw new Error('CI needs radosgw, ceph-mon, ceph-osd and ceph-common, and root.');
if (!hasS3)
  console.warn('Tests of buckets are skipped: they need radosgw, ceph-mon, ceph-osd and ceph-common, and root.');

/** Three ports in a row that are free. */
async function freePorts(): Promise<number> {
  const free = async (port: number): Promise<boolean> =>
    new Promise((resolve) => {
      const server = createTcpServer();
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    if ((await free(port)) && (await free(port + 1)) && (await free(port + 2))) return port;
  }
}

export class S3Server {
  private constructor(
    private readonly folder: string,
    readonly port: number,
    private readonly client: S3Client,
  ) {}

  static async start(): Promise<S3Server> {
    const folder = mkdtempSync(join(tmpdir(), 'diffmine-s3-'));
    const port = await freePorts();
    execFileSync(SCRIPT, ['start', folder, String(port)], { stdio: ['ignore', 'ignore', 'inherit'] });
    const client = new S3Client({
      endpoint: `http://127.0.0.1:${port}`,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: 'tester', secretAccessKey: 'tester' },
      requestChecksumCalculation: 'WHEN_REQUIRED',
      maxAttempts: 20,
    });
    await client.send(new CreateBucketCommand({ Bucket: 'runs' }));
    return new S3Server(folder, port, client);
  }

  /** Variables for a command that uses it, by a proxy if `port` is that one's. */
  env(port = this.port): Record<string, string> {
    return {
      AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
      AWS_ACCESS_KEY_ID: 'tester',
      AWS_SECRET_ACCESS_KEY: 'tester',
    };
  }

  /** All keys below a prefix of bucket `runs`. */
  async keys(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for (let token: string | undefined; ;) {
      const page = await this.client.send(
        new ListObjectsV2Command({ Bucket: 'runs', Prefix: prefix, ...(token ? { ContinuationToken: token } : {}) }),
      );
      keys.push(...(page.Contents ?? []).map(({ Key = '' }) => Key));
      if (!page.IsTruncated) return keys;
      token = page.NextContinuationToken;
    }
  }

  /** kill -9 of the gateway. */
  kill(): void {
    execFileSync('bash', ['-c', `kill -9 $(cat ${this.folder}/client.rgw.pid)`]);
  }

  restart(): void {
    execFileSync(SCRIPT, ['gateway', this.folder, String(this.port)], { stdio: ['ignore', 'ignore', 'inherit'] });
  }

  stop(): void {
    this.client.destroy();
    execFileSync(SCRIPT, ['stop', this.folder, String(this.port)]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const REFUSALS = { 403: 'AccessDenied', 409: 'ConditionalRequestConflict', 503: 'SlowDown' } as const;

/** What a proxy does with a request: passes it on; answers with a status; passes it on and drops the answer, or says that what was refused was done. */
export type Fate = 'pass' | 'lose' | 'accept' | keyof typeof REFUSALS;

/** A proxy on a port of its own. */
export class FaultyProxy {
  /** requests that did not get their answer */
  faults = 0;
  private readonly server: Server;

  constructor(
    private readonly target: number,
    private readonly fate: (request: IncomingMessage) => Fate,
  ) {
    this.server = createServer((incoming, outgoing) => this.handle(incoming, outgoing));
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return (this.server.address() as AddressInfo).port;
  }

  private handle(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const fate = this.fate(incoming);
    if (fate !== 'pass') this.faults += 1;
    if (typeof fate === 'number') {
      incoming.resume();
      incoming.once('end', () => {
        const code = REFUSALS[fate];
        outgoing.writeHead(fate, { 'content-type': 'application/xml' });
        outgoing.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`);
      });
      return;
    }
    const { method, url, headers } = incoming;
    const onward = request({ host: '127.0.0.1', port: this.target, method, path: url, headers }, (answer) => {
      if (fate === 'lose') {
        answer.resume();
        answer.once('end', () => outgoing.destroy());
      } else if (fate === 'accept' && answer.statusCode === 412) {
        answer.resume();
        outgoing.writeHead(200, { etag: '"accepted"' });
        outgoing.end();
      } else {
        outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(outgoing);
      }
    });
    onward.once('error', () => outgoing.destroy());
    incoming.pipe(onward);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
