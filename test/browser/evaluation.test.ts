// The evaluation in the report's page, in a real browser, opened from disk: its tab, its figures, its maps, on wide and small screens.
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { evaluate } from '../../src/stages/evaluate/evaluate.js';
import type { EvaluateSummary } from '../../src/stages/evaluate/options.js';
import { writeReport } from '../../src/stages/report/report.js';
import { imageSchema } from '../../src/runs/columns.js';
import { writeTable } from '../../src/runs/tables.js';
import { describeInChromium, launchChromium } from '../helpers/chromium.js';
import { temporaryFolder } from '../helpers/folders.js';
import { drawImages, writeSyntheticRun } from '../helpers/synthetic-run.js';

const LABELS = ['<b>one</b>', 'two'];

describeInChromium('the evaluation in Chromium', () => {
  const folder = temporaryFolder();
  const at = (...names: string[]): string => join(folder, ...names);
  let browser: Browser;
  let summary: EvaluateSummary;

  beforeAll(async () => {
    browser = await launchChromium();
    const images = await drawImages(at('data'), LABELS, (label) => [0, 1, 2, 3].map((n) => `${label}/${n}.png`), {
      width: 64,
      height: 64,
    });
    for (const name of ['run', 'plain', 'other']) {
      await writeSyntheticRun(at(name), at('data'), images, { labels: LABELS, shardSize: 100 });
      const rows = images.map(({ path, label, width, height }) => ({
        image: path,
        label,
        condition: label,
        source_width: width,
        source_height: height,
        width,
        height,
        typicality: 0,
        samples: 100,
      }));
      await writeTable(at(name, 'shards', '00000', 'images.parquet'), rows, imageSchema([]));
    }
    writeFileSync(
      at('boxes.csv'),
      [
        'image,x,y,w,h,kind',
        ...images.map(({ path, hot: { x, y, width, height } }) =>
          [path, x, y, width, height, '<i>square</i>'].join(','),
        ),
      ].join('\n'),
    );
    await writeReport({ run: at('run') });
    await writeReport({ run: at('plain') });
    summary = await evaluate({
      run: at('run'),
      boxes: at('boxes.csv'),
      bootstrap: 20,
      controlRun: at('other'),
      gridImages: 3,
    });
  });
  afterAll(async () => browser?.close());

  const open = async (run: string, hash: string, width = 1280): Promise<{ page: Page; wrongs: string[] }> => {
    const page = await (await browser.newContext({ viewport: { width, height: 900 } })).newPage();
    const wrongs: string[] = [];
    page.on('console', (message) => wrongs.push(`console ${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => wrongs.push(`error: ${error.message}`));
    page.on('requestfailed', (request) => wrongs.push(`failed: ${request.url()}`));
    await page.goto(`${pathToFileURL(at(run, 'report/index.html')).href}${hash}`);
    await page.waitForSelector('.row, .label-row, .notice, .cards');
    return { page, wrongs };
  };

  test('has a tab and an address; labels and elements are text', async () => {
    const { page, wrongs } = await open('run', '');
    expect(await page.locator('[role=tab]').allTextContents()).toEqual(['Overview', ...LABELS, 'Evaluation']);
    expect(await page.locator('.gist').textContent()).toContain('average precision of the maps');
    await page.locator('.gist button').click();
    expect(new URL(page.url()).hash).toBe('#/evaluation');
    expect(await page.locator('[role=tab][aria-selected=true]').textContent()).toBe('Evaluation');
    expect(await page.locator('main h2').textContent()).toBe('Evaluation');
    const text = (await page.locator('main').textContent()) ?? '';
    for (const word of [
      '<b>one</b>',
      '<i>square</i>',
      'Colors alone',
      'other',
      summary.mean.averagePrecision.value?.toFixed(3) as string,
    ])
      expect(text).toContain(word);
    expect(await page.locator('main i.ours').count()).toBe(3);
    expect(await page.locator('main table b, main table i:not([style])').count()).toBe(0);
    await page.getByRole('tab', { name: LABELS[0] as string }).click();
    expect(await page.locator('main h2').textContent()).toBe('<b>one</b>');
    await page.goBack();
    expect(await page.locator('main h2').textContent()).toBe('Evaluation');
    expect(wrongs).toEqual([]);
  });

  test('each cell of the grid is at its position on any screen; tables scroll', async () => {
    for (const width of [1280, 390]) {
      const { page, wrongs } = await open('run', '#/evaluation', width);
      expect(await page.locator('.pair').count()).toBe(6);
      const places = await page
        .locator('.pair')
        .evaluateAll((pairs) =>
          pairs.map((pair) => (pair as unknown as { style: { backgroundPosition: string } }).style.backgroundPosition),
        );
      expect(places).toEqual(['0% 0%', '50% 0%', '100% 0%', '0% 100%', '50% 100%', '100% 100%']);
      const box = await page.locator('.pair').first().boundingBox();
      expect((box?.width ?? 0) / (box?.height ?? 1)).toBeCloseTo(
        (summary.grid?.cell.width ?? 0) / (summary.grid?.cell.height ?? 1),
        1,
      );
      const [across, seen] = await page.evaluate<[number, number]>(
        '[document.documentElement.scrollWidth, window.innerWidth]',
      );
      expect(across).toBeLessThanOrEqual(seen);
      expect(wrongs).toEqual([]);
    }
  });

  test('without an evaluation nothing speaks of one', async () => {
    const { page, wrongs } = await open('plain', '#/evaluation');
    expect(await page.locator('[role=tab]').allTextContents()).toEqual(['Overview', ...LABELS]);
    expect(await page.locator('.gist').count()).toBe(0);
    expect(await page.locator('main h2').textContent()).toBe('<b>one</b>');
    expect(wrongs).toEqual([]);
  });
});
