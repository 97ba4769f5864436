// The report's page in a real browser, opened from disk: tabs, views, the dialog and its geometry, heat maps, escaping, small and dark screens.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import sharp from 'sharp';
import { writeReport } from '../../src/stages/report/report.js';
import { describeInChromium, launchChromium, pageOn } from '../helpers/chromium.js';
import { temporaryFolder } from '../helpers/folders.js';
import { lowContrast } from '../helpers/in-page.js';
import { drawImages, vivid, writeSyntheticRun, type SyntheticImage } from '../helpers/synthetic-run.js';

const HOSTILE = ['<script>alert(1)</script>', 'a/b', '🚗 cars & "quotes"', 'none'];
const nameOf = (label: number, n: number): string => `${label}/<img src=x onerror=alert(2)> ${n}.png`;

describeInChromium('the report in Chromium', () => {
  const folder = temporaryFolder();
  let browser: Browser;
  let images: SyntheticImage[];
  const url = (run: string): string => pathToFileURL(join(folder, run, 'report/index.html')).href;
  /** the first label's page */
  const firstLabel = (run: string, label = HOSTILE[0] as string): string => `${url(run)}#${encodeURIComponent(label)}`;

  beforeAll(async () => {
    browser = await launchChromium();
    const dataset = join(folder, 'images');
    images = await drawImages(dataset, HOSTILE.slice(0, 3), (label) => [0, 1, 2, 3, 4, 5].map((n) => nameOf(label, n)));
    await writeSyntheticRun(join(folder, 'run'), dataset, images, {
      labels: HOSTILE,
      clusters: 2,
      perImage: 6,
      skipped: [{ image: '<b>bad</b>.png', label: 'a/b', reason: 'is <i>no</i> image' }],
    });
    await writeReport({ run: join(folder, 'run') });
  });
  afterAll(async () => browser?.close());

  /** A page and what went wrong on it, which each test ends by finding empty. */
  const open = async (
    address: string,
    screen: { width?: number; height?: number; dark?: boolean } = {},
  ): Promise<{ page: Page; wrongs: string[] }> => {
    const page = await pageOn(browser, {
      viewport: { width: screen.width ?? 1280, height: screen.height ?? 900 },
      colorScheme: screen.dark ? 'dark' : 'light',
    });
    const wrongs: string[] = [];
    page.on('console', (message) => wrongs.push(`console ${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => wrongs.push(`error: ${error.message}`));
    page.on('dialog', (dialog) => {
      wrongs.push(`alert: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('request', (request) => request.url().startsWith('file:') || wrongs.push(`request: ${request.url()}`));
    page.on('requestfailed', (request) => wrongs.push(`failed: ${request.url()}`));
    await page.goto(address);
    await page.waitForSelector('.row, .notice, .sub');
    return { page, wrongs };
  };
  /** The mean color of a part of the screen. */
  const colorAt = async (
    page: Page,
    box: { x: number; y: number; width: number; height: number },
  ): Promise<number[]> => {
    const { channels } = await sharp(await page.screenshot({ clip: box }))
      .removeAlpha()
      .stats();
    return channels.map((channel) => channel.mean);
  };
  const middleOf = (box: { x: number; y: number; width: number; height: number }) => ({
    x: box.x + box.width * 0.35,
    y: box.y + box.height * 0.35,
    width: Math.max(2, box.width * 0.3),
    height: Math.max(2, box.height * 0.3),
  });
  const boxOf = async (page: Page, selector: string) => {
    const box = await page.locator(selector).first().boundingBox();
    if (!box) throw new Error(`${selector} is not on the page`);
    return box;
  };
  const near = (actual: readonly number[], expected: readonly number[], within: number): void => {
    if (expected.some((value, i) => Math.abs(value - (actual[i] as number)) > within))
      throw new Error(`${actual.map((v) => v.toFixed(1)).join(', ')} is not ${expected.join(', ')} (within ${within})`);
  };
  const selected = (page: Page): Promise<string | null> => page.locator('[role=tab][aria-selected=true]').textContent();
  const loaded = (page: Page, selector: string): Promise<unknown> =>
    page.waitForFunction((s) => {
      const image = document.querySelector(s);
      return image instanceof HTMLImageElement && image.complete && image.naturalWidth > 0;
    }, selector);

  test('describes the run, and shows hostile names as text', async () => {
    const { page, wrongs } = await open(firstLabel('run'));
    expect(await page.title()).toBe('images · diffmine report');
    expect(await page.locator('[role=tab]').allTextContents()).toEqual(['Overview', ...HOSTILE]);
    expect(await page.locator('main h2').textContent()).toBe(HOSTILE[0]);
    expect(await page.locator('#facts').textContent()).toContain('stable-diffusion-v1-5');
    await page.locator('.tile').first().click();
    expect(await page.locator('.detail').textContent()).toContain('<img src=x onerror=alert(2)>');
    await page.keyboard.press('Escape');
    const foot = page.locator('#foot');
    await foot.locator('summary').click();
    expect(await foot.textContent()).toContain('<b>bad</b>.png: is <i>no</i> image');
    expect(await foot.textContent()).toContain('arXiv 2408.02752');
    expect(await page.locator('main b, main script, #foot i, img[src=x]').count()).toBe(0);
    await page.waitForTimeout(200);
    expect(wrongs).toEqual([]);
  });

  test("draws what the scan's pilot measured", async () => {
    await writeSyntheticRun(join(folder, 'pilot'), join(folder, 'images'), images, { labels: HOSTILE, clusters: 2 });
    const file = join(folder, 'pilot', 'manifest.json');
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as { options: { tBegin: number; tEnd: number } };
    const pilot = { images: 3, unetCalls: 48, patch: 8, timesteps: [125, 375, 625, 875] };
    writeFileSync(
      file,
      JSON.stringify({ ...manifest, pilot: { ...pilot, contrast: [1, 2, 1, 0], noise: [2, 2, 2, 0] } }),
    );
    await writeReport({ run: join(folder, 'pilot') });
    const { page, wrongs } = await open(url('pilot'));
    await page.click('details.method summary');
    const points = ((await page.getAttribute('.pilot polyline', 'points')) ?? '')
      .split(' ')
      .map((point) => point.split(',').map(Number));
    expect(points).toHaveLength(4);
    const [first, second, , last] = points.map(([, y]) => y) as [number, number, number, number];
    expect((last - first) / (last - second)).toBeCloseTo(0.5, 6); // ratios 1/2 and 1; without noise 0
    expect(await page.textContent('.pilot figcaption')).toContain('for patches of 8 px: measured on 3 images');
    const { tBegin, tEnd } = manifest.options;
    expect(await page.locator('.pilot text').allTextContents()).toEqual(['1.00', '0', String(tBegin), String(tEnd)]);
    expect(wrongs).toEqual([]);
    await page.close();
  });

  test('tabs by click and by keyboard; one of them is a tab stop', async () => {
    const { page, wrongs } = await open(firstLabel('run'));
    await page.getByRole('tab', { name: 'a/b' }).click();
    await page.waitForFunction(() => document.querySelector('main h2')?.textContent === 'a/b');
    expect(await selected(page)).toBe('a/b');
    expect(new URL(page.url()).hash).toBe('#a%2Fb');
    await page.keyboard.press('ArrowRight');
    await page.waitForFunction((name) => document.querySelector('main h2')?.textContent === name, HOSTILE[2]);
    expect(await page.evaluate(() => document.activeElement?.getAttribute('aria-selected'))).toBe('true');
    await page.keyboard.press('End');
    await page.waitForFunction(() => document.querySelector('main h2')?.textContent === 'none');
    expect(await page.locator('main').textContent()).toContain('No patches of this label were mined.');
    await page.keyboard.press('ArrowRight');
    expect(await selected(page)).toBe('Overview');
    expect(await page.locator('[role=tab][tabindex="0"]').count()).toBe(1);
    await page.goBack();
    await page.waitForFunction(() => document.querySelector('main h2')?.textContent === 'none');
    expect(await selected(page)).toBe('none');
    expect(wrongs).toEqual([]);
  });

  test('clusters come by median typicality, with the first of their patches and a button for all', async () => {
    const { page, wrongs } = await open(firstLabel('run'));
    expect(await page.locator('main .sub').first().textContent()).toBe(
      '36 most typical patches from 6 images in 2 clusters · prompt “A photo of <script>alert(1)</script>.”',
    );
    const medians = await page.locator('.about .value').allTextContents();
    expect(medians).toHaveLength(2);
    const numbers = medians.map((text) => Number(text.replace('−', '-')));
    expect(numbers[0]).toBeGreaterThanOrEqual(numbers[1] as number);
    const row = page.locator('.row').first();
    const first = await row.locator('.tile').count();
    const more = row.locator('.more');
    const total = Number(/\d+/.exec((await more.textContent()) ?? '')?.[0]);
    expect(total).toBeGreaterThan(first);
    await more.click();
    expect(await row.locator('.tile').count()).toBe(total);
    expect(await more.getAttribute('aria-expanded')).toBe('true');
    await more.click();
    expect(await row.locator('.tile').count()).toBe(first);
    expect(wrongs).toEqual([]);
  });

  test('the ranking has its controls: most typical, random, least typical; the first tile is the vivid square', async () => {
    const { page, wrongs } = await open(firstLabel('run'));
    await page.getByRole('button', { name: 'Ranking' }).click();
    expect(await page.locator('.row h3').allTextContents()).toEqual(['Most typical', 'Random', 'Least typical']);
    await page.waitForLoadState('networkidle');
    await page.mouse.move(0, 0);
    near(await colorAt(page, middleOf(await boxOf(page, '.tile'))), vivid(0), 16);
    // arrow keys go from patch to patch and from row to row
    await page.locator('.tile').first().focus();
    await page.keyboard.press('ArrowRight');
    expect(await page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toMatch(
      /^Patch 2 of most typical/,
    );
    await page.keyboard.press('End');
    await page.keyboard.press('ArrowDown');
    expect(await page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toMatch(/of random/);
    expect(wrongs).toEqual([]);
  });

  test('a patch opens with its image and its box in the right place', async () => {
    for (const label of [0, 1, 2]) {
      const { page, wrongs } = await open(`${url('run')}#${encodeURIComponent(HOSTILE[label] as string)}/top/1`);
      await page.waitForSelector('dialog[open]');
      await loaded(page, '.source');
      const file = await page.locator('.detail dd').first().textContent();
      const source = images.find(({ path }) => path === file) as SyntheticImage;
      const frame = await boxOf(page, '#frame');
      const box = await boxOf(page, '#box');
      const scale = frame.width / source.width;
      expect(frame.height / source.height).toBeCloseTo(scale, 1);
      near(
        [box.x, box.y, box.width, box.height],
        [
          frame.x + source.hot.x * scale,
          frame.y + source.hot.y * scale,
          source.hot.width * scale,
          source.hot.height * scale,
        ],
        1,
      );
      near(await colorAt(page, middleOf(box)), vivid(label), 16);
      const text = await page.locator('dialog').textContent();
      expect(text).toMatch(/Rank1 of \d+ \(most typical\)/);
      expect(text).toContain(`Box32 × 32 px at ${source.hot.x}, ${source.hot.y}`);
      expect(text).toMatch(/\+0\.0\d+± 0\.00\d+/);
      expect(wrongs).toEqual([]);
      await page.close();
    }
  });

  test('the heat map and its legend can be switched on and off', async () => {
    const { page, wrongs } = await open(`${url('run')}#a%2Fb/top/1`);
    await page.waitForSelector('dialog[open]');
    await loaded(page, '.source');
    const inside = middleOf(await boxOf(page, '#box'));
    expect(await page.locator('#legend').isVisible()).toBe(false);
    near(await colorAt(page, inside), vivid(1), 16);
    await page.getByRole('switch', { name: 'Typicality map' }).click();
    await loaded(page, '.heat');
    const warm = await colorAt(page, inside);
    expect((warm[0] as number) - (warm[2] as number)).toBeGreaterThan(100);
    expect(await page.locator('#legend').isVisible()).toBe(true);
    expect(await page.locator('#legend').textContent()).toMatch(
      /^−0\.0\d+better without “a\/b”0\+0\.0\d+better with “a\/b”$/,
    );
    // it stays on for the next patch; the key H turns it off
    await page.keyboard.press('ArrowRight');
    await loaded(page, '.heat');
    await page.keyboard.press('h');
    expect(await page.locator('.heat').isVisible()).toBe(false);
    expect(await page.locator('#legend').isVisible()).toBe(false);
    expect(wrongs).toEqual([]);
  });

  test('arrow keys turn the patches, also into the next cluster; Esc closes and gives the focus back', async () => {
    const { page, wrongs } = await open(firstLabel('run'));
    await page.locator('.tile').first().click();
    await page.waitForSelector('dialog[open]');
    const title = (): Promise<string | null> => page.locator('#dialog-title').textContent();
    expect(await title()).toMatch(/cluster 0, patch 1 of/);
    expect(await page.locator('#previous').isDisabled()).toBe(true);
    await page.keyboard.press('ArrowRight');
    expect(await title()).toMatch(/cluster 0, patch 2 of/);
    const size = Number(/of (\d+)$/.exec((await title()) ?? '')?.[1]);
    for (let i = 2; i <= size; i++) await page.keyboard.press('ArrowRight');
    expect(await title()).toMatch(/cluster 1, patch 1 of/);
    expect(new URL(page.url()).hash).toMatch(/\/1\/\d+$/);
    await page.locator('#previous').click();
    expect(await title()).toMatch(new RegExp(`cluster 0, patch ${size} of`));
    await page.keyboard.press('Escape');
    expect(await page.locator('dialog').isVisible()).toBe(false);
    expect(new URL(page.url()).hash).toBe(`#${encodeURIComponent(HOSTILE[0] as string)}`);
    expect(await page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toMatch(
      new RegExp(`^Patch ${size} of cluster 0`),
    );
    await page.keyboard.press('Enter');
    await page.waitForSelector('dialog[open]');
    await page.mouse.click(4, 4);
    expect(await page.locator('dialog').isVisible()).toBe(false);
    expect(wrongs).toEqual([]);
  });

  test('addresses that name nothing show the first label', async () => {
    const { page, wrongs } = await open(`${url('run')}#%E0%A4%A/1/1`);
    expect(await selected(page)).toBe(HOSTILE[0]);
    await page.goto(`${url('run')}#a%2Fb/99/99`);
    await page.waitForFunction(() => document.querySelector('main h2')?.textContent === 'a/b');
    expect(await page.locator('dialog').isVisible()).toBe(false);
    expect(wrongs).toEqual([]);
  });

  test.each([
    ['light', false],
    ['dark', true],
  ])('%s: no text or control of low contrast, no sideways scrolling at 390 and 1280 px', async (name, dark) => {
    for (const width of [390, 1280]) {
      const { page, wrongs } = await open(firstLabel('run'), { width, height: 844, dark });
      const paper = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
      const [red] = (paper.match(/\d+/g) ?? []).map(Number);
      expect((red as number) < 60).toBe(dark);
      const check = async (): Promise<void> => {
        expect(
          await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
        ).toBeLessThanOrEqual(0);
        expect(await page.evaluate(lowContrast)).toEqual([]);
      };
      await check();
      await page.getByRole('button', { name: 'Ranking' }).click();
      await check();
      await page.locator('.tile').first().click();
      await page.waitForSelector('dialog[open]');
      await page.locator('.toggle').click();
      await check();
      const dialog = await page.evaluate(
        () => document.querySelector('dialog')!.scrollWidth - document.querySelector('dialog')!.clientWidth,
      );
      expect(dialog).toBeLessThanOrEqual(0);
      expect(wrongs).toEqual([]);
      await page.close();
    }
  });

  test('60 labels stay usable: a search field, and tabs that do not fill the screen', async () => {
    const labels = Array.from({ length: 60 }, (_, i) => `${1900 + i}s, a label with a rather long name`);
    const own = images.slice(0, 2).map((image) => ({ ...image, label: labels[0] as string }));
    await writeSyntheticRun(join(folder, 'many'), join(folder, 'images'), own, { labels, clusters: 2 });
    await writeReport({ run: join(folder, 'many') });
    for (const width of [390, 1280]) {
      const { page, wrongs } = await open(firstLabel('many', labels[0]), { width });
      expect((await boxOf(page, '#bar')).height).toBeLessThan(150);
      expect(
        await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
      ).toBeLessThanOrEqual(0);
      await page.getByRole('searchbox').fill('1942');
      expect(await page.locator('[role=tab]:visible').allTextContents()).toEqual([labels[42]]);
      await page.keyboard.press('Enter');
      await page.waitForFunction(() => document.querySelector('main h2')?.textContent?.startsWith('1942'));
      await page.getByRole('searchbox').fill('nowhere');
      expect(await page.locator('#nomatch').isVisible()).toBe(true);
      expect(wrongs).toEqual([]);
      await page.close();
    }
  });

  test('a missing map or image is mentioned', async () => {
    const dataset = join(folder, 'few');
    const few = await drawImages(dataset, ['one'], () => ['0.png', '1.png']);
    await writeSyntheticRun(join(folder, 'bare'), dataset, few, { labels: ['one'], maps: false, clusters: 1 });
    rmSync(join(dataset, '1.png'));
    await writeReport({ run: join(folder, 'bare') });
    const { page, wrongs } = await open(firstLabel('bare', 'one'));
    expect(await page.locator('.top .notice').textContent()).toContain('One image was not found');
    expect(await page.locator('.tile.gone').count()).toBeGreaterThan(0);
    await page.locator('.tile.gone').first().click();
    expect(await page.locator('dialog').textContent()).toContain('1.png was not found when this report was written');
    await page.keyboard.press('Escape');
    await page.locator('.tile:not(.gone)').first().click();
    expect(await page.locator('dialog').textContent()).toContain('--no-maps');
    expect(await page.locator('#heat').count()).toBe(0);
    expect(wrongs).toEqual([]);
  });

  test('every sentence fits the contrast, the ranking and random weights', async () => {
    const labels = HOSTILE.slice(0, 3);
    await writeSyntheticRun(join(folder, 'control'), join(folder, 'images'), images, {
      labels,
      clusters: 2,
      rank: 'bottom',
      scan: { against: 'a/b', untrained: true, samples: 1 },
    });
    await writeReport({ run: join(folder, 'control') });
    const { page, wrongs } = await open(firstLabel('control', labels[0]));
    expect(await page.title()).toBe('images (untrained control) · diffmine report');
    expect(await page.locator('[role=tab]').allTextContents()).toEqual(['Overview', labels[0], labels[2]]);
    expect(await page.locator('#notice').textContent()).toContain('Control run: the network has random weights');
    expect(await page.locator('#lede').textContent()).toContain('The lowest-typicality patches of each of 2 labels');
    await page.locator('.method summary').click();
    await page.locator('.tile').first().click();
    await page.locator('.toggle').click();
    await loaded(page, '.heat');
    expect(await page.locator('#legend').textContent()).toMatch(/better with “a\/b”0.*better with “<script>/);
    expect(await page.locator('.heat').getAttribute('alt')).toContain('against “a/b”');
    const text = await page.evaluate(() =>
      [
        document.body.innerText,
        ...[...document.querySelectorAll('*')].flatMap((one) =>
          ['title', 'aria-label', 'alt'].map((name) => one.getAttribute(name) ?? ''),
        ),
      ].join('\n'),
    );
    for (const said of [
      'Typicality against “a/b”',
      'no standard error',
      'There is one noise and timestep sample per image',
      'lowest typicality',
      'random weights',
    ])
      expect(text).toContain(said);
    expect(text).not.toMatch(
      /without (it|the label)|no label|unconditional prompt “|a diffusion model|most typical|least typical|knowing/i,
    );
    expect(wrongs).toEqual([]);
  });

  test('a page without its data shows a message', async () => {
    rmSync(join(folder, 'bare/report/data/label-0.js'));
    const { page } = await open(firstLabel('bare', 'one'));
    await page.waitForSelector('main .notice');
    expect(await page.locator('main .notice').textContent()).toContain('data/label-0.js is missing');
  });
});
