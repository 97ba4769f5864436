// TIFFs of floats, signed and 32-bit integers, and 10 or 12 bits in 16: converted by their range, or refused with the reason; never black or white without a word.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import sharp from 'sharp';
import { measureImage, openImage, readImage } from '../../src/data/index.js';
import { rangeOf } from '../../src/data/range.js';
import { decode } from '../../src/web/sprites.js';
import { temporaryFolder } from '../helpers/folders.js';
import { tiff, type SampleKind } from '../helpers/tiff.js';

const root = temporaryFolder();
let count = 0;
const W = 32;
const SIZES = { size: 'source', rule: 'floor', multiple: 1, patch: 8 } as const;
/** A TIFF whose channels rise from left to right, from `low` to `high`. */
function ramp(kind: SampleKind, low: number, high: number, channels = 1): string {
  const whole = !kind.startsWith('f');
  return file(
    tiff(kind, W, 16, channels, (x) => {
      const value = low + ((high - low) * x) / (W - 1);
      return whole ? Math.round(value) : value;
    }),
  );
}
function file(bytes: Buffer): string {
  const place = path.join(root, `${++count}.tif`);
  writeFileSync(place, bytes);
  return place;
}
const unreadable = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'IMAGE_UNREADABLE', message: expect.stringMatching(message) as unknown });
const firstRow = async (place: string): Promise<number[]> => [
  ...(await readImage(place, SIZES)).pixels.subarray(0, 3 * W),
];
/** What a ramp over the whole range becomes. */
const whole = Array.from({ length: W }, (_, x) => Math.round((255 * x) / (W - 1))).flatMap((value) => [
  value,
  value,
  value,
]);
const close = (got: number[], expected: number[]): void => {
  expect(got).toHaveLength(expected.length);
  got.forEach((value, i) => expect(Math.abs(value - (expected[i] as number))).toBeLessThanOrEqual(1));
};

test.each<[SampleKind, number, number, number]>([
  ['f32', 0, 1, 1],
  ['f32', 0, 1, 3],
  ['f32', 0, 255, 1],
  ['f32', 0, 255, 3],
  ['f32', -1, 1, 1],
  ['f32', 0, 4000, 1],
  ['f32', -3.5, 12.25, 3],
  ['f32', 1e-6, 1e9, 1],
  ['i16', -1000, 1000, 1],
  ['i16', -32768, 32767, 1],
  ['i16', 0, 255, 1],
  ['i16', -100, 3000, 3],
  ['u32', 0, 2 ** 32 - 1, 1],
  ['u32', 0, 255, 3],
  ['u32', 1000, 70_000, 3],
  ['i32', -100, 100, 1],
  ['i32', -(2 ** 31), 2 ** 31 - 1, 3],
  ['i8', -128, 127, 1],
  ['u16', 0, 4095, 1],
  ['u16', 0, 1023, 3],
  ['u16', 300, 900, 1],
  ['u16', 0, 255, 1],
])('%s of %d ... %d, %d channels: from black to white', async (kind, low, high, channels) => {
  const place = ramp(kind, low, high, channels);
  close(await firstRow(place), whole);
  expect(await measureImage(place)).toEqual({ width: W, height: 16 });
  // the report shows what was scored
  const shown = await decode(await openImage(place), W);
  close(
    [...shown.pixels.subarray(0, 3 * shown.width)].filter((_, i) => i < 3 * W),
    whole.slice(0, 3 * shown.width),
  );
});

test('values within the usual range keep it', async () => {
  close(
    await firstRow(ramp('f32', 0, 0.5)),
    whole.map((value) => value / 2),
  );
  close(
    await firstRow(ramp('f32', 51, 102)),
    whole.map((value) => 51 + value / 5),
  );
  close(
    await firstRow(ramp('i32', 100, 200)),
    whole.map((value) => 100 + (100 * value) / 255),
  );
});

test('alpha is dropped; unsigned 8 and 16 bits are read as ever', async () => {
  close(await firstRow(ramp('f32', 0, 1, 2)), whole);
  close(await firstRow(ramp('f32', 0, 1, 4)), whole);
  close(await firstRow(ramp('u8', 0, 255)), whole);
  close(await firstRow(ramp('u16', 0, 65_535, 3)), whole);
  close(
    await firstRow(ramp('u16', 0, 16_383)),
    whole.map((value) => value / 4),
  );
});

test('12 bits in a PNG of 16: by their range', async () => {
  const place = path.join(root, 'twelve.png');
  const values = Uint16Array.from({ length: W * 16 }, (_, i) => Math.round((4095 * (i % W)) / (W - 1)));
  const data = await sharp(values, { raw: { width: W, height: 16, channels: 1 } })
    .toColourspace('grey16')
    .png()
    .toBuffer();
  writeFileSync(place, data);
  close(await firstRow(place), whole);
});

test.each<[string, () => string, RegExp]>([
  [
    'NaN',
    () => file(tiff('f32', W, 16, 1, (x, y) => (x === 3 && y < 2 ? NaN : x / W))),
    /2 of its 512 values are NaN or infinite/,
  ],
  [
    'infinity',
    () => file(tiff('f32', W, 16, 3, (x) => (x === 0 ? Infinity : x))),
    /48 of its 1536 values are NaN or infinite/,
  ],
  [
    'the smallest float for no data',
    () => file(tiff('f32', W, 16, 1, (x) => (x === 0 ? -3.4028235e38 : x))),
    /16 of its 512 values are NaN or infinite/,
  ],
  [
    '-9999 for no data',
    () => file(tiff('f32', W, 16, 1, (x) => (x === 0 ? -9999 : x * 20))),
    /its value -9999 is far from all others/,
  ],
  [
    '-32768 for no data',
    () => file(tiff('i16', W, 16, 1, (x) => (x === 0 ? -32_768 : x * 20))),
    /its value -32768 is far from all others/,
  ],
  [
    'one hot pixel',
    () => file(tiff('u32', W, 16, 1, (x, y) => (x + y === 0 ? 4e9 : 300 + x))),
    /its value 4000000000 is far from all others/,
  ],
  ['one value', () => file(tiff('f32', W, 16, 1, () => 3000)), /all its values are 3000/],
  [
    'five channels',
    () => file(tiff('f32', W, 16, 5, (x) => x / W)),
    /it has 5 channels of float, which are not gray or RGB/,
  ],
  [
    'floats of 16 bits, which the decoder cuts to integers',
    () => file(tiff('f16', W, 16, 1, () => 0x3800)),
    /its values are floats of 16 bits/,
  ],
  ['doubles, which the decoder does not know', () => ramp('f64', 0, 1), /cannot be read/],
])('skips %s', async (_, make, reason) => {
  const place = make();
  await expect(readImage(place, SIZES)).rejects.toEqual(unreadable(reason));
  await expect(openImage(place)).rejects.toEqual(unreadable(reason));
});

test('black and white are kept', async () => {
  expect(new Set(await firstRow(file(tiff('f32', W, 16, 1, () => 0))))).toEqual(new Set([0]));
  expect(new Set(await firstRow(file(tiff('f32', W, 16, 1, () => 1))))).toEqual(new Set([255]));
  expect(new Set(await firstRow(file(tiff('i32', W, 16, 1, (x) => (x % 2 === 0 ? -5 : 9)))))).toEqual(
    new Set([0, 255]),
  );
});

test('a range holds all values, or there is a reason', () => {
  fc.assert(
    fc.property(fc.array(fc.float(), { minLength: 1, maxLength: 20 }), (list) => {
      const values = Float32Array.from(list);
      try {
        const [low, high] = rangeOf(values);
        expect(high).toBeGreaterThan(low);
        for (const value of values) expect(value >= low && value <= high).toBe(true);
      } catch (error) {
        expect((error as Error).message).toMatch(/NaN or infinite|all its values|is far/);
      }
    }),
  );
});
