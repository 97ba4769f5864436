// The report: which patches in which order, heat maps, tiles, escaping, and the folder that is written.
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { createContext, runInContext } from 'node:vm';
import sharp, { type Sharp } from 'sharp';
import { openImage } from '../../src/data/index.js';
import { commonScale, legend, paint, strength, type TypicalityMap } from '../../src/web/heatmap.js';
import { layOut } from '../../src/stages/report/layout.js';
import { contextSize, cutTile, decode, encodeContext, SpriteSheet, TILE } from '../../src/web/sprites.js';
import { writeReport } from '../../src/stages/report/report.js';
import { scriptOf } from '../../src/web/script.js';
import { Run } from '../../src/runs/run.js';
import type { ClusterRow, MinedPatchRow } from '../../src/runs/columns.js';
import { filesWithPaths, temporaryFolder } from '../helpers/folders.js';
import { nightlyTest } from '../helpers/nightly.js';
import {
  drawImages,
  vivid,
  writeSyntheticRun,
  type SyntheticOptions,
  type SyntheticImage,
} from '../helpers/synthetic-run.js';

/** What data files tell the page. */
interface Page {
  run: {
    labels: { label: string; patches: number; clusters: number; images: number }[];
    missing: { count: number };
    maps: { kept: boolean; shown: number };
    skipped: { count: number };
  };
  labels: Record<
    number,
    {
      label: string;
      prompt: string | null;
      scale: number;
      clusters: { size: number; median: number; members: number[] }[];
      lists: Record<string, { total: number; shown: number[] }>;
      images: [number, string, string, number, number, number][];
      patches: Record<string, number[]>;
    }
  >;
}

/** Runs a report's data files as the page would. */
function load(report: string): Page {
  const page: Page = { run: undefined as unknown as Page['run'], labels: {} };
  const context = createContext({
    diffmine: {
      run: (run: Page['run']) => (page.run = run),
      evaluated: () => undefined,
      map: () => undefined,
      trends: () => undefined,
      label: (index: number, label: Page['labels'][number]) => (page.labels[index] = label),
    },
  });
  for (const name of readdirSync(join(report, 'data')))
    runInContext(readFileSync(join(report, 'data', name), 'utf8'), context);
  return page;
}

/** The mean color of an image's region. */
async function meanColor(
  file: string | Buffer,
  region?: { left: number; top: number; width: number; height: number },
): Promise<number[]> {
  const image = sharp(file).removeAlpha();
  const { channels } = await sharp(await (region ? image.extract(region) : image).png().toBuffer()).stats();
  return channels.slice(0, 3).map((channel) => channel.mean);
}

function expectColor(actual: readonly number[], expected: readonly number[], within: number): void {
  const worst = Math.max(...expected.map((value, i) => Math.abs(value - (actual[i] as number))));
  if (worst > within)
    throw new Error(`the color is ${actual.map(Math.round).join(', ')}, not ${expected.join(', ')} (within ${within})`);
}

describe('layout', () => {
  const row = (values: Partial<MinedPatchRow>): MinedPatchRow => ({
    image: 'i',
    label: 'a',
    condition: 'a',
    list: 'top',
    rank: 1,
    x: 0,
    y: 0,
    width: 8,
    height: 8,
    row: 0,
    column: 0,
    patch: 8,
    typicality: 0,
    standard_error: null,
    samples: 1,
    cluster: null,
    distance: null,
    ...values,
  });
  const cluster = (values: Partial<ClusterRow>): ClusterRow => ({
    condition: 'a',
    cluster: 0,
    size: 1,
    median_typicality: 0,
    auroc: null,
    auroc_low: null,
    auroc_high: null,
    evidence_own: null,
    evidence_others: null,
    inertia: 0,
    ...values,
  });

  test('clusters by number, members by distance, lists by rank, labels in the order of the run', () => {
    const rows = [
      row({ rank: 3, cluster: 0, distance: 0.5 }),
      row({ rank: 1, cluster: 1, distance: 0.2 }),
      row({ rank: 2, cluster: 0, distance: 0.1 }),
      row({ rank: 2, list: 'bottom' }),
      row({ rank: 1, list: 'bottom' }),
      row({ condition: 'c', rank: 1, cluster: 0, distance: 0 }),
    ];
    const views = layOut(
      ['b', 'c', 'a'],
      rows,
      [
        cluster({ cluster: 1, size: 1 }),
        cluster({ cluster: 0, size: 2, median_typicality: 0.5 }),
        cluster({ condition: 'c' }),
      ],
      100,
    );
    expect(views.map((view) => view.label)).toEqual(['b', 'c', 'a']);
    expect(views[0]).toEqual({
      label: 'b',
      patches: [],
      clusters: [],
      lists: {
        top: { total: 0, shown: [] },
        diverse: { total: 0, shown: [] },
        random: { total: 0, shown: [] },
        bottom: { total: 0, shown: [] },
      },
    });
    const a = views[2]!;
    expect(a.clusters.map(({ members }) => members.map((tile) => a.patches[tile]!.rank))).toEqual([[2, 3], [1]]);
    expect(a.clusters[0]).toMatchObject({ size: 2, median: 0.5, members: [0, 1] });
    expect(a.lists.top.shown.map((tile) => a.patches[tile]!.rank)).toEqual([1, 2, 3]);
    expect(a.lists.bottom.shown.map((tile) => a.patches[tile]!.rank)).toEqual([1, 2]);
    expect(a.patches).toHaveLength(5);
  });

  test('lists that were not clustered are cut, the clustered one never', () => {
    const rows = Array.from({ length: 30 }, (_, i) => [
      row({ rank: i + 1, list: 'top' }),
      row({ rank: i + 1, list: 'random' }),
      row({ rank: i + 1, list: 'bottom', cluster: i % 3, distance: i }),
    ]).flat();
    const [view] = layOut(
      ['a'],
      rows,
      [0, 1, 2].map((n) => cluster({ cluster: n, size: 10 })),
      7,
    );
    expect(view!.lists.top).toEqual({ total: 30, shown: expect.any(Array) });
    expect([view!.lists.top.shown.length, view!.lists.random.shown.length, view!.lists.bottom.shown.length]).toEqual([
      7, 7, 30,
    ]);
    expect(view!.patches).toHaveLength(44);
  });
});

describe('heat maps', () => {
  const map = (width: number, height: number, of: (x: number, y: number) => number): TypicalityMap => ({
    width,
    height,
    values: Float32Array.from({ length: width * height }, (_, i) => of(i % width, Math.floor(i / width))),
  });
  const pixel = (painting: Buffer, width: number, x: number, y: number): number[] => [
    ...painting.subarray(3 * (y * width + x), 3 * (y * width + x) + 3),
  ];

  test('zero is neutral gray, above is warm, below is cold, as strong as its value', () => {
    const painting = paint(
      map(5, 1, (x) => [-2, -0.5, 0, 0.5, 1][x]!),
      1,
      5,
      1,
      { width: 1, height: 1 },
    );
    const [untypical, cool, none, warm, typical] = [0, 1, 2, 3, 4].map((x) => pixel(painting, 5, x, 0));
    expect(none).toEqual([128, 128, 128]);
    expect(typical![0]! - typical![2]!).toBeGreaterThan(150);
    expect(untypical![2]! - untypical![0]!).toBeGreaterThan(150);
    expect(warm![0]! - warm![2]!).toBeGreaterThan(60);
    expect(warm![0]! - warm![2]!).toBeLessThan(typical![0]! - typical![2]!);
    expect(cool![2]! - cool![0]!).toBeGreaterThan(60);
    const stops = legend(5);
    expect(stops).toEqual([untypical, cool, none, warm, typical].map((color) => `rgb(${color!.join(' ')})`));
  });

  test('resampled as the scores are: bilinear, corners not aligned', () => {
    // a ramp stays a ramp between the outer cells' centers, and is flat beyond them
    const painting = paint(
      map(4, 4, (x) => x / 3 - 0.5),
      0.5,
      32,
      32,
      { width: 8, height: 8 },
    );
    const shade = (x: number): number => pixel(painting, 32, x, 13)[0]! - pixel(painting, 32, x, 13)[2]!;
    expect(shade(0)).toBe(shade(3));
    expect(shade(28)).toBe(shade(31));
    expect(shade(15)).toBeCloseTo(-shade(16), -1);
    for (let x = 4; x < 28; x++) expect(shade(x)).toBeGreaterThanOrEqual(shade(x - 1));
    expect(shade(28)).toBeGreaterThan(shade(4) + 300);
  });

  test('what the map does not cover stays neutral', () => {
    const painting = paint(
      map(2, 2, () => 1),
      1,
      20,
      20,
      { width: 8, height: 8 },
    );
    expect(pixel(painting, 20, 15, 15)).not.toEqual([128, 128, 128]);
    for (const [x, y] of [
      [16, 0],
      [0, 16],
      [19, 19],
    ] as const)
      expect(pixel(painting, 20, x, y)).toEqual([128, 128, 128]);
  });

  test('a flat, empty or broken map paints nothing', () => {
    const neutral = Buffer.alloc(3 * 16, 128);
    expect(
      paint(
        map(2, 2, () => 0),
        0,
        4,
        4,
        { width: 2, height: 2 },
      ),
    ).toEqual(neutral);
    expect(
      paint(
        map(2, 2, () => NaN),
        1,
        4,
        4,
        { width: 2, height: 2 },
      ),
    ).toEqual(neutral);
    expect(strength(map(2, 2, () => NaN))).toBe(0);
    expect(commonScale([])).toBe(0);
  });

  test('one odd image does not wash out the others', () => {
    expect(commonScale([...Array.from({ length: 19 }, (_, i) => 1 + i / 100), 1000])).toBeLessThan(2);
    expect(strength(map(40, 40, (x, y) => (x === 3 && y === 3 ? -500 : -1)))).toBe(1);
  });
});

test('data files cannot end a script or a line, and give back what went in', () => {
  const value = {
    '</script><script>alert(1)</script>': 'a\u2028b\u2029c<!--',
    emoji: '🚗 "quoted" \\ \u0000',
    lone: 'x',
  };
  const text = scriptOf('take', 3, value);
  expect(text).not.toMatch(/[<\u2028\u2029]/);
  let got: unknown;
  runInContext(text, createContext({ take: (...values: unknown[]) => (got = values) }));
  expect(JSON.stringify(got)).toBe(JSON.stringify([3, value]));
});

describe('images', () => {
  const folder = temporaryFolder();
  const RED = [220, 20, 30];
  /** a gray image with a red square */
  const square = (width: number, height: number, box: { left: number; top: number; size: number }): Sharp => {
    const pixels = Buffer.alloc(3 * width * height, 120);
    for (let y = box.top; y < box.top + box.size; y++)
      for (let x = box.left; x < box.left + box.size; x++) pixels.set(RED, 3 * (y * width + x));
    return sharp(pixels, { raw: { width, height, channels: 3 } });
  };

  test.each([
    ['small: enlarged', 64, 48, { left: 40, top: 8, size: 16 }],
    ['as large as its tile', 400, 300, { left: 104, top: 160, size: 96 }],
    ['large: decoded at a fraction', 2400, 1600, { left: 1600, top: 200, size: 600 }],
  ])('a tile is the box and nothing else (%s)', async (name, width, height, box) => {
    const file = join(folder, `${width}.png`);
    await square(width, height, box).png().toFile(file);
    const image = await decode(await openImage(file), box.size);
    expect(image).toMatchObject({ sourceWidth: width, sourceHeight: height });
    expect(Math.max(image.width, image.height)).toBeLessThanOrEqual(Math.max(500, width / 3));
    const tile = await cutTile(image, { x: box.left, y: box.top, width: box.size, height: box.size });
    expect(tile).toHaveLength(3 * TILE * TILE);
    const drawn = await sharp(tile, { raw: { width: TILE, height: TILE, channels: 3 } })
      .png()
      .toBuffer();
    expectColor(await meanColor(drawn), RED, 4);
    // beside the box there is none of it
    const beside = await cutTile(image, { x: box.left - box.size, y: box.top, width: box.size, height: box.size });
    expectColor([...beside.subarray(0, 3)], [120, 120, 120], 3);
  });

  test('a place without a tile is hatched', async () => {
    const sheet = new SpriteSheet(2);
    sheet.put(0, Buffer.alloc(3 * TILE * TILE, 200));
    const { bytes } = await sheet.encode();
    const place = (left: number) => sharp(bytes).extract({ left, top: 0, width: TILE, height: TILE }).png().toBuffer();
    const spread = async (left: number) => (await sharp(await place(left)).stats()).channels[0]?.stdev;
    expect(await spread(0)).toBeLessThan(3);
    expect(await spread(TILE)).toBeGreaterThan(10);
  });

  test('boxes are those of the upright image', async () => {
    const file = join(folder, 'rotated.jpg');
    // orientation 6: shown after a quarter turn clockwise; stored 300 x 200, upright 200 x 300, so stored (x, y) is upright (200 - y, x)
    await square(300, 200, { left: 200, top: 20, size: 60 })
      .jpeg({ quality: 95, chromaSubsampling: '4:4:4' })
      .withMetadata({ orientation: 6 })
      .toFile(file);
    const image = await decode(await openImage(file), 60);
    expect([image.sourceWidth, image.sourceHeight]).toEqual([200, 300]);
    const tile = await cutTile(image, { x: 200 - 20 - 60, y: 200, width: 60, height: 60 });
    expectColor(
      await meanColor(
        await sharp(tile, { raw: { width: TILE, height: TILE, channels: 3 } })
          .png()
          .toBuffer(),
      ),
      RED,
      6,
    );
  });

  test('gray, palette and alpha images become RGB; alpha is dropped, not blended', async () => {
    const grey = join(folder, 'grey.png');
    await square(200, 200, { left: 0, top: 0, size: 20 }).greyscale().toColourspace('b-w').png().toFile(grey);
    expect((await decode(await openImage(grey), 20)).pixels).toHaveLength(3 * 200 * 200);
    const clear = join(folder, 'clear.png');
    await sharp({ create: { width: 900, height: 900, channels: 4, background: { r: 220, g: 20, b: 30, alpha: 0 } } })
      .png()
      .toFile(clear);
    const image = await decode(await openImage(clear), 600);
    expectColor([...image.pixels.subarray(0, 3)], RED, 2);
  });

  test('boxes that stick out are cut off', async () => {
    const file = join(folder, 'edge.png');
    await square(50, 50, { left: 30, top: 30, size: 20 }).png().toFile(file);
    const tile = await cutTile(await decode(await openImage(file), 30), { x: 30.4, y: 29.6, width: 30, height: 40 });
    expectColor([...tile.subarray(3 * TILE * 48, 3 * TILE * 48 + 3)], RED, 4);
  });

  test('context images keep their shape and stay within 320 px', async () => {
    expect(contextSize(4000, 1000)).toEqual({ width: 320, height: 80 });
    expect(contextSize(64, 64)).toEqual({ width: 64, height: 64 });
    expect(contextSize(100000, 1)).toEqual({ width: 320, height: 1 });
    const info = await sharp(
      await encodeContext(await decode(await openImage(join(folder, '2400.png')), 600)),
    ).metadata();
    expect([info.format, info.width, info.height]).toEqual(['webp', 320, 213]);
  });
});

describe('writeReport', () => {
  const folder = temporaryFolder();
  const LABELS = ['<script>alert(1)</script>', 'a/b', '🚗 cars & "quotes"', 'nothing mined'];
  const dataset = join(folder, 'images');
  let images: SyntheticImage[] = [];
  beforeAll(async () => {
    const names = (label: number): string[] =>
      [0, 1, 2].map((n) => `${label}/<img src=x onerror=alert(2)> ${n}.${n === 0 ? 'jpg' : 'png'}`);
    images = await drawImages(dataset, LABELS.slice(0, 3), names);
  });
  let runs = 0;
  const makeRun = async (options: Partial<SyntheticOptions> = {}): Promise<string> => {
    const run = join(folder, `run-${runs++}`);
    await writeSyntheticRun(run, dataset, images, { labels: LABELS, clusters: 2, ...options });
    return run;
  };
  const filesOf = (report: string): string[] =>
    readdirSync(report, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));

  test('every patch has its tile, its place and its numbers', async () => {
    const run = await makeRun({ skipped: [{ image: 'x.bmp', label: 'a/b', reason: 'is not an image' }] });
    const events: { type: string; done: number; total: number }[] = [];
    const summary = await writeReport({ run }, { onProgress: (event) => events.push(event) });
    const report = join(run, 'report');
    expect(summary).toMatchObject({ path: join(report, 'index.html'), labels: 4, images: 9, maps: 9, missing: [] });
    expect(events.at(-1)).toEqual({ type: 'report', done: 9, total: 9 });
    const page = load(report);
    expect(page.run.labels.map(({ label }) => label)).toEqual(LABELS);
    expect(page.run).toMatchObject({ skipped: { count: 1 }, maps: { kept: true, shown: 9 }, missing: { count: 0 } });
    expect(page.labels[1]).toMatchObject({ label: 'a/b', prompt: 'A photo of a/b.' });
    expect(page.labels[3]).toMatchObject({ clusters: [], images: [] });
    expect(summary.patches).toBe(page.run.labels.reduce((sum, label) => sum + label.patches, 0));
    for (const index of [0, 1, 2]) {
      const { patches, lists, clusters, images: shown } = page.labels[index]!;
      expect(clusters.map(({ median }) => median)).toEqual(
        [...clusters.map(({ median }) => median)].sort((a, b) => b - a),
      );
      expect(clusters.flatMap(({ members }) => members).sort((a, b) => a - b)).toEqual(
        [...lists['top']!.shown].sort((a, b) => a - b),
      );
      // the most typical patch is the vivid square: its tile shows that color
      const tile = lists['top']!.shown[0]!;
      const [number, path, label, width, height, has] = shown[patches['image']![tile]!]!;
      const source = images.find((image) => image.path === path)!;
      expect([label, width, height, has]).toEqual([LABELS[index], source.width, source.height, 2]);
      expect([patches['x']![tile], patches['y']![tile], patches['rank']![tile]]).toEqual([
        source.hot.x,
        source.hot.y,
        1,
      ]);
      const grid = join(report, 'sprites', `${index}-0.webp`);
      expectColor(
        await meanColor(grid, {
          left: (tile % 12) * TILE + 8,
          top: Math.floor(tile / 12) * TILE + 8,
          width: 80,
          height: 80,
        }),
        vivid(index),
        14,
      );
      // and the heat map is warm there and nearly neutral far from it
      const middle = { left: Math.round(source.hot.x + 12), top: Math.round(source.hot.y + 12), width: 8, height: 8 };
      const heat = await meanColor(join(report, 'maps', `${index}-${number}.webp`), middle);
      expect(heat[0]! - heat[2]!).toBeGreaterThan(120);
      expectColor(await meanColor(join(report, 'images', `${number}.webp`), middle), vivid(index), 14);
    }
  });

  test('file names are numbers, and the totals are true', async () => {
    const run = await makeRun();
    const { bytes } = await writeReport({ run });
    const files = filesOf(join(run, 'report'));
    expect(filesWithPaths(join(run, 'report'))).toEqual([]);
    const names = files.map((file) => file.slice(join(run, 'report').length + 1));
    expect(
      names.filter(
        (name) =>
          !/^(index\.html|[a-z-]+\.(css|js)|data\/(run|map|trends|evaluation|label-\d+)\.js|(sprites|maps)\/\d+-\d+\.webp|images\/\d+\.webp)$/.test(
            name,
          ),
      ),
    ).toEqual([]);
    const sizeOf = (start: RegExp): number =>
      files.filter((_, i) => start.test(names[i]!)).reduce((sum, file) => sum + statSync(file).size, 0);
    expect(bytes).toEqual({
      page: sizeOf(/^(?!sprites|images|maps)/),
      sprites: sizeOf(/^sprites/),
      images: sizeOf(/^images/),
      maps: sizeOf(/^maps/),
      total: sizeOf(/^/),
    });
    for (const file of files.filter((name) => name.endsWith('.js') && name.includes('data')))
      expect(readFileSync(file, 'utf8')).not.toContain('<');
  });

  test('an earlier report is replaced whole, and kept when a new one is cancelled', async () => {
    const run = await makeRun();
    await writeReport({ run });
    const before = statSync(join(run, 'report/index.html')).ino;
    mkdirSync(join(run, '.report.tmp-dead'));
    const controller = new AbortController();
    await expect(
      writeReport({ run }, { signal: controller.signal, onProgress: ({ done }) => done === 2 && controller.abort() }),
    ).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(statSync(join(run, 'report/index.html')).ino).toBe(before);
    await writeReport({ run, controlPatches: 1 });
    expect(statSync(join(run, 'report/index.html')).ino).not.toBe(before);
    expect(load(join(run, 'report')).labels[0]!.lists['bottom']!.shown).toHaveLength(1);
    expect(readdirSync(run).filter((name) => name.startsWith('.'))).toEqual([]);
    expect(readdirSync(join(run, 'locks'))).toEqual([]);
  });

  test('missing images are named, and the rest is shown', async () => {
    const moved = join(folder, 'moved');
    cpSync(dataset, moved, { recursive: true });
    const run = await makeRun();
    const gone = images[0]!.path;
    unlinkSync(join(moved, gone));
    const lines: string[] = [];
    const summary = await writeReport({ run, dataset: moved }, { onLog: (line) => lines.push(line) });
    expect(summary.missing).toEqual([{ image: gone, reason: 'cannot be read: there is no such file.' }]);
    expect(summary.images).toBe(8);
    expect(lines).toContain(`Cannot show ${gone}, which cannot be read: there is no such file.`);
    expect(
      load(join(run, 'report'))
        .labels[0]!.images.find(([, path]) => path === gone)!
        .slice(3),
    ).toEqual([0, 0, 0]);
    rmSync(moved, { recursive: true });
    await expect(writeReport({ run, dataset: moved })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('a file under two labels has its heat map under both, whichever shards they fell in', async () => {
    const run = join(folder, `run-${runs++}`);
    const one = { ...images[0]!, label: 'a' };
    await writeSyntheticRun(run, dataset, [one, { ...one, label: 'b' }], {
      labels: ['a', 'b'],
      clusters: 1,
      shardSize: 1,
    });
    expect(await writeReport({ run })).toMatchObject({ maps: 2, missing: [] });
    const { labels } = load(join(run, 'report'));
    expect(
      [labels[0]!.images, labels[1]!.images].map((shown) =>
        shown.map(([, path, label, , , has]) => [path, label, has]),
      ),
    ).toEqual([[[one.path, 'a', 2]], [[one.path, 'b', 2]]]);
  });

  test('a JPEG with stray bytes, which the scan reads, is shown', async () => {
    const moved = join(folder, 'stray');
    cpSync(dataset, moved, { recursive: true });
    const jpeg = images.find(({ path }) => path.endsWith('.jpg'))!.path;
    const bytes = readFileSync(join(moved, jpeg));
    writeFileSync(join(moved, jpeg), Buffer.concat([bytes.subarray(0, 2), Buffer.alloc(3), bytes.subarray(2)]));
    expect(await writeReport({ run: await makeRun(), dataset: moved })).toMatchObject({ images: 9, missing: [] });
  });

  test('where another process writes the report this one waits for it', async () => {
    const run = await makeRun();
    const lock = await (await Run.open(run)).locks.acquire('report');
    const lines: string[] = [];
    await writeReport(
      { run },
      {
        onLog: (line) => {
          lines.push(line);
          void lock?.release();
        },
      },
    );
    expect(lines[0]).toBe(`Waiting for process ${process.pid} on ${hostname()}, which writes the report of ${run}.`);
    expect(existsSync(join(run, 'report', 'index.html'))).toBe(true);
  });

  test('without maps it shows a message', async () => {
    const run = await makeRun({ maps: false });
    const lines: string[] = [];
    const summary = await writeReport({ run }, { onLog: (line) => lines.push(line) });
    expect(summary).toMatchObject({ maps: 0, bytes: { maps: 0 } });
    expect(lines.join('\n')).toContain('--no-maps');
    expect(load(join(run, 'report')).run.maps).toEqual({ kept: false, shown: 0 });
  });

  test('a run that was not mined, and a folder that is not a run, are errors with a hint', async () => {
    const run = await makeRun();
    rmSync(join(run, 'mine'), { recursive: true });
    await expect(writeReport({ run })).rejects.toMatchObject({
      code: 'RUN_INVALID',
      hint: expect.stringContaining('diffmine mine'),
    });
    await expect(writeReport({ run: dataset })).rejects.toMatchObject({ code: 'RUN_INVALID' });
    expect(existsSync(join(run, 'report'))).toBe(false);
  });
});

describe('size', () => {
  const folder = temporaryFolder();

  /** A report of labels of 40 images and 1000 clustered patches each; of several labels with the map. */
  async function report(labelCount: number): ReturnType<typeof writeReport> {
    const run = join(folder, `run-${labelCount}`);
    const labels = Array.from({ length: labelCount }, (_, i) => `label ${i}`);
    const names = (label: number): string[] => Array.from({ length: 40 }, (_, n) => `${label}/${n}.jpg`);
    const dataset = join(folder, `images-${labelCount}`);
    const images = await drawImages(dataset, labels, names, { width: 320, height: 128 }, 90);
    const options = { labels, perImage: 25, clusters: 32, shardSize: 64, overlap: true, features: labelCount > 1 };
    await writeSyntheticRun(run, dataset, images, options);
    return writeReport({ run });
  }

  test('a label of 1000 patches: page and sprites weigh at most 3 MB', async () => {
    const { bytes, patches, images, maps } = await report(1);
    expect([patches, images, maps]).toEqual([1200, 40, 40]);
    expect(bytes.page + bytes.sprites).toBeLessThanOrEqual(3e6);
    expect(bytes.sprites).toBeGreaterThan(0.8e6); // the tiles were not starved
  });

  nightlyTest(
    '10 labels of 1000 patches: page and sprites weigh at most 30 MB',
    async () => {
      const { bytes, patches, images, maps } = await report(10);
      expect([patches, images, maps]).toEqual([12_000, 400, 400]);
      expect(bytes.page + bytes.sprites).toBeLessThanOrEqual(30e6);
      expect(bytes.sprites).toBeGreaterThan(8e6);
    },
    240_000,
  );
});
