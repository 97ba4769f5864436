// A real Chromium for tests of pages. Where there is none, tests that need it are skipped with a word; under CI=true that is a failure.
import { existsSync } from 'node:fs';
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from 'playwright-core';

const PLACES = [
  '/usr/bin/chromium-headless-shell', // the same pages for half the CPU time
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--process-per-site',
  '--renderer-process-limit=1',
  '--in-process-gpu',
];

const executable = process.env['CHROMIUM'] ?? PLACES.find((file) => existsSync(file));

/** `describe`, or what skips it if there is no Chromium. */
export const describeInChromium: (name: string, tests: () => void) => void = (name, tests) => {
  if (executable) return describe(name, tests);
  if (process.env['CI'] === 'true')
    return test(name, () => {
      throw new Error('There is no Chromium: install the package chromium, or set CHROMIUM to its path.');
    });
  console.warn(
    `${name}: skipped, as there is no Chromium (install the package chromium, or set CHROMIUM to its path).`,
  );
  return describe.skip(name, tests);
};

export function launchChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: executable as string, args: FLAGS });
}

const contexts = new WeakMap<Browser, Map<string, Promise<BrowserContext>>>();

/** A new page; those that want the same screen share a context. */
export async function pageOn(browser: Browser, screen: BrowserContextOptions): Promise<Page> {
  const key = JSON.stringify(screen);
  const shared = contexts.get(browser) ?? new Map<string, Promise<BrowserContext>>();
  contexts.set(browser, shared);
  const context = shared.get(key) ?? browser.newContext(screen);
  shared.set(key, context);
  return (await context).newPage();
}
