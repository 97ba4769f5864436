// The page of a localization in a real browser, opened from disk: its figures, its images beside their maps, on wide and small screens.
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { localize } from '../../src/stages/localize/localize.js';
import type { LocalizeSummary } from '../../src/stages/localize/options.js';
import { describeInChromium, launchChromium } from '../helpers/chromium.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const LABELS = ['<b>one</b>', 'two'];

describeInChromium('the localization in Chromium', () => {
  const folder = temporaryFolder();
  const at = (...names: string[]): string => join(folder, ...names);
  let browser: Browser;
  let summary: LocalizeSummary;

  beforeAll(async () => {
    browser = await launchChromium();
    mkdirSync(at('data'));
    cpSync(join(GOLDEN, 'mini-dataset', '1920', '1920_0.png'), at('data', '<i>a.png'));
    cpSync(join(GOLDEN, 'mini-dataset', '1920', '1920_1.png'), at('data', 'b #1?.png'));
    writeFileSync(at('data', 'labels.csv'), `image,label\n<i>a.png,${LABELS[0]}\nb #1?.png,${LABELS.join('|')}\n`);
    writeFileSync(at('boxes.csv'), 'image,x,y,w,h\n<i>a.png,8,8,24,24\nb #1?.png,40,0,40,30\n');
    const base = {
      dataset: at('data', 'labels.csv'),
      model: join(GOLDEN, 'tiny-sd15'),
      size: 'source',
      samples: 2,
      device: 'cpu',
      threads: 1,
      bootstrap: 10,
    } as const;
    summary = await localize({ ...base, out: at('both'), boxes: at('boxes.csv'), baseline: 'untrained' });
    await localize({ ...base, out: at('plain'), labels: ['two'] });
  });
  afterAll(async () => browser?.close());

  const open = async (run: string, width = 1280): Promise<{ page: Page; wrongs: string[] }> => {
    const page = await (await browser.newContext({ viewport: { width, height: 900 } })).newPage();
    const wrongs: string[] = [];
    page.on('console', (message) => wrongs.push(`console ${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => wrongs.push(`error: ${error.message}`));
    page.on('requestfailed', (request) => wrongs.push(`failed: ${request.url()}`));
    await page.goto(pathToFileURL(at(run, 'localize/index.html')).href);
    await page.waitForSelector('.one');
    for (const image of await page.locator('.one img').all()) await image.scrollIntoViewIfNeeded();
    await page.waitForLoadState('networkidle');
    return { page, wrongs };
  };

  test("shows figures, and each label's images with their maps; what users named is text", async () => {
    const { page, wrongs } = await open('both');
    expect(await page.locator('.label h3').allTextContents()).toEqual([...LABELS].sort());
    // one image under one label, one under two: each with the image, the model's map and the baseline's
    expect(await page.locator('.one').count()).toBe(3);
    expect(await page.locator('.one img').count()).toBe(9);
    expect(
      await page
        .locator('.one img')
        .evaluateAll((images) =>
          images.every((image) => (image as unknown as { naturalWidth: number }).naturalWidth > 0),
        ),
    ).toBe(true);
    const text = (await page.locator('main').textContent()) ?? '';
    for (const word of [
      ...LABELS,
      '<i>a.png',
      'b #1?.png',
      'random weights',
      summary.result?.mean.model?.averagePrecision.value?.toFixed(3) as string,
    ])
      expect(text).toContain(word);
    expect(await page.locator('.label h3 b, .one h4 i, table th b').count()).toBe(0);
    expect(await page.locator('.cards .card').count()).toBe(4);
    expect(await page.locator('.frame svg').first().isVisible()).toBe(true);
    await page.locator('.controls input').uncheck();
    expect(await page.locator('.frame svg').first().isVisible()).toBe(false);
    expect(wrongs).toEqual([]);
  });

  test('without boxes there are maps alone; nothing is wider than a small screen', async () => {
    const { page, wrongs } = await open('plain', 360);
    expect(await page.locator('.label h3').allTextContents()).toEqual(['two']);
    expect(await page.locator('.card, table, .frame svg, .controls input').count()).toBe(0);
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
    const both = await open('both', 360);
    expect(await both.page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
    expect([...wrongs, ...both.wrongs]).toEqual([]);
  });
});
