// The page of consistent changes in a real browser, opened from disk: a column per label, the source marked, pairs, a sequence; nothing a user named is markup.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import sharp from 'sharp';
import { cotypicality } from '../../src/stages/cotypicality/cotypicality.js';
import { safeName } from '../../src/runs/names.js';
import { describeInChromium, launchChromium } from '../helpers/chromium.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';
import { uniform } from '../helpers/synthetic-run.js';

const LABELS = ['<b>one</b>', 'three', 'two'];

describeInChromium('consistent changes in Chromium', () => {
  const folder = temporaryFolder();
  const at = (...names: string[]): string => join(folder, ...names);
  let browser: Browser;

  beforeAll(async () => {
    for (const [i, label] of LABELS.entries()) {
      for (const name of ['a', 'b', 'c']) {
        const here = at('parallel', safeName(label), name);
        mkdirSync(here, { recursive: true });
        for (const [j, target] of LABELS.entries()) {
          const next = uniform(100 * i + 10 * j + name.charCodeAt(0));
          const pixels = Buffer.from(Array.from({ length: 3 * 48 * 32 }, () => Math.floor(256 * next())));
          await sharp(pixels, { raw: { width: 48, height: 32, channels: 3 } })
            .png()
            .toFile(join(here, target === label ? 'source.png' : `${safeName(target)}.png`));
        }
      }
    }
    writeFileSync(
      at('boxes.csv'),
      `image,x,y,w,h,slot\n${LABELS.map((label) => `${safeName(label)}/a,0,0,48,32,<i>window</i>`).join('\n')}\n`,
    );
    await cotypicality({
      parallel: at('parallel'),
      model: join(GOLDEN, 'tiny-sd15'),
      out: at('run'),
      size: 32,
      patch: 8,
      samples: 1,
      ensemble: 1,
      batch: 6,
      device: 'cpu',
      threads: 1,
      clusters: 2,
      projection: 'none',
      boxes: at('boxes.csv'),
    });
    browser = await launchChromium();
  });
  afterAll(async () => browser?.close());

  const open = async (width = 1280): Promise<{ page: Page; wrongs: string[] }> => {
    const page = await (await browser.newContext({ viewport: { width, height: 900 } })).newPage();
    const wrongs: string[] = [];
    page.on('console', (message) => wrongs.push(`console ${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => wrongs.push(`error: ${error.message}`));
    page.on('requestfailed', (request) => wrongs.push(`failed: ${request.url()}`));
    await page.goto(pathToFileURL(at('run', 'report', 'index.html')).href);
    await page.waitForSelector('.cluster');
    return { page, wrongs };
  };

  test('clusters are rows of sequences with one column per label; the source is marked', async () => {
    const { page, wrongs } = await open();
    expect(await page.locator('.cluster').count()).toBe(2);
    expect(
      await page.locator('.cluster').first().locator('table').first().locator('thead th').allTextContents(),
    ).toEqual(LABELS);
    for (const row of await page.locator('.cluster tbody tr').all()) {
      expect(await row.locator('.tile').count()).toBe(3);
      expect(await row.locator('.tile.source').count()).toBe(1);
    }
    expect(await page.locator('main b, main i:not(.key i):not(.meter i)').count()).toBe(0);
    // a tile opens its sequence, with a frame a label and a box in each
    await page.locator('.tile').first().click();
    expect(await page.locator('dialog figure').count()).toBe(3);
    expect(await page.locator('dialog .box').count()).toBe(3);
    expect(await page.locator('dialog .frame.source').count()).toBe(1);
    await page.waitForFunction(() =>
      [...document.querySelectorAll<HTMLImageElement>('dialog img')].every(
        (image) => image.complete && image.naturalWidth > 0,
      ),
    );
    await page.keyboard.press('Escape');
    expect(await page.locator('dialog[open]').count()).toBe(0);
    expect(wrongs).toEqual([]);
  });

  test('pairs of labels can be chosen; figures against boxes are shown', async () => {
    const { page, wrongs } = await open();
    await page.locator('#tab-pairs').click();
    expect(await page.locator('.grid button').count()).toBe(6);
    expect(await page.locator('.grid button[aria-pressed=true]').count()).toBe(2); // either way round
    await page.locator('.grid tbody tr').nth(0).locator('button').last().click();
    expect(await page.locator('.pairs h2').last().textContent()).toBe('<b>one</b> and two');
    expect(await page.locator('.change').count()).toBe(2);
    await page.locator('#tab-truth').click();
    expect(await page.locator('.truth tbody tr').count()).toBe(2);
    expect(wrongs).toEqual([]);
  });

  test('a small screen scrolls rows, not the page', async () => {
    const { page } = await open(380);
    expect(
      await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth),
    ).toBe(true);
  });
});
