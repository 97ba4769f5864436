// Downloads that resume, are checked, and go through a proxy; locks that outlive no process.
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { download } from '../../scripts/download.mjs';
import { configure, withLock } from '../../scripts/steps.mjs';

const content = randomBytes(300_000);
const sum = createHash('sha256').update(content).digest('hex');

let folder: string;
let file: string;
let server: Server;
let url: string;
let ranges: (string | undefined)[];
/** what the server does with a request, set by a test */
let ignoresRanges: boolean;
let breaksAfter: number | undefined;

beforeEach(async () => {
  configure({ log: () => {} });
  folder = mkdtempSync(join(tmpdir(), 'diffmine-download-'));
  file = join(folder, 'a.zip');
  ranges = [];
  ignoresRanges = false;
  breaksAfter = undefined;
  server = createServer((request, response) => {
    ranges.push(request.headers.range);
    const start = ignoresRanges ? 0 : Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    if (start >= content.length) return void response.writeHead(416).end();
    response.writeHead(start ? 206 : 200, { 'content-length': content.length - start });
    if (breaksAfter === undefined) return void response.end(content.subarray(start));
    const part = content.subarray(start, start + breaksAfter);
    breaksAfter = undefined;
    response.write(part);
    const kept = (): number => statSync(`${file}.part`, { throwIfNoEntry: false })?.size ?? 0;
    const wait = setInterval(() => {
      if (!response.destroyed && kept() === 0) return;
      clearInterval(wait);
      response.destroy();
    }, 20);
  });
  await new Promise<void>((resolve) => server.listen(0, resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a.zip`;
});
afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('download', () => {
  it('resumes where a broken connection stopped', async () => {
    breaksAfter = 100_000;
    await expect(download(url, file, sum)).rejects.toThrow();
    expect(existsSync(file)).toBe(false);
    const { size } = statSync(`${file}.part`); // what was on its way when the connection broke is asked for again
    await download(url, file, sum);
    expect(ranges).toEqual([undefined, `bytes=${size}-`]);
    expect(readFileSync(file).equals(content)).toBe(true);
    expect(existsSync(`${file}.part`)).toBe(false);
  });

  it('starts again where the server does not support ranges', async () => {
    ignoresRanges = true;
    writeFileSync(`${file}.part`, content.subarray(0, 1000));
    await download(url, file, sum);
    expect(readFileSync(file).equals(content)).toBe(true);
  });

  it('uses a complete partial file, but not one of another archive', async () => {
    writeFileSync(`${file}.part`, content);
    await download(url, file, sum);
    expect(readFileSync(file).equals(content)).toBe(true);
    rmSync(file);
    writeFileSync(`${file}.part`, randomBytes(content.length + 5));
    await download(url, file, sum);
    expect(readFileSync(file).equals(content)).toBe(true);
  });

  it('deletes what has another sum', async () => {
    await expect(download(url, file, '0'.repeat(64))).rejects.toThrow(/has SHA-256 \w{64}, not 0000/);
    expect(existsSync(file)).toBe(false);
    expect(existsSync(`${file}.part`)).toBe(false);
  });

  it('goes through the proxy of the environment, but for the hosts of NO_PROXY', async () => {
    const asked: string[] = [];
    const proxy = createServer().on('connect', (request, socket) => {
      asked.push(request.url ?? '');
      const target = connect((server.address() as AddressInfo).port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        target.pipe(socket).pipe(target);
      });
    });
    await new Promise<void>((resolve) => proxy.listen(0, resolve));
    const before = process.env['http_proxy'];
    process.env['http_proxy'] = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    try {
      await download('http://nowhere.invalid/a.zip', file, sum);
      expect(asked).toEqual(['nowhere.invalid:80']);
      expect(readFileSync(file).equals(content)).toBe(true);
      process.env['no_proxy'] = '127.0.0.1';
      await download(url, `${file}.direct`, sum);
      expect(asked).toHaveLength(1);
    } finally {
      delete process.env['no_proxy'];
      if (before === undefined) delete process.env['http_proxy'];
      else process.env['http_proxy'] = before;
      proxy.close();
    }
  });
});

describe('withLock', () => {
  it('passes from a killed process to the next', async () => {
    const lock = join(folder, 'a.lock');
    const code = `import(${JSON.stringify(join(__dirname, '../../scripts/steps.mjs'))}).then((m) => m.withLock(${JSON.stringify(lock)}, 'a test', () => { console.log('held'); return new Promise(() => setInterval(() => {}, 1000)); }))`;
    const child = spawn(process.execPath, ['-e', code]);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    let entered = false;
    const waiting = withLock(lock, 'a test', () => {
      entered = true;
      return Promise.resolve();
    });
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(entered).toBe(false);
    child.kill('SIGKILL');
    await waiting;
    expect(entered).toBe(true);
    expect(existsSync(lock)).toBe(false);
  });

  it('admits one at a time', async () => {
    const lock = join(folder, 'a.lock');
    writeFileSync(lock, 'what a crash may leave');
    let inside = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 4 }, () =>
        withLock(lock, 'a test', async () => {
          most = Math.max(most, ++inside);
          await new Promise((resolve) => setTimeout(resolve, 30));
          inside--;
        }),
      ),
    );
    expect(most).toBe(1);
  });
});
