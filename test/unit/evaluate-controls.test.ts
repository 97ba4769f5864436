// What an evaluation puts beside its figures, and what it leaves behind: colors, another run, the grid of maps, the record, the report.
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { evaluateText } from '../../src/cli/commands/evaluate.js';
import { binsOf, COLORS, histogram, logRatios } from '../../src/stages/evaluate/color.js';
import { evaluate } from '../../src/stages/evaluate/evaluate.js';
import type { EvaluateSummary } from '../../src/stages/evaluate/options.js';
import { EVALUATION_FORMAT, readEvaluation, type EvaluationRecord } from '../../src/runs/evaluation.js';
import { evenly } from '../../src/util/evenly.js';
import { writeReport } from '../../src/stages/report/report.js';
import { MANIFEST, RUN, type Manifest } from '../../src/runs/manifest.js';
import { completeManifest, differencesOf } from '../../src/runs/sharded-manifest.js';
import { Run } from '../../src/runs/run.js';
import { imageSchema } from '../../src/runs/columns.js';
import { writeTable } from '../../src/runs/tables.js';
import { filesWithPaths, temporaryFolder } from '../helpers/folders.js';
import { drawImages, writeSyntheticRun, type SyntheticImage } from '../helpers/synthetic-run.js';

const folder = temporaryFolder();
const LABELS = ['one', 'two'];
const at = (...names: string[]): string => join(folder, ...names);
let images: SyntheticImage[];

/** A run of 64 x 64 px images with a vivid square of 16 px each: red in those of one label, green in the other's. */
async function makeRun(name: string, some = images): Promise<string> {
  await writeSyntheticRun(at(name), at('data'), some, { labels: LABELS, shardSize: 100 });
  const rows = some.map(({ path, label, width, height }) => ({
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
  await writeTable(join(at(name), 'shards', '00000', 'images.parquet'), rows, imageSchema([]));
  return at(name);
}

const boxes = at('boxes.csv');
let summary: EvaluateSummary;
beforeAll(async () => {
  images = await drawImages(at('data'), LABELS, (label) => [0, 1, 2, 3, 4].map((n) => `${LABELS[label]}/${n}.png`), {
    width: 64,
    height: 64,
  });
  writeFileSync(
    boxes,
    [
      'image,x,y,w,h',
      ...images.map(({ path, hot: { x, y, width, height } }) => [path, x, y, width, height].join(',')),
    ].join('\n'),
  );
  await makeRun('run');
  await makeRun('other');
  summary = await evaluate({ run: at('run'), boxes, bootstrap: 20, controlRun: at('other'), gridImages: 2, png: true });
});

describe('colors', () => {
  test('512 bins, eight a channel', () => {
    expect(
      Array.from(binsOf(Uint8Array.of(0, 0, 0, 31, 31, 31, 32, 0, 0, 0, 32, 0, 0, 0, 255, 255, 255, 255))),
    ).toEqual([0, 0, 64, 8, 7, 511]);
    const counts = histogram(Uint16Array.of(0, 64, 64, 511));
    expect([counts.length, counts[0], counts[64], counts[511], counts[1]]).toEqual([COLORS, 1, 2, 1, 0]);
  });

  test('log-ratios by hand, the image left out of its own label', () => {
    const of = (first: number, second: number): Float64Array => {
      const counts = new Float64Array(COLORS);
      counts.set([first, second]);
      return counts;
    };
    // own: 6 and 2 pixels, 4 of the first color are the image's: 2 and 2 of 4 are left; the other label: 0 and 8
    const ratios = logRatios([of(6, 2), of(0, 8)], 0, of(4, 0));
    const ratio = (own: number, other: number): number =>
      Math.log((own + 1) / 516 / (((own + 1) / 516 + (other + 1) / 520) / 2));
    expect(ratios[0]).toBeCloseTo(ratio(2, 0), 6);
    expect(ratios[1]).toBeCloseTo(ratio(2, 8), 6);
    expect(ratios[2]).toBeCloseTo(ratio(0, 0), 6);
    expect(ratios[0]).toBeGreaterThan(0);
    expect(ratios[1]).toBeLessThan(0);
    // a label by itself tells nothing
    expect(Array.from(logRatios([of(6, 2)], 0, of(4, 0))).every((value) => value === 0)).toBe(true);
  });

  test('find squares whose color is the label’s own', () => {
    const { color } = summary.controls;
    expect(color?.labels.map(({ label }) => label)).toEqual(LABELS);
    for (const { averagePrecision, pointing, lift } of [...(color?.labels ?? []), ...(color ? [color.mean] : [])]) {
      expect(averagePrecision.value).toBeGreaterThan(0.8); // the mean over 5 x 5 blurs edges
      expect(averagePrecision.low).toBeLessThanOrEqual(averagePrecision.value as number);
      expect(pointing.value).toBe(1);
      expect(lift).toBeCloseTo((averagePrecision.value as number) / (summary.mean.fraction as number), 9);
    }
  });

  test('are left out where asked, and with a note where an image is gone; so is the grid', async () => {
    const without = await evaluate({ run: at('run'), boxes, bootstrap: 0, colorBaseline: false, gridImages: 0 });
    expect([without.controls.color, without.grid, existsSync(at('run', 'evaluate', 'maps.webp'))]).toEqual([
      null,
      null,
      false,
    ]);
    expect(without.notes.join()).not.toContain('colors');
    renameSync(at('data'), at('moved'));
    try {
      const blind = await evaluate({ run: at('run'), boxes, bootstrap: 0 });
      expect([blind.controls.color, blind.grid]).toEqual([null, null]);
      expect(blind.notes.filter((note) => /^No (color baseline|image grid of maps): .*\.png/.test(note))).toHaveLength(
        2,
      );
      expect(blind.mean.averagePrecision.value).toBe(summary.mean.averagePrecision.value);
      const found = await evaluate({ run: at('run'), boxes, bootstrap: 0, dataset: at('moved') });
      expect(found.controls.color?.mean.averagePrecision.value).toBe(
        summary.controls.color?.mean.averagePrecision.value,
      );
    } finally {
      renameSync(at('moved'), at('data'));
    }
  });
});

describe('another run', () => {
  test('of the same maps has the same figures, intervals and all', () => {
    const { run } = summary.controls;
    expect(run).toMatchObject({ path: at('other'), untrained: false });
    expect(run?.mean.averagePrecision).toEqual(summary.mean.averagePrecision);
    expect(run?.labels[1]?.top).toEqual(summary.labels[1]?.top);
    expect(summary.mean.lift).toBeCloseTo(
      (summary.mean.averagePrecision.value as number) / (summary.mean.fraction as number),
      12,
    );
    const text = evaluateText(summary);
    expect(text).toContain('Compared with controls (color: ');
    expect(text).toMatch(/label +AP +color +control +x chance +pointing +color +control +P@50 +random +control/);
  });

  test('is called untrained if its manifest says so, and need not be mined', async () => {
    await makeRun('untrained');
    const manifest = JSON.parse(readFileSync(at('untrained', MANIFEST), 'utf8')) as Manifest;
    writeFileSync(
      at('untrained', MANIFEST),
      JSON.stringify(
        completeManifest(RUN, { ...manifest, options: { ...manifest.options, untrained: true } }, manifest.index),
      ),
    );
    rmSync(at('untrained', 'mine'), { recursive: true });
    const found = await evaluate({
      run: at('run'),
      boxes,
      bootstrap: 0,
      controlRun: at('untrained'),
      colorBaseline: false,
      gridImages: 0,
    });
    expect(found.controls.run).toMatchObject({ untrained: true, mean: { top: [{ hit: { value: null } }, {}, {}] } });
    expect(found.notes).toContainEqual(expect.stringMatching(/^Control: The run is not mined/));
    expect(evaluateText(found)).toContain('untrained: random weights');
  });

  test('of other images is refused', async () => {
    await makeRun('fewer', images.slice(1));
    await expect(evaluate({ run: at('run'), boxes, controlRun: at('fewer') })).rejects.toMatchObject({
      code: 'RUN_MISMATCH',
    });
    await expect(evaluate({ run: at('run'), boxes, controlRun: at('data') })).rejects.toMatchObject({
      code: 'RUN_INVALID',
    });
  });

  test('of random weights is another run: its fingerprint differs, and so it says', () => {
    const manifest = JSON.parse(readFileSync(at('run', MANIFEST), 'utf8')) as Manifest;
    const untrained = completeManifest(
      RUN,
      { ...manifest, options: { ...manifest.options, untrained: true } },
      manifest.index,
    );
    expect(untrained.fingerprint).not.toBe(manifest.fingerprint);
    expect(differencesOf(RUN, manifest, untrained)).toEqual([
      { name: 'untrained weights', sentence: 'untrained weights: this run has none, you asked for yes' },
    ]);
    expect(differencesOf(RUN, untrained, manifest)).toEqual([
      { name: 'untrained weights', sentence: 'untrained weights: this run has yes, you asked for none' },
    ]);
    expect(differencesOf(RUN, manifest, manifest)).toEqual([]);
  });
});

describe('the grid', () => {
  test('takes items evenly spaced', () => {
    expect(evenly([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 2)).toEqual([2, 7]);
    expect(evenly([0, 1, 2], 3)).toEqual([0, 1, 2]);
    expect(evenly([0, 1], 5)).toEqual([0, 1]);
    expect(evenly([], 4)).toEqual([]);
  });

  test('has a cell an image, its boxes around the squares, red within on the map', async () => {
    summary = await evaluate({
      run: at('run'),
      boxes,
      bootstrap: 20,
      controlRun: at('other'),
      gridImages: 2,
      png: true,
    });
    const { grid } = summary;
    if (!grid) throw new Error('there is no grid');
    expect(
      grid.rows.map(({ label, images: shown }) => [
        label,
        ...shown.map(({ image, own, others }) => [image, own, others]),
      ]),
    ).toEqual([
      ['one', ['one/1.png', 1, 0], ['one/3.png', 1, 0]],
      ['two', ['two/1.png', 1, 0], ['two/3.png', 1, 0]],
    ]);
    const { data, info } = await sharp(at('run', 'evaluate', 'maps.png'))
      .raw()
      .toBuffer({ resolveWithObject: true });
    const { width, height } = grid.cell;
    expect([info.width, info.height, info.channels]).toEqual([2 * width, 2 * height, 4]);
    expect(await sharp(at('run', 'evaluate', 'maps.webp')).metadata()).toMatchObject({
      width: 2 * width,
      height: 2 * height,
    });
    // 64 px are drawn at four times their size, 6 px from the cell's edge; the map stands 260 px further right
    const hot = (images.find(({ path }) => path === 'two/1.png') as SyntheticImage).hot;
    const pixel = (side: number, x: number, y: number): number[] => [
      ...data.subarray(
        4 * ((height + 6 + y) * info.width + 6 + 260 * side + x),
        4 * ((height + 6 + y) * info.width + 6 + 260 * side + x) + 3,
      ),
    ];
    for (const side of [0, 1]) expect(pixel(side, 4 * hot.x + 20, 4 * (hot.y + hot.height))).toEqual([255, 221, 45]);
    const [red, , blue] = pixel(1, 4 * (hot.x + hot.width / 2), 4 * (hot.y + hot.height / 2));
    expect(red).toBeGreaterThan((blue as number) + 60);
    const [r, g] = pixel(0, 4 * (hot.x + hot.width / 2), 4 * (hot.y + hot.height / 2));
    expect(g).toBeGreaterThan((r as number) + 60);
  });
});

describe('what is kept', () => {
  test('is the summary, whole; another evaluation takes its place', async () => {
    const { path: folder, ...inRecord } = summary;
    expect(folder).toBe(at('run', 'evaluate'));
    const kept = JSON.parse(readFileSync(at('run', 'evaluate', 'evaluation.json'), 'utf8')) as EvaluationRecord;
    expect(kept).toMatchObject({
      format: EVALUATION_FORMAT,
      ...(JSON.parse(JSON.stringify(inRecord)) as Omit<EvaluateSummary, 'path'>),
    });
    expect(readdirSync(at('run', 'evaluate')).sort()).toEqual(['evaluation.json', 'maps.png', 'maps.webp']);
    expect(readdirSync(at('run')).filter((name) => name.startsWith('.'))).toEqual([]);
    await evaluate({ run: at('run'), boxes, bootstrap: 0, gridImages: 1 });
    expect(readdirSync(at('run', 'evaluate')).sort()).toEqual(['evaluation.json', 'maps.webp']);
    const run = await Run.open(at('run'));
    expect(await readEvaluation(run)).toMatchObject({ options: { bootstrap: 0 } });
    expect(await readEvaluation(await Run.open(at('other')))).toBeUndefined();
  });

  test('appears in later reports and in an existing one, but not in one of another mining', async () => {
    cpSync(at('run'), at('reported'), { recursive: true });
    const data = (): string => readFileSync(at('reported', 'report', 'data', 'evaluation.js'), 'utf8');
    await writeReport({ run: at('reported') });
    expect(data()).toContain('"bootstrap":0');
    expect(existsSync(at('reported', 'report', 'maps', 'evaluation.webp'))).toBe(true);
    expect(readFileSync(at('reported', 'report', 'index.html'), 'utf8')).toContain('data/evaluation.js');
    expect(filesWithPaths(at('reported', 'report'))).toEqual([]);

    const said: string[] = [];
    await evaluate({ run: at('reported'), boxes, bootstrap: 3, gridImages: 1 }, { onLog: (line) => said.push(line) });
    expect(data()).toContain('"bootstrap":3');
    expect(said).toEqual([
      'Evaluating 10 images of 2 labels against 10 boxes, with 3 bootstrap resamples: no UNet calls.',
      `The report shows the evaluation: ${at('reported', 'report', 'index.html')}`,
    ]);

    const mine = at('reported', 'mine', 'mine.json');
    writeFileSync(mine, readFileSync(mine, 'utf8').replace('"restarts":10', '"restarts":11'));
    await writeReport({ run: at('reported') });
    expect(data()).toBe('diffmine.evaluated(null);\n');
  });
});
