// The frame that boxes and masks are drawn in: upright, a resized copy, or the stored image that an EXIF orientation turns. What sharp turns is the truth.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import sharp from 'sharp';
import { inSource, maskOf, placeMarks, type Marked, type MarkedImage } from '../../src/data/boxes/index.js';
import { readFrame, turnBox, turnMask } from '../../src/data/boxes/frame.js';
import { temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();
const STORED = { width: 12, height: 8 };
/** It fits the stored image only. */
const BOX = { x: 7, y: 2, width: 4, height: 3 };
const swaps = (orientation: number): boolean => orientation >= 5;
const upright = (orientation: number): { width: number; height: number } =>
  swaps(orientation) ? { width: STORED.height, height: STORED.width } : STORED;
const ORIENTATIONS = [1, 2, 3, 4, 5, 6, 7, 8];

/** An image as a camera stores it: white where the box is, with an EXIF orientation. */
async function camera(orientation: number, size = STORED): Promise<string> {
  const file = join(folder, `${orientation}-${size.width}x${size.height}.png`);
  if (existsSync(file)) return file;
  const { width, height } = size;
  const pixels = Buffer.from(
    Array.from({ length: width * height }, (_, i) => {
      const [x, y] = [i % width, Math.floor(i / width)];
      return x >= BOX.x && x < BOX.x + BOX.width && y >= BOX.y && y < BOX.y + BOX.height ? 255 : 0;
    }),
  );
  await sharp(pixels, { raw: { width, height, channels: 1 } })
    .toColourspace('b-w')
    .withMetadata({ orientation })
    .png()
    .toFile(file);
  return file;
}

/** The white pixels of the image as it is shown. */
async function shown(file: string): Promise<{ width: number; height: number; white: number[] }> {
  const { data, info } = await sharp(file)
    .autoOrient()
    .toColourspace('b-w')
    .raw()
    .toBuffer({ resolveWithObject: true });
  return {
    width: info.width,
    height: info.height,
    white: Array.from({ length: info.width * info.height }, (_, i) => (data[i * info.channels] ? 1 : 0)),
  };
}

test.each(ORIENTATIONS)('EXIF orientation %i turns boxes and masks as sharp turns images', async (orientation) => {
  const file = await camera(orientation);
  const { width, height, white } = await shown(file);
  expect({ width, height }).toEqual(upright(orientation));
  const box = turnBox(BOX, STORED, orientation);
  expect(
    Array.from({ length: width * height }, (_, i) =>
      Number(
        i % width >= box.x &&
          i % width < box.x + box.width &&
          Math.floor(i / width) >= box.y &&
          Math.floor(i / width) < box.y + box.height,
      ),
    ),
  ).toEqual(white);
  const inside = Uint8Array.from({ length: STORED.width * STORED.height }, (_, i) => {
    const [x, y] = [i % STORED.width, Math.floor(i / STORED.width)];
    return Number(x >= BOX.x && x < BOX.x + BOX.width && y >= BOX.y && y < BOX.y + BOX.height);
  });
  expect(Array.from(turnMask({ ...STORED, inside }, orientation).inside)).toEqual(white);
});

test('how a frame relates to its image', () => {
  const phone = { width: 3024, height: 4032 };
  expect(readFrame({ width: 3024, height: 4032 }, phone, 6)).toBe('upright');
  expect(readFrame({ width: 756, height: 1008 }, phone, 6)).toBe('upright');
  expect(readFrame({ width: 4032, height: 3024 }, phone, 6)).toBe('stored');
  expect(readFrame({ width: 1008, height: 756 }, phone, 8)).toBe('stored'); // a resized copy of the stored image
  for (const orientation of [1, 2, 3, 4])
    expect(readFrame({ width: 4032, height: 3024 }, phone, orientation)).toBeUndefined(); // nothing explains it
  expect(readFrame({ width: 500, height: 4032 }, phone, 6)).toBeUndefined();
  // nearly square: the nearer proportions win
  expect(readFrame({ width: 101, height: 100 }, { width: 100, height: 101 }, 6)).toBe('stored');
  expect(readFrame({ width: 100, height: 101 }, { width: 100, height: 101 }, 6)).toBe('upright');
  expect(readFrame({ width: 64, height: 64 }, { width: 512, height: 512 }, 6)).toBe('square');
});

test('turned twice by inverse orientations, a box is where it was', () => {
  const inverse: Record<number, number> = { 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6 };
  fc.assert(
    fc.property(
      fc.constantFrom(...ORIENTATIONS),
      fc.record({
        x: fc.integer({ min: -50, max: 50 }),
        y: fc.integer({ min: -50, max: 50 }),
        width: fc.integer({ min: 0, max: 50 }),
        height: fc.integer({ min: 0, max: 50 }),
      }),
      (orientation, box) => {
        expect(
          turnBox(turnBox(box, STORED, orientation), upright(orientation), inverse[orientation] as number),
        ).toEqual(box);
      },
    ),
  );
});

const image = async (orientation: number, marks: Marked[], size = STORED): Promise<MarkedImage<Marked>> => {
  const { width, height } = swaps(orientation) ? { width: size.height, height: size.width } : size;
  return {
    image: `${orientation}.png`,
    file: await camera(orientation, size),
    scored: { width, height, sourceWidth: width, sourceHeight: height },
    marks,
  };
};
const pixelsOf = async (one: MarkedImage<Marked>, marks: readonly Marked[] | undefined): Promise<number[]> =>
  Array.from(await maskOf(marks ?? [], 'x', one.scored));

describe('a file of boxes with sizes', () => {
  test.each([5, 6, 7, 8])('of stored images with orientation %i: boxes are turned', async (orientation) => {
    const one = await image(orientation, [{ box: BOX, frame: STORED }]);
    const { images, counts, notes } = await placeMarks('c.json', [one]);
    expect(await pixelsOf(one, images.get(one.image))).toEqual((await shown(one.file)).white);
    expect(counts).toEqual({ turned: 1, clipped: 0, outside: 0, empty: 0 });
    expect(notes).toEqual([expect.stringContaining('1 of 1 boxes or masks refer to images as stored')]);
    // a copy of half the size
    const half = { box: { x: 3.5, y: 1, width: 2, height: 1.5 }, frame: { width: 6, height: 4 } };
    const again = await placeMarks('c.json', [{ ...one, marks: [half] }]);
    expect(await pixelsOf(one, again.images.get(one.image))).toEqual((await shown(one.file)).white);
  });

  test('of upright images: they stay', async () => {
    const one = await image(6, [{ box: { x: 0, y: 0, width: 2, height: 3 }, frame: { width: 8, height: 12 } }]);
    const { images, counts, notes } = await placeMarks('c.json', [one]);
    expect(images.get('6.png')).toEqual([{ box: { x: 0, y: 0, width: 2, height: 3 } }]);
    expect([counts.turned, notes]).toEqual([0, []]);
  });

  test('an orientation that keeps the size is decided by the other images', async () => {
    const marks = [{ box: BOX, frame: STORED }];
    const all = await Promise.all(
      ORIENTATIONS.map((orientation) =>
        image(
          orientation,
          marks.map((mark) => ({ ...mark })),
        ),
      ),
    );
    // a tool that ignores EXIF drew all of it
    const { images, counts, notes } = await placeMarks('c.json', all);
    for (const one of all)
      expect([one.image, await pixelsOf(one, images.get(one.image))]).toEqual([
        one.image,
        (await shown(one.file)).white,
      ]);
    expect([counts.turned, notes]).toEqual([7, [expect.stringContaining('7 of 8')]]);
    // without such images nothing can tell: upright, and it is said
    const alone = await placeMarks('c.json', all.slice(0, 4));
    expect(alone.images.get('3.png')).toEqual([{ box: BOX }]);
    expect(alone.notes).toEqual([
      expect.stringContaining('3 boxes or masks are for images whose EXIF orientation does not change their size'),
    ]);
    // upright ones among them: a tool that applies EXIF
    const applied = await placeMarks('c.json', [
      all[2] as MarkedImage<Marked>,
      await image(6, [{ box: { x: 0, y: 0, width: 2, height: 11 }, frame: { width: 8, height: 12 } }]),
    ]);
    expect([applied.counts.turned, applied.notes]).toEqual([0, []]);
    // squares
    const square = { width: 12, height: 12 };
    const squares = await placeMarks('c.json', [
      await image(6, [{ box: BOX, frame: square }], square),
      ...all.slice(5, 6),
    ]);
    expect(squares.counts.turned).toBe(2);
  });

  test('with boxes that fit both images, or the upright one: refused without --box-frame', async () => {
    const both = { x: 1, y: 2, width: 4, height: 3 };
    const tall = { x: 1, y: 2, width: 4, height: 9 };
    for (const [boxes, message] of [
      [[both], 'fit both'],
      [[both, tall], 'of the upright images'],
      [[BOX, tall], 'of both the stored and the upright images'],
    ] as const) {
      await expect(
        placeMarks('c.json', [
          await image(
            6,
            boxes.map((box) => ({ box, frame: STORED })),
          ),
        ]),
      ).rejects.toMatchObject({
        code: 'DATASET_INVALID',
        message: expect.stringMatching(new RegExp(`6\\.png: 12 x 8 px, upright 8 x 12.*${message}`)) as string,
        hint: expect.stringContaining('`boxFrame` stored') as string,
      });
    }
    const one = await image(6, [{ box: both, frame: STORED }]);
    expect((await placeMarks('c.json', [one], { frame: 'stored' })).images.get('6.png')).toEqual([
      { box: turnBox(both, STORED, 6) },
    ]);
    expect((await placeMarks('c.json', [one], { frame: 'upright' })).images.get('6.png')).toEqual([{ box: both }]);
    // one box that fits the stored image alone speaks for all of the file
    expect((await placeMarks('c.json', [one, await image(8, [{ box: BOX, frame: STORED }])])).counts.turned).toBe(2);
  });

  test('told to be of stored images, boxes without sizes are turned, too', async () => {
    for (const orientation of ORIENTATIONS) {
      const one = await image(orientation, [{ box: BOX }]);
      const { images, notes } = await placeMarks('b.csv', [one], { frame: 'stored' });
      expect([orientation, await pixelsOf(one, images.get(one.image))]).toEqual([
        orientation,
        (await shown(one.file)).white,
      ]);
      expect(notes).toHaveLength(orientation === 1 ? 0 : 1);
    }
    await expect(
      placeMarks('b.csv', [{ ...(await image(6, [{ box: BOX }])), file: join(folder, 'gone.png') }], {
        frame: 'stored',
      }),
    ).rejects.toMatchObject({ message: expect.stringContaining('gone.png') as string });
    await expect(
      placeMarks('c.json', [await image(6, [{ box: BOX, frame: { width: 8, height: 12 } }])], { frame: 'stored' }),
    ).rejects.toMatchObject({ code: 'DATASET_INVALID' });
    await expect(
      placeMarks('c.json', [await image(1, [{ box: BOX, frame: { width: 8, height: 12 } }])], { frame: 'upright' }),
    ).rejects.toMatchObject({ code: 'DATASET_INVALID' });
  });

  test('of an image that is not this one: refused, naming both sizes', async () => {
    for (const [orientation, frame] of [
      [6, { width: 50, height: 12 }],
      [1, { width: 8, height: 12 }],
      [3, { width: 8, height: 12 }],
    ] as const) {
      await expect(placeMarks('c.json', [await image(orientation, [{ box: BOX, frame }])])).rejects.toMatchObject({
        code: 'DATASET_INVALID',
        message: expect.stringMatching(
          new RegExp(`${frame.width} x ${frame.height} px, the image ${orientation}\\.png has`),
        ) as string,
      });
    }
    // gone by now: its orientation is not known
    const gone = { ...(await image(6, [{ box: BOX, frame: STORED }])), file: join(folder, 'gone.png') };
    await expect(placeMarks('c.json', [gone])).rejects.toMatchObject({
      hint: expect.stringContaining('EXIF') as string,
    });
    expect(() => inSource({ ...BOX, frame: { width: 8, height: 12 }, image: 'a.png' }, STORED)).toThrow(
      'the image a.png has 12 x 8',
    );
  });
});

test.each([5, 6, 7, 8])('masks of stored images with orientation %i are turned, too', async (orientation) => {
  const mask = join(folder, `mask${orientation}.png`);
  await sharp(await camera(1))
    .png()
    .toFile(mask);
  const one = await image(orientation, [{ mask }]);
  const { images, counts } = await placeMarks('masks', [one]);
  expect(await pixelsOf(one, images.get(one.image))).toEqual((await shown(one.file)).white);
  expect(counts.turned).toBe(1);
  const straight = await image(1, [{ mask }]);
  expect(await pixelsOf(straight, (await placeMarks('masks', [straight])).images.get('1.png'))).toEqual(
    (await shown(straight.file)).white,
  );
  // by maskOf alone, given the orientation
  expect(Array.from(await maskOf([{ mask }], 'x', { ...one.scored, orientation }))).toEqual(
    (await shown(one.file)).white,
  );
  await expect(placeMarks('masks', [await image(3, [{ mask }], { width: 8, height: 12 })])).rejects.toMatchObject({
    code: 'DATASET_INVALID',
  });
});

describe('what boxes cover', () => {
  const plain = (...boxes: [number, number, number, number][]): MarkedImage<Marked> => ({
    image: 'a.png',
    file: join(folder, 'none.png'),
    scored: { width: 32, height: 32, sourceWidth: 64, sourceHeight: 64 },
    marks: boxes.map(([x, y, width, height]) => ({ box: { x, y, width, height } })),
  });

  test('outside, clipped and too small: counted, with an example', async () => {
    const { images, counts, notes } = await placeMarks('b.csv', [
      plain(
        [0, 0, 20, 20],
        [1000, 1000, 50, 50],
        [-500, 0, 20, 20],
        [60, 60, 20, 20],
        [-10, 5, 20, 20],
        [10.2, 10.2, 0.5, 0.5],
        [5, 5, 0, 9],
      ),
    ]);
    expect(counts).toEqual({ turned: 0, clipped: 2, outside: 3, empty: 1 });
    expect(images.get('a.png')).toEqual(
      [
        [0, 0, 20, 20],
        [60, 60, 4, 4],
        [0, 5, 10, 20],
        [10.2, 10.2, 0.5, 0.5],
      ].map(([x, y, width, height]) => ({ box: { x, y, width, height } })),
    );
    expect(notes).toEqual([
      expect.stringMatching(/^3 of 7 boxes lie outside .* a\.png \(64 x 64 px\): x 1000/),
      expect.stringMatching(/^1 of 7 boxes are too small/),
      expect.stringMatching(/^2 of 7 boxes extend beyond/),
    ]);
    expect((await placeMarks('b.csv', [plain([0, 0, 64, 64])])).notes).toEqual([]);
  });

  test.each([
    [
      'outside',
      [
        [1000, 1000, 50, 50],
        [-500, 0, 20, 20],
      ],
      /None of the 2 boxes.*2 lie outside/,
    ],
    ['no area', [[5, 5, 0, 0]], /covers a pixel/],
    ['too small', [[11, 11, 0.5, 0.5]], /1 are too small/],
    [
      'normalized',
      [
        [0.1, 0.2, 0.3, 0.4],
        [0, 0, 1, 1],
      ],
      /normalized: all their coordinates are between 0 and 1/,
    ],
    ['normalized, the center first', [[0.9, 0.5, 0.4, 1]], /normalized/],
  ] as const)('nothing at all is an error: %s', async (_, boxes, message) => {
    await expect(
      placeMarks('b.csv', [plain(...(boxes.map((box) => [...box]) as [number, number, number, number][]))]),
    ).rejects.toMatchObject({ code: 'DATASET_INVALID', message: expect.stringMatching(message) as string });
  });

  test('a pixel at the origin is not taken for a normalized box', async () => {
    expect(
      (
        await placeMarks('b.csv', [
          { ...plain([0, 0, 1, 1]), scored: { width: 64, height: 64, sourceWidth: 64, sourceHeight: 64 } },
        ])
      ).counts.empty,
    ).toBe(0);
  });

  test('corners in place of sides are recognized where boxes reach beyond their images', async () => {
    const { notes } = await placeMarks('b.csv', [plain([30, 30, 60, 60], [10, 40, 50, 64], [0, 0, 9, 9])]);
    expect(notes.join(' ')).toContain('x1, y1, x2, y2');
    expect(
      (await placeMarks('b.csv', [plain([30, 30, 60, 20], [0, 0, 9, 9], [1, 1, 9, 9])])).notes.join(' '),
    ).not.toContain('x1, y1');
  });

  test('masks that are zero everywhere', async () => {
    const black = join(folder, 'black.png');
    await sharp({ create: { width: 8, height: 8, channels: 3, background: 'black' } })
      .png()
      .toFile(black);
    const one = {
      ...plain(),
      marks: [{ mask: black }],
      scored: { width: 8, height: 8, sourceWidth: 8, sourceHeight: 8 },
    };
    await expect(placeMarks('masks', [one])).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining('1 masks are zero') as string,
    });
    const white = join(folder, 'white.png');
    await sharp({ create: { width: 8, height: 8, channels: 3, background: 'white' } })
      .png()
      .toFile(white);
    expect((await placeMarks('masks', [one, { ...one, image: 'b', marks: [{ mask: white }] }])).images.size).toBe(2);
    writeFileSync(join(folder, 'broken.png'), 'x');
    await expect(
      placeMarks('masks', [{ ...one, marks: [{ mask: join(folder, 'broken.png') }] }]),
    ).rejects.toMatchObject({ code: 'DATASET_INVALID', message: expect.stringContaining('broken.png') as string });
  });

  test('for any box, the mask has the pixels between its edges, and clipping does not change them', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(
            fc.double({ min: -80, max: 80, noNaN: true }),
            fc.double({ min: -80, max: 80, noNaN: true }),
            fc.double({ min: 0, max: 160, noNaN: true }),
            fc.double({ min: 0, max: 160, noNaN: true }),
          ),
          { minLength: 1, maxLength: 4 },
        ),
        async (boxes) => {
          const one = plain(...boxes, [0, 0, 2, 2]);
          const { images } = await placeMarks('b.csv', [one]);
          const raw = one.marks.map(({ box }) => ({ box: box as NonNullable<typeof box> }));
          expect(await pixelsOf(one, images.get('a.png'))).toEqual(await pixelsOf(one, raw));
        },
      ),
      { numRuns: 60 },
    ));
});
