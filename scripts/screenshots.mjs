// Screenshots of a report for the docs: its pages at 1280 px, and at 390 px side by side, light and dark. Needs Chromium (as the tests do).
//   node scripts/screenshots.mjs RUN/report [--out docs/images] [--name report] [--pages overview,map,trends,image]
// Writes NAME-PAGE.webp, NAME-PAGE-dark.webp, NAME-PAGE-narrow.webp. A page that the report does not have is left out.
import fs from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import sharp from 'sharp';
import { fail, root, say } from './steps.mjs';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
/** By page: its address, what shows that it is there, and the tab of reports that have it. */
const PAGES = {
  overview: ['#/overview', '.label-row', 'Overview'],
  map: ['#/map', '.map canvas', 'Map'],
  trends: ['#/trends', '.course .tile', 'Trends'],
  image: ['#/image/0', '.image-page .box', 'Map'],
};
const WIDE = { width: 1280, height: 860 };
const NARROW = { width: 390, height: 844 };
/** Wide screens are scaled to this width. */
const SHOWN = 1000;
const QUALITY = 78;

/** Names of a report's tabs. */
async function tabsOf(browser, report) {
  const tab = await browser.newPage();
  try {
    await tab.goto(pathToFileURL(path.join(report, 'index.html')).href);
    await tab.waitForSelector('[role=tab]');
    return await tab.locator('[role=tab]').allTextContents();
  } finally {
    await tab.close();
  }
}

async function shoot(browser, report, page, viewport, colorScheme) {
  const [hash, there] = PAGES[page];
  const context = await browser.newContext({ viewport, colorScheme, reducedMotion: 'reduce' });
  try {
    const tab = await context.newPage();
    await tab.goto(`${pathToFileURL(path.join(report, 'index.html')).href}${hash}`);
    await tab.waitForSelector(there);
    // what the page is about, without the head of the report
    await tab.evaluate(() => window.scrollTo({ top: document.getElementById('bar').offsetTop }));
    await tab.waitForTimeout(1500);
    return await tab.screenshot();
  } finally {
    await context.close();
  }
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      out: { type: 'string', default: path.join(root, 'docs/images') },
      name: { type: 'string', default: 'report' },
      pages: { type: 'string', default: Object.keys(PAGES).join(',') },
    },
  });
  const [report] = positionals;
  if (!report)
    throw new Error('Usage: node scripts/screenshots.mjs RUN/report [--out DIR] [--name NAME] [--pages LIST]');
  const pages = values.pages.split(',');
  const unknown = pages.find((page) => !(page in PAGES));
  if (unknown !== undefined) throw new Error(`--pages has ${unknown}; expected ${Object.keys(PAGES).join(', ')}.`);
  const executablePath = process.env.CHROMIUM ?? PLACES.find((file) => fs.existsSync(file));
  const browser = await chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu'] });
  try {
    const tabs = await tabsOf(browser, report);
    for (const page of pages.filter((name) => tabs.includes(PAGES[name][2]))) {
      const write = async (suffix, image) => {
        const file = path.join(values.out, `${values.name}-${page}${suffix}.webp`);
        const { size } = await image.webp({ quality: QUALITY, effort: 6 }).toFile(file);
        say(`${file}: ${Math.round(size / 1e3)} kB`);
      };
      await write('', sharp(await shoot(browser, report, page, WIDE, 'light')).resize(SHOWN));
      await write('-dark', sharp(await shoot(browser, report, page, WIDE, 'dark')).resize(SHOWN));
      const pair = [
        await shoot(browser, report, page, NARROW, 'light'),
        await shoot(browser, report, page, NARROW, 'dark'),
      ];
      const gap = 20;
      const canvas = { width: 2 * NARROW.width + gap, height: NARROW.height, channels: 4, background: '#0000' };
      const placed = pair.map((input, i) => ({ input, left: i * (NARROW.width + gap), top: 0 }));
      await write('-narrow', sharp({ create: canvas }).composite(placed));
    }
  } finally {
    await browser.close();
  }
}

main().catch(fail);
