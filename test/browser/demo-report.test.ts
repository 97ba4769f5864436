// The demo's report in docs/demo-report, as a static host serves it and as it opens from disk.
import { createServer, type Server } from 'node:http';
import { existsSync, readFileSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import type { AddressInfo } from 'node:net';
import { pathToFileURL } from 'node:url';
import type { Browser } from 'playwright-core';
import { describeInChromium, launchChromium } from '../helpers/chromium.js';
import { filesWithPaths } from '../helpers/folders.js';

const REPORT = resolve(__dirname, '../../docs/demo-report');
const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.webp': 'image/webp',
};
const CITIES = ['belmora', 'corvant', 'dunmere', 'esperil', 'oskava', 'vinterhal'];

describeInChromium("the demo's report in docs", () => {
  let browser: Browser;
  let server: Server;
  beforeAll(async () => {
    browser = await launchChromium();
    server = createServer((request, response) => {
      const name = new URL(request.url as string, 'http://host').pathname.replace(/^\/below\/a\/path\//, '');
      const file = join(REPORT, decodeURIComponent(name === '' ? 'index.html' : name));
      const found = existsSync(file);
      response.writeHead(found ? 200 : 404, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' });
      response.end(found ? readFileSync(file) : '');
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  });
  afterAll(async () => {
    await browser?.close();
    await new Promise((closed) => server?.close(closed));
  });

  const address = (how: string): string =>
    how === 'from disk'
      ? pathToFileURL(join(REPORT, 'index.html')).href
      : `http://127.0.0.1:${(server.address() as AddressInfo).port}/below/a/path/`;

  test.each(['from disk', 'from a static host'])('opens %s', async (how) => {
    const page = await browser.newPage();
    const wrongs: string[] = [];
    page.on('console', (message) => wrongs.push(message.text()));
    page.on('pageerror', (error) => wrongs.push(error.message));
    page.on('requestfailed', (request) => wrongs.push(`failed: ${request.url()}`));
    page.on('response', (answer) => answer.status() >= 400 && wrongs.push(`${answer.status()}: ${answer.url()}`));
    await page.goto(address(how));
    await page.waitForSelector('.label-row');
    expect(await page.locator('[role=tab]').allTextContents()).toEqual(expect.arrayContaining(['Overview', ...CITIES]));
    await page.goto(`${address(how)}#/map`);
    await page.waitForSelector('.map canvas');
    await page.goto(`${address(how)}#belmora`);
    await page.waitForSelector('.row');
    expect(wrongs).toEqual([]);
    await page.close();
  });

  test('names no path of the machine it was made on', () => {
    expect(filesWithPaths(REPORT)).toEqual([]);
    const data = ['run.js', 'evaluation.js'].map((name) => readFileSync(join(REPORT, 'data', name), 'utf8')).join('');
    expect(data).not.toMatch(/"(path|file)":"[^"]*\/[^"]*\//);
  });
});
