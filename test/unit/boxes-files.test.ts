// Files of boxes and masks: names that several images have, ids, links, labels, and arbitrary input.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import sharp from 'sharp';
import { maskOf, readBoxes, readMarks } from '../../src/data/boxes/index.js';
import { checkLabels } from '../../src/data/boxes/labels.js';
import { isOfImage, labelOf } from '../../src/data/boxes/rows.js';
import { sharesLabel } from '../../src/data/labels.js';
import { DiffmineError } from '../../src/util/errors.js';
import { temporaryFolder, writeFiles } from '../helpers/folders.js';

const folder = temporaryFolder();
function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}
const invalid = (message: RegExp): object =>
  expect.objectContaining({ code: 'DATASET_INVALID', message: expect.stringMatching(message) as string }) as object;

const categories = [
  { id: 1, name: 'a' },
  { id: 2, name: 'b' },
];
const cocoOf = (names: string[]): string =>
  file(
    'coco.json',
    JSON.stringify({
      images: names.map((name, id) => ({ id, file_name: name })),
      categories,
      annotations: names.map((_, id) => ({ id, image_id: id, category_id: 1, bbox: [id, 0, 9, 9] })),
    }),
  );
/** image -> x of the boxes it gets; by COCO's names */
async function assigned(names: string[], images: string[]): Promise<Record<string, number[]>> {
  const found = (await readMarks(cocoOf(names))).assign(images, 'coco.json');
  return Object.fromEntries([...found].map(([image, marks]) => [image, marks.map(({ box }) => box?.x as number)]));
}

describe('names', () => {
  test('absolute names of images below the dataset, in CSV as in COCO', async () => {
    const path = file('absolute.csv', 'image,x,y,w,h\n/data/caf\u00e9/a/1.png,1,1,9,9\n/elsewhere/a/2.png,1,1,9,9\n');
    const table = await readMarks(path);
    expect([...table.assign(['a/1.png', 'a/2.png'], path, '/data/cafe\u0301').keys()]).toEqual(['a/1.png']);
  });

  test('the longest common end of two paths decides', async () => {
    expect(await assigned(['1.png'], ['a/1.png', 'b/2.png'])).toEqual({ 'a/1.png': [0] });
    expect(await assigned(['a/1.png', 'b/1.png'], ['a/1.png', 'b/1.png'])).toEqual({ 'a/1.png': [0], 'b/1.png': [1] });
    expect(await assigned(['b/1.png', '1.png'], ['x/a/1.png', 'x/b/1.png'])).toEqual({
      'x/b/1.png': [0],
      'x/a/1.png': [1],
    });
    // the path itself before a longer one that ends in it
    expect(await assigned(['1.png'], ['1.png', 'a/1.png'])).toEqual({ '1.png': [0] });
    // a file with more folders than the dataset
    expect(await assigned(['train2017/a/1.png', 'train2017/b/1.png'], ['a/1.png', 'b/1.png'])).toEqual({
      'a/1.png': [0],
      'b/1.png': [1],
    });
    expect(await assigned(['/data/photos/a/1.png'], ['a/1.png', '1.png'])).toEqual({ 'a/1.png': [0] });
    expect(await assigned(['1.png'], ['/somewhere/else/1.png'])).toEqual({ '/somewhere/else/1.png': [0] });
    // two entries of one name are two boxes; other folders, or a part of a name, are no match
    expect(await assigned(['1.png', '1.png'], ['a/1.png'])).toEqual({ 'a/1.png': [0, 1] });
    expect(await assigned(['c/1.png'], ['a/1.png'])).toEqual({});
    expect(await assigned(['1.png'], ['a/11.png'])).toEqual({});
    // NFC and NFD
    expect(await assigned(['Zu\u0308rich.png'], ['a/Z\u00fcrich.png'])).toEqual({ 'a/Z\u00fcrich.png': [0] });
  });

  test.each([
    [
      'a name that two images have',
      ['1.png'],
      ['a/1.png', 'b/1.png'],
      /"1\.png" matches several images: a\/1\.png, b\/1\.png/,
    ],
    ['with a folder, too', ['b/1.png'], ['x/b/1.png', 'y/b/1.png'], /x\/b\/1\.png, y\/b\/1\.png/],
    [
      'two names of one image',
      ['train/1.png', 'val/1.png'],
      ['1.png'],
      /several names that match the image 1\.png: train\/1\.png, val\/1\.png/,
    ],
    [
      'many of them',
      ['1.png', '2.png', '3.png'],
      ['a/1.png', 'b/1.png', 'c/1.png', 'd/1.png', 'a/2.png', 'b/2.png'],
      /a\/1\.png, b\/1\.png, c\/1\.png and 1 more\. The same holds for 1 more/,
    ],
  ])('refuses %s', async (_, names, images, message) => {
    await expect(assigned(names, images)).rejects.toEqual(invalid(message));
  });

  test('the same image under two labels is one image', async () => {
    expect(await assigned(['1.png'], ['a/1.png', 'a/1.png'])).toEqual({ 'a/1.png': [0] });
  });

  test("NIH's names, too; a CSV names paths", async () => {
    const nih = await readMarks(
      file('nih.csv', 'Image Index,Finding Label,Bbox [x,y,w,h],,,\n1.png,Mass,1,2,3,4,,,\n'),
    );
    expect(() => nih.assign(['images_001/1.png', 'images_002/1.png'], 'nih.csv')).toThrow(
      'images_001/1.png, images_002/1.png',
    );
    const csv = await readMarks(file('own.csv', 'image,x,y,w,h\n1.png,1,2,3,4\na/1.png,5,6,7,8\n'));
    expect([...csv.assign(['a/1.png', 'b/1.png'], 'own.csv').keys()]).toEqual(['a/1.png']);
  });

  test('a mask is of one image', async () => {
    const root = join(folder, 'masks');
    const png = await sharp({ create: { width: 2, height: 2, channels: 3, background: 'white' } })
      .png()
      .toBuffer();
    writeFiles(root, { 'king/1.png': png, 'king/2.jpg.png': png, 'king/3.webp/ace.png': png });
    const masks = await readMarks(root);
    expect(() => masks.assign(['king/1.jpg', 'king/1.webp'], root)).toThrow('several images: king/1.jpg, king/1.webp');
    // with the extension, of that image; a mirror before a folder of an image
    const found = masks.assign(
      ['king/1.jpg', 'king.jpg', 'king/2.jpg', 'king/2.webp', 'king/3.jpg', 'king/3.webp'],
      root,
    );
    expect([...found].map(([image, marks]) => [image, marks.map(({ label }) => label ?? null)])).toEqual([
      ['king/1.jpg', [null]],
      ['king/2.jpg', [null]],
      ['king/3.webp', ['ace']],
    ]);
  });
});

describe('masks in linked folders', () => {
  test('are followed; dangling and circular links are named', async () => {
    const png = await sharp({ create: { width: 2, height: 2, channels: 3, background: 'white' } })
      .png()
      .toBuffer();
    writeFiles(join(folder, 'elsewhere'), { 'king/1.png': png });
    const root = join(folder, 'linked');
    mkdirSync(join(root, 'deep', 'er'), { recursive: true });
    symlinkSync(join(folder, 'elsewhere', 'king'), join(root, 'king'));
    symlinkSync('../elsewhere/king', join(root, 'queen')); // the same folder twice: both are read
    symlinkSync(join(folder, 'elsewhere', 'king', '1.png'), join(root, 'ten.png'));
    symlinkSync('../..', join(root, 'deep', 'er', 'loop'));
    symlinkSync('self', join(root, 'self'));
    symlinkSync('gone', join(root, 'ace'));
    const masks = await readMarks(root);
    expect([...masks.keys()].sort()).toEqual(['king/1', 'queen/1', 'ten']);
    expect(masks.notes).toEqual([
      expect.stringMatching(
        /3 cannot be read: ace \(the link is dangling\), deep\/er\/loop \(the link leads back to a folder above it\), self/,
      ),
    ]);
    expect([...(await readMarks(join(root, 'king'))).keys()]).toEqual(['1']); // the folder itself is a link
  });

  test('with names that are not UTF-8', async () => {
    const root = join(folder, 'bytes');
    mkdirSync(root);
    const png = await sharp({ create: { width: 2, height: 2, channels: 3, background: 'white' } })
      .png()
      .toBuffer();
    mkdirSync(Buffer.concat([Buffer.from(`${root}/Z`), Buffer.from([0xfc]), Buffer.from('rich')]));
    writeFileSync(Buffer.concat([Buffer.from(`${root}/Z`), Buffer.from([0xfc]), Buffer.from('rich/1.png')]), png);
    const [marks] = [...(await readMarks(root)).assign(['Z%xFCrich/1.jpg'], root).values()];
    expect(
      Array.from(
        await maskOf(marks ?? [], 'x', {
          width: 2,
          height: 1,
          sourceWidth: 2,
          sourceHeight: 2,
          resized: { width: 2, height: 2 },
        }),
      ),
    ).toEqual([1, 1]);
  });

  test('with nothing but dangling links: the error names them', async () => {
    const root = join(folder, 'dangling');
    mkdirSync(root);
    symlinkSync('gone', join(root, 'a'));
    await expect(readMarks(root)).rejects.toEqual(invalid(/no masks that can be read: a \(the link is dangling\)/));
  });
});

describe('COCO', () => {
  const images = [
    { id: 1, file_name: 'a.jpg' },
    { id: 2, file_name: 'b.jpg' },
  ];
  const annotations = [{ id: 1, image_id: 1, category_id: 1, bbox: [1, 2, 3, 4] }];
  const read = (root: object): Promise<unknown> => readBoxes(file('coco.json', JSON.stringify(root)));

  test.each([
    [
      'images',
      { images: [...images, { id: 1, file_name: 'c.jpg' }], categories, annotations },
      /images\[0\] and images\[2\] have the same id 1 \(a\.jpg and c\.jpg\)/,
    ],
    [
      'categories',
      { images, categories: [...categories, { id: 2, name: 'c' }], annotations },
      /categories\[1\] and categories\[2\] have the same id 2 \(b and c\)/,
    ],
    [
      'annotations',
      { images, categories, annotations: [...annotations, { ...annotations[0], bbox: [5, 5, 5, 5] }] },
      /annotations\[0\] and annotations\[1\] have the same id 1 \(bbox \[1,2,3,4\] and bbox \[5,5,5,5\]\)/,
    ],
    [
      'a number and a word',
      { images: [...images, { id: '1', file_name: 'c.jpg' }], categories, annotations },
      /images\[0\] and images\[2\] have the same id "1"/,
    ],
    [
      'images, beyond 2^53',
      {
        images: [
          { id: 2 ** 60, file_name: 'a' },
          { id: 2 ** 60 + 1, file_name: 'b' },
        ],
        categories,
        annotations: [],
      },
      /the same id 1152921504606847000/,
    ],
    [
      'images, by a word',
      {
        images: [
          { id: 'x', file_name: 'a' },
          { id: 'x', file_name: 'b' },
        ],
        categories,
        annotations: [],
      },
      /the same id "x"/,
    ],
  ])('duplicate ids of %s', async (_, root, message) => {
    await expect(read(root)).rejects.toEqual(invalid(message));
  });

  test('ids are the same as numbers and as words', async () => {
    const boxes = async (root: object): Promise<unknown> => ((await read(root)) as { boxes: unknown }).boxes;
    const words = await boxes({
      images,
      categories: categories.map(({ id, name }) => ({ id: String(id), name })),
      annotations: annotations.map((one) => ({ ...one, image_id: String(one.image_id) })),
    });
    expect(words).toEqual(await boxes({ images, categories, annotations }));
  });

  test.each([
    [
      'an image without an id',
      { images: [{ file_name: 'a' }], categories, annotations: [] },
      /images\[0\]: 'id' is missing/,
    ],
    [
      'an id that is an object',
      { images: [{ id: {}, file_name: 'a' }], categories, annotations: [] },
      /images\[0\]: 'id' is/,
    ],
    [
      'a size that is a word',
      { images: [{ id: 1, file_name: 'a', width: 'wide', height: 4 }], categories, annotations: [] },
      /images\[0\]: 'width' is "wide"/,
    ],
    [
      'a size of a fraction',
      { images: [{ id: 1, file_name: 'a', width: 0.5, height: 4 }], categories, annotations: [] },
      /'width' is 0\.5/,
    ],
    [
      'a number as a word',
      { images, categories, annotations: [{ image_id: 1, category_id: 1, bbox: ['a', 2, 3, 4] }] },
      /annotations\[0\]: 'x' is "a"/,
    ],
    [
      'null in a box',
      { images, categories, annotations: [{ image_id: 1, category_id: 1, bbox: [1, null, 3, 4] }] },
      /annotations\[0\]: 'y' is ""/,
    ],
  ])('refuses %s', async (_, root, message) => {
    await expect(read(root)).rejects.toEqual(invalid(message));
  });

  test('NaN as Python writes it: read where it does not matter, refused in boxes and sizes', async () => {
    const text = (bbox: string, width: string): string =>
      `{"images": [{"id": 1, "file_name": "a.jpg", "width": ${width}, "height": 9}], "categories": ${JSON.stringify(categories)}, "annotations": [{"image_id": 1, "category_id": 1, "bbox": ${bbox}, "area": NaN}]}`;
    expect((await readBoxes(file('nan.json', text('[1, 2, 3, 4]', '9')))).boxes).toHaveLength(1);
    await expect(readBoxes(file('nan.json', text('[1, NaN, 3, 4]', '9')))).rejects.toEqual(
      invalid(/annotations\[0\]: 'y' is NaN/),
    );
    await expect(readBoxes(file('nan.json', text('[1, 2, Infinity, 4]', '9')))).rejects.toEqual(
      invalid(/'w' is Infinity/),
    );
    await expect(readBoxes(file('nan.json', text('[1, 2, 3, 4]', 'NaN')))).rejects.toEqual(
      invalid(/images\[0\]: 'width' is NaN/),
    );
  });

  test('annotations need no ids; sizes may be unknown', async () => {
    const { boxes } = await readBoxes(
      file(
        'coco.json',
        JSON.stringify({
          images: [
            { id: 1, file_name: 'a.jpg', width: 0, height: 0 },
            { id: 2, file_name: 'b.jpg', width: null, height: null },
          ],
          categories,
          annotations: [
            { image_id: 1, category_id: 1, bbox: [1, 2, 3, 4] },
            { id: null, image_id: 2, category_id: 1, bbox: [1, 2, 3, 4] },
          ],
        }),
      ),
    );
    expect(boxes.map(({ frame }) => frame)).toEqual([undefined, undefined]);
  });
});

describe('text', () => {
  test('strict UTF-8, with or without a byte-order mark', async () => {
    expect((await readBoxes(file('bom.csv', '\ufeffimage,x,y,w,h\nZ\u00fcrich.png,1,2,3,4\n'))).boxes[0]?.image).toBe(
      'Z\u00fcrich.png',
    );
    expect(
      (
        await readBoxes(
          file(
            'bom.json',
            `\ufeff${JSON.stringify({ images: [{ id: 1, file_name: 'a' }], categories, annotations: [] })}`,
          ),
        )
      ).boxes,
    ).toEqual([]);
    for (const [name, content] of [
      ['latin.csv', 'image,x,y,w,h\nZ\xfcrich.png,1,2,3,4\n'],
      ['latin.json', '{"images":[],\n"categories":[{"id":1,"name":"Z\xfcrich"}],"annotations":[]}'],
    ] as const) {
      const refused = readBoxes(file(name, Buffer.from(content, 'latin1')));
      await expect(refused).rejects.toEqual(invalid(/line 2: not UTF-8/));
      await expect(refused).rejects.toMatchObject({ hint: 'Save it as UTF-8.' }); // there is no --encoding here
    }
  });

  test('spaces around fields go; a column twice and corners are refused', async () => {
    expect((await readBoxes(file('spaces.csv', 'image, label, x, y, w, h\na.png, Rome, 1, 2, 3, 4\n'))).boxes).toEqual([
      { image: 'a.png', label: 'Rome', x: 1, y: 2, width: 3, height: 4 },
    ]);
    await expect(readBoxes(file('twice.csv', 'image,x,y,w,h,x\na,1,2,3,4,5\n'))).rejects.toEqual(
      invalid(/two columns 'x'/),
    );
    await expect(readBoxes(file('corners.csv', 'image,xmin,ymin,xmax,ymax\na,1,2,3,4\n'))).rejects.toMatchObject({
      hint: expect.stringContaining('corners') as string,
    });
  });
});

describe('labels', () => {
  test('a box is typical of its column for that, else of its label, else of the label of its image', () => {
    expect(labelOf({ typicalOf: 'ace', label: 'king' }, 'queen')).toBe('ace');
    expect(labelOf({ label: 'king' }, 'queen')).toBe('king');
    expect(labelOf({}, 'queen')).toBe('queen');
    // beside such a column, `label` is that of the image
    expect([
      isOfImage({ typicalOf: 'ace', label: 'king' }, 'king'),
      isOfImage({ typicalOf: 'ace', label: 'king' }, 'queen'),
      isOfImage({ label: 'king' }, 'queen'),
    ]).toEqual([true, false, true]);
    expect([
      sharesLabel('Mass|Nodule', 'Nodule'),
      sharesLabel('Mass', 'Nodule'),
      sharesLabel('Zu\u0308rich', 'Z\u00fcrich'),
    ]).toEqual([true, false, true]);
  });

  test('objects in place of labels: both lists are named', () => {
    expect(() => checkLabels('b.csv', ['wheel', 'door'], ['a', 'b'])).toThrow(
      /Labels of the boxes: door, wheel\. Labels of the run: a, b\./,
    );
    expect(() => checkLabels('b.csv', ['wheel', 'b'], ['a', 'b'])).not.toThrow();
  });
});

describe('arbitrary input gives boxes or a DiffmineError', () => {
  const finite = (value: number | undefined): boolean => value !== undefined && Number.isFinite(value);
  async function sound(path: string, format: 'auto' | 'nih' | 'coco' = 'auto'): Promise<void> {
    try {
      const { boxes } = await readBoxes(path, { format });
      for (const { image, x, y, width, height, frame } of boxes) {
        expect([
          image === '',
          finite(x),
          finite(y),
          finite(width) && width >= 0,
          finite(height) && height >= 0,
        ]).toEqual([false, true, true, true, true]);
        if (frame) expect(frame.width >= 1 && frame.height >= 1).toBe(true);
      }
    } catch (error) {
      if (!(error instanceof DiffmineError)) throw error;
      expect(['DATASET_INVALID', 'INVALID_ARGUMENT']).toContain(error.code);
    }
  }
  const cell = fc.oneof(
    fc.constantFrom(
      '',
      'a.png',
      '1',
      '-1',
      '0',
      '1e308',
      '1e999',
      'NaN',
      'Infinity',
      '0x10',
      ' 5 ',
      '"',
      '"a,b"',
      '\u00e9',
      '\r',
      '\0',
    ),
    fc.double().map(String),
    fc.string(),
  );

  test('CSV', () =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom(
          'image,x,y,w,h',
          'path,x,y,width,height,label,city',
          'Image Index,Finding Label,Bbox [x,y,w,h],,,',
          'image,x',
          '',
        ),
        fc.array(fc.array(cell, { maxLength: 8 }), { maxLength: 4 }),
        async (header, rows) => sound(file('any.csv', [header, ...rows.map((row) => row.join(','))].join('\n'))),
      ),
      { numRuns: 300 },
    ));

  test('bytes', () =>
    fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), fc.constantFrom('any.csv', 'any.json'), async (bytes, name) =>
        sound(file(name, bytes)),
      ),
      { numRuns: 200 },
    ));

  const value = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom<unknown>(1, 2, 'x', '1', null, -1, 1e308, 'a.jpg', 0.5, [], {}) },
    { weight: 1, arbitrary: fc.jsonValue() },
  );
  const row = (...keys: string[]): fc.Arbitrary<unknown> =>
    fc.oneof(
      { weight: 5, arbitrary: fc.record(Object.fromEntries(keys.map((key) => [key, value])), { requiredKeys: [] }) },
      { weight: 1, arbitrary: fc.jsonValue() },
    );
  const annotation = fc.record(
    {
      image_id: fc.constantFrom<unknown>(1, 'x', 3),
      category_id: fc.constantFrom<unknown>(1, 2),
      bbox: fc.oneof(fc.array(value, { minLength: 3, maxLength: 5 }), value),
      segmentation: value,
    },
    { requiredKeys: [] },
  );
  test('COCO', () =>
    fc.assert(
      fc.asyncProperty(
        fc.record(
          {
            images: fc.array(row('id', 'file_name', 'width', 'height'), { maxLength: 3 }),
            categories: fc.array(row('id', 'name'), { maxLength: 3 }),
            annotations: fc.array(fc.oneof(annotation, row('id', 'bbox')), { maxLength: 3 }),
          },
          { requiredKeys: [] },
        ),
        async (root) => sound(file('any.json', JSON.stringify(root))),
      ),
      { numRuns: 500 },
    ));
  test('COCO with sound tables', () =>
    fc.assert(
      fc.asyncProperty(fc.array(annotation, { maxLength: 3 }), value, value, async (rows, width, height) =>
        sound(
          file(
            'any.json',
            JSON.stringify({
              images: [
                { id: 1, file_name: 'a.jpg', width, height },
                { id: 'x', file_name: 'b.jpg' },
              ],
              categories,
              annotations: rows,
            }),
          ),
        ),
      ),
      { numRuns: 500 },
    ));
});

test('formats that are not read, and files without boxes, are named', async () => {
  const voc = join(folder, 'voc');
  writeFiles(voc, { '1.xml': '<annotation/>' });
  const yolo = join(folder, 'labels');
  writeFiles(yolo, { '1.txt': '0 0.5 0.5 0.2 0.2', 'classes.txt': 'a' });
  const set = join(folder, 'yolo');
  writeFiles(set, { 'data.yaml': 'names: [a]', 'labels/a/1.txt': '0 0.5 0.5 0.2 0.2' });
  for (const [path, message] of [
    [file('1.txt', '0 0.5 0.5 0.2 0.2'), /looks like labels of YOLO/],
    [yolo, /looks like labels of YOLO/],
    [set, /looks like labels of YOLO/],
    [file('1.xml', '<annotation/>'), /looks like boxes of Pascal VOC or CVAT/],
    [voc, /looks like boxes of Pascal VOC or CVAT/],
  ] as const) {
    await expect(readBoxes(path)).rejects.toEqual(invalid(message));
    await expect(readMarks(path)).rejects.toEqual(invalid(message));
  }
  await expect(readMarks(file('none.csv', 'image,x,y,w,h\n'))).rejects.toEqual(invalid(/none\.csv has no boxes/));
});
