// What is known to be in images: the files it comes in, how their names meet a dataset's, and the pixels it covers.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { splitLabels, spokenLabels } from '../../src/data/index.js';
import { boxMask, centerIn, inSource, iou, maskOf, readBoxes, readMarks } from '../../src/data/boxes/index.js';
import { readSafetensors } from '../../src/engine/index.js';
import { sharedGolden, temporaryFolder, writeFiles } from '../helpers/folders.js';

const folder = temporaryFolder();
function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}
const csv = (text: string): string => file('boxes.csv', text);
const coco = (root: unknown): string => file('coco.json', JSON.stringify(root));

test('labels of an image that has several', () => {
  expect(splitLabels('Mass|Nodule')).toEqual(['Mass', 'Nodule']);
  expect(splitLabels(' a |b||a')).toEqual(['a', 'b']);
  expect(splitLabels('No Finding')).toEqual(['No Finding']);
  expect(splitLabels('|')).toEqual([]);
  expect(spokenLabels('Mass|Nodule')).toBe('Mass, Nodule');
  expect(spokenLabels(' as it is')).toBe(' as it is');
});

describe('CSV', () => {
  const boxes = async (text: string, typicalColumn?: string): Promise<unknown> =>
    (await readBoxes(csv(text), typicalColumn === undefined ? {} : { typicalColumn })).boxes;

  test('centers and overlaps', () => {
    const box = { x: 10, y: 10, width: 4, height: 4 };
    expect(centerIn({ x: 8, y: 8, width: 4, height: 4 }, box)).toBe(true);
    expect(centerIn({ x: 12, y: 8, width: 4, height: 4 }, box)).toBe(false);
    expect(iou(box, box)).toBe(1);
    expect(iou(box, { x: 12, y: 10, width: 4, height: 4 })).toBeCloseTo(1 / 3, 12);
    expect(iou(box, { x: 14, y: 10, width: 4, height: 4 })).toBe(0);
  });

  test('reads both ways of naming sides, and what is optional', async () => {
    expect(await boxes('\ufeffimage,x,y,w,h\r\na/b.png,1,2.5,3,4\r\n')).toEqual([
      { image: 'a/b.png', x: 1, y: 2.5, width: 3, height: 4 },
    ]);
    const text = 'image,label,width,height,x,y,kind,slot,city,other\n./a.png,l,3,4,1,2,dome,roof,c,o\n';
    expect(await boxes(text)).toEqual([
      { image: 'a.png', label: 'l', x: 1, y: 2, width: 3, height: 4, kind: 'dome', slot: 'roof', typicalOf: 'c' },
    ]);
    expect(await boxes(text, 'other')).toMatchObject([{ typicalOf: 'o' }]);
    expect(await boxes('path,x,y,w,h\na\\b.png,1,2,3,4\n')).toMatchObject([{ image: 'a/b.png' }]);
  });

  test.each([
    ['no such file', undefined, 'DATASET_INVALID', /cannot be read/],
    ['nothing', '', 'DATASET_INVALID', /no header/],
    ['a missing column', 'image,x,y,w\n', 'DATASET_INVALID', /not a file of boxes/],
    ['a word for a number', 'image,x,y,w,h\na,1,2,3,4\nb,1,2,wide,4\n', 'DATASET_INVALID', /line 3: 'w' is "wide"/],
    ['a number that is not there', 'image,x,y,w,h\na,1,,3,4\n', 'DATASET_INVALID', /line 2: 'y' is ""/],
    ['a negative side', 'image,x,y,w,h\na,1,2,-3,4\n', 'DATASET_INVALID', /line 2/],
    ['an empty name', 'image,x,y,w,h\n,1,2,3,4\n', 'DATASET_INVALID', /line 2: 'image' is empty/],
    ['too few fields', 'image,x,y,w,h\na,1,2\n', 'DATASET_INVALID', /line 2: 3 fields/],
    ['open quotes', 'image,x,y,w,h\n"a,1,2,3,4\n', 'DATASET_INVALID', /line 2: a quote is opened/],
    ["NIH's list of findings", 'Image Index,Finding Labels,Follow-up #\na.png,Mass,0\n', 'DATASET_INVALID', /findings/],
  ])('refuses %s', async (_, text, code, message) => {
    const path = text === undefined ? join(folder, 'none.csv') : csv(text);
    await expect(readBoxes(path)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
  });

  test('refuses a missing typical column', async () => {
    await expect(readBoxes(csv('image,x,y,w,h\n'), { typicalColumn: 'town' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });

  test('as marks: what a box is typical of, else the label of its row, else none; names are paths', async () => {
    const marks = await readMarks(
      csv('image,label,x,y,w,h,city\nking/a.png,king,1,2,3,4,\nking/a.png,king,5,6,7,8,ace\nb.png,,1,2,3,4,\n'),
    );
    expect(marks.get('king/a.png')).toEqual([
      { label: 'king', box: { x: 1, y: 2, width: 3, height: 4 } },
      { label: 'ace', imageLabel: 'king', box: { x: 5, y: 6, width: 7, height: 8 } },
    ]);
    expect(marks.get('b.png')).toEqual([{ box: { x: 1, y: 2, width: 3, height: 4 } }]);
    expect(marks.get('ace/b.png')).toBeUndefined();
    expect([...marks.keys()]).toEqual(['king/a.png', 'b.png']);
  });
});

describe('NIH', () => {
  const HEADER = 'Image Index,Finding Label,Bbox [x,y,w,h],,,';
  const ROWS = [
    '00013118_008.png,Atelectasis,225.084745762712,547.019216763771,86.7796610169491,79.1864406779661,,,',
    '00014716_007.png,Infiltrate,686.101694915254,131.543498927699,185.491525423729,313.491525423729,,,',
  ];

  test.each([
    ['as distributed', HEADER, ROWS],
    [
      'the header cell in quotes',
      'Image Index,Finding Label,"Bbox [x,y,w,h]",,,',
      ROWS.map((row) => row.replace(/,+$/, '')),
    ],
    ['without the empty cells', 'Image Index,Finding Label,Bbox [x,y,w,h]', ROWS.map((row) => row.replace(/,+$/, ''))],
  ])('%s', async (_, header, rows) => {
    const { boxes, naming } = await readBoxes(csv([header, ...rows, ''].join('\n')));
    expect(naming).toBe('name');
    expect(boxes).toEqual([
      {
        image: '00013118_008.png',
        typicalOf: 'Atelectasis',
        x: 225.084745762712,
        y: 547.019216763771,
        width: 86.7796610169491,
        height: 79.1864406779661,
        frame: { width: 1024, height: 1024 },
      },
      expect.objectContaining({ image: '00014716_007.png', typicalOf: 'Infiltration' }) as unknown,
    ]);
  });

  test('images are found in any folder, and in copies of another size', async () => {
    const marks = await readMarks(csv([HEADER, '00000001_000.png,Mass,100,200,300,401,,,', ''].join('\n')));
    expect(marks.get('images_001/images/00000001_000.png')).toHaveLength(1);
    expect(marks.get('00000001_000.png')).toHaveLength(1);
    expect(marks.get('images/x00000001_000.png')).toBeUndefined();
    const small = await maskOf(marks.get('00000001_000.png') ?? [], 'Mass', {
      width: 64,
      height: 64,
      sourceWidth: 512,
      sourceHeight: 512,
    });
    expect(Array.from(small)).toEqual(Array.from(boxMask([{ x: 6, y: 12, width: 19, height: 25 }], 64, 64))); // 6.25 ... 25, 12.5 ... 37.56
    const [box] = (await readBoxes(csv([HEADER, '1.png,Mass,100,200,300,401,,,', ''].join('\n')))).boxes;
    expect(inSource(box!, { width: 512, height: 512 })).toMatchObject({ x: 50, y: 100, width: 150, height: 200.5 });
  });

  test.each([
    ['a row without numbers', `${HEADER}\n1.png,Mass,,,,\n`, undefined, /line 2: 'x' is ""/],
    ['a row without a finding', `${HEADER}\n1.png,,1,2,3,4\n`, undefined, /line 2: the image or its finding/],
    ['another file', 'image,x,y,w,h\na,1,2,3,4\n', 'nih' as const, /not NIH's list of boxes/],
  ])('refuses %s', async (_, text, format, message) => {
    await expect(readMarks(csv(text), format)).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });
});

describe('COCO', () => {
  const images = [
    { id: 7, file_name: 'a.jpg', width: 40, height: 20 },
    { id: 'x', file_name: 'sub/b.jpg' },
  ];
  const categories = [
    { id: 1, name: 'ace' },
    { id: 2, name: 'king' },
  ];

  test('boxes by category; an outline is read as a mask', async () => {
    const marks = await readMarks(
      coco({
        images,
        categories,
        annotations: [
          { image_id: 7, category_id: 2, bbox: [1, 2, 3, 4], segmentation: [] },
          { image_id: 'x', category_id: 1, bbox: [0, 0, 1.5, 1] },
        ],
      }),
    );
    expect(marks.get('val/a.jpg')).toEqual([
      { label: 'king', box: { x: 1, y: 2, width: 3, height: 4 }, frame: { width: 40, height: 20 } },
    ]);
    expect(marks.get('sub/b.jpg')).toEqual([{ label: 'ace', box: { x: 0, y: 0, width: 1.5, height: 1 } }]);
    expect(marks.get('other/b.jpg')).toBeUndefined();
  });

  test('polygons and runs are drawn as masks; their bounds are the boxes', async () => {
    const location = coco({
      images,
      categories,
      annotations: [
        // a triangle and a square
        {
          image_id: 7,
          category_id: 1,
          segmentation: [
            [0, 0, 4, 0, 0, 4],
            [10, 10, 12, 10, 12, 12, 10, 12],
          ],
        },
        // the second column of 20 x 40, as numbers and as text
        { image_id: 7, category_id: 2, segmentation: { size: [20, 40], counts: [20, 20, 760] } },
        { image_id: 7, category_id: 2, segmentation: { size: [20, 40], counts: 'd0d0hg0' } },
      ],
    });
    const marks = (await readMarks(location)).get('a.jpg') ?? [];
    const scored = { width: 40, height: 20, sourceWidth: 40, sourceHeight: 20 };
    const ace = await maskOf(marks, 'ace', scored);
    // centers of pixels on the diagonal count as outside
    const rows = [0, 1, 2, 3].map((y) => [...ace.subarray(40 * y, 40 * y + 5)].join(''));
    expect(rows).toEqual(['11100', '11000', '10000', '00000']);
    expect(ace.reduce((sum, value) => sum + value, 0)).toBe(6 + 4);
    const king = await maskOf(marks.slice(1, 2), 'king', scored);
    expect([...king].flatMap((value, i) => (value ? [i] : []))).toEqual(
      Array.from({ length: 20 }, (_, y) => 40 * y + 1),
    );
    expect(await maskOf(marks.slice(2), 'king', scored)).toEqual(king);
    const { boxes } = await readBoxes(location);
    expect(boxes.map(({ x, y, width, height }) => [x, y, width, height])).toEqual([
      [0, 0, 12, 12],
      [1, 0, 1, 20],
      [1, 0, 1, 20],
    ]);
  });

  test.each([
    ['no JSON', undefined, /is not JSON/],
    ['another JSON', { images }, /no list 'categories'/],
    [
      'runs of another size',
      {
        images,
        categories,
        annotations: [{ image_id: 7, category_id: 1, segmentation: { counts: [0, 5], size: [2, 2] } }],
      },
      /annotations\[0\]: the counts of its segmentation do not add up to 2 x 2 px/,
    ],
    ...[[0, 5], [5, -1], [1.5, 2.5], [], '0000'].map((counts): [string, object, RegExp] => [
      `runs ${JSON.stringify(counts)} beside a box`,
      {
        images,
        categories,
        annotations: [{ image_id: 7, category_id: 1, bbox: [0, 0, 1, 1], segmentation: { counts, size: [2, 2] } }],
      },
      /annotations\[0\]: the counts of its segmentation do not add up to 2 x 2 px/,
    ]),
    [
      'polygons of an image without a size',
      {
        images,
        categories,
        annotations: [{ image_id: 'x', category_id: 1, segmentation: [[1, 1, 3, 1, 3, 3]] }],
      },
      /annotations\[0\]: its polygons need the width and height of their image/,
    ],
    [
      'a short box',
      { images, categories, annotations: [{ image_id: 7, category_id: 1, bbox: [1, 2, 3] }] },
      /annotations\[0\]: 'bbox' is \[1,2,3\]/,
    ],
    [
      'a negative side',
      { images, categories, annotations: [{ image_id: 7, category_id: 1, bbox: [1, 2, 3, -4] }] },
      /annotations\[0\]: 'h' is -4/,
    ],
    [
      'an unknown image',
      { images, categories, annotations: [{ image_id: 8, category_id: 1, bbox: [1, 2, 3, 4] }] },
      /annotations\[0\]: there is no image 8/,
    ],
    [
      'an unknown category',
      { images, categories, annotations: [{ image_id: 7, category_id: 3, bbox: [1, 2, 3, 4] }] },
      /no category 3/,
    ],
    ['an image without a name', { images: [{ id: 1 }], categories, annotations: [] }, /images\[0\]: 'file_name'/],
  ])('refuses %s', async (_, root, message) => {
    const path = root === undefined ? file('coco.json', '{') : coco(root);
    await expect(readMarks(path)).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });
});

describe('masks', () => {
  const grey = async (rows: number[][]): Promise<Buffer> =>
    sharp(Buffer.from(rows.flat()), { raw: { width: rows[0]!.length, height: rows.length, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toBuffer();
  const half = [
    [0, 0, 1, 1],
    [0, 0, 1, 255],
  ];

  test('mirrored, or one folder per image; extensions may differ', async () => {
    const root = join(folder, 'masks');
    const png = await grey(half);
    writeFiles(root, {
      'king/1.png': png,
      'ace/2/ace.png': png,
      'ace/2/king.png': png,
      'ace/3.jpg/ace.png': png,
      '4.png': png,
      'notes.txt': 'x',
    });
    const marks = await readMarks(root);
    expect(marks.get('king/1.jpg')).toEqual([{ mask: join(root, 'king', '1.png') }]);
    expect(marks.get('ace/2.png')).toEqual([
      { label: 'ace', mask: join(root, 'ace', '2', 'ace.png') },
      { label: 'king', mask: join(root, 'ace', '2', 'king.png') },
    ]);
    expect(marks.get('ace/3.jpg')).toEqual([{ label: 'ace', mask: join(root, 'ace', '3.jpg', 'ace.png') }]);
    expect(marks.get('4.tif')).toHaveLength(1);
    expect(marks.get('5.png')).toBeUndefined();
    const image = { width: 2, height: 1, sourceWidth: 4, sourceHeight: 2 };
    expect(Array.from(await maskOf(marks.get('ace/2.png') ?? [], 'ace', image))).toEqual([0, 1]);
    expect(Array.from(await maskOf(marks.get('ace/2.png') ?? [], 'queen', image))).toEqual([0, 0]);
    expect(Array.from(await maskOf(marks.get('king/1.jpg') ?? [], 'any', { ...image, width: 8, height: 4 }))).toEqual(
      [0, 1, 2, 3].flatMap(() => [0, 0, 0, 0, 1, 1, 1, 1]),
    );
    // the scored image is the upper left of the resized one
    expect(
      Array.from(
        await maskOf(marks.get('king/1.jpg') ?? [], 'any', {
          ...image,
          width: 3,
          height: 2,
          resized: { width: 4, height: 2 },
        }),
      ),
    ).toEqual([0, 0, 1, 0, 0, 1]);
  });

  test('a one is inside at any depth, alpha is ignored', async () => {
    const root = join(folder, 'deep');
    const wide = await sharp(Uint16Array.from([0, 1]), { raw: { width: 2, height: 1, channels: 1 } })
      .toColourspace('grey16')
      .png()
      .toBuffer();
    const alpha = await sharp(Buffer.from([0, 0, 0, 255, 1, 0, 0, 0]), { raw: { width: 2, height: 1, channels: 4 } })
      .png()
      .toBuffer();
    const bits = await sharp(Buffer.from([0, 0, 0, 9, 9, 9]), { raw: { width: 2, height: 1, channels: 3 } })
      .png({ palette: true })
      .toBuffer();
    writeFiles(root, { 'wide.png': wide, 'alpha.png': alpha, 'bits.png': bits });
    expect((await sharp(wide).metadata()).depth).toBe('ushort');
    const marks = await readMarks(root);
    for (const name of ['wide', 'alpha', 'bits']) {
      expect([
        name,
        ...(await maskOf(marks.get(`${name}.jpg`) ?? [], 'x', {
          width: 2,
          height: 1,
          sourceWidth: 2,
          sourceHeight: 1,
        })),
      ]).toEqual([name, 0, 1]);
    }
  });

  test('refuses what is not a mask of the image', async () => {
    const root = join(folder, 'bad');
    writeFiles(root, { 'a.png': 'no image', 'b.png': await grey(half) });
    const marks = await readMarks(root);
    const image = { width: 4, height: 4, sourceWidth: 40, sourceHeight: 40 };
    await expect(maskOf(marks.get('a.jpg') ?? [], 'x', image)).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/a\.png' cannot be read/) as string,
    });
    await expect(maskOf(marks.get('b.jpg') ?? [], 'x', image)).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/4 x 2 px, the image has 40 x 40/) as string,
    });
    writeFiles(folder, { 'empty/readme.txt': '' });
    await expect(readMarks(join(folder, 'empty'))).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/no masks/) as string,
    });
    await expect(readBoxes(root)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(readMarks(root, 'coco')).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/is a folder/) as string,
    });
    await expect(readMarks(csv(''), 'masks')).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/is a file; masks are a folder/) as string,
    });
    await expect(readMarks(file('boxes.txt', ''))).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/cannot be recognized/) as string,
    });
  });
});

describe('pixels', () => {
  test('only what is marked with the label, or with none', async () => {
    const box = { x: 0, y: 0, width: 1, height: 1 };
    const image = { width: 2, height: 1, sourceWidth: 2, sourceHeight: 1 };
    const marks = [{ label: 'a', box }, { box: { ...box, x: 1 } }];
    expect(Array.from(await maskOf(marks, 'a', image))).toEqual([1, 1]);
    expect(Array.from(await maskOf(marks, 'b', image))).toEqual([0, 1]);
  });

  interface Case {
    op: string;
    id: string;
    params: { boxes_xywh: [number, number, number, number][]; divide: number };
    outputs: { mask: string };
  }
  const golden = join(sharedGolden() ?? '', 'applications-golden');
  if (!existsSync(join(golden, 'manifest.json'))) {
    test.skip('golden masks (DIFFMINE_SHARED)', () => undefined);
    return;
  }
  const cases = (JSON.parse(readFileSync(join(golden, 'manifest.json'), 'utf8')) as { cases: Case[] }).cases.filter(
    ({ op }) => op === 'aucpr',
  );
  test.each(cases.map((one) => [one.id, one] as const))('%s', async (_, { params, outputs }) => {
    const { [outputs.mask]: expected } = readSafetensors(join(golden, 'golden.safetensors'), [outputs.mask]);
    const [height, width] = expected!.shape as [number, number];
    const marks = params.boxes_xywh.map(([x, y, w, h]) => ({ box: { x, y, width: w, height: h } }));
    const ours = await maskOf(marks, 'any', {
      width,
      height,
      sourceWidth: width * params.divide,
      sourceHeight: height * params.divide,
    });
    expect(Array.from(ours)).toEqual(Array.from(expected!.data, Number));
  });
});
