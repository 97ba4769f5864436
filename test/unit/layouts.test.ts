// The paper's datasets as they are distributed, imitated: what is read from them, and what is said when something is missing.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { openDataset, readImage, type LayoutName } from '../../src/data/index.js';
import { decadeOf } from '../../src/data/layouts/cars.js';
import { categoryName } from '../../src/data/layouts/places.js';
import { fillPrompt, PRESETS } from '../../src/data/presets.js';
import { temporaryFolder, writeFiles } from '../helpers/folders.js';

const root = temporaryFolder();
let count = 0;
let png: Buffer;
beforeAll(async () => {
  png = await sharp({ create: { width: 16, height: 16, channels: 3, background: '#888' } })
    .png()
    .toBuffer();
});
/** Files by name; `true` is an image. */
function folder(files: Record<string, string | true>, name = `set${++count}`): string {
  const place = path.join(root, name);
  mkdirSync(place, { recursive: true });
  writeFiles(
    place,
    Object.fromEntries(Object.entries(files).map(([file, content]) => [file, content === true ? png : content])),
  );
  return place;
}
const read = async (
  location: string,
  layout?: LayoutName | 'auto',
): Promise<{ layout: string | undefined; images: string[][]; ignored: number; warnings: string[] }> => {
  const set = await openDataset(location, layout ? { layout } : {});
  for (const { file, bytes } of set.images) expect([path.isAbsolute(file), bytes]).toEqual([true, png.length]);
  return {
    layout: set.layout,
    images: set.images.map((image) => [image.path, image.label]),
    ignored: set.ignored,
    warnings: set.warnings,
  };
};
const invalid = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'DATASET_INVALID', message: expect.stringMatching(message) as unknown });

describe('cars', () => {
  const years = JSON.stringify({
    'a.jpg': { year: 1937, make: 'x' },
    'b.jpg': { year: '1940' },
    'gone.jpg': { year: 1950 },
  });

  test('years become decades; the whole folder means train/', async () => {
    const place = folder({
      'train/a.jpg': true,
      'train/b.jpg': true,
      'train/new.jpg': true,
      'train.json': years,
      'test/c.jpg': true,
      'test.json': '{"c.jpg": {"year": 1999}}',
    });
    const found = await read(place);
    expect(found).toEqual({
      layout: 'cars',
      images: [
        ['train/a.jpg', '1930'],
        ['train/b.jpg', '1940'],
      ],
      ignored: 1,
      warnings: [
        '1 image is not in train.json, such as new.jpg: left out.',
        '1 of the 3 images of train.json are not there, such as gone.jpg.',
      ],
    });
    expect(await read(place, 'cars')).toEqual(found);
    expect((await openDataset(place)).images.at(0).extra).toEqual({ year: '1937' });
    expect(
      await readImage((await openDataset(place)).images.at(0).file, {
        size: 8,
        rule: 'floor',
        multiple: 1,
        patch: 8,
      }),
    ).toMatchObject({ width: 8, height: 8 });
    // one of its folders
    expect(await read(path.join(place, 'test'))).toMatchObject({ layout: 'cars', images: [['c.jpg', '1990']] });
  });

  test('decades', () => {
    expect([1930, 1939, '1940', ' 2000 '].map(decadeOf)).toEqual(['1930', '1930', '1940', '2000']);
    expect(['', '37', 'c. 1937', 1937.5, null, undefined, 37].map(decadeOf)).toEqual(Array(7).fill(undefined));
  });

  test('label folders are read as such, with the preset too', async () => {
    const place = folder({ '1920/a.jpg': true, '1930/b.jpg': true });
    expect(await read(place, 'cars')).toEqual({
      layout: undefined,
      images: [
        ['1920/a.jpg', '1920'],
        ['1930/b.jpg', '1930'],
      ],
      ignored: 0,
      warnings: [],
    });
    // things to ride in, and somebody's notes
    const rides = folder({ 'bus/a.jpg': true, 'train/diesel/b.jpg': true, 'train.json': '[]' });
    expect(await read(rides)).toMatchObject({
      layout: undefined,
      images: [
        ['bus/a.jpg', 'bus'],
        ['train/diesel/b.jpg', 'train'],
      ],
    });
  });

  test.each([
    ['no train.json', { 'train/a.jpg': true }, /`preset` cars, but train\.json is missing/],
    ['no train/', { 'train.json': years }, /but train\/ is missing/],
    ['images without years', { 'a.jpg': true }, /but set\d+\.json beside it is missing/],
    ['no JSON', { 'train/a.jpg': true, 'train.json': '{' }, /train\.json is not JSON/],
    ['a list', { 'train/a.jpg': true, 'train.json': '[]' }, /is not an object of images/],
    [
      'a bad year',
      { 'train/a.jpg': true, 'train.json': '{"a.jpg": {"year": "unknown"}}' },
      /the year of 'a\.jpg' is "unknown"/,
    ],
    [
      'other images',
      { 'train/a.jpg': true, 'train.json': '{"b.jpg": {"year": 1990}}' },
      /No image of .* is in train\.json/,
    ],
  ] as [string, Record<string, string | true>, RegExp][])('says so: %s', async (_, files, message) => {
    await expect(read(folder(files), 'cars')).rejects.toEqual(invalid(message));
  });
});

describe('names that many datasets have', () => {
  test.each<[string, Record<string, string | true>, string[]]>([
    [
      "COCO's train.json",
      {
        'train/cat/1.png': true,
        'train/dog/1.png': true,
        'train/grid.png': true,
        'train.json': '{"images":[],"annotations":[],"categories":[]}',
      },
      ['train'],
    ],
    [
      "COCO's train.json with info first",
      { 'train/1.png': true, 'other/1.png': true, 'train.json': '{"info": {"year": 2017}, "images": []}' },
      ['other', 'train'],
    ],
    [
      'a config called test.json',
      { 'test/1.png': true, 'other/1.png': true, 'test.json': '{"a": {"b": 1}}' },
      ['other', 'test'],
    ],
    [
      'val.json that is a list',
      { 'val/1.png': true, 'x/1.png': true, 'val.json': '[{"file": "1.png"}]' },
      ['val', 'x'],
    ],
    [
      'metadata.csv of something else',
      { 'metadata.csv': 'id,country\n7,France\n', 'images/cat.jpg': true, 'more/1.jpg': true },
      ['images', 'more'],
    ],
    ['metadata.csv of imagefolder', { 'metadata.csv': 'file_name,text\na.jpg,x\n', 'images/a.jpg': true }, ['images']],
  ])('are no layout: %s', async (_, files, labels) => {
    const set = await openDataset(folder(files));
    expect([set.layout, set.labels]).toEqual([undefined, labels]);
  });

  test('a folder of images beside a JSON of its name, and a list called test_list.txt', async () => {
    const place = folder({
      'train/a/1.png': true,
      'train/b/1.png': true,
      'train.json': '{"images": []}',
      'test_list.txt': 'a\n',
    });
    expect((await openDataset(path.join(place, 'train'))).labels).toEqual(['a', 'b']);
    await expect(
      openDataset(path.join(folder({ 'flat/1.png': true, 'flat.json': '{"images": []}' }), 'flat')),
    ).rejects.toEqual(invalid(/has 1 image, but no label folders/));
    await expect(openDataset(path.join(place, 'test_list.txt'))).rejects.toEqual(invalid(/neither a folder nor/));
  });
});

describe('faces', () => {
  test('folders a decade below train/', async () => {
    const place = folder({
      'train/1900s/a.png': true,
      'train/2010s/b.png': true,
      'test/1900s/c.png': true,
      'README.md': 'x',
    });
    expect(await read(place)).toMatchObject({
      layout: 'faces',
      images: [
        ['train/1900s/a.png', '1900'],
        ['train/2010s/b.png', '2010'],
      ],
    });
    expect(await read(path.join(place, 'test'), 'faces')).toMatchObject({
      layout: 'faces',
      images: [['1900s/c.png', '1900']],
    });
    // without the preset, folders are what they are called
    expect(await read(path.join(place, 'test'))).toMatchObject({
      layout: undefined,
      images: [['1900s/c.png', '1900s']],
    });
    expect(fillPrompt(PRESETS.faces.prompt, '1900')).toBe('A portrait from the 1900s.');
  });
  test('train/ of no decades is a label like any other', async () => {
    expect(await read(folder({ 'train/steam/a.png': true }))).toMatchObject({
      layout: undefined,
      images: [['train/steam/a.png', 'train']],
    });
  });
});

describe('geo', () => {
  const metadata =
    'id,country,region,sub-region,city,latitude,longitude\nP1,France,Brittany,,,48.1,-4.5\nP2,Japan,"Kanto, East",,,35.6,139.7\nP3,Japan,,,,35,139\n';

  test('metadata.csv, four views a place, some left out', async () => {
    const place = folder({
      'metadata.csv': metadata,
      'images/P1/45.jpg': true,
      'images/P1/135.jpg': true,
      'images/P2/45.jpg': true,
      'images/P2/225.jpg': true,
      'exclude.json': '["P2/225.jpg"]',
      'images/P9/45.jpg': true,
    });
    expect(await read(place)).toEqual({
      layout: 'geo',
      images: [
        ['images/P1/135.jpg', 'France'],
        ['images/P1/45.jpg', 'France'],
        ['images/P2/45.jpg', 'Japan'],
      ],
      ignored: 1,
      warnings: ['1 of the 3 images of metadata.csv are not there, such as images/P3: they are left out.'],
    });
  });
  test('an image an id', async () => {
    expect(
      await read(
        folder({
          'metadata.csv': 'id,country\nP1,France\nP2.jpg,Japan\n',
          'images/P1.jpg': true,
          'images/P2.jpg': true,
        }),
      ),
    ).toMatchObject({
      images: [
        ['images/P1.jpg', 'France'],
        ['images/P2.jpg', 'Japan'],
      ],
    });
  });
  test('as its scripts lay it out: a table per split, views of a panorama, countries in a mapping', async () => {
    const files = {
      'train/train.csv': 'IMG_ID,LAT\nYYcmZ_md_0.png,1\nYYcmZ_md_1.png,1\nQ_2.png,2\ngone_3.png,3\nlost_0.png,4\n',
      'train/label_mapping/countries_names.json':
        '{"YYcmZ_md_0.png": ["France"], "YYcmZ_md_1.png": ["France"], "Q_2.png": ["Japan"], "gone_3.png": ["Japan"]}',
      'train/images/YYcmZ_md_0.png': true,
      'train/images/YYcmZ_md_1.png': true,
      'train/images/Q_2.png': true,
      'val/val.csv': 'IMG_ID\nR_0.png\n',
      'val/label_mapping/countries_names.json': '{"R_0.png": ["Peru"]}',
      'val/images/R_0.png': true,
      's2_cells/countries.csv': 'class_label,country\n0,France\n',
      'guidebook.json': '[]',
    } as const;
    const place = folder(files);
    const found = await read(place);
    expect(found).toEqual({
      layout: 'geo',
      images: [
        ['train/images/Q_2.png', 'Japan'],
        ['train/images/YYcmZ_md_0.png', 'France'],
        ['train/images/YYcmZ_md_1.png', 'France'],
      ],
      ignored: 1,
      warnings: [
        '1 of the 5 images of train.csv have no country in countries_names.json, such as lost_0.png: they are left out.',
        '1 of the 5 images of train.csv are not there, such as train/images/gone_3.png: they are left out.',
      ],
    });
    expect(await read(place, 'geo')).toEqual(found);
    expect(await read(path.join(place, 'val'))).toMatchObject({
      layout: 'geo',
      images: [['images/R_0.png', 'Peru']],
    });
  });
  test.each([
    [
      'no mapping',
      { 'train/train.csv': 'IMG_ID\na_0.png\n', 'train/images/a_0.png': true },
      /train\/label_mapping\/countries_names\.json is missing/,
    ],
    [
      'no views',
      { 'train/train.csv': 'IMG_ID\na_0.png\n', 'train/panos/a.jpg': true },
      /but train\/images\/ is missing/,
    ],
    [
      'two countries',
      {
        'train.csv': 'IMG_ID\na_0.png\n',
        'images/a_0.png': true,
        'label_mapping/countries_names.json': '{"a_0.png": ["Chad", "Mali"]}',
      },
      /has \["Chad","Mali"\] for a_0\.png instead of one country/,
    ],
    [
      'a path',
      { 'train.csv': 'IMG_ID\n../a_0.png\n', 'images/a_0.png': true, 'label_mapping/countries_names.json': '{}' },
      /train\.csv, line 2: IMG_ID is not the name/,
    ],
    [
      'other images',
      {
        'train.csv': 'IMG_ID\na_0.png\n',
        'images/b_0.png': true,
        'label_mapping/countries_names.json': '{"a_0.png": ["Chad"]}',
      },
      /No image of train\.csv is in/,
    ],
  ] as [string, Record<string, string | true>, RegExp][])('of that layout: %s', async (_, files, message) => {
    await expect(read(folder(files), 'geo')).rejects.toEqual(invalid(message));
  });
  test('country folders, also below train/', async () => {
    expect(await read(folder({ 'France/a.jpg': true, 'United Kingdom/b/c.jpg': true }), 'geo')).toMatchObject({
      layout: undefined,
      images: [
        ['France/a.jpg', 'France'],
        ['United Kingdom/b/c.jpg', 'United Kingdom'],
      ],
    });
    expect(await read(folder({ 'train/France/a.jpg': true, 'val/France/b.jpg': true }), 'geo')).toMatchObject({
      layout: 'geo',
      images: [['train/France/a.jpg', 'France']],
    });
  });
  test.each([
    ['no metadata', { 'images/P1/45.jpg': true }, /but metadata\.csv is missing/],
    ['no images', { 'metadata.csv': metadata }, /but images\/ is missing/],
    [
      'another table',
      { 'metadata.csv': 'name,land\n', 'images/P1/45.jpg': true },
      /but metadata\.csv's columns id and country/,
    ],
    [
      'no country',
      { 'metadata.csv': 'id,country\nP1,\n', 'images/P1/45.jpg': true },
      /metadata\.csv, line 2: the id or the country/,
    ],
    ['other images', { 'metadata.csv': metadata, 'images/P7/45.jpg': true }, /No image of metadata\.csv/],
    [
      'no list',
      { 'metadata.csv': metadata, 'images/P1/45.jpg': true, 'exclude.json': '{' },
      /exclude\.json is not a list/,
    ],
  ] as [string, Record<string, string | true>, RegExp][])('says so: %s', async (_, files, message) => {
    await expect(read(folder(files), 'geo')).rejects.toEqual(invalid(message));
  });
});

describe('places', () => {
  const categories = '/a/airfield 0\n/a/apartment_building/outdoor 8\n/l/living_room 215\n';
  const train =
    '/a/airfield/00000001.jpg 0\n/a/apartment_building/outdoor/00000001.jpg 8\n/l/living_room/00000002.jpg 215\n';
  const val = 'Places365_val_00000001.jpg 215\nPlaces365_val_00000002.jpg 8\n';
  const images = {
    'data_256/a/airfield/00000001.jpg': true,
    'data_256/a/apartment_building/outdoor/00000001.jpg': true,
    'val_256/Places365_val_00000001.jpg': true,
    'val_256/Places365_val_00000002.jpg': true,
  } as const;

  test('training list, where its images are there; a list is a dataset too', async () => {
    const place = folder({
      'categories_places365.txt': categories,
      'places365_train_standard.txt': train,
      'places365_val.txt': val,
      ...images,
    });
    expect(await read(place)).toEqual({
      layout: 'places',
      ignored: 0,
      images: [
        ['data_256/a/airfield/00000001.jpg', 'airfield'],
        ['data_256/a/apartment_building/outdoor/00000001.jpg', 'apartment_building_outdoor'],
      ],
      warnings: [
        '1 of the 3 images of places365_train_standard.txt are not there, such as data_256/l/living_room/00000002.jpg: they are left out.',
      ],
    });
    expect(await read(path.join(place, 'places365_val.txt'))).toEqual({
      layout: 'places',
      ignored: 0,
      warnings: [],
      images: [
        ['val_256/Places365_val_00000001.jpg', 'living_room'],
        ['val_256/Places365_val_00000002.jpg', 'apartment_building_outdoor'],
      ],
    });
    expect(fillPrompt(PRESETS.places.prompt, 'apartment_building_outdoor')).toBe(
      'Image of apartment building outdoor.',
    );
    expect(categoryName('/f/field/cultivated')).toBe('field_cultivated');
  });
  test('validation alone, its lists in the folder of their archive, images in images/', async () => {
    const place = folder({
      'filelist_places365-standard/categories_places365.txt': categories,
      'filelist_places365-standard/places365_train_standard.txt': train,
      'filelist_places365-standard/places365_val.txt': val,
      'images/Places365_val_00000001.jpg': true,
    });
    expect(await read(place, 'places')).toMatchObject({
      layout: 'places',
      images: [['images/Places365_val_00000001.jpg', 'living_room']],
    });
  });
  test('folders a category below train/', async () => {
    expect(await read(folder({ 'train/airfield/1.jpg': true, 'val/airfield/2.jpg': true }), 'places')).toMatchObject({
      layout: 'places',
      images: [['train/airfield/1.jpg', 'airfield']],
    });
  });
  test.each([
    ['no categories', { 'places365_val.txt': val, ...images }, /but categories_places365\.txt is missing/],
    ['no list', { 'categories_places365.txt': categories, ...images }, /but a list \(places365_train_standard\.txt/],
    [
      'no images',
      { 'categories_places365.txt': categories, 'places365_val.txt': val },
      /but the images of places365_val\.txt is missing/,
    ],
    [
      'a line that is none',
      { 'categories_places365.txt': categories, 'places365_val.txt': 'Places365_val_00000001.jpg\n', ...images },
      /places365_val\.txt, line 1: .* is not a name and number/,
    ],
    [
      'an unknown category',
      { 'categories_places365.txt': categories, 'places365_val.txt': 'Places365_val_00000001.jpg 364\n', ...images },
      /line 1: there is no category 364/,
    ],
  ] as [string, Record<string, string | true>, RegExp][])('says so: %s', async (_, files, message) => {
    await expect(read(folder(files), 'places')).rejects.toEqual(invalid(message));
  });
  test('a list without its images is an error that names them', async () => {
    await expect(read(path.join(folder({ 'places365_val.txt': val }), 'places365_val.txt'))).rejects.toEqual(
      invalid(/categories_places365\.txt is missing/),
    );
  });
});

describe('xray', () => {
  const entry =
    'Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n' +
    '00000001_000.png,Cardiomegaly|Emphysema,0,1,58,M,PA,2682,2749,0.143,0.143,\n00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171,\n00000003_000.png,Pleural_Thickening,0,3,81,F,PA,2582,2991,0.143,0.143,\n';
  const files = {
    'Data_Entry_2017.csv': entry,
    'images_001/images/00000001_000.png': true,
    'images_002/images/00000002_000.png': true,
    'train_val_list.txt': '00000002_000.png\n',
    'test_list.txt': '00000001_000.png\n00000003_000.png\n',
  } as const;

  test('archives as they unpack; labels stay as they are', async () => {
    const place = folder({ ...files });
    expect(await read(place)).toEqual({
      layout: 'xray',
      ignored: 0,
      images: [
        ['images_001/images/00000001_000.png', 'Cardiomegaly|Emphysema'],
        ['images_002/images/00000002_000.png', 'No Finding'],
      ],
      warnings: [
        '1 of the 3 images of Data_Entry_2017.csv are not there, such as 00000003_000.png: they are left out.',
      ],
    });
    expect(await read(path.join(place, 'train_val_list.txt'))).toMatchObject({
      layout: 'xray',
      images: [['images_002/images/00000002_000.png', 'No Finding']],
      ignored: 1,
    });
    expect(await read(path.join(place, 'test_list.txt'), 'xray')).toMatchObject({
      images: [['images_001/images/00000001_000.png', 'Cardiomegaly|Emphysema']],
    });
    expect(fillPrompt(PRESETS.xray.prompt, 'Cardiomegaly|Pleural_Thickening')).toBe(
      'Chest X-Ray with Cardiomegaly, Pleural Thickening.',
    );
  });
  test('one folder of images, the table renamed as in the paper; the images that have boxes', async () => {
    const place = folder({
      'metadata.csv': entry,
      'images/00000001_000.png': true,
      'images/00000003_000.png': true,
      'images/other.png': true,
      'BBox_List_2017.csv':
        'Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Cardiomegaly,1,2,3,4,,,\n00000001_000.png,Emphysema,1,2,3,4,,,\n',
    });
    expect(await read(place)).toMatchObject({
      layout: 'xray',
      images: [
        ['images/00000001_000.png', 'Cardiomegaly|Emphysema'],
        ['images/00000003_000.png', 'Pleural_Thickening'],
      ],
      ignored: 1,
    });
    expect(await read(path.join(place, 'BBox_List_2017.csv'))).toMatchObject({
      layout: 'xray',
      images: [['images/00000001_000.png', 'Cardiomegaly|Emphysema']],
    });
  });
  test.each([
    ['no table', { 'images_001/images/00000001_000.png': true }, '', /but Data_Entry_2017\.csv is missing/],
    [
      'a list without the table',
      { 'test_list.txt': '00000001_000.png\n' },
      'test_list.txt',
      /but Data_Entry_2017\.csv beside test_list\.txt is missing/,
    ],
    ['no images', { 'Data_Entry_2017.csv': entry }, '', /None of 3 images of Data_Entry_2017\.csv is below/],
    [
      'a name without findings',
      { ...files, 'test_list.txt': '00000009_000.png\n' },
      'test_list.txt',
      /test_list\.txt names '00000009_000\.png', for which .* no findings/,
    ],
    [
      'empty findings',
      { ...files, 'Data_Entry_2017.csv': 'Image Index,Finding Labels\n00000001_000.png,\n' },
      '',
      /Data_Entry_2017\.csv, line 2: 'Finding Labels' is empty/,
    ],
  ] as [string, Record<string, string | true>, string, RegExp][])('says so: %s', async (_, files, list, message) => {
    await expect(read(path.join(folder(files), list), 'xray')).rejects.toEqual(invalid(message));
  });
});

test('a table is read as a table with every preset', async () => {
  const place = folder({ 'labels.csv': 'image,label\na.png,x\n', 'a.png': true });
  for (const layout of ['auto', 'cars', 'faces', 'geo', 'places', 'xray'] as const)
    expect(await read(path.join(place, 'labels.csv'), layout)).toMatchObject({
      layout: undefined,
      images: [['a.png', 'x']],
    });
});
