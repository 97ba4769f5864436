// Exploring a report in a real browser, opened from disk: overview, map (pan, zoom, lasso, filters, similar patches, basket, keyboard), trends, image pages.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import { cpSync, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Download, Page } from 'playwright-core';
import { writeReport } from '../../src/stages/report/report.js';
import { describeInChromium, launchChromium } from '../helpers/chromium.js';
import { temporaryFolder } from '../helpers/folders.js';
import { lowContrast, unnamed } from '../helpers/in-page.js';
import { drawImages, writeSyntheticRun, writeSyntheticTrends, type SyntheticImage } from '../helpers/synthetic-run.js';

const LABELS = ['1900s', '1910s', '1920s'];

describeInChromium('exploring a report in Chromium', () => {
  const folder = temporaryFolder();
  let browser: Browser;
  let images: SyntheticImage[];
  const run = join(folder, 'run');

  beforeAll(async () => {
    browser = await launchChromium();
    const dataset = join(folder, 'images');
    images = await drawImages(dataset, LABELS, (label) => [0, 1, 2, 3].map((n) => `${label}/${n}, "x".png`));
    await writeSyntheticRun(run, dataset, images, { labels: LABELS, clusters: 3, features: true, allLabels: true });
    await writeSyntheticTrends(run, images, LABELS);
    await writeReport({ run });
  });
  afterAll(async () => browser?.close());

  const open = async (
    hash = '',
    screen: { width?: number; dark?: boolean } = {},
  ): Promise<{ page: Page; wrongs: string[] }> => {
    const context = await browser.newContext({
      viewport: { width: screen.width ?? 1280, height: 1000 },
      colorScheme: screen.dark ? 'dark' : 'light',
      reducedMotion: 'reduce',
      acceptDownloads: true,
    });
    const page = await context.newPage();
    const wrongs: string[] = [];
    page.on('console', (message) => wrongs.push(`console ${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => wrongs.push(`error: ${error.message}`));
    page.on('request', (request) => /^(file|blob):/.test(request.url()) || wrongs.push(`request: ${request.url()}`));
    page.on('requestfailed', (request) => request.url().startsWith('blob:') || wrongs.push(`failed: ${request.url()}`));
    await page.goto(`${pathToFileURL(join(run, 'report/index.html')).href}${hash}`);
    return { page, wrongs };
  };
  const onMap = async (screen = {}): Promise<{ page: Page; wrongs: string[] }> => {
    const opened = await open('#/map', screen);
    await opened.page.waitForSelector('.map canvas');
    await opened.page.locator('#map').scrollIntoViewIfNeeded();
    return opened;
  };
  type Leaflet = { getZoom(): number; getCenter(): { lat: number; lng: number } };
  const view = (page: Page): Promise<{ zoom: number; lat: number; lng: number }> =>
    page.evaluate(() => {
      const { leaflet } = (globalThis as unknown as { diffmine: { leaflet: Leaflet } }).diffmine;
      return { zoom: leaflet.getZoom(), ...leaflet.getCenter() };
    });
  const count = (page: Page): Promise<string | null> => page.locator('#map-count').textContent();
  const selected = async (page: Page): Promise<number> =>
    Number(/^\d+/.exec((await page.locator('[aria-label=Selection] h3').textContent()) ?? '')?.[0]);
  const textOf = async (download: Download): Promise<string> => readFileSync(await download.path(), 'utf8');

  test('the overview comes first: two clusters per label, profiles, and the matrix of labels', async () => {
    const { page, wrongs } = await open();
    expect(await page.locator('[role=tab]').allTextContents()).toEqual(['Overview', 'Map', 'Trends', ...LABELS]);
    expect(await page.locator('.label-row h3').allTextContents()).toEqual(LABELS);
    expect(await page.locator('.best').count()).toBe(6);
    // the labels are decades: a profile is a curve, highest at its own label
    expect(await page.locator('.profile polyline').count()).toBe(6);
    const words = await page.locator('.profile svg').first().getAttribute('aria-label');
    const values = LABELS.map((label) =>
      Number(new RegExp(`${label} ([+−][\\d.]+)`).exec(words ?? '')?.[1]?.replace('−', '-')),
    );
    expect(values[0]).toBeGreaterThan(3 * (values[1] as number));
    expect(await page.locator('.matrix tbody th').allTextContents()).toEqual(LABELS);
    expect(await page.locator('.matrix tbody tr').first().locator('td').allTextContents()).toEqual([
      '+0.0100',
      '−0.0020',
      '−0.0020',
    ]);
    await page.locator('.best .open').nth(1).click();
    await page.waitForFunction(() => document.querySelector('main h2')?.textContent === '1900s');
    expect(new URL(page.url()).hash).toBe('#1900s/1');
    expect(wrongs).toEqual([]);
    await page.context().close();
  });

  test.each([390, 1280])(
    '%i px: the map is in view when it is chosen, a label begins below the tabs',
    async (width) => {
      const { page, wrongs } = await open('', { width });
      const place = (selector: string): Promise<number> =>
        page.locator(selector).evaluate((element) => element.getBoundingClientRect().top);
      await page.getByRole('tab', { name: 'Map' }).click();
      await page.waitForSelector('.map canvas');
      expect(await place('#bar')).toBeCloseTo(0, 0);
      expect(await page.locator('#map').evaluate((map) => map.getBoundingClientRect().bottom)).toBeLessThan(
        width === 1280 ? 1000 : 1250,
      );
      // from far down, where the tabs stick to the top
      await page.getByRole('tab', { name: 'Overview' }).click();
      await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
      await page.getByRole('tab', { name: '1910s' }).click();
      await page.waitForSelector('.row');
      expect(await place('main h2')).toBeGreaterThan(0);
      expect(wrongs).toEqual([]);
      await page.context().close();
    },
  );

  test('at 390 px the first screen shows patches', async () => {
    const { page } = await open('', { width: 390 });
    await page.waitForSelector('.best .tile');
    expect(
      await page
        .locator('.best .tile')
        .first()
        .evaluate((tile) => tile.getBoundingClientRect().bottom),
    ).toBeLessThan(844);
    await page.context().close();
  });

  test('the map pans and zooms with the mouse, the wheel and the keyboard', async () => {
    const { page, wrongs } = await onMap();
    const box = (await page.locator('#map').boundingBox()) as { x: number; y: number; width: number; height: number };
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const before = await view(page);
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + 100, y + 50, { steps: 5 });
    await page.mouse.up();
    const panned = await view(page);
    const scale = 2 ** before.zoom;
    expect(panned.lng).toBeCloseTo(before.lng - 100 / scale, 0);
    expect(panned.lat).toBeCloseTo(before.lat + 50 / scale, 0);
    await page.mouse.wheel(0, -240);
    await page.waitForFunction(
      (zoom) => (globalThis as unknown as { diffmine: { leaflet: Leaflet } }).diffmine.leaflet.getZoom() > zoom,
      before.zoom,
    );
    const zoomed = await view(page);
    await page.locator('#map').focus();
    await page.keyboard.press('ArrowRight');
    await page.waitForFunction(
      (lng) => (globalThis as unknown as { diffmine: { leaflet: Leaflet } }).diffmine.leaflet.getCenter().lng > lng,
      zoomed.lng,
    );
    await page.keyboard.press('-');
    await page.waitForFunction(
      (zoom) => (globalThis as unknown as { diffmine: { leaflet: Leaflet } }).diffmine.leaflet.getZoom() < zoom,
      zoomed.zoom,
    );
    await page.locator('#whole').click();
    expect((await view(page)).zoom).toBe(before.zoom);
    expect(wrongs).toEqual([]);
    await page.context().close();
  });

  test('filters by label and score, lasso, all in view', async () => {
    const { page, wrongs } = await onMap();
    const all = Number(/\d+/.exec((await count(page)) ?? '')?.[0]);
    expect(all).toBe(60);
    await page.locator('#in-view').click();
    expect(await selected(page)).toBe(all);
    await page.locator('.map-key').getByText('1910s').click();
    expect(await count(page)).toBe('40 of 60 patches');
    await page.locator('#map-least').fill('50');
    const left = Number(/\d+/.exec((await count(page)) ?? '')?.[0]);
    expect(left).toBeLessThan(40);
    await page.locator('#map-least').fill('0');
    await page.locator('#map-most').fill('30');
    expect(await count(page)).toMatch(/ of 60 patches/);
    await page.locator('#map-most').fill('100');
    // a lasso around everything chooses what the filter leaves
    await page.locator('#lasso').click();
    const box = (await page.locator('#map').boundingBox()) as { x: number; y: number; width: number; height: number };
    await page.mouse.move(box.x + 4, box.y + 4);
    await page.mouse.down();
    for (const [u, v] of [
      [1, 0],
      [1, 1],
      [0, 1],
      [0, 0],
    ] as const)
      await page.mouse.move(box.x + 4 + u * (box.width - 8), box.y + 4 + v * (box.height - 8), { steps: 4 });
    await page.mouse.up();
    expect(await selected(page)).toBe(40);
    expect(await page.locator('#lasso').getAttribute('aria-pressed')).toBe('false');
    await page.locator('#map-color').selectOption('typicality');
    expect(await page.locator('.map-key .scale').isVisible()).toBe(true);
    await page.locator('#clear').click();
    expect(await page.locator('[aria-label=Selection]').count()).toBe(0);
    expect(wrongs).toEqual([]);
    await page.context().close();
  });

  test('by keyboard: a patch, similar ones, the basket, which is kept and exported', async () => {
    const { page, wrongs } = await onMap();
    await page.locator('#map').focus();
    await page.keyboard.press('Enter');
    expect(await page.locator('.picked').count()).toBe(1);
    await page.keyboard.press('b');
    expect(await page.locator('.basket h3').textContent()).toBe('Basket: 1 patch');
    await page.keyboard.press('s');
    expect(await selected(page)).toBe(13);
    await page.locator('#keep-all').click();
    expect(await page.locator('.basket h3').textContent()).toBe('Basket: 13 patches');
    const [csv] = await Promise.all([page.waitForEvent('download'), page.locator('#csv').click()]);
    const [header, first, ...more] = (await textOf(csv)).trimEnd().split('\r\n');
    expect(header).toBe('image,label,condition,list,rank,cluster,x,y,width,height,typicality,standard_error');
    expect(first).toMatch(/^"\d\/\d, ""x"".png",19\d0s,19\d0s,top,\d+,\d,/);
    expect(more).toHaveLength(12);
    const [coco] = await Promise.all([page.waitForEvent('download'), page.locator('#coco').click()]);
    const data = JSON.parse(await textOf(coco)) as {
      images: { id: number; file_name: string; width: number; height: number }[];
      annotations: { image_id: number; bbox: number[]; area: number }[];
    };
    expect(data.annotations).toHaveLength(13);
    expect(data.images[0]).toMatchObject({ id: 1, width: 192, height: 128 });
    for (const { image_id, bbox, area } of data.annotations) {
      const { file_name } = data.images.find(({ id }) => id === image_id) as { file_name: string };
      expect(images.some(({ path }) => path === file_name)).toBe(true);
      expect(area).toBe((bbox[2] as number) * (bbox[3] as number));
    }
    await page.reload();
    await page.waitForSelector('.map canvas');
    expect(await page.locator('.basket h3').textContent()).toBe('Basket: 13 patches');
    // what is done beside the map keeps the focus there, and is announced
    const focused = (): Promise<string> =>
      page.evaluate(
        () => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? '',
      );
    await page.locator('.basket .tile').first().focus();
    await page.keyboard.press('Enter');
    expect(await page.locator('.basket h3').textContent()).toBe('Basket: 12 patches');
    expect(await page.locator('#status').textContent()).toBe('Basket: 12 patches');
    expect(await focused()).toMatch(/^Remove this patch/);
    await page.locator('#map').focus();
    await page.keyboard.press('Enter');
    await page.locator('#keep').focus();
    const kept = (await focused()) === 'Remove from basket';
    await page.keyboard.press('Enter');
    expect(await focused()).toBe(kept ? 'Add to basket' : 'Remove from basket');
    await page.locator('#empty').click();
    expect(await page.locator('#csv').isDisabled()).toBe(true);
    expect(wrongs).toEqual([]);
    await page.context().close();
  });

  test('an image page has its patches, its maps under every label, and its neighbors', async () => {
    const { page, wrongs } = await open('#1910s/top/1');
    await page.waitForSelector('dialog[open]');
    await page.locator('#dialog-keep').click();
    expect(await page.locator('#dialog-keep').textContent()).toBe('Remove from basket');
    await page.getByRole('button', { name: 'Image page' }).click();
    await page.waitForSelector('.image-page');
    expect(new URL(page.url()).hash).toMatch(/^#\/image\/\d+$/);
    expect(await page.locator('.image-page .box').count()).toBe(5);
    expect(await page.locator('.maps-of figcaption').allTextContents()).toEqual(LABELS);
    expect(await page.locator('.neighbor').count()).toBeGreaterThan(1);
    const before = page.url();
    await page.locator('.neighbor').first().click();
    expect(page.url()).not.toBe(before);
    await page.locator('.image-page .box').first().click();
    await page.waitForSelector('dialog[open]');
    expect(wrongs).toEqual([]);
    await page.context().close();
  });

  test('trends show a curve with standard errors and patches per label', async () => {
    const { page, wrongs } = await open('#/trends');
    await page.waitForSelector('.course');
    expect(await page.locator('main .part h3').allTextContents()).toEqual(['Rising']);
    expect(await page.locator('main .head .sub').textContent()).toContain('over 4 images per label');
    expect(await page.locator('.course svg').getAttribute('aria-label')).toContain('1920s 70 % ± 10 %');
    expect(await page.locator('.course .about').textContent()).toContain('most common in 1920s: 70 %');
    expect(await page.locator('.course .error').count()).toBe(3);
    expect(await page.locator('.course .columns .tile').count()).toBe(3);
    expect(await page.locator('.course .columns .caption').allTextContents()).toEqual([
      '1900s 10 %',
      '1910s 40 %',
      '1920s 70 %',
    ]);
    // each point of the curve is above its label's patches
    const middles = (selector: string): Promise<number[]> =>
      page.locator(selector).evaluateAll((all) =>
        all.map((one) => {
          const { left, right } = one.getBoundingClientRect();
          return (left + right) / 2;
        }),
      );
    const dots = await middles('.course .curve .dot');
    const tiles = await middles('.course .columns .tile');
    for (const [i, dot] of dots.entries()) expect(Math.abs(dot - (tiles[i] as number))).toBeLessThanOrEqual(1);
    // a patch leads to its image
    const tile = page.locator('.course .columns .tile').last();
    const words = (await tile.getAttribute('aria-label')) ?? '';
    await tile.click();
    await page.waitForSelector('.image-page .box');
    expect(words).toContain((await page.locator('main h2').textContent()) ?? 'none');
    expect(wrongs).toEqual([]);
    await page.context().close();
  });

  test.each([
    ['light', false],
    ['dark', true],
  ])('%s: every page reads well and fits, at 390 and 1280 px', async (_, dark) => {
    for (const width of [390, 1280]) {
      const { page, wrongs } = await open('', { width, dark });
      const check = async (): Promise<void> => {
        expect(
          await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
        ).toBeLessThanOrEqual(0);
        expect(await page.evaluate(lowContrast)).toEqual([]);
        expect(await page.evaluate(unnamed)).toEqual([]);
      };
      for (const [hash, there] of [
        ['#/overview', '.label-row'],
        ['#/map', '.map canvas'],
        ['#/trends', '.course'],
        ['#/image/0', '.image-page'],
      ] as const) {
        await page.goto(`${pathToFileURL(join(run, 'report/index.html')).href}${hash}`);
        await page.waitForSelector(there);
        await check();
        if (hash !== '#/map') continue;
        await page.locator('#in-view').click();
        await page.locator('#keep-all').click();
        await check();
        await page.locator('#map-color').selectOption('typicality');
        await check();
      }
      expect(wrongs).toEqual([]);
      await page.context().close();
    }
  });

  test('all pages are reached by the Tab key and announced', async () => {
    const { page, wrongs } = await open();
    await page.locator('[role=tab][aria-selected=true]').focus();
    for (const [title, there] of [
      ['Map', '.map canvas'],
      ['Trends', '.course'],
    ] as const) {
      await page.keyboard.press('ArrowRight');
      // once more, while the page's data is still loading
      await page.keyboard.press('Enter');
      await page.waitForSelector(there);
      expect(await page.locator('[role=tab][aria-selected=true]').textContent()).toBe(title);
      expect(await page.locator('main h2').first().isVisible()).toBe(true);
    }
    // curves that are wider than the screen are scrolled without a mouse
    const inCourse = (): Promise<boolean> => page.evaluate(() => document.activeElement?.closest('.course') !== null);
    for (let presses = 0; presses < 5 && !(await inCourse()); presses++) await page.keyboard.press('Tab');
    expect(await inCourse()).toBe(true);
    expect(wrongs).toEqual([]);
    await page.context().close();
  });

  test('neighboring tiles of the map show the same thumbnails, none of which is cut', async () => {
    const { page, wrongs } = await onMap();
    // two patches in one square beside the edge at 512 px: only the weaker one reaches over it, and the better one is shown
    const drawn = await page.evaluate(async () => {
      type Shown = Record<string, unknown>;
      const { mapCanvas, tiles } = (
        globalThis as unknown as { diffmine: Record<string, (...given: unknown[]) => Shown> }
      ).diffmine as Record<'mapCanvas' | 'tiles', (...given: unknown[]) => Shown>;
      const at: [HTMLCanvasElement, number][] = [];
      const draw = CanvasRenderingContext2D.prototype.drawImage as (...given: unknown[]) => void;
      CanvasRenderingContext2D.prototype.drawImage = function (this: CanvasRenderingContext2D, ...given: unknown[]) {
        at.push([this.canvas, given[5] as number]);
        draw.apply(this, given);
      };
      const map = { label: [0, 0], tile: [0, 1], typicality: [2, 1], side: 1, cells: [[0, 1]] };
      const places = { x: [470 / 1024, 500 / 1024], y: [100 / 1024, 100 / 1024] };
      const shown = { visible: [1, 1], selected: new Set(), chosen: { at: -1 }, colorOf: () => '#000' };
      const run = { sheet: { tile: 96, columns: 12, rows: 10 } };
      const { create, repaint } = mapCanvas({ ...map, ...places }, { run, tiles: tiles(run.sheet) }, shown) as {
        create: (coords: object) => HTMLCanvasElement;
        repaint: () => void;
      };
      const both = [1, 2].map((x) => create({ x, y: 0, z: 2 }));
      while (at.every(([canvas]) => !both.includes(canvas))) await new Promise(requestAnimationFrame);
      at.length = 0;
      repaint();
      return both.map((tile) => at.filter(([canvas]) => canvas === tile).map(([, left]) => Math.round(left)));
    });
    expect(drawn).toEqual([[470 - 256 - 19], [470 - 512 - 19]]);
    expect(wrongs).toEqual([]);
    await page.context().close();
  });

  test('the basket holds after mining again, which gives patches other numbers', async () => {
    const { page, wrongs } = await onMap();
    await page.locator('#map').focus();
    await page.keyboard.press('Enter');
    await page.keyboard.press('b');
    // as after another mining: one patch is no longer on the map, and one has another tile
    await page.evaluate(() => {
      const [place] = Object.keys(localStorage).filter((key) => key.startsWith('diffmine basket'));
      const items = JSON.parse(localStorage.getItem(place as string) as string) as Record<string, unknown>[];
      const other = { ...items[0], id: '7/900', at: 7, tile: 900, condition: 'gone', image: 'gone.png' };
      localStorage.setItem(place as string, JSON.stringify([...items, other]));
    });
    await page.reload();
    await page.waitForSelector('.map canvas');
    expect(await page.locator('.basket h3').textContent()).toBe('Basket: 2 patches');
    expect(await page.locator('.basket .tile.gone').count()).toBe(1);
    expect(await page.locator('.basket .tile').first().getAttribute('style')).toContain('sprites/');
    const [csv] = await Promise.all([page.waitForEvent('download'), page.locator('#csv').click()]);
    expect(await textOf(csv)).toContain('gone.png');
    await page.locator('.basket .tile.gone').click();
    expect(await page.locator('.basket h3').textContent()).toBe('Basket: 1 patch');
    expect(wrongs).toEqual([]);
    await page.context().close();
  });

  test('a static host serves a copy of it under any path', async () => {
    const host = join(folder, 'host');
    cpSync(join(run, 'report'), join(host, 'some', 'sub path', 'report'), { recursive: true });
    const { origin, close } = await serve(host);
    const context = await browser.newContext({ viewport: { width: 1280, height: 1000 } });
    try {
      const page = await context.newPage();
      const wrongs: string[] = [];
      const base = `${origin}/some/sub%20path/report/`;
      page.on('console', (message) => wrongs.push(`console ${message.type()}: ${message.text()}`));
      page.on('pageerror', (error) => wrongs.push(`error: ${error.message}`));
      page.on('request', (request) => {
        const url = request.url();
        if (!url.startsWith(base) && !url.startsWith('blob:')) wrongs.push(`request: ${url}`);
      });
      page.on(
        'response',
        (response) => response.status() >= 400 && wrongs.push(`${response.status()} ${response.url()}`),
      );
      for (const [hash, there] of [
        ['', '.label-row'],
        ['#/map', '.map canvas'],
        ['#/trends', '.course .tile'],
        ['#/image/0', '.image-page .box'],
        ['#1910s/top/1', 'dialog[open]'],
      ] as const) {
        await page.goto(`${base}${hash}`);
        await page.waitForSelector(there);
      }
      expect(wrongs).toEqual([]);
    } finally {
      await context.close();
      await close();
    }
  });
});

const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.webp': 'image/webp',
};

/** Serves a folder as static hosts do. */
async function serve(root: string): Promise<{ origin: string; close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    const name = decodeURIComponent(new URL(request.url ?? '', 'http://host').pathname);
    const file = join(root, name.endsWith('/') ? `${name}index.html` : name);
    if (!existsSync(file)) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' });
    response.end(readFileSync(file));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
