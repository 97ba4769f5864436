// How fast a report opens, and how smoothly its map moves with many patches: those of the report, repeated at other places. Needs Chromium (as the tests do).
//   node scripts/report-speed.mjs RUN/report [--patches 20000]
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import vm from 'node:vm';
import { chromium } from 'playwright-core';
import { fail } from './steps.mjs';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
/** Columns of data/map.js: bytes per patch. */
const COLUMNS = { label: 2, tile: 2, cluster: 2, rank: 4, image: 4, box: 16 };

/** Repeats the patches of data/map.js up to `wanted`; positions are new. */
function repeatPatches(file, wanted) {
  let map;
  const context = vm.createContext({ diffmine: { map: (data) => (map = data) } });
  vm.runInContext(fs.readFileSync(file, 'utf8'), context);
  const { count, near } = map;
  const from = (i) => i % count;
  const repeat = (text, size) => {
    const bytes = Buffer.from(text, 'base64');
    const rows = Array.from({ length: wanted }, (_, i) => bytes.subarray(from(i) * size, (from(i) + 1) * size));
    return Buffer.concat(rows).toString('base64');
  };
  const steps = (column, make) => {
    const old = new Uint16Array(new Uint8Array(Buffer.from(column.data, 'base64')).buffer);
    const data = Uint16Array.from({ length: wanted }, (_, i) => make(old[from(i)], i));
    return { ...column, data: Buffer.from(data.buffer).toString('base64') };
  };
  let state = 1;
  const away = () => ((state = (state * 16_807) % 2_147_483_647) / 2_147_483_647 - 0.5) * 8000;
  const moved = (value) => Math.max(0, Math.min(65_534, Math.round(value + away())));
  const made = { ...map, count: wanted };
  for (const [name, size] of Object.entries(COLUMNS)) made[name] = repeat(map[name], size);
  made.neighbors = repeat(map.neighbors, 4 * near);
  for (const name of ['x', 'y']) made[name] = steps(map[name], moved);
  for (const name of ['typicality', 'error']) made[name] = steps(map[name], (value) => value);
  fs.writeFileSync(file, `diffmine.map(${JSON.stringify(made)});\n`);
}

/** Frames while `act` moves the map. */
async function frames(page, act) {
  await page.evaluate(() => {
    window.frames_ = [];
    const step = (at) => {
      window.frames_.push(at);
      window.frame_ = requestAnimationFrame(step);
    };
    window.frame_ = requestAnimationFrame(step);
  });
  await act();
  const at = await page.evaluate(() => {
    window.cancelAnimationFrame(window.frame_);
    return window.frames_;
  });
  const lengths = at.slice(1).map((time, i) => time - at[i]);
  const sorted = [...lengths].sort((a, b) => a - b);
  const perSecond = (1000 * lengths.length) / (at.at(-1) - at[0]);
  return `${perSecond.toFixed(0)} frames per second, 95 % within ${sorted[Math.floor(0.95 * sorted.length)].toFixed(0)} ms`;
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { patches: { type: 'string', default: '20000' } },
  });
  const [report] = positionals;
  if (!report) throw new Error('Usage: node scripts/report-speed.mjs RUN/report [--patches N]');
  const copy = fs.mkdtempSync(path.join(os.tmpdir(), 'report-speed-'));
  const executablePath = process.env.CHROMIUM ?? PLACES.find((file) => fs.existsSync(file));
  const browser = await chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu'] });
  try {
    fs.cpSync(report, copy, { recursive: true });
    repeatPatches(path.join(copy, 'data/map.js'), Number(values.patches));
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    const tell = (name, value) => process.stdout.write(`${name}: ${value}\n`);
    tell('machine', `${os.cpus()[0]?.model}, load ${os.loadavg()[0].toFixed(1)}`);
    const begun = performance.now();
    await page.goto(pathToFileURL(path.join(copy, 'index.html')).href);
    await page.waitForSelector('.best .tile');
    // the sprite sheet of the first tiles is decoded
    await page.evaluate(async () => {
      const [, file] = /url\("(.*?)"\)/.exec(document.querySelector('.best .tile').style.backgroundImage);
      const image = new window.Image();
      image.src = file;
      await image.decode();
      await new Promise(requestAnimationFrame);
    });
    tell('first images of the overview', `${((performance.now() - begun) / 1000).toFixed(2)} s`);
    const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime);
    tell('first paint', `${(paint / 1000).toFixed(2)} s`);
    const clicked = performance.now();
    await page.getByRole('tab', { name: 'Map' }).click();
    await page.waitForSelector('.map canvas');
    await page.evaluate(() => new Promise(requestAnimationFrame));
    tell(`map of ${values.patches} patches`, `${((performance.now() - clicked) / 1000).toFixed(2)} s`);
    const box = await page.locator('#map').boundingBox();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    for (let zoom = 0; zoom < 3; zoom++) {
      const pan = async () => {
        await page.mouse.move(x, y);
        await page.mouse.down();
        for (let i = 1; i <= 60; i++) await page.mouse.move(x + 150 * Math.sin(i / 8), y + 100 * Math.sin(i / 5));
        await page.mouse.up();
      };
      tell(`panning, zoom ${zoom}`, await frames(page, pan));
      const wheel = async () => {
        await page.mouse.wheel(0, -240);
        await page.waitForTimeout(1000);
      };
      tell(`zooming, from ${zoom}`, await frames(page, wheel));
    }
  } finally {
    await browser.close();
    fs.rmSync(copy, { recursive: true, force: true });
  }
}

main().catch(fail);
