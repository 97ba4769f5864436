// Images: sizes, pixels, and what is skipped and why.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import sharp, { type Sharp } from 'sharp';
import {
  explained,
  measureImage,
  openImage,
  readImage,
  scoredSize,
  type SizeOptions,
} from '../../src/data/read-image.js';
import { readSafetensors } from '../../src/engine/index.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const root = temporaryFolder();
const SOURCE: SizeOptions = { size: 'source', rule: 'floor', multiple: 1, patch: 1 };
let count = 0;
function file(name: string, bytes: Uint8Array): string {
  const place = path.join(root, `${++count}-${name}`);
  writeFileSync(place, bytes);
  return place;
}

/** Interleaved RGB noise on gradients: nothing in it is symmetric. */
function noise(width: number, height: number): Buffer {
  const pixels = Buffer.alloc(width * height * 3);
  let state = 1;
  for (let i = 0; i < pixels.length; ++i) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    pixels[i] = ((state >>> 24) + Math.floor((i / pixels.length) * 255)) >> 1;
  }
  return pixels;
}
const rgb = (pixels: Buffer, width: number, height: number): Sharp =>
  sharp(pixels, { raw: { width, height, channels: 3 } });
const unreadable = (message: RegExp) =>
  expect.objectContaining({ code: 'IMAGE_UNREADABLE', message: expect.stringMatching(message) as unknown });
const meanDifference = (a: Uint8Array, b: Uint8Array): number =>
  a.reduce((sum, value, i) => sum + Math.abs(value - (b[i] as number)), 0) / a.length;

describe('scoredSize', () => {
  const options = (
    size: number | 'source',
    rule: 'floor' | 'ceil' = 'floor',
    multiple = 1,
    patch = 8,
  ): SizeOptions => ({ size, rule, multiple, patch });

  test.each([
    [97, 61, options(48), 76, 48], // 76.3
    [97, 61, options(48, 'ceil'), 77, 48],
    [61, 97, options(48), 48, 76],
    [61, 97, options(48, 'ceil'), 48, 77],
    [130, 130, options(64, 'ceil'), 64, 64],
    [256, 341, options(512), 256, 341],
    [600, 512, options(512), 600, 512],
    [1024, 512, options(256, 'ceil'), 512, 256],
    [66, 90, options('source'), 66, 90],
  ])('%d x %d under %j is %d x %d', (width, height, given, w, h) => {
    expect(scoredSize({ width, height }, given)).toEqual({ width: w, height: h, resized: { width: w, height: h } });
  });

  test('cuts at right and bottom after resizing', () => {
    expect(scoredSize({ width: 97, height: 61 }, options(48, 'floor', 8))).toEqual({
      width: 72,
      height: 48,
      resized: { width: 76, height: 48 },
    });
    expect(scoredSize({ width: 97, height: 61 }, options('source', 'floor', 16))).toEqual({
      width: 96,
      height: 48,
      resized: { width: 97, height: 61 },
    });
  });

  test('never enlarges', () => {
    for (let side = 13; side < 400; side += 7) {
      for (const rule of ['floor', 'ceil'] as const) {
        const { width, height } = scoredSize({ width: side, height: 200 }, options(64, rule));
        expect(Math.min(width, height)).toBe(Math.min(64, side));
        expect(width).toBeLessThanOrEqual(side);
        expect(height).toBeLessThanOrEqual(200);
      }
    }
  });

  test.each([
    [20000, 13401, SOURCE, /more than 268 million pixels \(20000 x 13401 px\)/],
    [1025, 64, SOURCE, /more than 16 times as long as wide \(1025 x 64 px\)/],
    [64, 1025, SOURCE, /more than 16 times/],
    [64, 15, options('source', 'floor', 1, 16), /smaller than the patch of 16 px \(64 x 15 px\)/],
    [640, 160, options(15, 'floor', 1, 16), /smaller than the patch of 16 px \(640 x 160 px, scored at 60 x 15\)/],
    [7, 7, options('source', 'floor', 8, 1), /scored at 0 x 0/],
  ])('%d x %d is refused', (width, height, given, message) => {
    expect(() => scoredSize({ width, height }, given)).toThrow(unreadable(message));
  });
  test('16 times is not too long', () => expect(scoredSize({ width: 1024, height: 64 }, SOURCE).width).toBe(1024));
});

describe('pixels', () => {
  const [width, height] = [37, 23];
  const pixels = noise(width, height);

  test.each(['png', 'webp', 'tiff', 'gif'] as const)('lossless %s comes back as it was', async (format) => {
    const flat = Buffer.from(pixels.map((value) => value & 0xc0)); // at most 64 colors
    const image = rgb(flat, width, height);
    const bytes = await (
      format === 'webp'
        ? image.webp({ lossless: true })
        : format === 'tiff'
          ? image.tiff({ compression: 'lzw' })
          : format === 'gif'
            ? image.gif({ dither: 0 })
            : image.png()
    ).toBuffer();
    const read = await readImage(file(`a.${format}`, bytes), SOURCE);
    expect(Buffer.compare(read.pixels, flat)).toBe(0);
    expect(read).toMatchObject({ width, height, sourceWidth: width, sourceHeight: height });
  });

  test('a JPEG decodes as libjpeg does', async () => {
    const bytes = await rgb(pixels, width, height).jpeg({ quality: 90 }).toBuffer();
    const read = await readImage(file('a.jpg', bytes), SOURCE);
    expect(Buffer.compare(read.pixels, await sharp(bytes).raw().toBuffer())).toBe(0);
  });

  test('gray becomes three equal channels', async () => {
    const grey = Buffer.from(Array.from({ length: width * height }, (_, i) => pixels[3 * i] as number));
    const bytes = await sharp(grey, { raw: { width, height, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toBuffer();
    expect((await sharp(bytes).metadata()).channels).toBe(1);
    const read = await readImage(file('grey.png', bytes), SOURCE);
    expect(Buffer.compare(read.pixels, Buffer.from(Array.from(grey).flatMap((value) => [value, value, value])))).toBe(
      0,
    );
  });

  test('alpha is dropped, not blended', async () => {
    const rgba = Buffer.from(
      Array.from({ length: width * height }, (_, i) => [...pixels.subarray(3 * i, 3 * i + 3), i % 256]).flat(),
    );
    const bytes = await sharp(rgba, { raw: { width, height, channels: 4 } })
      .png()
      .toBuffer();
    expect((await sharp(bytes).metadata()).hasAlpha).toBe(true);
    const read = await readImage(file('alpha.png', bytes), SOURCE);
    expect(Buffer.compare(read.pixels, pixels)).toBe(0);
  });

  test('1 bit, palette, 16 bit and CMYK give three 8-bit channels', async () => {
    const image = (): Sharp => rgb(pixels, width, height);
    const cases: Record<string, Buffer> = {
      'one.png': await image().toColourspace('b-w').png({ palette: true, colors: 2 }).toBuffer(),
      'palette.png': await image().png({ palette: true }).toBuffer(),
      'deep.png': await image().toColourspace('rgb16').png().toBuffer(),
      'grey16.png': await image().toColourspace('grey16').png().toBuffer(),
      'cmyk.jpg': await image().toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer(),
    };
    expect((await sharp(cases['deep.png']).metadata()).depth).toBe('ushort');
    expect((await sharp(cases['cmyk.jpg']).metadata()).space).toBe('cmyk');
    for (const [name, bytes] of Object.entries(cases)) {
      const read = await readImage(file(name, bytes), SOURCE);
      expect(read.pixels).toHaveLength(width * height * 3);
    }
    const deep = await readImage(file('deep.png', cases['deep.png'] as Buffer), SOURCE);
    expect(meanDifference(deep.pixels, pixels)).toBeLessThanOrEqual(1);
  });

  test('EXIF orientation is applied, for the size as for the pixels', async () => {
    // Where the upper left, upper right and lower left corner of the upright image lie in the file.
    const [w, h] = [width - 1, height - 1];
    const corners: Record<number, [number, number][]> = {
      1: [
        [0, 0],
        [w, 0],
        [0, h],
      ],
      2: [
        [w, 0],
        [0, 0],
        [w, h],
      ],
      3: [
        [w, h],
        [0, h],
        [w, 0],
      ],
      4: [
        [0, h],
        [w, h],
        [0, 0],
      ],
      5: [
        [0, 0],
        [0, h],
        [w, 0],
      ],
      6: [
        [0, h],
        [0, 0],
        [w, h],
      ],
      7: [
        [w, h],
        [w, 0],
        [0, h],
      ],
      8: [
        [w, 0],
        [w, h],
        [0, 0],
      ],
    };
    for (const [orientation, [upperLeft, upperRight, lowerLeft]] of Object.entries(corners)) {
      const place = file(
        'exif.png',
        await rgb(pixels, width, height)
          .withMetadata({ orientation: Number(orientation) })
          .png()
          .toBuffer(),
      );
      const upright = Number(orientation) < 5 ? { width, height } : { width: height, height: width };
      expect(await measureImage(place)).toEqual(upright);
      const read = await readImage(place, SOURCE);
      expect(read).toMatchObject({ ...upright, sourceWidth: upright.width, sourceHeight: upright.height });
      const at = (data: Uint8Array, x: number, y: number, stride: number): number[] => [
        ...data.subarray(3 * (y * stride + x), 3 * (y * stride + x) + 3),
      ];
      const expected = [upperLeft, upperRight, lowerLeft].map((corner) =>
        at(pixels, ...(corner as [number, number]), width),
      );
      expect([
        at(read.pixels, 0, 0, read.width),
        at(read.pixels, read.width - 1, 0, read.width),
        at(read.pixels, 0, read.height - 1, read.width),
      ]).toEqual(expected);
    }
  });
});

describe('resizing', () => {
  const golden = readSafetensors(path.join(GOLDEN, 'common-golden', 'golden.safetensors'));
  const manifest = JSON.parse(readFileSync(path.join(GOLDEN, 'common-golden', 'manifest.json'), 'utf8')) as {
    cases: {
      id: string;
      op: string;
      params: { rule: string; short_side: number; out_hw: number[] };
      inputs: Record<string, string>;
      outputs: Record<string, string>;
    }[];
  };
  const interleaved = (name: string): { pixels: Buffer; width: number; height: number } => {
    const { data, shape } = golden[name] as { data: Uint8Array; shape: number[] };
    const [, height, width] = shape as [number, number, number];
    return {
      width,
      height,
      pixels: Buffer.from(
        Array.from(
          { length: 3 * height * width },
          (_, i) => data[(i % 3) * height * width + Math.floor(i / 3)] as number,
        ),
      ),
    };
  };
  const cases = manifest.cases.filter((item) => item.op === 'lanczos_resize').map((item) => [item.id, item] as const);

  test.each(cases)('%s: within a level of Pillow where it shrinks', async (_, { params, inputs, outputs }) => {
    const source = interleaved(inputs.image_u8 as string);
    const place = file('golden.png', await rgb(source.pixels, source.width, source.height).png().toBuffer());
    const read = await readImage(place, {
      ...SOURCE,
      size: params.short_side,
      rule: params.rule === 'places' ? 'ceil' : 'floor',
    });
    if (Math.min(source.width, source.height) < params.short_side) {
      expect([read.height, read.width]).toEqual([source.height, source.width]);
      return;
    }
    expect([read.height, read.width]).toEqual(params.out_hw);
    expect(meanDifference(read.pixels, interleaved(outputs.image_u8 as string).pixels)).toBeLessThanOrEqual(1);
  });

  /** Lanczos3 in double precision with the window's support scaled, as Pillow computes it: the yardstick for large factors. */
  function lanczos(pixels: Buffer, width: number, height: number, toWidth: number, toHeight: number): Float64Array {
    const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
    const pass = (data: Float64Array, rows: number, from: number, to: number): Float64Array => {
      // [rows, from, 3] -> [to, rows, 3]
      const out = new Float64Array(to * rows * 3);
      const scale = from / to;
      for (let i = 0; i < to; ++i) {
        const center = (i + 0.5) * scale;
        const begin = Math.max(0, Math.floor(center - 3 * scale + 0.5));
        const end = Math.min(from, Math.floor(center + 3 * scale + 0.5));
        const weights = Array.from({ length: end - begin }, (_, j) => {
          const x = (begin + j + 0.5 - center) / scale;
          return Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0;
        });
        const total = weights.reduce((a, b) => a + b, 0);
        for (let row = 0; row < rows; ++row) {
          for (let c = 0; c < 3; ++c) {
            let sum = 0;
            weights.forEach((weight, j) => (sum += weight * (data[(row * from + begin + j) * 3 + c] as number)));
            out[(i * rows + row) * 3 + c] = Math.min(255, Math.max(0, sum / total));
          }
        }
      }
      return out;
    };
    return pass(pass(Float64Array.from(pixels), height, width, toWidth), toWidth, height, toHeight);
  }

  test.each([2, 3.3, 4, 6.5, 17])('shrinking by %d stays within a level of the filter itself', async (factor) => {
    const source = readFileSync(path.join(GOLDEN, 'mini-dataset', '1920', '1920_0.png'));
    // Detail at every scale: a real image, enlarged without smoothing, under noise.
    const { data, info } = await sharp(source)
      .toColourspace('srgb')
      .removeAlpha()
      .resize(260, 340, { fit: 'fill', kernel: 'nearest' })
      .raw()
      .toBuffer({ resolveWithObject: true });
    const grain = noise(info.width, info.height);
    const pixels = Buffer.from(data.map((value, i) => (3 * value + (grain[i] as number)) >> 2));
    const size = Math.round(info.width / factor);
    const read = await readImage(file('big.png', await rgb(pixels, info.width, info.height).png().toBuffer()), {
      ...SOURCE,
      size,
    });
    const expected = lanczos(pixels, info.width, info.height, read.width, read.height);
    expect(Math.min(read.width, read.height)).toBe(size);
    expect(
      read.pixels.reduce((sum, value, i) => sum + Math.abs(value - (expected[i] as number)), 0) / expected.length,
    ).toBeLessThanOrEqual(1);
  });

  test('a JPEG is decoded in full before it shrinks', async () => {
    const [width, height] = [640, 480];
    const bytes = await rgb(noise(width, height), width, height).blur(1).jpeg({ quality: 95 }).toBuffer();
    const viaPng = await readImage(file('full.png', await sharp(bytes).png().toBuffer()), { ...SOURCE, size: 100 });
    const direct = await readImage(file('full.jpg', bytes), { ...SOURCE, size: 100 });
    expect(Buffer.compare(direct.pixels, viaPng.pixels)).toBe(0);
  });

  test('the cut takes away right and bottom only', async () => {
    const [width, height] = [45, 33];
    const pixels = noise(width, height);
    const read = await readImage(file('cut.png', await rgb(pixels, width, height).png().toBuffer()), {
      ...SOURCE,
      multiple: 8,
    });
    expect(read).toMatchObject({
      width: 40,
      height: 32,
      resized: { width, height },
      sourceWidth: width,
      sourceHeight: height,
    });
    const expected = Buffer.concat(
      Array.from({ length: 32 }, (_, y) => pixels.subarray(3 * y * width, 3 * (y * width + 40))),
    );
    expect(Buffer.compare(read.pixels, expected)).toBe(0);
  });
});

describe('what is skipped', () => {
  const jpeg = async (width = 64, height = 64): Promise<Buffer> =>
    rgb(noise(width, height), width, height).jpeg().toBuffer();
  const png = async (width = 64, height = 64): Promise<Buffer> =>
    rgb(noise(width, height), width, height).png().toBuffer();
  const bmp = Buffer.concat([
    Buffer.from('BM'),
    Buffer.from(Uint32Array.of(58, 0, 54, 40, 1, 1).buffer),
    Buffer.from(Uint16Array.of(1, 24).buffer),
    Buffer.alloc(28),
  ]);

  const cases: Record<string, [() => Promise<Buffer> | Buffer, RegExp]> = {
    'empty.jpg': [() => Buffer.alloc(0), /'\d+-empty.jpg' cannot be read: the file is empty/],
    'truncated.jpg': [async () => (await jpeg()).subarray(0, 1500), /'\d+-truncated.jpg' cannot be read/],
    'truncated.png': [async () => (await png()).subarray(0, 3000), /'\d+-truncated.png' cannot be read/],
    'truncated.webp': [
      async () => (await rgb(noise(64, 64), 64, 64).webp().toBuffer()).subarray(0, 900),
      /cannot be read/,
    ],
    'text.jpg': [() => Buffer.from('no image at all, but long enough to look like something'), /cannot be read/],
    'html.jpg': [() => Buffer.from('<!doctype html><script>alert(1)</script>'), /it is a web page, not an image/],
    'pointer.png': [
      () => Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n'),
      /it is a Git LFS pointer, not the image: run git lfs pull/,
    ],
    'image.bmp': [() => bmp, /cannot be read/],
    'small.png': [() => png(1, 1), /a side is smaller than the patch of 8 px \(1 x 1 px\)/],
    'wide.png': [() => png(30_000, 8), /more than 16 times as long as wide \(30000 x 8 px\)/],
  };
  test.each(Object.entries(cases))('%s', async (name, [bytes, message]) => {
    await expect(readImage(file(name, await bytes()), { ...SOURCE, patch: 8 })).rejects.toEqual(unreadable(message));
  });

  test('HEIC, as phones write it: its size is read, its pixels are not', async () => {
    // 64 x 64 px of red, by heif-enc of libheif
    const heic = Buffer.from(
      'AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAT9tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAAA5waXRtAAAAAAABAAAAImlsb2MAAAAAREAAAQAB' +
        'AAAAAAFjAAEAAAAAAAAAGQAAACNpaW5mAAAAAAABAAAAFWluZmUCAAAAAAEAAGh2YzEAAAAAv2lwcnAAAAChaXBjbwAAAHVodmNDAQNwAAAAAAAAAAAAHvAA/P34+AAADwMgAAEAGEAB' +
        'DAH//wNwAAADAJAAAAMAAAMAHroCQCEAAQAoQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqSSmubAgAAAMACAAAAwAIQCIAAQAHRAHBcrAiQAAAABRpc3BlAAAAAAAAAEAAAABAAAAAEHBp' +
        'eGkAAAAAAwgICAAAABZpcG1hAAAAAAAAAAEAAQOBAoMAAAAhbWRhdAAAABUoAa8LYPrGwdf/+g47+OMQeK97Ttw=',
      'base64',
    );
    for (const name of ['photo.heic', 'photo.jpg']) {
      const place = file(name, heic);
      const reason = unreadable(/cannot be read: it is HEIC .* convert it to JPEG or PNG/);
      await expect(readImage(place, { ...SOURCE, patch: 8 })).rejects.toEqual(reason);
      await expect(measureImage(place)).rejects.toEqual(reason);
      await expect(openImage(place)).rejects.toEqual(reason);
    }
  });

  test('one with more than 268 million pixels, without decoding it', async () => {
    // A PNG whose header says 20000 x 20000.
    const bytes = await png();
    const header = Buffer.from(bytes);
    header.writeUInt32BE(20_000, 16);
    header.writeUInt32BE(20_000, 20);
    const crc = crc32(header.subarray(12, 29));
    header.writeUInt32BE(crc, 29);
    await expect(readImage(file('huge.png', header), SOURCE)).rejects.toEqual(
      unreadable(/'\d+-huge.png' cannot be used: it has more than 268 million pixels \(20000 x 20000 px\)/),
    );
  });

  test('a folder, and a file that is gone', async () => {
    await expect(readImage(root, SOURCE)).rejects.toEqual(unreadable(/cannot be read/));
    await expect(readImage(path.join(root, 'none.jpg'), SOURCE)).rejects.toEqual(
      unreadable(/'none.jpg' cannot be read/),
    );
    await expect(measureImage(path.join(root, 'none.jpg'))).rejects.toEqual(unreadable(/'none.jpg' cannot be read/));
    await expect(measureImage(file('text.png', Buffer.from('text')))).rejects.toEqual(unreadable(/cannot be read/));
  });

  test('no reason names a folder', async () => {
    for (const [name, [bytes]] of Object.entries(cases)) {
      const place = file(name, await bytes());
      const reasons = await Promise.all(
        [readImage(place, SOURCE), measureImage(place), readImage(`${place}.gone`, SOURCE)].map((call) =>
          call.then(
            () => '',
            (error: Error) => error.message,
          ),
        ),
      );
      for (const reason of reasons) expect(reason).not.toContain(root);
    }
  });
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; ++bit) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

test('the reason is told where other decoders run, too', async () => {
  const jpeg = await rgb(noise(96, 80), 96, 80).jpeg().toBuffer();
  const [whole, cut] = [file('whole.jpg', jpeg), file('cut.jpg', jpeg.subarray(0, jpeg.length / 2))];
  const ends = await Promise.allSettled(
    Array.from({ length: 48 }, async (_, i) => readImage(i % 2 ? cut : whole, SOURCE)),
  );
  const reasons = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []));
  expect(reasons).toHaveLength(24);
  for (const reason of reasons) expect(reason).toEqual(unreadable(/cannot be read: (VipsJpeg: |its data are damaged)/));
});

test('an unknown reason is asked for again, a known one is not', async () => {
  const said: string[] = [];
  const failing = (messages: string[]) => async (): Promise<never> => {
    said.push(messages.shift() as string);
    throw new Error(said.at(-1));
  };
  await expect(explained(failing(['Unknown error', 'premature end']))).rejects.toThrow('premature end');
  await expect(explained(failing(['bad seek']))).rejects.toThrow('bad seek');
  await expect(explained(failing(Array.from({ length: 9 }, () => 'Unknown error')))).rejects.toThrow('damaged');
  expect(said).toHaveLength(2 + 1 + 8);
});
