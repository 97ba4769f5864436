// Every page that diffmine writes, on phones: nothing is wider than the screen, in light and dark, with awkward labels and many of them.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { safeName } from '../../src/runs/names.js';
import { cotypicality } from '../../src/stages/cotypicality/cotypicality.js';
import { evaluate } from '../../src/stages/evaluate/evaluate.js';
import { localize } from '../../src/stages/localize/localize.js';
import { writeReport } from '../../src/stages/report/report.js';
import { compare } from '../../src/tools/compare/compare.js';
import { describeInChromium, launchChromium } from '../helpers/chromium.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';
import { nightlyTest } from '../helpers/nightly.js';
import { lowContrast, tooWide, unnamed } from '../helpers/in-page.js';
import { drawImages, writeSyntheticRun, writeSyntheticTrends } from '../helpers/synthetic-run.js';

const DECADES = ['1900s', '1910s', '1920s', '1930s', '1940s', '1950s', '1960s', '1970s'];
const LONG = 'abcdefghij'.repeat(20);
/** The last one has no images. */
const AWKWARD = [
  '🚗'.repeat(30),
  'שלום עולם',
  `“quotes” 'and' <b>tags</b>`,
  LONG,
  `spaces ${'long label '.repeat(18)}`,
  'none',
];
const MANY = Array.from({ length: 20 }, (_, i) => `label number ${i + 1}`);
const SMALL = { width: 64, height: 48 };

const PARTS = [
  ['#/overview', '.label-row'],
  ['#/map', '.map canvas'],
  ['#/trends', '.course'],
  ['#/image/0', '.image-page'],
  ['#/evaluation', '.cards, main table'],
] as const;

describeInChromium('pages on small screens', () => {
  const folder = temporaryFolder();
  const at = (...names: string[]): string => join(folder, ...names);
  let browser: Browser;

  const draw = (name: string, labels: string[], each: number, size = SMALL) =>
    drawImages(
      at(`${name}-images`),
      labels,
      (n) => Array.from({ length: each }, (_, i) => `${n}/${LONG} ${i}.png`),
      size,
    );
  /** Besides the awkward one: with trends and an evaluation, of many labels, of one. */
  const OTHERS: Record<string, () => Promise<void>> = {
    decades: async () => {
      const decades = await draw('decades', DECADES, 2);
      const ordered = { labels: DECADES, clusters: 2, features: true, allLabels: true, perImage: 3 };
      await writeSyntheticRun(at('decades'), at('decades-images'), decades, ordered);
      await writeSyntheticTrends(at('decades'), decades, DECADES);
      writeFileSync(
        at('boxes.csv'),
        [
          'image,x,y,w,h,kind',
          ...decades.map(({ path, hot: { x, y, width, height } }) => `${path},${x},${y},${width},${height},${LONG}`),
        ].join('\n'),
      );
      await writeReport({ run: at('decades') });
      await evaluate({ run: at('decades'), boxes: at('boxes.csv'), bootstrap: 2, gridImages: 1 });
    },
    many: async () => {
      await writeSyntheticRun(at('many'), at('many-images'), await draw('many', MANY, 1), {
        labels: MANY,
        clusters: 1,
        features: true,
        allLabels: true,
        perImage: 1,
        shardSize: 100,
      });
      await writeReport({ run: at('many') });
    },
    one: async () => {
      const [one] = [await draw('one', ['alone'], 3)];
      await writeSyntheticRun(at('one'), at('one-images'), one, { labels: ['alone'], clusters: 2, features: true });
      await writeReport({ run: at('one') });
    },
  };

  beforeAll(async () => {
    browser = await launchChromium();
    const awkward = await draw('awkward', AWKWARD.slice(0, -1), 2);
    await writeSyntheticRun(at('awkward'), at('awkward-images'), awkward, {
      labels: AWKWARD,
      clusters: 2,
      features: true,
      allLabels: true,
      perImage: 3,
      skipped: [{ image: `${LONG}.png`, label: LONG, reason: `is no image: ${LONG}` }],
    });
    rmSync(at('awkward-images', awkward[0]?.path as string));
    await writeReport({ run: at('awkward') });

    await compare({ run: at('awkward'), other: at('awkward'), out: at('compared') });

    mkdirSync(at('located'));
    const source = join(GOLDEN, 'mini-dataset', '1920', '1920_0.png');
    writeFileSync(at('located', 'labels.csv'), `image,label\n${source},${LONG}\n`);
    const model = { model: join(GOLDEN, 'tiny-sd15'), samples: 1, device: 'cpu', threads: 1 } as const;
    await localize({ ...model, dataset: at('located', 'labels.csv'), size: 'source', out: at('localized') });

    const targets = ['one', 'שלום עולם', LONG.slice(0, 100)];
    for (const label of targets)
      for (const image of ['a', 'b']) {
        const here = at('parallel', safeName(label), image);
        mkdirSync(here, { recursive: true });
        for (const target of targets)
          copyFileSync(source, join(here, target === label ? 'source.png' : `${safeName(target)}.png`));
      }
    const grouped = { size: 32, patch: 8, ensemble: 1, batch: 6, clusters: 2, projection: 'none' } as const;
    await cotypicality({ ...model, ...grouped, parallel: at('parallel'), out: at('changes') });
  });
  afterAll(async () => browser?.close());

  /** Checks a page on all screens; its data is loaded once. */
  const fits = async (page: Page): Promise<void> => {
    for (const width of [320, 390])
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.setViewportSize({ width, height: 800 });
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
        // rows of tiles are filled again for another width
        await page.evaluate(() => new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown))));
        expect(await page.evaluate(tooWide)).toEqual([]);
        expect(await page.evaluate(lowContrast)).toEqual([]);
        if (width === 390) continue;
        // half an emoji, where a text was cut
        expect(await page.evaluate(() => /\p{Surrogate}/u.test(document.body.textContent ?? ''))).toBe(false);
        expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
        expect(await page.evaluate(unnamed)).toEqual([]);
      }
  };

  const visit = async (file: string, steps: (page: Page, address: string) => Promise<void>): Promise<void> => {
    const page = await browser.newPage({ viewport: { width: 390, height: 800 } });
    const wrongs: string[] = [];
    page.on('console', (message) => wrongs.push(message.text()));
    page.on('pageerror', (error) => wrongs.push(error.message));
    const address = pathToFileURL(at(file)).href;
    await page.goto(address);
    await steps(page, address);
    expect(wrongs).toEqual([]);
    await page.close();
  };

  const report = async (run: string): Promise<void> =>
    visit(`${run}/report/index.html`, async (page, address) => {
      await page.waitForSelector('.label-row');
      const shown = await page.locator('[role=tab]').evaluateAll((tabs) => tabs.map((tab) => tab.id));
      await page.locator('details').evaluateAll((all) => all.forEach((one) => one.setAttribute('open', '')));
      for (const [hash, there] of PARTS) {
        if (hash !== '#/image/0' && !shown.includes(`tab-${hash.slice(2)}`)) continue;
        await page.goto(`${address}${hash}`);
        await page.waitForSelector(there);
        if (hash === '#/map') {
          await page.locator('#in-view').click();
          await page.locator('#keep-all').click();
          await page.locator('#map-color').selectOption('typicality');
        }
        await fits(page);
      }
      const labels = shown.filter((id) => /^tab-\d+$/.test(id));
      // of reports whose labels are alike, the last one
      for (const id of run === 'awkward' ? labels : labels.slice(-1)) {
        await page.locator(`#${id}`).evaluate((tab) => (tab as HTMLElement).click());
        await page.waitForFunction(
          (one) => document.querySelector('main h2')?.textContent === document.getElementById(one)?.textContent,
          id,
        );
        await fits(page);
        if ((await page.locator('main .tile').count()) === 0) continue;
        await page.locator('.switch button').nth(1).click();
        await fits(page);
        await page.locator('main .tile').first().click();
        await fits(page);
        await page.keyboard.press('Escape');
      }
    });

  test('a report of awkward labels', async () => report('awkward'));
  nightlyTest.each(Object.entries(OTHERS))('a report of %s', async (run, write) => {
    await write();
    await report(run);
  });

  test.each([
    ['compare', 'compared/index.html'],
    ['localize', 'localized/localize/index.html'],
    ['cotypicality', 'changes/report/index.html'],
  ])('the page of %s', async (_, file) => {
    await visit(file, async (page) => {
      for (const image of await page.locator('img').all()) await image.scrollIntoViewIfNeeded();
      await fits(page);
    });
  });
});
