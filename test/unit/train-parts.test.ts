// The parts of a training that are pure: order, split, crops, the watch over the loss, the journal, the sizes.
import { appendFileSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { readUNetConfig } from '../../src/models/configs.js';
import { scheduleJson, unetJson } from '../../src/models/write.js';
import { readScheduleConfig } from '../../src/models/configs.js';
import { Journal, LossWatch, readMetrics } from '../../src/stages/train/journal.js';
import { cropStart, foldedCrop } from '../../src/stages/train/images.js';
import { PIXEL_SCHEDULE, SIZE_NAMES, SIZES, unetOfSize } from '../../src/stages/train/sizes.js';
import { Order } from '../../src/stages/train/order.js';
import { temporaryFolder } from '../helpers/folders.js';

const scratch = temporaryFolder();

describe('the order of images', () => {
  const settings = { seed: 3, drop: 0.25, flips: true };
  const order = new Order(7, settings);
  const views = Array.from({ length: 7000 }, (_, k) => order.view(k));

  test('every epoch has every image once, in a new order', () => {
    const passes = [0, 1, 2].map((pass) => views.slice(7 * pass, 7 * pass + 7).map(({ index }) => index));
    for (const pass of passes) expect([...pass].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(passes[1]).not.toEqual(passes[0]);
  });

  test('a view depends on its number alone', () => {
    const other = new Order(7, settings);
    expect(other.view(6543)).toEqual(views[6543]);
    expect(other.view(12)).toEqual(views[12]);
    expect(new Order(7, { ...settings, seed: 4 }).view(12)).not.toEqual(views[12]);
  });

  test('labels are dropped, and images mirrored, as often as asked', () => {
    const fraction = (of: (view: (typeof views)[number]) => boolean): number => views.filter(of).length / views.length;
    expect(fraction(({ unlabeled }) => unlabeled)).toBeCloseTo(0.25, 1);
    expect(fraction(({ mirrored }) => mirrored)).toBeCloseTo(0.5, 1);
    const plain = new Order(7, { seed: 3, drop: 0, flips: false });
    expect(
      Array.from({ length: 100 }, (_, k) => plain.view(k)).some(({ unlabeled, mirrored }) => unlabeled || mirrored),
    ).toBe(false);
  });
});

test('crops reach every place there is, and none beyond', () => {
  expect([0, 0.2499, 0.25, 0.999999].map((fraction) => cropStart(fraction, 11, 8))).toEqual([0, 0, 1, 3]);
  expect([0, 0.999999].map((fraction) => cropStart(fraction, 8, 8))).toEqual([0, 0]);
});

test('a crop is folded as torch.pixel_unshuffle does, and mirrored', () => {
  // 4 x 3 image: red counts pixels, green and blue are constant
  const pixels = Uint8Array.from({ length: 36 }, (_, i) => (i % 3 === 0 ? i / 3 : i % 3 === 1 ? 255 : 0));
  const image = { pixels, width: 4, height: 3 };
  const red = (values: Float32Array): number[] =>
    Array.from(values.subarray(0, 4), (value) => Math.round((value + 1) * 127.5));
  // the crop at (1, 1) holds 5 6 / 9 10; its four places are four channels of one cell
  const crop = foldedCrop(image, { x: 1, y: 1, side: 2, mirrored: false }, 2);
  expect(red(crop)).toEqual([5, 6, 9, 10]);
  expect(Array.from(crop.subarray(4))).toEqual([1, 1, 1, 1, -1, -1, -1, -1]);
  expect(red(foldedCrop(image, { x: 1, y: 1, side: 2, mirrored: true }, 2))).toEqual([6, 5, 10, 9]);
  expect(red(foldedCrop(image, { x: 1, y: 1, side: 2, mirrored: false }, 1))).toEqual([5, 6, 9, 10]);
});

describe('the watch over the loss', () => {
  test.each([1, 4, 64])('a falling and a noisy loss do not explode, with batches of %d', (batch) => {
    const watch = new LossWatch(batch);
    let exploded = false;
    // what a fine-tuned model of single images looks like: most losses are small, a few near one
    for (let step = 0; step < 5000; step++)
      exploded ||= watch.add({ loss: 0.02 + Math.exp(-step / 100) + (step % (batch === 1 ? 40 : 80) === 0 ? 0.9 : 0) });
    expect(exploded).toBe(false);
    expect(watch.smoothed).toBeGreaterThan(0.02);
    expect(watch.smoothed).toBeLessThan(0.1);
  });

  test('a loss that climbs to several times its least does', () => {
    const watch = new LossWatch(16);
    for (let step = 0; step < 500; step++) watch.add({ loss: 0.05 });
    let steps = 0;
    while (!watch.add({ loss: 1 })) steps++;
    expect(steps).toBeGreaterThan(1);
    expect(steps).toBeLessThan(50);
  });

  test('a loss that is extreme from the start also counts as diverged', () => {
    const watch = new LossWatch(16);
    let steps = 0;
    while (steps < 1000 && !watch.add({ loss: steps < 4 ? 0.1 : 1e4 })) steps++;
    expect(steps).toBeLessThan(100);
  });

  test('a training begins where it begins', () => {
    const watch = new LossWatch(16);
    expect(watch.smoothed).toBeNull();
    for (let step = 0; step < 300; step++) expect(watch.add({ loss: 1.1 - step / 300 })).toBe(false);
  });
});

test('the log removes lines of steps that will be repeated, and an incomplete line; it refuses a gap', async () => {
  const file = path.join(scratch, 'metrics.jsonl');
  const row = (step: number) => ({ step, loss: 1 / step, gradientNorm: 1, learningRate: 1e-3, seconds: step });
  const { journal, kept } = await Journal.open(file, 0);
  expect(kept).toEqual([]);
  for (const step of [1, 2, 3]) journal.write(row(step));
  journal.close();
  appendFileSync(file, '{"step":4,"lo');
  expect(readMetrics(file)).toEqual([row(1), row(2), row(3)]);
  const again = await Journal.open(file, 2);
  expect(again.kept).toEqual([row(1), row(2)]);
  again.journal.write(row(3));
  again.journal.close();
  expect(readFileSync(file, 'utf8')).toBe([1, 2, 3].map((step) => `${JSON.stringify(row(step))}\n`).join(''));
  await expect(Journal.open(file, 4)).rejects.toMatchObject({ code: 'RUN_INVALID' });
});

describe('sizes', () => {
  test.each(SIZE_NAMES)('%s is a UNet that reads back as it was written, with text and with classes', (name) => {
    const latent = SIZES[name].kind === 'latent' ? { latentChannels: 4 } : {};
    for (const shape of [
      { classes: 7, ...latent },
      { textWidth: 768, ...latent },
    ]) {
      const config = unetOfSize(name, shape);
      expect(readUNetConfig('config.json', unetJson(config, 32))).toEqual({ ...config, sampleSize: 32 });
    }
  });

  test('a latent size needs a VAE, a pixel size takes none', () => {
    expect(() => unetOfSize('latent-small', { classes: 3 })).toThrow(/denoises latents/);
    expect(() => unetOfSize('small', { classes: 3, latentChannels: 4 })).toThrow(/without a VAE/);
  });

  test('the schedule reads back', () => {
    expect(readScheduleConfig('scheduler_config.json', scheduleJson(PIXEL_SCHEDULE))).toMatchObject(PIXEL_SCHEDULE);
  });
});
